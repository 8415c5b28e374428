//! What a task with the grant `scratch` may do with files, and what it may not, through a real server.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Client, TestServer, poll, setup, task};

const MIB: u64 = 1 << 20;

/// A server with the guests' module.
struct House {
    server: TestServer,
    client: Client,
    module: String,
}

impl House {
    async fn open() -> Self {
        let (server, client, module) = setup().start_with_guests().await;
        Self { server, client, module }
    }

    /// A task that was granted so many bytes.
    fn granted(&self, bytes: u64, function: &str, input: Value) -> Value {
        with(task(&self.module, function, input), json!({"grants": {"scratch": {"bytes": bytes}}}))
    }

    async fn run(&self, bytes: u64, function: &str, input: Value) -> Value {
        self.client.run(&self.granted(bytes, function, input)).await
    }

    /// What a task returned that must succeed.
    async fn result(&self, bytes: u64, function: &str, input: Value) -> Value {
        let ended = self.run(bytes, function, input).await;
        assert_eq!(ended["outcome"], "success", "{ended}");
        ended["result"].clone()
    }

    fn scratch(&self) -> PathBuf {
        self.server.data().join("scratch")
    }

    /// Attempts' directories that there are.
    fn directories(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.scratch()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// The task once its file of at least so many bytes is on the disk.
    async fn holding(&self, id: &str, bytes: u64) {
        self.client.when_running(id).await;
        let held = async || self.directories().iter().any(|path| disk_bytes(path) >= bytes).then_some(());
        poll("the guest to write", held).await;
    }
}

/// The value with more keys.
fn with(mut value: Value, more: Value) -> Value {
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

fn id(task: &Value) -> &str {
    task["id"].as_str().unwrap()
}

fn waiting(path: &str, bytes: u64) -> Value {
    json!({"path": path, "bytes": bytes, "then": "wait"})
}

/// What the guest's files take of the disk, directories included, but for its own and that around it.
fn disk_bytes(attempt: &Path) -> u64 {
    let mut bytes = 0;
    let mut directories = vec![attempt.join("files")];
    while let Some(directory) = directories.pop() {
        // They may go while they are looked at.
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    bytes
}

#[tokio::test]
async fn a_task_uses_its_directory_by_each_of_its_names() {
    let house = House::open().await;
    for path in ["/scratch/file", "/tmp/a/b/file", "file", "./a/file"] {
        let written = house.run(MIB, "scratch_write", json!({"path": path, "bytes": 300_000})).await;
        assert_eq!(
            (&written["outcome"], &written["result"]),
            (&json!("success"), &json!(300_000)),
            "{path}: {written}"
        );
        let passed = written["usage"]["host_bytes"].as_u64().unwrap();
        assert!((600_000..601_000).contains(&passed), "written and read: {written}");
    }
    let list = house.result(MIB, "scratch_list", json!(null)).await;
    let empty = json!({"Ok": []});
    assert_eq!([&list["/scratch"], &list["/tmp"], &list["."]], [&empty; 3], "{list}");
    assert_eq!(list["TMPDIR"], "/tmp");
    let own = json!({"grants": {"scratch": {"bytes": 4096}, "env": {"TMPDIR": "/scratch"}}});
    let list = house.client.run(&with(task(&house.module, "scratch_list", json!(null)), own)).await;
    assert_eq!(list["result"]["TMPDIR"], "/scratch");
    assert_eq!(house.directories(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn without_the_grant_there_is_nothing() {
    let house = House::open().await;
    let list = house.client.run(&task(&house.module, "scratch_list", json!(null))).await["result"].clone();
    for path in ["/scratch", "/tmp", ".", "/"] {
        assert!(list[path]["Err"].is_string(), "{list}");
    }
    assert_eq!(list["TMPDIR"], Value::Null);
    let written = house.client.run(&task(&house.module, "scratch_write", json!({"path": "file", "bytes": 1}))).await;
    assert_eq!(written["outcome"], "failed", "{written}");
}

#[tokio::test]
async fn the_quota_is_held_to_the_byte_and_is_an_error_to_the_guest() {
    let house = House::open().await;
    let filled = house.result(MIB, "scratch_fill", json!(null)).await;
    // A stream's error has no code in wasi-libc's eyes.
    let expected = json!({"bytes": MIB, "held": MIB, "again": MIB / 2, "error": "uncategorized error"});
    assert_eq!(filled, expected);
    let all = json!({"path": "/scratch/file", "bytes": MIB});
    assert_eq!(house.result(MIB, "scratch_write", all).await, json!(MIB));
    let over = house.run(MIB, "scratch_write", json!({"path": "/scratch/file", "bytes": MIB + 1})).await;
    assert_eq!(over["outcome"], "failed", "{over}");
}

#[tokio::test]
async fn the_disk_holds_no_more_than_the_quota() {
    let house = House::open().await;
    let running = house.client.submit(&house.granted(MIB, "scratch_write", waiting("/tmp/a/file", MIB - 4096))).await;
    house.holding(id(&running), MIB).await;
    let [directory] = &house.directories()[..] else { panic!("one attempt, one directory") };
    assert_eq!(disk_bytes(directory), MIB);
    let modes: Vec<u32> = [&house.scratch(), directory, &directory.join("files"), &directory.join("files/a/file")]
        .iter()
        .map(|path| path.metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    assert_eq!(modes, [0o700, 0o700, 0o700, 0o600]);
    house.client.cancel(id(&running)).await;
    house.client.end_of(id(&running)).await;
}

#[tokio::test]
async fn holes_are_charged_as_if_they_were_written() {
    let house = House::open().await;
    // The length is set by a call of its own, which tells its reason; what is written goes by a stream, which in wasi-libc does not.
    let (full, unwritten) = ("no storage space", "uncategorized error");
    let sparse = house.result(MIB, "scratch_sparse", json!({"size": 1_u64 << 40})).await;
    assert_eq!((&sparse["by_length"], &sparse["by_seek"]), (&json!(full), &json!(unwritten)), "{sparse}");
    let sparse = house.result(MIB, "scratch_sparse", json!({"size": MIB / 2})).await;
    // The other file with the same hole and a byte after it does not fit beside the first.
    assert_eq!(sparse, json!({"by_length": "done", "by_seek": unwritten, "half": MIB / 2, "appended": MIB / 2 - 4096}));
}

#[tokio::test]
async fn what_is_deleted_cut_or_replaced_makes_room_again() {
    let house = House::open().await;
    let churn = json!({"rounds": 100, "bytes": 400_000});
    assert_eq!(house.result(MIB, "scratch_churn", churn).await, json!(80_000_000));
}

#[tokio::test]
async fn room_cannot_be_had_by_names_open_files_or_files_without_a_name() {
    let house = House::open().await;
    let hoard = house.result(MIB, "scratch_hoard", json!(null)).await;
    let counted = |what: &str| hoard[what].as_u64().unwrap();
    // A directory of many names has a block or a few of its own.
    assert!((240..=256).contains(&counted("empty_files")), "{hoard}");
    assert!((240..=256).contains(&counted("directories")), "{hoard}");
    assert!((14..=16).contains(&counted("unnamed")), "{hoard}");
    assert!((100..=128).contains(&counted("opened")), "{hoard}");
    assert_eq!(hoard["then"], 8 * 4096, "what was held is given back");
}

#[tokio::test]
async fn tricks_are_refused_and_nothing_outside_changes() {
    let house = House::open().await;
    let secret = house.server.data().join("scratch-secret");
    std::fs::write(&secret, "secret").unwrap();
    let outside = secret.to_str().unwrap();
    let answers = house.result(MIB, "scratch_tricks", json!({"outside": outside})).await;
    for (what, said) in answers.as_object().unwrap() {
        assert_ne!(said, "done", "{what}: {answers}");
    }
    for what in ["read above", "cut above", "rename out", "rename in", "symbolic link", "hard link"] {
        assert_eq!(answers[what], "permission denied", "{what}: {answers}");
    }
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
    assert_eq!(secret.metadata().unwrap().nlink(), 1);
    assert_eq!(house.directories(), Vec::<PathBuf>::new(), "neither its own is left, nor anything made beside it");

    let denied = house.run(MIB, "scratch_tricks", json!({"outside": outside, "fail": true})).await;
    assert_eq!(denied["outcome"], "denied", "{denied}");
    let calls = denied["error"]["denied_calls"].as_array().unwrap();
    let named = |call: &str| calls.iter().any(|denied| denied.as_str().unwrap().starts_with(call));
    assert!(named("scratch: open \"../../../") && calls.len() <= 20, "{denied}");
}

#[tokio::test]
async fn the_directory_is_gone_after_every_end() {
    let house = House::open().await;
    let write = |then: &str| json!({"path": "/tmp/a/b/file", "bytes": 100_000, "then": then});
    for (then, outcome) in [("return", "success"), ("fail", "failed"), ("panic", "trapped")] {
        let ended = house.run(MIB, "scratch_write", write(then)).await;
        assert_eq!((&ended["outcome"], house.directories()), (&json!(outcome), Vec::new()), "{ended}");
    }
    let late = with(house.granted(MIB, "scratch_write", write("wait")), json!({"limits": {"execution_timeout": "1s"}}));
    let ended = house.client.run(&late).await;
    assert_eq!((&ended["outcome"], house.directories()), (&json!("timed_out"), Vec::new()), "{ended}");

    let running = house.client.submit(&house.granted(MIB, "scratch_write", write("wait"))).await;
    house.holding(id(&running), 100_000).await;
    house.client.cancel(id(&running)).await.expect(200);
    let ended = house.client.end_of(id(&running)).await;
    assert_eq!((&ended["outcome"], house.directories()), (&json!("cancelled"), Vec::new()), "{ended}");
}

#[tokio::test]
async fn what_a_killed_server_left_goes_when_it_starts_again() {
    let mut house = House::open().await;
    let running = house.client.submit(&house.granted(MIB, "scratch_write", waiting("/tmp/a/file", 100_000))).await;
    house.holding(id(&running), 100_000).await;
    let [left] = &house.directories()[..] else { panic!("one attempt, one directory") };
    house.server.restart().await;
    house.client = house.server.client();
    poll("the former directory to go", async || (!left.exists()).then_some(())).await;
    // The task is tried again, in a new one.
    house.holding(id(&running), 100_000).await;
    assert_eq!(house.directories().len(), 1);
    house.client.cancel(id(&running)).await;
    house.client.end_of(id(&running)).await;
    assert_eq!(house.directories(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn attempts_do_not_see_each_others_files() {
    let house = House::open().await;
    let running = house.client.submit(&house.granted(MIB, "scratch_write", waiting("/tmp/file", 100_000))).await;
    house.holding(id(&running), 100_000).await;
    let list = house.result(MIB, "scratch_list", json!(null)).await;
    assert_eq!(list["/tmp"], json!({"Ok": []}));
    assert_eq!(house.result(4096, "scratch_write", json!({"path": "/tmp/file", "bytes": 4096})).await, json!(4096));
    house.client.cancel(id(&running)).await;
    house.client.end_of(id(&running)).await;
}
