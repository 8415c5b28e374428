//! Holds the query plans: every statement the hot path runs goes by an index,
//! however much is stored, and whatever SQLite was told of the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::*;
use crate::engine::{OnceRow, PageRequest, ReadyKey};
use crate::store::reads::Reader;
use crate::store::{ModuleChange, TaskFilter};

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

/// Does once whatever is done for each task, each request and each page.
fn run_everything(store: &mut TestStore) {
    fill(store, 50);
    let id = TaskId::from_u64(1);
    let digest = Digest::of(b"module");
    store.writer.sweep(at("2026-11-23T12:00:00Z"), id, 10).expect("swept");
    store.writer.sweep_keys(at("2026-11-23T12:00:00Z"), 10).expect("swept");

    let history = &store.history;
    history.overview().expect("read");
    history.task(id).expect("read");
    history.last_task().expect("read");
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

/// Sorted with their own index in hand: a few running attempts, a name's tags.
fn may_sort(sql: &str) -> bool {
    sql.contains("state = 3 AND end_date IS NULL") || sql.contains("FROM module_tags")
}

/// What a plan may not do, because it grows with what is stored.
fn fault(sql: &str, step: &str) -> bool {
    let scans = step.starts_with("SCAN") && !matches!(step, "SCAN CONSTANT ROW");
    // Small whatever is stored: segments are few, and a walk that ends at its limit is none.
    let small = step == "SCAN log_segments"
        || step == "SCAN events" && sql == "SELECT max(seq) FROM events"
        || step == "SCAN idempotency" && sql.contains("FROM idempotency ORDER BY seq LIMIT")
        || step.starts_with("SCAN (subquery");
    let sorts = step.contains("TEMP B-TREE") && !may_sort(sql);
    scans && !small || sorts || step.contains("AUTOMATIC")
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
                steps.iter().map(|step| format!("    {step}")).collect::<Vec<_>>().join("\n")
            );
        }
        text
    };
    // The same whatever SQLite knows.
    for plans in [&none, &stale, &fresh] {
        insta::assert_snapshot!("plans", shown(plans));
    }
}
