//! On a real store and real files: what is read, when it is read anew, and what is refused.

use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::dag::Definition;
use crate::engine::{ClearedRows, ExpansionRow, TaskChange};
use crate::model::ids::IdSource;
use crate::model::{Outcome, TaskRecord, TaskState, Timestamp, Usage};
use crate::store::{Batch, DataDirectory, Writer};

/// The node of a task that is mapped over three elements, and that of one that is not.
const EACH: NodeIndex = 0;
const ONE: NodeIndex = 1;

struct Kept {
    inputs: InputSource,
    writer: Writer,
    artifacts: Artifacts,
    plan: Arc<Plan>,
    run: RunId,
    ids: IdSource,
    root: TempDir,
}

impl Kept {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let directory = DataDirectory::open(root.path()).expect("a data directory");
        let writer = directory.writer().expect("a writer");
        let artifacts = Artifacts::local(&root.path().join("artifacts")).expect("artifacts");
        let inputs = InputSource::new(directory.reads(1).expect("a reader"), artifacts.clone());
        let module = Digest::of(b"module");
        let expansion = json!({"expand": [{"key": "n", "values": [1, 2, 3]}]});
        let definition: Definition = serde_json::from_value(json!({"dag_id": "etl", "tasks": [
            {"id": "each", "module": module, "function": "run", "expansion": expansion, "scope": "task"},
            {"id": "one", "module": module, "function": "run"},
        ]}))
        .expect("a definition");
        let plan = Arc::new(Plan::of(&definition).expect("a plan"));
        let mut ids = IdSource::after(None);
        let (run, _) = ids.next_run(Timestamp::now(), 2);
        let mut kept = Self { inputs, writer, artifacts, plan, run, ids, root };
        let list = TaskResult::Inline(json("[1,2,3]"));
        let mut changes = Changes::default();
        let scope = kept.plan.node(EACH).scope;
        changes.expansions.push(ExpansionRow { run: kept.run, scope, total: 3, list });
        kept.commit(changes);
        kept
    }

    fn commit(&mut self, changes: Changes) -> Changes {
        let batch = Batch { changes, ..Batch::default() };
        self.writer.commit(&batch).expect("committed");
        batch.changes
    }

    /// An instance that has left this. The coordinator has not been told yet.
    fn left(&mut self, node: NodeIndex, map_index: Option<u32>, result: TaskResult) -> (TaskId, Changes) {
        let now = Timestamp::now();
        let id = self.ids.next(now);
        let record = TaskRecord {
            id,
            instance: Some(Instance { run: self.run, node, map_index }),
            label: None,
            note: None,
            spec: self.plan.node(node).spec.clone(),
            state: TaskState::Success,
            outcome: Some(Outcome::Success),
            try_number: 1,
            max_tries: 1,
            fence: 1,
            lost_in_row: 0,
            due_at: None,
            queued_at: now,
            start_date: Some(now),
            end_date: Some(now),
            result: Some(result),
            error: None,
            usage: Usage::default(),
            last_event: 0,
        };
        let mut changes = Changes::default();
        changes.tasks.push(TaskChange { is_new: true, is_renewed: false, record: Arc::new(record) });
        (id, self.commit(changes))
    }

    async fn read(&self, node: NodeIndex, output: Output) -> Result<String, FetchError> {
        let fetched = self.inputs.fetch(self.run, &self.plan, &[(node, output)]).await?;
        Ok(fetched.inputs.outputs[0].1.text().as_str().to_owned())
    }

    async fn each(&self) -> String {
        self.read(EACH, Output::Mapped).await.expect("it is read")
    }
}

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).expect("JSON")
}

fn inline(text: &str) -> TaskResult {
    TaskResult::Inline(json(text))
}

/// Stands for bytes that are nowhere.
fn nowhere(bytes: u64) -> TaskResult {
    TaskResult::Artifact(ArtifactRef { digest: Digest::of(b"nothing"), bytes })
}

#[tokio::test]
async fn a_mapped_output_is_read_once_until_an_instance_of_it_changes() {
    let mut kept = Kept::new();
    let (_, changes) = kept.left(EACH, Some(2), inline("30"));
    kept.inputs.committed(&changes);
    assert_eq!(kept.each().await, "[null,null,30]");
    let (_, changes) = kept.left(EACH, Some(0), inline("10"));
    let (_, of_another) = kept.left(ONE, None, inline("7"));
    kept.inputs.committed(&of_another);
    assert_eq!(kept.each().await, "[null,null,30]", "it was not read again");
    kept.inputs.committed(&changes);
    assert_eq!(kept.each().await, "[10,null,30]");

    // What is cleared or expanded anew leaves something else, too.
    let (run, scope) = (kept.run, kept.plan.node(EACH).scope);
    kept.left(EACH, Some(1), inline("20"));
    assert_eq!(kept.each().await, "[10,null,30]");
    let cleared = vec![ClearedRows { run, reset: Vec::new(), removed: Vec::new(), lists: Vec::new() }];
    kept.inputs.committed(&Changes { cleared, ..Changes::default() });
    assert_eq!(kept.each().await, "[10,20,30]");
    let expansions = vec![ExpansionRow { run, scope, total: 2, list: inline("[1,2]") }];
    let changes = kept.commit(Changes { expansions, ..Changes::default() });
    assert_eq!(kept.each().await, "[10,20,30]");
    kept.inputs.committed(&changes);
    assert_eq!(kept.each().await, "[10,20]");
}

#[tokio::test]
async fn a_life_that_begins_remembers_nothing() {
    let mut kept = Kept::new();
    assert_eq!(kept.each().await, "[null,null,null]");
    kept.left(EACH, Some(0), inline("10"));
    assert_eq!(kept.each().await, "[null,null,null]");
    kept.inputs.begin(Variables::new());
    assert_eq!(kept.each().await, "[10,null,null]");
}

#[tokio::test]
async fn outputs_that_no_input_could_hold_are_refused_before_they_are_read() {
    let mut kept = Kept::new();
    let (id, _) = kept.left(ONE, None, nowhere(MOST_BYTES + 1));
    let refused = kept.read(ONE, Output::Stored(id)).await.expect_err("it is too large");
    assert!(matches!(refused, FetchError::TooLarge { bytes } if bytes == MOST_BYTES + 1), "{refused:?}");
    assert!(refused.to_string().contains("67108865 bytes, and at most 67108864 are held"), "{refused}");
    for map_index in [0, 1] {
        kept.left(EACH, Some(map_index), nowhere(MOST_BYTES / 2 + 1));
    }
    let refused = kept.read(EACH, Output::Mapped).await.expect_err("together they are too large");
    assert!(matches!(refused, FetchError::TooLarge { bytes } if bytes == MOST_BYTES + 2), "{refused:?}");
}

#[tokio::test]
async fn an_output_that_is_gone_or_another_is_damaged_and_named() {
    let mut kept = Kept::new();
    let (gone, _) = kept.left(ONE, None, nowhere(70_000));
    let (other, _) = kept.left(EACH, Some(1), nowhere(70_000));
    kept.artifacts.put_result(other, 1, bytes::Bytes::from_static(b"\"other\"")).await.expect("kept");
    for (read, whose, why) in [
        (kept.read(ONE, Output::Stored(gone)).await, "the output of task `one`", "is not in object storage"),
        (kept.read(EACH, Output::Mapped).await, "the output of instance 1 of task `each`", "does not hold sha256:"),
    ] {
        let error = read.expect_err("it is damaged");
        assert!(matches!(error, FetchError::Damaged(_)), "{error:?}");
        for words in [whose, why, "restore it from a backup, or clear `"] {
            assert!(error.to_string().contains(words), "{words} is not in: {error}");
        }
        assert!(!error.to_string().contains(kept.root.path().to_str().expect("text")), "{error}");
    }
}

impl Kept {
    /// A list of so many elements, as it is kept.
    async fn keep_list(&self, run: RunId, scope: ScopeIndex, elements: usize) -> TaskResult {
        let values: Vec<usize> = (0..elements).collect();
        let list = json!({"form": "product", "keys": ["n"], "values": [values]});
        let list = inline(&list.to_string());
        self.inputs.keep_list(run, scope, list).await.expect("kept")
    }

    async fn length(&self, run: RunId, scope: ScopeIndex, list: &TaskResult) -> Result<u32, FetchError> {
        self.inputs.list(run, &self.plan, scope, list).await.map(|list| list.total())
    }
}

#[tokio::test]
async fn a_list_that_is_made_anew_takes_no_others_place_and_all_go_with_their_run() {
    let mut kept = Kept::new();
    let scope = kept.plan.node(EACH).scope;
    let (run, other) = (kept.run, kept.ids.next_run(Timestamp::now(), 2).0);
    let short = kept.keep_list(run, scope, 10).await;
    assert!(matches!(short, TaskResult::Inline(_)), "it stands in its row");
    let newer = kept.keep_list(run, scope, 20_000).await;
    // The answer to a question of before.
    let late = kept.keep_list(run, scope, 30_000).await;
    let of_another = kept.keep_list(other, scope, 20_000).await;
    kept.inputs.forget(run);
    for (run, list, total) in [(run, &newer, 20_000), (run, &late, 30_000), (other, &of_another, 20_000)] {
        assert_eq!(kept.length(run, scope, list).await.expect("read"), total);
    }

    kept.artifacts.delete_lists(run).await.expect("removed");
    assert_eq!(kept.length(run, scope, &newer).await.expect("it is remembered"), 20_000);
    kept.inputs.forget(run);
    kept.inputs.forget(other);
    for list in [&newer, &late] {
        let error = kept.length(run, scope, list).await.expect_err("it is gone");
        assert!(matches!(error, FetchError::Damaged(_)), "{error:?}");
        assert!(error.to_string().contains("the list that `each` is mapped over cannot be read any more"), "{error}");
    }
    assert_eq!(kept.length(other, scope, &of_another).await.expect("read"), 20_000);
    kept.artifacts.delete_lists(run).await.expect("there is nothing left to remove");
}

#[tokio::test]
async fn what_came_with_the_question_waits_for_no_room() {
    let mut kept = Kept::new();
    let (id, _) = kept.left(ONE, None, inline("\"from the store\""));
    let all = kept.inputs.shared.room.take(ROOM_BYTES).await;
    assert_eq!(kept.read(ONE, Output::Inline(json("1"))).await.expect("it is at hand"), "1");
    let (inputs, run, plan) = (kept.inputs.clone(), kept.run, kept.plan.clone());
    let waits = tokio::spawn(async move {
        let fetched = inputs.fetch(run, &plan, &[(ONE, Output::Stored(id))]).await.expect("read");
        fetched.inputs.outputs[0].1.text().as_str().to_owned()
    });
    drop(all);
    assert_eq!(waits.await.expect("it ends"), "\"from the store\"");
}
