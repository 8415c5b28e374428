//! The smallest Tradewind module: two tasks, an input, an output, a log.

use tradewind_sdk::{Context, Error, data, debug, info, task, warn};

#[data]
#[serde(deny_unknown_fields)]
struct Person {
    /// Whom to greet.
    name: String,
}

#[data]
struct Greeting {
    text: String,
}

/// Greets a person by name.
#[task]
fn greet(person: Person) -> Result<Greeting, Error> {
    let name = person.name.trim();
    if name.is_empty() {
        return Err(Error::failed("there is nobody to greet; give a `name` that is not empty").do_not_retry());
    }
    Ok(Greeting { text: format!("Hello, {name}!") })
}

/// Says in the log which task this is, and counts down.
///
/// Returns how many lines it logged.
#[task]
fn chatter(context: &Context) -> u32 {
    debug!("this is {}", context.task_id());
    for count in (1..=3).rev() {
        info!("{count}");
    }
    warn!("out of numbers");
    5
}

#[cfg(test)]
mod tests {
    use super::*;
    use tradewind_sdk::{Value, json, serde_json, testing};

    #[test]
    fn the_documented_input_gives_the_expected_output() {
        let expected: Value = serde_json::from_str(include_str!("../expected.json")).unwrap();
        assert_eq!(testing::run("greet", json!({"name": "Ada"})), Ok(expected[0]["result"].clone()));
    }

    #[test]
    fn nobody_is_not_greeted_and_not_tried_again() {
        let error = greet(Person { name: "  ".to_owned() }).err().unwrap();
        assert_eq!(error, Error::failed("there is nobody to greet; give a `name` that is not empty").do_not_retry());
    }

    #[test]
    fn chatter_logs_what_it_counts() {
        let context = testing::context().with_task_id("task_7").build();
        let (count, lines) = testing::logged(|| chatter(&context));
        assert_eq!(lines, ["DEBUG this is task_7", "INFO 3", "INFO 2", "INFO 1", "WARN out of numbers"]);
        assert_eq!(count as usize, lines.len());
    }
}
