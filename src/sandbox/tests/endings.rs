//! How a guest ends: with a value, an error, a trap or an exit, each with what it said.

use super::*;

#[test]
fn a_function_answers_with_its_value() {
    let house = House::new();
    let ending = house.run(&house.module(&guests::noop()), job("run", r#"{"input": ""}"#));
    assert_eq!((ending.outcome, ending.result, ending.error), (Outcome::Success, Some(json("\"\"")), None));
    assert_eq!(ending.usage.peak_memory_bytes, 65536);
    assert!(ending.usage.cpu_us > 0);
}

#[test]
fn an_error_value_is_the_tasks_failure() {
    let house = House::new();
    let ending = house.run(&house.guest(ABUSE), job("fail", "{}"));
    let error = ending.error.expect("an error");
    assert_eq!((ending.outcome, ending.result), (Outcome::Failed, None));
    assert_eq!((error.message.as_str(), error.data), ("no coffee", Some(json("\"no coffee\""))));
}

#[test]
fn deep_recursion_traps() {
    let house = House::new();
    let ending = house.run(&house.guest(ABUSE), job("recurse", r#"{"n": 0}"#));
    assert_eq!(ending.outcome, Outcome::Trapped);
    let error = ending.error.expect("an error");
    assert!(error.message.contains("stack"), "{}", error.message);
    assert_eq!(error.backtrace.len(), 32);
}

#[test]
fn a_trap_shows_where_it_happened() {
    let house = House::new();
    let error = house.run(&house.guest(ABUSE), job("trap", "{}")).error.expect("an error");
    assert!(error.message.contains("unreachable"), "{}", error.message);
    let names: Vec<&str> = error.backtrace.iter().filter_map(|frame| frame.split(' ').next()).collect();
    assert_eq!(names[..2], ["inner", "outer"]);
}

#[test]
fn an_answer_that_cannot_be_read_is_a_trap() {
    let house = House::new();
    assert_eq!(house.run(&house.guest(ABUSE), job("wild", "{}")).outcome, Outcome::Trapped);
}

#[test]
fn what_a_guest_prints_reaches_its_log_line_by_line() {
    let house = House::new();
    let (log, said) = lines();
    assert_eq!(house.run(&house.guest(WASI), job("print", "{}").log(log)).outcome, Outcome::Success);
    let lines: Vec<_> = said.try_iter().collect();
    let expected = ["first", "second", "third"].map(|line| (LogStream::Stdout, LogLevel::Info, line.to_owned()));
    assert_eq!(lines, expected);
}

#[test]
fn a_guest_that_exits_has_failed_with_its_code() {
    let house = House::new();
    let ending = house.run(&house.guest(WASI), job("exit", "{}"));
    assert_eq!((ending.outcome, ending.error.and_then(|error| error.exit_code)), (Outcome::Failed, Some(1)));
}
