//! What an attempt is bounded by, and how soon it is stopped.

use super::*;

#[test]
fn an_endless_loop_ends_with_its_wall_time() {
    let house = House::new();
    let module = house.guest(ABUSE);
    let ending =
        house.run(&module, job("spin", "{}").limits(|limits| limits.execution_timeout = Span::from_millis(30)));
    assert_eq!(ending.outcome, Outcome::TimedOut);
    assert!(ending.error.expect("an error").message.contains("execution_timeout of 30ms"));
}

#[test]
fn an_endless_loop_ends_with_its_cpu_time() {
    let house = House::new();
    let ending =
        house.run(&house.guest(ABUSE), job("spin", "{}").limits(|limits| limits.cpu_time = Span::from_millis(20)));
    assert_eq!(ending.outcome, Outcome::TimedOut);
    assert!(ending.error.expect("an error").message.contains("cpu_time of 20ms"));
    assert!((20_000..60_000).contains(&ending.usage.cpu_us), "{} µs", ending.usage.cpu_us);
}

#[test]
fn a_waiting_guest_ends_with_its_wall_time() {
    let house = House::new();
    let sleep = job("sleep", r#"{"nanoseconds": 3600000000000}"#)
        .limits(|limits| limits.execution_timeout = Span::from_millis(30));
    let ending = house.run(&house.guest(WASI), sleep);
    assert_eq!(ending.outcome, Outcome::TimedOut);
    assert!(ending.usage.cpu_us < 30_000, "waiting costs no processor: {} µs", ending.usage.cpu_us);
}

#[test]
fn time_limits_of_any_size_are_harmless() {
    let house = House::new();
    let module = house.guest(WASI);
    let noop = house.module(&guests::noop());
    for zero in [
        job("run", r#"{"input": ""}"#).limits(|limits| limits.execution_timeout = Span::ZERO),
        job("run", r#"{"input": ""}"#).limits(|limits| limits.cpu_time = Span::ZERO),
    ] {
        assert_eq!(house.run(&noop, zero).outcome, Outcome::TimedOut);
    }
    for nanoseconds in ["0", "1", "18446744073709551615"] {
        let sleep = job("sleep", &format!(r#"{{"nanoseconds": {nanoseconds}}}"#)).limits(|limits| {
            limits.execution_timeout = Span::MAX;
            limits.cpu_time = Span::MAX;
        });
        let (log, said) = lines();
        let sleep = sleep.log(log);
        let stop = sleep.stop.clone();
        let task = house.start(&module, sleep);
        said.recv().expect("it has started");
        if nanoseconds.len() > 1 {
            stop.stop();
        }
        let outcome = wait(task).expect("an ending").outcome;
        assert!(matches!(outcome, Outcome::Success | Outcome::Cancelled), "{outcome}");
    }
}

#[test]
fn a_cancelled_guest_ends_within_100_ms() {
    let house = House::new();
    let module = house.guest(WASI);
    for (function, input) in [("spin", "{}"), ("sleep", r#"{"nanoseconds": 3600000000000}"#)] {
        let (log, said) = lines();
        let job = job(function, input).log(log);
        let stop = job.stop.clone();
        let task = house.start(&module, job);
        said.recv().expect("it has started");
        let stopped_at = Instant::now();
        stop.stop();
        let ending = wait(task).expect("an ending");
        assert_eq!(ending.outcome, Outcome::Cancelled, "{function}");
        assert!(stopped_at.elapsed() < Duration::from_millis(100), "{function}: {:?}", stopped_at.elapsed());
    }
}

#[test]
fn an_attempt_cancelled_before_it_starts_never_runs() {
    let house = House::new();
    let (log, said) = lines();
    let job = job("spin", "{}").log(log);
    job.stop.stop();
    assert_eq!(house.run(&house.guest(WASI), job).outcome, Outcome::Cancelled);
    assert!(said.try_recv().is_err());
}

#[test]
fn memory_is_refused_beyond_the_limit_and_the_trap_is_named_by_its_cause() {
    let house = House::new();
    let module = house.guest(ABUSE);
    for function in ["memory-bomb", "table-bomb"] {
        let bomb = job(function, "{}").limits(|limits| limits.memory_bytes = 700_000);
        let ending = house.run(&module, bomb);
        assert_eq!(ending.outcome, Outcome::OutOfMemory, "{function}");
        assert!(ending.usage.peak_memory_bytes <= 700_000, "{function}");
        assert!(ending.error.expect("an error").message.contains("memory_bytes of 700000"), "{function}");
    }
    // A table is bounded even where memory is not.
    assert_eq!(house.run(&module, job("table-bomb", "{}")).outcome, Outcome::OutOfMemory);
    // Less than its first page: refused before it runs.
    let tiny = job("modest", "{}").limits(|limits| limits.memory_bytes = 1);
    assert_eq!(house.run(&module, tiny).outcome, Outcome::OutOfMemory);
}

#[test]
fn a_guest_that_lives_with_less_memory_succeeds() {
    let house = House::new();
    assert_eq!(house.run(&house.guest(ABUSE), job("modest", "{}")).outcome, Outcome::Success);
}

#[test]
fn an_output_beyond_the_limit_is_refused_not_copied() {
    let house = House::new();
    let module = house.guest(ABUSE);
    let large = |bytes: u32| {
        job("large", &format!(r#"{{"length": {bytes}}}"#)).limits(|limits| limits.output_bytes = 1_000_000)
    };
    assert_eq!(house.run(&module, large(1_000)).outcome, Outcome::Success);
    assert_eq!(house.run(&module, large(2_000_000)).outcome, Outcome::OutputTooLarge);
    // More than the host would ever copy.
    assert_eq!(house.run(&module, large(100_000_000)).outcome, Outcome::OutputTooLarge);
}
