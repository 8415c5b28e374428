//! The three tasks of the template DAG: what was a Python function, a line of bash and a script are three functions.

use tradewind_sdk::{Error, data, info, task};

#[data]
#[serde(deny_unknown_fields)]
struct Numbers {
    a: i64,
    b: i64,
}

#[data]
struct Answers {
    sum: i64,
    difference: i64,
    product: i64,
}

/// Adds, subtracts and multiplies two numbers. It was a `PythonOperator`.
#[task]
fn arithmetic(Numbers { a, b }: Numbers) -> Result<Answers, Error> {
    let answers =
        || Some(Answers { sum: a.checked_add(b)?, difference: a.checked_sub(b)?, product: a.checked_mul(b)? });
    let answers = answers().ok_or_else(|| Error::failed("the numbers are too large").do_not_retry())?;
    info!("{a} + {b} = {}", answers.sum);
    Ok(answers)
}

#[data]
#[serde(deny_unknown_fields)]
struct Line {
    text: String,
}

/// Says a text and returns it. It was a `BashOperator` with `echo`.
#[task]
fn say_hi(Line { text }: Line) -> String {
    // `println!` would do as well: stdout is in the log too.
    info!("{text}");
    text
}

#[data]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// What stood behind the script's name: whom to greet, and what to tell them.
    args: Vec<String>,
}

/// Greets somebody. It was a `BashOperator` that called a script with arguments.
#[task]
fn greet(Arguments { args }: Arguments) -> Result<String, Error> {
    let [name, news] = args.as_slice() else {
        let message = format!("greet takes 2 arguments, whom to greet and what to tell them; it got {}", args.len());
        return Err(Error::failed(message).do_not_retry());
    };
    let greeting = format!("Hello, {name}! I was told: {news}");
    info!("{greeting}");
    Ok(greeting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tradewind_sdk::{json, testing};

    #[test]
    fn each_task_does_its_part() {
        assert_eq!(
            testing::run("arithmetic", json!({"a": 6, "b": 7})),
            Ok(json!({"sum": 13, "difference": -1, "product": 42}))
        );
        assert_eq!(testing::run("say_hi", json!({"text": "hi"})), Ok(json!("hi")));
        assert_eq!(testing::run("greet", json!({"args": ["Ada", "hi"]})), Ok(json!("Hello, Ada! I was told: hi")));
    }

    #[test]
    fn what_was_echoed_is_in_the_log() {
        let (_, lines) = testing::logged(|| say_hi(Line { text: "hi".to_owned() }));
        assert_eq!(lines, ["INFO hi"]);
    }

    #[test]
    fn a_greeting_without_its_arguments_is_not_tried_again() {
        let message = "greet takes 2 arguments, whom to greet and what to tell them; it got 1";
        assert_eq!(testing::run("greet", json!({"args": ["Ada"]})), Err(Error::failed(message).do_not_retry()));
    }

    #[test]
    fn numbers_that_are_too_large_are_a_failure_and_no_trap() {
        let numbers = json!({"a": i64::MAX, "b": 1});
        assert_eq!(testing::run("arithmetic", numbers), Err(Error::failed("the numbers are too large").do_not_retry()));
    }
}
