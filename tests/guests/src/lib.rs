//! The tasks that integration tests run: each ends in its own way.

mod scratch;

use std::hint::black_box;
use std::io::Write;
use std::thread;
use std::time::Duration;

use tradewind_sdk::{Context, Error, Level, Value, data, json, log, task};

/// Returns its input.
#[task]
fn echo(input: Value) -> Value {
    input
}

#[data]
#[serde(deny_unknown_fields)]
struct Failure {
    #[serde(default = "Failure::message")]
    message: String,
    #[serde(default)]
    data: Option<Value>,
    #[serde(default)]
    retry: Retry,
}

#[data]
#[derive(Default)]
#[serde(rename_all = "snake_case")]
enum Retry {
    #[default]
    ByPolicy,
    Never,
    AfterMs(u64),
}

impl Failure {
    fn message() -> String {
        "failed as asked".to_owned()
    }
}

/// Fails as the input says: `{"message", "data", "retry": "by_policy" | "never" | {"after_ms": n}}`.
#[task]
fn fail(input: Failure) -> Result<(), Error> {
    let mut error = Error::failed(input.message);
    if let Some(data) = input.data {
        error = error.with_data(data);
    }
    Err(match input.retry {
        Retry::ByPolicy => error,
        Retry::Never => error.do_not_retry(),
        Retry::AfterMs(delay) => error.retry_after(Duration::from_millis(delay)),
    })
}

#[data]
#[serde(deny_unknown_fields)]
struct Flaky {
    /// The first try that succeeds.
    succeeds_at: u32,
}

/// Fails until the try given, and returns the number of the try that succeeded.
#[task]
fn flaky(input: Flaky, context: &Context) -> Result<u32, Error> {
    let try_number = context.try_number();
    if try_number < input.succeeds_at {
        return Err(Error::failed(format_args!("try {try_number} fails")).with_data(json!({"try": try_number})));
    }
    Ok(try_number)
}

/// Computes for ever.
#[task]
fn spin() {
    let mut turns: u64 = 0;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

#[data]
#[serde(deny_unknown_fields)]
struct Sleep {
    ms: u64,
}

/// Waits without computing.
#[task]
fn sleep(input: Sleep) {
    thread::sleep(Duration::from_millis(input.ms));
}

#[data]
#[serde(deny_unknown_fields)]
struct Alloc {
    mib: usize,
}

/// Allocates memory, writes to each page of it, and returns how many MiB there were.
#[task]
fn alloc(input: Alloc) -> usize {
    // One MiB at a time: a single large block would be refused before the limit is reached.
    let blocks: Vec<Vec<u8>> = (0..input.mib).map(|_| black_box(vec![1; 1 << 20])).collect();
    blocks.len()
}

#[data]
#[serde(deny_unknown_fields)]
struct LogLines {
    /// Lines on each of the log, stdout and stderr.
    lines: usize,
    /// Bytes of each line, its newline not counted.
    bytes: usize,
    #[serde(default = "LogLines::everywhere")]
    to: Vec<Stream>,
}

#[data]
#[derive(Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Stream {
    Log,
    Stdout,
    Stderr,
}

impl LogLines {
    fn everywhere() -> Vec<Stream> {
        vec![Stream::Log, Stream::Stdout, Stream::Stderr]
    }
}

/// Logs numbered lines, `7 xxxx…`, of levels in turn. Returns how many lines were written in all.
#[task]
fn log_lines(input: LogLines) -> Result<usize, Error> {
    const LEVELS: [Level; 5] = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error];
    for number in 0..input.lines {
        let mut line = format!("{number} ");
        line.extend(std::iter::repeat_n('x', input.bytes.saturating_sub(line.len())));
        line.truncate(input.bytes);
        for stream in &input.to {
            match stream {
                Stream::Log => log!(LEVELS[number % LEVELS.len()], "{line}"),
                Stream::Stdout => writeln!(std::io::stdout(), "{line}")?,
                Stream::Stderr => writeln!(std::io::stderr(), "{line}")?,
            }
        }
    }
    Ok(input.lines * input.to.len())
}

/// Leaves a last line on stdout without its newline.
#[task]
fn unfinished_line() {
    print!("no newline");
}

/// Panics with a message.
#[task]
#[inline(never)] // so that the backtrace of the trap names it
fn panic() {
    panic!("panicked as asked");
}

/// Skips itself.
#[task]
fn skip(reason: String) -> Result<(), Error> {
    Err(Error::skip(reason))
}

#[data]
struct Seen {
    task_id: String,
    run_id: Option<String>,
    dag_id: Option<String>,
    logical_date: Option<String>,
    data_interval_start: Option<String>,
    data_interval_end: Option<String>,
    try_number: u32,
    map_index: Option<u32>,
    params: Value,
    deadline: String,
    seconds_left: f64,
}

/// Returns what the context says.
#[task]
fn context(context: &Context) -> Result<Seen, Error> {
    Ok(Seen {
        task_id: context.task_id(),
        run_id: context.run_id(),
        dag_id: context.dag_id(),
        logical_date: context.logical_date().map(|at| at.to_string()),
        data_interval_start: context.data_interval_start().map(|at| at.to_string()),
        data_interval_end: context.data_interval_end().map(|at| at.to_string()),
        try_number: context.try_number(),
        map_index: context.map_index(),
        params: context.params()?,
        deadline: context.deadline().to_string(),
        seconds_left: context.time_left().as_secs_f64(),
    })
}

#[data]
#[serde(deny_unknown_fields)]
struct Size {
    bytes: usize,
}

/// Returns a text of so many bytes; as JSON it has two more.
#[task]
fn big_output(input: Size) -> String {
    "x".repeat(input.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tradewind_sdk::testing;

    #[test]
    fn a_failure_takes_its_advice_from_the_input() {
        let input = json!({"data": {"a": 1}, "retry": {"after_ms": 250}});
        let error = Error::failed("failed as asked").with_data(json!({"a": 1})).retry_after(Duration::from_millis(250));
        assert_eq!(testing::run("fail", input), Err(error));
        assert_eq!(
            testing::run("fail", json!({"retry": "never"})),
            Err(Error::failed("failed as asked").do_not_retry())
        );
    }

    #[test]
    fn a_flaky_task_succeeds_at_its_try() {
        let try_number = |number| testing::context().with_try_number(number).build();
        let error = Error::failed("try 1 fails").with_data(json!({"try": 1}));
        assert_eq!(testing::run_in(&try_number(1), "flaky", json!({"succeeds_at": 2})), Err(error));
        assert_eq!(testing::run_in(&try_number(2), "flaky", json!({"succeeds_at": 2})), Ok(json!(2)));
    }

    #[test]
    fn log_lines_have_the_size_asked_for() {
        let (count, lines) =
            testing::logged(|| testing::run("log_lines", json!({"lines": 2, "bytes": 5, "to": ["log"]})));
        assert_eq!(count, Ok(json!(2)));
        assert_eq!(lines, ["TRACE 0 xxx", "DEBUG 1 xxx"]);
    }
}
