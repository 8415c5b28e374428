//! Retention removes what ended long ago, whole, a step at a time, and nothing else.

use super::*;
use crate::engine::OnceRow;
use crate::model::RunState;
use crate::model::task::{ArtifactRef, SegmentPiece, TaskResult};
use crate::store::Swept;

const START: TaskId = TaskId::from_u64(0);

#[test]
fn what_ended_before_goes_with_its_events_logs_and_files() {
    let mut store = TestStore::new();
    let (old, cutoff, new) = (at("2026-10-01T00:00:00Z"), at("2026-10-24T00:00:00Z"), at("2026-11-23T00:00:00Z"));
    let piece = SegmentPiece { segment: 7, offset: 0, bytes: 20_000 };
    let artifact = TaskResult::Artifact(ArtifactRef { digest: Digest::of(b"result"), bytes: 70_000 });

    let id = store.next_id(old);
    let mut gone = ended(id, old, TaskState::Success);
    gone.result = Some(artifact);
    let gone = store.put_with_log(gone, AttemptLog::Segments(vec![piece]));
    let id = store.next_id(old);
    store.put_with_log(ended(id, old, TaskState::Failed), AttemptLog::Inline((*b"{}\n").into()));
    let id = store.next_id(old);
    let waits = store.put(queued(id, old));
    let id = store.next_id(old);
    let mut ended_lately = ended(id, old, TaskState::Success);
    ended_lately.end_date = Some(new);
    store.put_with_log(ended_lately, AttemptLog::Segments(vec![SegmentPiece { segment: 8, ..piece }]));
    let id = store.next_id(new);
    store.put(ended(id, new, TaskState::Success));

    let swept = store.writer.sweep(cutoff, START, 100).expect("swept");
    assert_eq!(swept, Swept { tasks: 2, artifacts: vec![(gone.id, 1)], segments: vec![7], ..Swept::default() });
    assert_eq!((store.count("tasks"), store.count("events"), store.count("logs")), (3, 5, 1));
    assert_eq!(store.history.task(gone.id).expect("read"), None);
    assert_eq!(store.history.task(waits.id).expect("read"), Some(waits));
    assert_eq!(store.writer.sweep(cutoff, START, 100).expect("swept").tasks, 0);
}

#[test]
fn a_step_looks_at_no_more_than_it_may() {
    let mut store = TestStore::new();
    let old = at("2026-10-01T00:00:00Z");
    for _ in 0..25 {
        let id = store.next_id(old);
        store.put(ended(id, old, TaskState::Success));
    }
    let (mut after, mut steps) = (START, Vec::new());
    loop {
        let swept = store.writer.sweep(at("2026-11-01T00:00:00Z"), after, 10).expect("swept");
        steps.push(swept.tasks);
        let Some(next) = swept.next else { break };
        after = next;
    }
    assert_eq!(steps, [10, 10, 5]);
    assert_eq!((store.count("tasks"), store.count("events")), (0, 0));
}

#[test]
fn a_step_removes_few_runs_and_goes_on_behind_them() {
    let mut store = TestStore::new();
    let cutoff = at("2026-11-24T00:00:00Z");
    for _ in 0..5 {
        let run = super::runs::run(&mut store, "etl", RunState::Success);
        super::runs::instance(&mut store, run, 0, Some(0), TaskState::Success);
    }
    let (mut after, mut steps) = (START, Vec::new());
    while {
        let swept = store.writer.sweep(cutoff, after, 2).expect("swept");
        steps.push((store.count("runs"), store.count("tasks")));
        after = swept.next.unwrap_or(START);
        after != START
    } {}
    assert_eq!(steps[0], (3, 4), "two runs, and the task between them");
    assert_eq!(steps.last(), Some(&(0, 0)), "{steps:?}");
    assert_eq!(store.count("events"), 0);
}

#[test]
fn numbers_of_removed_events_are_never_given_out_again() {
    let mut store = TestStore::new();
    let old = at("2026-10-01T00:00:00Z");
    let id = store.next_id(old);
    let last = store.put(ended(id, old, TaskState::Success)).last_event;
    store.writer.sweep(at("2026-11-01T00:00:00Z"), START, 10).expect("swept");
    assert_eq!(store.count("events"), 0);
    assert_eq!(store.history.overview().expect("read").last_event, last);
}

#[test]
fn keys_are_forgotten_oldest_first() {
    let mut store = TestStore::new();
    let key = |n: u8, time: &str| OnceRow { key: [n; 32], body: [0; 32], task: TaskId::from_u64(1), at: at(time) };
    let keys = vec![key(1, "2026-11-01T00:00:00Z"), key(2, "2026-11-02T00:00:00Z"), key(3, "2026-11-22T12:00:00Z")];
    let changes = Changes { keys, ..Changes::default() };
    store.writer.commit(&Batch { changes, ..Batch::default() }).expect("committed");
    assert_eq!(store.writer.sweep_keys(at("2026-11-22T00:00:00Z"), 1).expect("swept"), 1);
    assert_eq!(store.writer.sweep_keys(at("2026-11-22T00:00:00Z"), 10).expect("swept"), 1);
    assert!(store.history.idempotency_key(&[3; 32]).expect("read").is_some());
    assert_eq!(store.count("idempotency"), 1);
}
