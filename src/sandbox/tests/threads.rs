//! Guests beside each other: waiting for room, giving way, shutting down.

use super::*;

#[test]
fn a_full_pool_waits() {
    let house = House::with(SandboxSettings { slots: 1, guest_threads: 2, ..SandboxSettings::default() });
    let sleeper = house.guest(WASI);
    let noop = house.module(&guests::noop());
    let (log, said) = lines();
    let room = pool::places(&SandboxSettings { slots: 1, ..SandboxSettings::default() });
    let sleepers: Vec<_> = (0..room)
        .map(|_| {
            let job = job("sleep", r#"{"nanoseconds": 3600000000000}"#).log(log.clone());
            let stop = job.stop.clone();
            let task = house.start(&sleeper, job);
            said.recv().expect("it has started");
            (stop, task)
        })
        .collect();
    RUNTIME.block_on(async {
        let mut waiting = pin!(house.sandbox.run(&noop, job("run", r#"{"input": ""}"#)));
        poll_fn(|cx| {
            assert!(waiting.as_mut().poll(cx).is_pending(), "there is no room");
            Poll::Ready(())
        })
        .await;
        let cancelled_while_waiting = job("run", r#"{"input": ""}"#);
        cancelled_while_waiting.stop.stop();
        let ending = house.sandbox.run(&noop, cancelled_while_waiting).await.expect("an ending");
        assert_eq!(ending.outcome, Outcome::Cancelled);
        sleepers[0].0.stop();
        assert_eq!(waiting.await.expect("an ending").outcome, Outcome::Success);
    });
    for (stop, task) in sleepers {
        stop.stop();
        assert_eq!(wait(task).expect("an ending").outcome, Outcome::Cancelled);
    }
}

/// Notes every word about a wait.
#[derive(Default)]
struct Heard(Mutex<Vec<&'static str>>);

impl WaitListener for Heard {
    fn parked(&self) {
        self.0.lock().push("parked");
    }

    fn resumed(&self) {
        self.0.lock().push("resumed");
    }
}

#[test]
fn it_is_told_when_a_guest_waits_and_when_it_computes_again() {
    let house = House::new();
    let module = house.guest(WASI);
    for (function, input, expected) in [
        ("print", "{}", &[][..]),
        // Gives way at the end of each slice, which is no wait.
        ("spin", "{}", &[]),
        ("sleep", r#"{"nanoseconds": 0}"#, &[]),
        // It goes on for less than a slice.
        ("sleep", r#"{"nanoseconds": 20000000}"#, &["parked"]),
        ("sleep-and-spin", r#"{"nanoseconds": 20000000}"#, &["parked", "resumed"]),
    ] {
        let heard = Arc::new(Heard::default());
        let mut job = job(function, input).limits(|limits| limits.cpu_time = Span::from_millis(30));
        job.on_wait = Some(heard.clone());
        house.run(&module, job);
        assert_eq!(*heard.0.lock(), expected, "{function}");
    }
}

#[test]
fn a_panic_of_ours_is_an_error_of_that_attempt_alone() {
    let house = House::with(SandboxSettings { guest_threads: 1, ..SandboxSettings::default() });
    let module = house.module(&guests::one_line());
    let panicking = job("run", r#"{"input": ""}"#).log(Arc::new(PanickingLog));
    match wait(house.start(&module, panicking)) {
        Err(SandboxError::Panicked(message)) => assert_eq!(message, "a defect of ours"),
        other => panic!("{other:?}"),
    }
    assert_eq!(house.run(&module, job("run", r#"{"input": ""}"#)).outcome, Outcome::Success);
}

#[test]
fn endless_loops_do_not_keep_short_tasks_from_running() {
    let house = House::new();
    let module = house.guest(WASI);
    let noop = house.module(&guests::noop());
    let (log, said) = lines();
    let loops: Vec<_> = (0..14)
        .map(|_| {
            let job = job("spin", "{}").log(log.clone());
            let stop = job.stop.clone();
            (stop, house.start(&module, job))
        })
        .collect();
    for _ in 0..14 {
        said.recv().expect("all of them start");
    }
    let mut took: Vec<Duration> = (0..200)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(house.run(&noop, job("run", r#"{"input": ""}"#)).outcome, Outcome::Success);
            started.elapsed()
        })
        .collect();
    took.sort();
    for (stop, _) in &loops {
        stop.stop();
    }
    for (_, task) in loops {
        assert_eq!(wait(task).expect("an ending").outcome, Outcome::Cancelled);
    }
    assert!(took[198] < Duration::from_millis(50), "p50 {:?}, p99 {:?}", took[100], took[198]);
}

#[test]
fn guests_under_way_are_dropped_at_shut_down() {
    let house = House::new();
    let module = house.guest(WASI);
    let (log, said) = lines();
    let tasks = [("spin", "{}"), ("sleep", r#"{"nanoseconds": 3600000000000}"#)].map(|(function, input)| {
        let task = house.start(&module, job(function, input).log(log.clone()));
        said.recv().expect("it has started");
        task
    });
    house.sandbox.shut_down();
    for (number, task) in tasks.into_iter().enumerate() {
        if number == 0 {
            assert!(RUNTIME.block_on(task).is_none(), "the loop was in a queue and is dropped with it");
        } else {
            drop(task);
        }
    }
}

#[test]
fn guests_run_where_address_space_is_short() {
    let house = House::of(Sandbox::within(Some(1 << 30), &SandboxSettings::default(), RUNTIME.handle()));
    assert_eq!(house.sandbox.allocator(), "on_demand");
    assert_eq!(house.run(&house.module(&guests::noop()), job("run", r#"{"input": ""}"#)).outcome, Outcome::Success);
    let bomb = job("memory-bomb", "{}").limits(|limits| limits.memory_bytes = 1 << 20);
    assert_eq!(house.run(&house.guest(ABUSE), bomb).outcome, Outcome::OutOfMemory);
}
