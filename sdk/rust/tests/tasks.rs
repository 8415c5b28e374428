//! What `#[task]` makes of a function, seen through the same door as the host.

use std::time::Duration;

use tradewind_sdk::{Context, Error, Value, data, json, task, testing};

#[data]
#[serde(deny_unknown_fields)]
struct Range {
    from: u32,
    /// Included.
    #[serde(default)]
    to: Option<u32>,
}

/// Adds up a range.
///
/// Both ends count.
#[task]
fn sum(range: Range) -> u32 {
    (range.from..=range.to.unwrap_or(range.from)).sum()
}

#[task(name = "which-try")]
fn which_try(context: Context) -> String {
    format!("try {}", context.try_number())
}

#[task]
fn context_first(context: &Context, text: String) -> Result<String, Error> {
    Ok(format!("{text} {}", context.task_id()))
}

#[task]
fn context_last(text: String, context: &Context) -> Result<String, Error> {
    context_first(context, text)
}

#[task]
fn nothing() {}

#[task]
fn parse(text: String) -> Result<i64, std::num::ParseIntError> {
    text.parse()
}

type ParseResult = Result<i64, Box<dyn std::error::Error + Send + Sync>>;

#[task]
fn parse_boxed(text: String) -> ParseResult {
    if text.is_empty() {
        return Err(Error::skip("no text").into());
    }
    Ok(text.parse()?)
}

#[task]
fn refuse(text: String) -> Result<(), String> {
    Err(text)
}

#[task]
fn busy() -> Result<(), Error> {
    Err(Error::failed("busy").with_data(json!({"status": 429})).retry_after(Duration::from_secs(3)))
}

#[task]
fn speaking_library() {
    log::info!(target: "library", "found {} rows", 3);
    log::trace!(target: "library", "too much");
    tradewind_sdk::warn!("two lines");
}

// Names that the macro uses itself.
#[task]
fn context(context: &Context) -> u32 {
    context.try_number()
}

#[task]
fn input(input: String) -> String {
    output(input)
}

#[task]
fn output(output: String) -> String {
    output
}

mod deeper {
    #[tradewind_sdk::task]
    pub(crate) fn r#move(unused: bool) -> bool {
        !unused
    }
}

fn refused(name: &str, input: Value, message: &str) {
    assert_eq!(testing::run(name, input), Err(Error::failed(message).do_not_retry()));
}

#[test]
fn a_task_is_described_by_its_function() {
    let tasks = testing::list_tasks();
    let names: Vec<_> = tasks.as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "busy",
            "context",
            "context_first",
            "context_last",
            "input",
            "move",
            "nothing",
            "output",
            "parse",
            "parse_boxed",
            "refuse",
            "speaking_library",
            "sum",
            "which-try"
        ]
    );
    assert_eq!(
        tasks[12],
        json!({
            "name": "sum",
            "docs": "Adds up a range.\n\nBoth ends count.",
            "input_schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": "Range",
                "type": "object",
                "properties": {
                    "from": {"type": "integer", "format": "uint32", "minimum": 0},
                    "to": {
                        "description": "Included.", "type": ["integer", "null"], "format": "uint32", "minimum": 0,
                        "default": null
                    }
                },
                "required": ["from"],
                "additionalProperties": false
            },
            "output_schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": "uint32", "type": "integer", "format": "uint32", "minimum": 0
            }
        })
    );
}

#[test]
fn input_output_and_context_reach_the_function() {
    assert_eq!(testing::run("sum", json!({"from": 1, "to": 4})), Ok(json!(10)));
    assert_eq!(testing::run("move", true), Ok(json!(false)));
    assert_eq!(testing::run("nothing", json!({})), Ok(json!(null)));
    assert_eq!(testing::run("nothing", json!(null)), Ok(json!(null)));

    let third = testing::context().with_try_number(3).with_task_id("task_3").build();
    assert_eq!(testing::run_in(&third, "which-try", json!(null)), Ok(json!("try 3")));
    assert_eq!(testing::run_in(&third, "context", json!(null)), Ok(json!(3)));
    assert_eq!(testing::run("input", "same"), Ok(json!("same")));
    assert_eq!(testing::run_in(&third, "context_first", "I am"), Ok(json!("I am task_3")));
    assert_eq!(testing::run_in(&third, "context_last", "I am"), Ok(json!("I am task_3")));
}

#[test]
fn input_that_does_not_fit_is_refused_with_its_place() {
    refused(
        "sum",
        json!({"from": "one"}),
        "the input of task `sum` does not fit: at `from`: invalid type: string \"one\", expected u32",
    );
    refused("sum", json!({}), "the input of task `sum` does not fit: missing field `from`");
    refused(
        "nothing",
        json!({"a": 1}),
        "the input of task `nothing` does not fit: the task takes no input; give null, {} or nothing",
    );
}

#[test]
fn an_unknown_task_is_refused_with_those_there_are() {
    let error = testing::run("sums", json!(null)).unwrap_err();
    assert!(
        error.message().starts_with("the module has no task `sums`; it has `busy`, `context`, `context_first`"),
        "{error}"
    );
}

#[test]
fn any_error_type_becomes_a_failure() {
    assert_eq!(testing::run("parse", "x"), Err(Error::failed("invalid digit found in string")));
    assert_eq!(testing::run("parse_boxed", "x"), Err(Error::failed("invalid digit found in string")));
    assert_eq!(testing::run("parse_boxed", ""), Err(Error::skip("no text")));
    assert_eq!(testing::run("parse_boxed", "12"), Ok(json!(12)));
    assert_eq!(testing::run("refuse", "no"), Err(Error::failed("no")));
    assert_eq!(
        testing::run("busy", json!(null)),
        Err(Error::failed("busy").with_data(json!({"status": 429})).retry_after(Duration::from_secs(3)))
    );
}

#[test]
fn lines_of_libraries_reach_the_log_up_to_debug() {
    let (_, lines) = testing::logged(|| testing::run("speaking_library", json!(null)));
    assert_eq!(lines, ["INFO library: found 3 rows", "WARN two lines"]);
}
