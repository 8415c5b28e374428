//! Runs and their tasks are read page by page.

use super::*;
use crate::engine::{ExpansionRow, RunChange, RunEventKind, RunEventRow};
use crate::model::run::Instance;
use crate::model::task::{ArtifactRef, TaskResult};
use crate::model::{RunId, RunRecord, RunSpec, RunState, RunType};
use crate::store::Reader;
use crate::store::run_reads::{RunFilter, RunTask, TaskPage};

pub(super) fn run(store: &mut TestStore, dag: &str, state: RunState) -> RunId {
    let now = at("2026-11-23T10:00:00Z");
    let (id, first_task) = store.ids.next_run(now, 4);
    let object = || Json::parse("{}".into()).expect("JSON");
    let spec = RunSpec {
        dag_id: dag.parse().expect("a name"),
        version: Digest::of(b"version"),
        run_id: format!("manual__{}", id.as_u64()).parse().expect("a name"),
        run_type: RunType::Manual,
        logical_date: None,
        data_interval_start: None,
        data_interval_end: None,
        conf: object(),
        params: object(),
    };
    let end_date = state.is_final().then_some(now);
    let (spec, start_date, note) = (Arc::new(spec), Some(now), None);
    let record = RunRecord { id, spec, first_task, state, verdict: None, queued_at: now, start_date, end_date, note };
    let mut batch = Batch::default();
    batch.changes.runs.push(RunChange { is_new: true, nodes: 4, record: Arc::new(record) });
    store.last_event += 1;
    let (seq, event) = (store.last_event, RunEventKind::Queued);
    batch.changes.run_events.push(RunEventRow { seq, run: id, at: now, event, state, by: None });
    store.writer.commit(&batch).expect("committed");
    id
}

/// An instance that has ended so, and left this.
fn left(store: &mut TestStore, run: RunId, map_index: u32, state: TaskState, result: TaskResult) {
    let now = at("2026-11-23T10:00:00Z");
    let id = store.next_id(now);
    let instance = Some(Instance { run, node: 1, map_index: Some(map_index) });
    store.put(TaskRecord { instance, result: Some(result), ..ended(id, now, state) });
}

pub(super) fn instance(store: &mut TestStore, run: RunId, node: u32, map_index: Option<u32>, state: TaskState) {
    let now = at("2026-11-23T10:00:00Z");
    let id = store.next_id(now);
    let row = if state.is_final() { ended(id, now, state) } else { queued(id, now) };
    store.put(TaskRecord { instance: Some(Instance { run, node, map_index }), ..row });
}

#[test]
fn tasks_of_a_run_come_in_order_with_those_that_are_still_to_come() {
    let mut store = TestStore::new();
    let (wanted, other) = (run(&mut store, "etl", RunState::Running), run(&mut store, "etl", RunState::Running));
    for map_index in [2, 0, 1] {
        instance(&mut store, wanted, 1, Some(map_index), TaskState::Queued);
    }
    instance(&mut store, wanted, 3, None, TaskState::Queued);
    instance(&mut store, other, 0, None, TaskState::Queued);
    let reader = Reader { connection: store.writer.connection() };
    let expected = [(0, None, false), (1, Some(0), true), (1, Some(1), true), (1, Some(2), true), (2, None, false)];
    let expected: Vec<_> = expected.into_iter().chain([(3, None, true), (4, None, false)]).collect();
    for limit in 1..=8 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = reader.run_tasks(TaskPage { run: wanted, nodes: 5, after, limit }).expect("read");
            assert!(page.items.len() <= limit);
            seen.extend(page.items.iter().map(|task| match task {
                RunTask::Begun(record) => {
                    let instance = record.instance.expect("an instance");
                    (instance.node, instance.map_index, true)
                }
                RunTask::ToCome { node } => (*node, None, false),
            }));
            after = page.next_cursor;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected, "by pages of {limit}");
    }
}

#[test]
fn runs_are_found_by_state_and_dag_newest_first() {
    let mut store = TestStore::new();
    let mut all = Vec::new();
    for n in 0..20 {
        let (dag, state) = (if n % 3 == 0 { "a" } else { "b" }, RunState::ALL[n % RunState::ALL.len()]);
        all.push((run(&mut store, dag, state), dag, state));
    }
    all.reverse();
    let reader = Reader { connection: store.writer.connection() };
    for state in [None].into_iter().chain(RunState::ALL.iter().copied().map(Some)) {
        for dag in [None, Some("a"), Some("b"), Some("c")] {
            let filter = RunFilter { state, dag_id: dag.map(|dag| dag.parse().expect("a name")) };
            let (mut seen, mut before) = (Vec::new(), None);
            loop {
                let page = reader.runs(&filter, before, 3).expect("read");
                seen.extend(page.items.iter().map(|run| run.id));
                before = page.next_cursor;
                if before.is_none() {
                    break;
                }
            }
            let fits = |(_, its_dag, its_state): &&(RunId, &str, RunState)| {
                dag.is_none_or(|dag| dag == *its_dag) && state.is_none_or(|state| state == *its_state)
            };
            let expected: Vec<RunId> = all.iter().filter(fits).map(|(id, ..)| *id).collect();
            assert_eq!(seen, expected, "{filter:?}");
        }
    }
}

#[test]
fn events_of_a_run_and_its_tasks_are_told_together() {
    let mut store = TestStore::new();
    let (wanted, other) = (run(&mut store, "etl", RunState::Running), run(&mut store, "etl", RunState::Running));
    instance(&mut store, wanted, 0, None, TaskState::Queued);
    instance(&mut store, other, 0, None, TaskState::Queued);
    let reader = Reader { connection: store.writer.connection() };
    let seqs = |after| -> Vec<u64> {
        let events = reader.run_events(wanted, after, 10).expect("read");
        assert!(events.iter().all(|event| event.event.run == Some(wanted)));
        events.iter().map(|event| event.event.seq).collect()
    };
    assert_eq!((seqs(0), seqs(1)), (vec![1, 3], vec![3]));
    let nodes = reader.run_events(wanted, 0, 10).expect("read").iter().map(|event| event.node).collect::<Vec<_>>();
    assert_eq!(nodes, [None, Some(0)]);
    assert_eq!(reader.events(0, 10).expect("read").len(), 4);
}

#[test]
fn what_instances_left_is_read_in_order_and_its_size_beforehand() {
    let mut store = TestStore::new();
    let run = run(&mut store, "etl", RunState::Running);
    let inline = |text: &str| TaskResult::Inline(Json::parse(text.into()).expect("JSON"));
    let artifact = TaskResult::Artifact(ArtifactRef { digest: Digest::of(b"large"), bytes: 70_000 });
    left(&mut store, run, 2, TaskState::Success, inline("\"grüß\""));
    left(&mut store, run, 0, TaskState::Success, artifact.clone());
    left(&mut store, run, 1, TaskState::Failed, inline("1234"));
    let reader = Reader { connection: store.writer.connection() };
    assert_eq!(reader.bytes_of_results(run, 1).expect("read"), 70_000 + 8);
    assert_eq!(reader.bytes_of_results(run, 0).expect("read"), 0);
    let read = |most| reader.results_of(run, 1, most).expect("read");
    let results: Vec<_> =
        read(70_008).expect("no more").into_iter().map(|(index, kept)| (index, kept.result)).collect();
    assert_eq!(results, [(0, artifact), (2, inline("\"grüß\""))]);
    assert_eq!(read(70_007).expect_err("more"), 70_008);
}

#[test]
fn a_run_goes_with_its_lists() {
    let mut store = TestStore::new();
    let (gone, stays) = (run(&mut store, "etl", RunState::Success), run(&mut store, "etl", RunState::Running));
    let mut batch = Batch::default();
    let list = TaskResult::Artifact(ArtifactRef { digest: Digest::of(b"list"), bytes: 70_000 });
    let expansion = |run| ExpansionRow { run, scope: 1, total: 3, list: list.clone() };
    batch.changes.expansions.extend([expansion(gone), expansion(stays)]);
    store.writer.commit(&batch).expect("committed");
    let swept = store.writer.sweep(at("2026-11-24T10:00:00Z"), TaskId::from_u64(0), 100).expect("swept");
    assert_eq!((swept.runs, store.count("expansions"), store.count("runs")), (vec![gone], 1, 1));
}
