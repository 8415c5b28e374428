//! Holds the query plans: every statement the hot path runs goes by an index,
//! however much is stored, and whatever SQLite was told of the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::*;
use crate::dag::{Definition, Plan};
use crate::engine::graph::Past;
use crate::engine::{ClearedRows, ExpansionRow, OnceRow, PageRequest, ReadyKey, RunChange, RunEventKind, RunEventRow};
use crate::model::run::Instance;
use crate::model::task::TaskResult;
use crate::model::variable::Variable;
use crate::model::{DagId, RunId, RunRecord, RunSpec, RunState, RunType};
use crate::store::reads::Reader;
use crate::store::run_reads::{RunFilter, TaskPage};
use crate::store::{DagChange, ModuleChange, NoteChange, Noted, TaskFilter};

/// Statements as they are heard.
#[derive(Default, Clone)]
struct Heard(Arc<Mutex<BTreeSet<String>>>);

impl Heard {
    fn listen(&self, connection: &mut Connection) {
        let heard = self.0.clone();
        let hear = move |event: TraceEvent<'_>| {
            if let TraceEvent::Stmt(statement, _) = event {
                heard.lock().insert(statement.sql().into_owned());
            }
        };
        connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(hear)).expect("a listener");
    }
}

/// One task of each kind that the statements tell apart.
fn fill(store: &mut TestStore, tasks: u64) {
    let now = at("2026-11-23T10:00:00Z");
    let mut batch = Batch::default();
    for n in 0..tasks {
        let id = store.next_id(now);
        let record = match n % 50 {
            0 => TaskRecord { state: TaskState::Running, fence: 1, try_number: 1, ..queued(id, now) },
            1 => TaskRecord { state: TaskState::UpForRetry, due_at: Some(now), ..queued(id, now) },
            2..10 => queued(id, now),
            10 => ended(id, now, TaskState::Failed),
            _ => ended(id, now, TaskState::Success),
        };
        store.add(&mut batch, record, AttemptLog::Empty);
    }
    let keys = (0..tasks).map(|n| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(store.last_event + n).to_le_bytes());
        OnceRow { key, body: [0; 32], task: TaskId::from_u64(1), at: now }
    });
    batch.changes.keys.extend(keys);
    let tag = ModuleChange::Tag {
        name: "etl".parse().expect("a name"),
        tag: "1".parse().expect("a tag"),
        digest: Some(Digest::of(b"module")),
        at: now,
        by: "admin".into(),
    };
    batch.modules.push(tag);
    store.writer.commit(&batch).expect("committed");
}

/// The DAG `etl` in a version of its own, with one task.
fn definition(version: u64) -> Definition {
    let tasks =
        serde_json::json!([{"id": "one", "module": Digest::of(b"module"), "function": "run", "depends_on_past": true}]);
    let definition = serde_json::json!({"dag_id": "etl", "description": version.to_string(), "tasks": tasks});
    serde_json::from_value(definition).expect("a definition")
}

/// Runs of each kind that the statements tell apart, each with its task and an event, and a variable for each.
fn fill_graph(store: &mut TestStore, runs: u64) {
    let now = at("2026-11-23T10:00:00Z");
    let mut batch = Batch::default();
    let (version, by) = (definition(store.last_event), Arc::<str>::from("admin"));
    let digest = version.digest();
    let (definition, source) = (Arc::new(version), Arc::<str>::from("dag_id: etl"));
    batch.dags.push(DagChange::PutVersion { version: digest, definition, source, at: now, by: by.clone() });
    for n in 0..runs {
        let (id, first_task) = store.ids.next_run(now, 1);
        let state = RunState::ALL[n as usize % RunState::ALL.len()];
        let end_date = state.is_final().then_some(now);
        let spec = RunSpec {
            dag_id: "etl".parse().expect("a name"),
            version: digest,
            run_id: format!("manual__{}", id.as_u64()).parse().expect("a name"),
            run_type: RunType::Manual,
            logical_date: (n % 2 == 0).then_some(Timestamp::from_micros(n as i64)),
            data_interval_start: None,
            data_interval_end: None,
            conf: Json::parse("{}".into()).expect("JSON"),
            params: Json::parse("{}".into()).expect("JSON"),
        };
        let (start_date, note) = (Some(now), None);
        let spec = Arc::new(spec);
        let record =
            RunRecord { id, spec, first_task, state, verdict: None, queued_at: now, start_date, end_date, note };
        batch.changes.runs.push(RunChange { is_new: true, nodes: 1, record: Arc::new(record) });
        store.last_event += 1;
        let (seq, event) = (store.last_event, RunEventKind::Queued);
        batch.changes.run_events.push(RunEventRow { seq, run: id, at: now, event, state, by: None });
        let instance = Some(Instance { run: id, node: 0, map_index: None });
        store.add(&mut batch, TaskRecord { instance, ..ended(first_task, now, TaskState::Success) }, AttemptLog::Empty);
        let value = Some(Variable { value: String::new(), description: None });
        batch.dags.push(DagChange::SetVariable { key: id.to_string(), value, at: now, by: by.clone() });
    }
    store.writer.commit(&batch).expect("committed");
}

/// Reads whatever the API shows of DAGs, runs and variables.
fn read_graph(reader: &Reader<'_>) {
    let dag = "etl".parse().expect("a name");
    reader.dags(None, 50).expect("read");
    let (version, _) = reader.dag_standing(&dag).expect("read").expect("a DAG");
    reader.dag(&dag).expect("read").expect("a DAG");
    reader.current_params(&dag).expect("read").expect("a DAG");
    reader.versions(&dag, None, 50).expect("read");
    reader.version(&version).expect("read").expect("a version");
    reader.definition(&version).expect("read").expect("a version");
    reader.variables(None, 50).expect("read");
    reader.variable("a").expect("read");
    for state in [None].into_iter().chain(RunState::ALL.iter().copied().map(Some)) {
        for dag_id in [None, Some(dag.clone())] {
            reader.runs(&RunFilter { state, dag_id }, None, 50).expect("read");
        }
    }
    let newest = reader.runs(&RunFilter::default(), None, 1).expect("read").items[0].clone();
    reader.run(newest.id).expect("read").expect("a run");
    reader.run_names(newest.id).expect("read").expect("a run");
    reader.run_by_name(&dag, &newest.spec.run_id).expect("read").expect("a run");
    reader.run_accepted_with(&[0; 32], &[0; 32]).expect("read");
    reader.run_tasks(TaskPage { run: newest.id, nodes: 1, after: None, limit: 50 }).expect("read");
    reader.run_events(newest.id, 0, 50).expect("read");
    reader.result_of(newest.first_task).expect("read");
    reader.bytes_of_results(newest.id, 0).expect("read");
    reader.results_of(newest.id, 0, 1 << 20).expect("read").expect("they are short");
    reader.total_of(newest.id, 1).expect("read");
}

/// Reads whatever the coordinator and the evaluation of templates ask of DAGs and runs.
fn look_up_graph(history: &History, reader: &Reader<'_>) {
    let dag: DagId = "etl".parse().expect("a name");
    let newest = reader.runs(&RunFilter::default(), None, 1).expect("read").items[0].clone();
    let (version, _) = history.current_version(&dag).expect("read").expect("a DAG");
    let definition = history.definition(&version).expect("read").expect("a version");
    let plan = Arc::new(Plan::of(&definition).expect("a plan"));
    assert!(plan.looks_back);
    let record = history.run_record(newest.id).expect("read").expect("a run");
    let dated = |logical_date| RunSpec { logical_date, ..(*record.spec).clone() };
    for date in [None, Some(at("2026-11-23T10:00:00Z"))] {
        let before = history.before(newest.id, &dated(date), &plan).expect("read");
        assert!(!matches!(before.past, Past::None));
    }
    history.run_named(&dag, &newest.spec.run_id).expect("read").expect("a run");
    history.active_runs(&dag).expect("read");
    history.instance_to_come(newest.first_task).expect("read");
    history.variables().expect("read");
    history.page(&PageRequest::WaitingRuns { dag, after: RunId::from_u64(0) }).expect("read");
    history.page(&PageRequest::Tasks { ids: vec![newest.first_task] }).expect("read");
    let running = reader.runs(&RunFilter { state: Some(RunState::Running), dag_id: None }, None, 1).expect("read");
    let stored = history.stored_run(running.items[0].clone(), plan).expect("read");
    assert!(!stored.instances.is_empty());
    reader.run_of_node(newest.first_task).expect("read").expect("a run");
    reader.result_of(newest.first_task).expect("read");
    reader.total_of(newest.id, 0).expect("read");
    reader.results_of(newest.id, 0, 1 << 20).expect("read").expect("few bytes");
    reader.dags_that_name(&Digest::of(b"module"), 10).expect("read");
}

/// Writes what the statements of `fill_graph` do not.
fn change_graph(store: &mut TestStore) {
    let (now, gone) = (at("2026-11-23T10:00:00Z"), "gone".parse::<DagId>().expect("a name"));
    let mut batch = Batch::default();
    let (run, id) = (RunId::from_u64(1), TaskId::from_u64(1));
    batch.changes.cleared.push(ClearedRows { run, reset: vec![(id, 2)], removed: vec![id], lists: vec![0] });
    let list = TaskResult::Inline(Json::empty_list());
    batch.changes.expansions.push(ExpansionRow { run, scope: 1, total: 0, list });
    batch.dags.push(DagChange::Pause { dag: gone.clone(), paused: true, at: now });
    batch.dags.push(DagChange::Delete { dag: gone });
    batch.dags.push(DagChange::SetVariable { key: "gone".into(), value: None, at: now, by: "admin".into() });
    batch.notes.push(NoteChange { of: Noted::Run(run), note: None });
    batch.notes.push(NoteChange { of: Noted::Task(id), note: None });
    store.writer.commit(&batch).expect("committed");
}

/// Does once whatever is done for each task, each request and each page.
fn run_everything(store: &mut TestStore) {
    fill(store, 50);
    fill_graph(store, 10);
    change_graph(store);
    let id = TaskId::from_u64(1);
    let digest = Digest::of(b"module");
    store.writer.sweep(at("2026-11-23T12:00:00Z"), id, 10).expect("swept");
    store.writer.sweep_keys(at("2026-11-23T12:00:00Z"), 10).expect("swept");

    let history = &store.history;
    history.overview().expect("read");
    history.task(id).expect("read");
    history.last_id().expect("read");
    history.idempotency_key(&[0; 32]).expect("read");
    let ready = PageRequest::Ready { queue: "default".parse().expect("a queue"), after: ReadyKey::new(1, id) };
    history.page(&ready).expect("read");
    history.page(&PageRequest::Due { after: (at("2026-11-23T10:00:00Z"), id) }).expect("read");

    let reader = Reader { connection: store.writer.connection() };
    let filters = [
        TaskFilter::default(),
        TaskFilter { state: Some(TaskState::Success), ..TaskFilter::default() },
        TaskFilter { state: Some(TaskState::Queued), ..TaskFilter::default() },
        TaskFilter { state: Some(TaskState::Running), ..TaskFilter::default() },
        TaskFilter { state: Some(TaskState::Failed), ..TaskFilter::default() },
        TaskFilter {
            outcome: Some(Outcome::TimedOut),
            module: Some(digest),
            queue: Some("default".parse().expect("a queue")),
            label: Some(("team".into(), "a".into())),
            ..TaskFilter::default()
        },
    ];
    for filter in &filters {
        reader.tasks(filter, None, 50).expect("read");
    }
    let newest = reader.tasks(&TaskFilter::default(), None, 1).expect("read").items[0].id;
    reader.attempts(newest).expect("read");
    reader.task_events(newest).expect("read");
    reader.log(newest, None).expect("read");
    reader.events(0, 50).expect("read");
    reader.last_event().expect("read");
    reader.module(&digest).expect("read");
    reader.modules(None, 50).expect("read");
    reader.resolve(&"etl".parse().expect("a name"), &"1".parse().expect("a tag")).expect("read");
    reader.tags_of(&digest).expect("read");
    read_graph(&reader);
    look_up_graph(&store.history, &reader);
}

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("it can be explained");
    // Parameters that are not bound are null: the plan is made without their values.
    let steps = explain.raw_query().mapped(|row| row.get("detail"));
    steps.collect::<rusqlite::Result<_>>().expect("a plan")
}

fn plans(store: &mut TestStore, statements: &BTreeSet<String>) -> BTreeMap<String, Vec<String>> {
    // A fresh connection reads the statistics anew.
    let connection = store.directory.reader_connection().expect("a reader");
    statements.iter().map(|sql| (sql.clone(), plan(&connection, sql))).collect()
}

/// Sorted with their own index in hand: a few running attempts or runs, a name's tags.
fn may_sort(sql: &str) -> bool {
    let running = [
        "state = 3 AND end_date IS NULL",
        "state = 2 AND end_date IS NULL",
        // All of one run, when it comes into memory.
        "FROM tasks WHERE run = ?1 ORDER BY tasks.id",
        // Runs under way, once at start.
        "FROM runs INDEXED BY runs_active WHERE state = ?1 AND end_date IS NULL ORDER BY id",
    ];
    running.iter().any(|running| sql.contains(running)) || sql.contains("FROM module_tags")
}

/// What a plan may not do, because it grows with what is stored.
fn fault(sql: &str, step: &str) -> bool {
    let scans = step.starts_with("SCAN") && !matches!(step, "SCAN CONSTANT ROW");
    // Small whatever is stored: segments are few, and a walk that ends at its limit is none.
    let small = step == "SCAN log_segments"
        || step == "SCAN events" && sql == "SELECT max(seq) FROM events"
        || step == "SCAN runs" && sql.contains("FROM runs ORDER BY id DESC LIMIT 1")
        // DAGs are few, and asked for once at start; variables are bounded.
        || step == "SCAN dags" && sql == "SELECT dag_id FROM dags WHERE is_paused <> 0"
        || step == "SCAN variables" && sql == "SELECT key, value FROM variables"
        || step == "SCAN idempotency" && sql.contains("FROM idempotency ORDER BY seq LIMIT")
        || step.starts_with("SCAN (subquery");
    let sorts = step.contains("TEMP B-TREE") && !may_sort(sql);
    scans && !small || sorts || step.contains("AUTOMATIC")
}

/// Which ends of a range of ids are looked for at once is a matter of how few rows there are.
fn ranges_alike(step: &str) -> String {
    let ranges = ["(rowid>? AND rowid<?)", "(rowid>?)", "(rowid<?)"];
    ranges.iter().fold(step.to_owned(), |step, range| step.replace(range, "(range of rowid)"))
}

#[test]
fn no_statement_of_the_hot_path_depends_on_how_much_is_stored() {
    let mut store = TestStore::new();
    let heard = Heard::default();
    heard.listen(store.writer.connection());
    heard.listen(store.history.connection());
    run_everything(&mut store);
    let statements: BTreeSet<String> = std::mem::take(&mut *heard.0.lock());
    let statements: BTreeSet<String> =
        statements.into_iter().filter(|sql| !matches!(&sql[..4], "BEGI" | "COMM" | "-- S")).collect();
    assert!(statements.len() > 30, "{statements:#?}");

    let none = plans(&mut store, &statements);
    // Statistics of the few rows there are now: stale as soon as there are many.
    store.writer.connection().execute_batch("ANALYZE").expect("analyzed");
    for _ in 0..20 {
        fill(&mut store, 1_000);
        fill_graph(&mut store, 200);
    }
    let stale = plans(&mut store, &statements);
    store.writer.connection().execute_batch("ANALYZE").expect("analyzed");
    let fresh = plans(&mut store, &statements);

    let faults = |plans: &BTreeMap<String, Vec<String>>| {
        let steps = plans.iter().flat_map(|(sql, steps)| steps.iter().map(move |step| (sql.clone(), step.clone())));
        steps.filter(|(sql, step)| fault(sql, step)).collect::<Vec<_>>()
    };
    let faults = [("no", faults(&none)), ("stale", faults(&stale)), ("fresh", faults(&fresh))];
    assert!(faults.iter().all(|(_, faults)| faults.is_empty()), "by what SQLite knows of the tables: {faults:#?}");
    let shown = |plans: &BTreeMap<String, Vec<String>>| {
        let mut text = String::new();
        for (sql, steps) in plans {
            let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
            let sql =
                sql.replace(&super::super::rows::TASK_COLUMNS.split_whitespace().collect::<Vec<_>>().join(" "), "…");
            text += &format!(
                "{sql}\n{}\n\n",
                steps.iter().map(|step| format!("    {}", ranges_alike(step))).collect::<Vec<_>>().join("\n")
            );
        }
        text
    };
    // The same whatever SQLite knows.
    for plans in [&none, &stale, &fresh] {
        insta::assert_snapshot!("plans", shown(plans));
    }
}
