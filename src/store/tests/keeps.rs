//! What is committed is read back as it was, also after the store was opened anew.

use std::collections::BTreeMap;

use rusqlite::params;

use super::*;
use crate::dag::Definition;
use crate::engine::{Earlier, OnceRow};
use crate::model::TaskError;
use crate::model::task::{ArtifactRef, TaskResult, Terms};
use crate::store::{DagChange, OpenError, Reader};

fn everything_set(id: TaskId, now: Timestamp) -> TaskRecord {
    let mut record = ended(id, now, TaskState::Failed);
    let mut terms = Terms::default();
    terms.limits.memory_bytes = 1 << 20;
    terms.retry.retries = 3;
    record.spec = Arc::new(TaskSpec {
        // Long enough to lie in the table of inputs.
        input: Json::of(&"x".repeat(5_000)).expect("JSON"),
        queue: "other".parse().expect("a queue"),
        priority_weight: -7,
        not_before: Some(now),
        args: ["-x".to_owned(), String::new()].into(),
        labels: BTreeMap::from([("team".to_owned(), "a \"b\" c".to_owned())]),
        terms: Arc::new(terms),
        ..TaskSpec::clone(&record.spec)
    });
    record.due_at = Some(now + std::time::Duration::from_secs(3));
    record.result = Some(TaskResult::Artifact(ArtifactRef { digest: Digest::of(b"result"), bytes: 70_000 }));
    record.error = Some(Arc::new(TaskError { exit_code: Some(3), ..TaskError::message("it failed") }));
    record.usage = Usage { cpu_us: 1, peak_memory_bytes: 2, host_bytes: 3, log_bytes: 4, host_calls: 5 };
    record
}

#[test]
fn a_task_is_read_as_it_was_written() {
    let mut store = TestStore::new();
    let now = at("2026-11-23T10:00:00.123456Z");
    let id = store.next_id(now);
    let full = store.put(everything_set(id, now));
    let id = store.next_id(now);
    let mut bare = store.put(queued(id, now));
    assert_eq!(store.history.task(full.id).expect("read").as_ref(), Some(&full));
    assert_eq!(store.history.task(bare.id).expect("read").as_ref(), Some(&bare));

    bare.state = TaskState::Success;
    bare.result = Some(TaskResult::Inline(Json::of(&[1, 2]).expect("JSON")));
    bare.end_date = Some(now);
    let change = TaskChange { is_new: false, is_renewed: false, record: Arc::new(bare.clone()) };
    let changes = Changes { tasks: vec![change], ..Changes::default() };
    store.writer.commit(&Batch { changes, ..Batch::default() }).expect("committed");
    assert_eq!(store.history.task(bare.id).expect("read"), Some(bare));
}

#[test]
fn a_batch_is_stored_whole_or_not_at_all() {
    let mut store = TestStore::new();
    let now = at("2026-11-23T10:00:00Z");
    let id = store.next_id(now);
    let there = store.put(queued(id, now));
    let mut batch = Batch::default();
    let id = store.next_id(now);
    store.add(&mut batch, queued(id, now), AttemptLog::Empty);
    // A row that is there already: the transaction fails in its middle.
    store.add(&mut batch, there.clone(), AttemptLog::Empty);
    let key = OnceRow { key: [1; 32], body: [2; 32], task: id, at: now };
    batch.changes.keys.push(key);
    store.writer.commit(&batch).expect_err("the id is taken");
    assert_eq!((store.count("tasks"), store.count("events"), store.count("idempotency")), (1, 1, 0));
    assert_eq!(store.history.task(there.id).expect("read"), Some(there));
}

#[test]
fn a_key_that_comes_again_after_it_was_forgotten_stands_for_the_newer_task() {
    let mut store = TestStore::new();
    let now = at("2026-11-23T10:00:00Z");
    for n in 1..=2 {
        let row = OnceRow { key: [1; 32], body: [n; 32], task: TaskId::from_u64(n.into()), at: now };
        let changes = Changes { keys: vec![row], ..Changes::default() };
        store.writer.commit(&Batch { changes, ..Batch::default() }).expect("committed");
    }
    let Some(Earlier { task, body, .. }) = store.history.idempotency_key(&[1; 32]).expect("read") else {
        panic!("the key is gone")
    };
    assert_eq!((task, body), (TaskId::from_u64(2), [2; 32]));
}

#[test]
fn an_older_schema_is_brought_up_with_what_it_holds() {
    let root = tempfile::tempdir().expect("a directory");
    let directory = DataDirectory::open(root.path()).expect("a data directory");
    let id = IdSource::after(None).next(at("2026-11-23T10:00:00Z"));
    let old = rusqlite::Connection::open(directory.path().join("tradewind.db")).expect("a database");
    old.execute_batch(&format!("{} PRAGMA user_version = 1;", include_str!("../schema/1.sql"))).expect("version 1");
    old.execute(
        "INSERT INTO tasks (id, state, module, function, queue, priority_weight, try_number, max_tries, fence,
                            lost_in_row, queued_at, cpu_us, peak_memory_bytes, host_bytes, log_bytes, last_event)
         VALUES (?1, 2, zeroblob(32), 'run', 'default', 1, 0, 1, 0, 0, 0, 0, 0, 0, 7, 0)",
        [id.as_u64() as i64],
    )
    .expect("a task of version 1");
    drop(old);
    drop(directory.writer().expect("brought up"));
    let task = directory.history().expect("a reader").task(id).expect("read").expect("the task");
    assert_eq!((task.spec.args.len(), task.usage.host_calls, task.usage.log_bytes), (0, 0, 7));
}

#[test]
fn dags_of_version_3_are_listed_as_those_of_now() {
    let root = tempfile::tempdir().expect("a directory");
    let directory = DataDirectory::open(root.path()).expect("a data directory");
    let old = rusqlite::Connection::open(directory.path().join("tradewind.db")).expect("a database");
    for schema in [include_str!("../schema/1.sql"), include_str!("../schema/2.sql"), include_str!("../schema/3.sql")] {
        old.execute_batch(schema).expect("version 3");
    }
    old.execute_batch("PRAGMA user_version = 3").expect("version 3");
    let task = |id: &str| serde_json::json!({"id": id, "module": Digest::of(b"module"), "function": "run"});
    let plain = serde_json::json!({"dag_id": "plain", "tasks": [task("one")]});
    let full = serde_json::json!({"dag_id": "full", "description": "All of it.", "tags": ["b", "a"],
        "max_active_runs": 3, "tasks": [task("one"), task("two")]});
    let definitions = [plain, full].map(|text| serde_json::from_value::<Definition>(text).expect("a definition"));
    for definition in &definitions {
        let (dag, version) = (definition.dag_id.as_str(), definition.digest());
        old.execute("INSERT INTO dags VALUES (?1, ?2, 0, 0, 0)", params![dag, version.as_bytes()]).expect("a DAG");
        old.execute(
            "INSERT INTO dag_versions (dag_id, digest, definition, source, created_at, created_by)
             VALUES (?1, ?2, ?3, '', 0, 'admin')",
            params![dag, version.as_bytes(), definition.canonical_json()],
        )
        .expect("a version");
    }
    drop(old);
    let mut writer = directory.writer().expect("brought up");
    let listed = |writer: &mut Writer| {
        let page = Reader { connection: writer.connection() }.dags(None, 50).expect("read");
        let said = page.items.into_iter().map(|dag| {
            (dag.dag_id.to_string(), dag.description, dag.tags.into_iter().collect(), dag.max_active_runs, dag.tasks)
        });
        said.collect::<Vec<(String, Option<String>, Vec<String>, u32, usize)>>()
    };
    let brought_up = listed(&mut writer);
    let text = |text: &str| text.to_owned();
    let expected = [
        (text("full"), Some(text("All of it.")), vec![text("a"), text("b")], 3, 2),
        (text("plain"), None, vec![], 16, 1),
    ];
    assert_eq!(brought_up, expected);
    let put = |definition: &Definition| DagChange::PutVersion {
        version: definition.digest(),
        definition: Arc::new(definition.clone()),
        source: "".into(),
        at: at("2026-11-23T10:00:00Z"),
        by: "admin".into(),
    };
    let batch = Batch { dags: definitions.iter().map(put).collect(), ..Batch::default() };
    writer.commit(&batch).expect("committed");
    assert_eq!(listed(&mut writer), expected);
}

#[test]
fn a_directory_has_one_server_and_no_newer_schema() {
    let mut store = TestStore::new();
    let path = store.directory.path().to_owned();
    let in_use = DataDirectory::open(&path).expect_err("it is in use");
    assert!(matches!(&in_use, OpenError::InUse { owner, .. } if *owner == std::process::id().to_string()), "{in_use}");

    store.writer.connection().execute_batch("PRAGMA user_version = 1000").expect("set");
    let newer = store.directory.writer().expect_err("it is newer");
    assert!(matches!(newer, OpenError::NewerSchema { found: 1000, .. }), "{newer}");
    assert!(newer.to_string().contains("start that newer version"), "{newer}");
}

#[test]
fn commits_reach_the_disk() {
    let mut store = TestStore::new();
    let connection = store.writer.connection();
    let pragma =
        |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0));
    assert_eq!(pragma("journal_mode"), Ok("wal".to_owned().into()));
    assert_eq!(pragma("synchronous"), Ok(2.into()), "FULL");
}
