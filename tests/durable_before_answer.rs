//! Reads the server's system calls: no 2xx leaves before the fdatasync that covers what it says.
//!
//! Each task carries a mark in its labels, its input and so its result, which is found again in what
//! is written to the database's log and to sockets. Needs `strace`.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::client::is_final;
use support::{Client, setup, task};

/// Marks are eight characters that are also base64, so that a module of bytes returns them.
const LARGE_RESULT: &str = "mark9998";
const LONG_LOG: &str = "mark9999";

/// Enough of a call's data to hold a whole page of the database, and a whole small answer.
const SHOWN_BYTES: &str = "131072";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_before_it_is_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let trace_path = directory.path().join("trace");
    let (mut server, client, module) = setup().start_with_guests_as(|command| traced(command, &trace_path)).await;
    let noop = client.push(&tradewind::sandbox::guests::noop()).await;

    let mut load = tokio::task::JoinSet::new();
    for worker in 0..8 {
        load.spawn(submit(client.clone(), noop.clone(), worker));
    }
    load.join_all().await;
    // What does not lie in the database: a result of its own, a log of its own.
    let large = labelled(task(&module, "big_output", json!({"bytes": 100_000})), LARGE_RESULT);
    let large = client.run(&large).await;
    assert!(large["result_ref"].is_object(), "{large}");
    let long = labelled(task(&module, "log_lines", json!({"lines": 1_000, "bytes": 100, "to": ["log"]})), LONG_LOG);
    let long = client.run(&long).await;
    assert_eq!(long["usage"]["log_bytes"], 100_000, "{long}");

    server.terminate();
    // strace ends after the server, with its exit code, when all is written.
    assert!(server.ended().await.success());
    let trace = Trace::read(&std::fs::read_to_string(&trace_path).unwrap());
    let answers = trace.check();
    println!(
        "{} calls, {} answers, {} commits",
        trace.calls.len(),
        answers,
        trace.syncs_of("tradewind.db-wal").count()
    );
    assert!(answers >= 8 * 40, "only {answers} answers were found");
    trace.check_file(large["id"].as_str().unwrap(), LARGE_RESULT);
    trace.check_file("/logs/", LONG_LOG);
}

fn traced(server: Command, trace: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["--follow-forks", "--decode-fds=path", "--seccomp-bpf", "--string-limit", SHOWN_BYTES]);
    strace.args(["--trace=fsync,fdatasync,write,writev,pwrite64,sendto,sendmsg,rename,renameat2", "--output"]);
    strace.arg(trace).arg(server.get_program()).args(server.get_args());
    strace.current_dir(server.get_current_dir().unwrap());
    for (name, value) in server.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace
}

fn labelled(mut task: Value, mark: &str) -> Value {
    task["labels"] = json!({"mark": mark});
    task
}

/// Alone and in batches, with and without waiting.
async fn submit(client: Client, noop: String, worker: usize) {
    let noop = |n: usize| {
        let mark = format!("mark{worker:02}{n:02}");
        labelled(json!({"module": noop, "input": {"input": mark}}), &mark)
    };
    for n in 0..20 {
        if n % 2 == 0 {
            client.submit(&noop(n)).await;
        } else {
            client.run(&noop(n)).await;
        }
    }
    let lines: Vec<Value> = (20..30).map(noop).collect();
    client.batch(&lines, "").await;
    let lines: Vec<Value> = (30..40).map(noop).collect();
    let ended = client.batch(&lines, "?wait=30s").await;
    assert!(ended.iter().all(is_final), "{ended:?}");
}

/// The calls in the order of the trace, each with the place of its beginning and its end.
struct Trace {
    calls: Vec<Call>,
}

struct Call {
    begun: usize,
    ended: usize,
    name: String,
    /// Arguments as strace writes them, the file's path among them.
    text: String,
}

impl Trace {
    /// Lines are `PID name(arguments) = result`; a call during which another
    /// thread made one is split in two, `<unfinished ...>` and `<... name resumed>`.
    fn read(text: &str) -> Self {
        let mut calls = Vec::new();
        let mut unfinished = HashMap::new();
        for (place, line) in text.lines().enumerate() {
            let Some((pid, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            if let Some(begin) = rest.strip_suffix("<unfinished ...>") {
                unfinished.insert(pid, (place, begin.to_owned()));
            } else if rest.starts_with("<...") {
                let Some((begun, begin)) = unfinished.remove(pid) else { continue };
                calls.extend(Call::of(begun, place, &format!("{begin}{rest}")));
            } else {
                calls.extend(Call::of(place, place, rest));
            }
        }
        Self { calls }
    }

    fn syncs_of(&self, path: &str) -> impl Iterator<Item = &Call> {
        let path = path.to_owned();
        self.calls.iter().filter(move |call| call.is_sync() && call.text.contains(&path))
    }

    /// Every answer with a mark comes after a sync that began after the mark was
    /// written, and with the mark as a result, after that was. Returns how many there were.
    fn check(&self) -> usize {
        let mut answers = 0;
        for answer in self.calls.iter().filter(|call| call.is_answer()) {
            for mark in marks(&answer.text) {
                answers += 1;
                let shows_end = answer.has_result(mark);
                let says_it = |call: &&Call| {
                    call.is_log_write() && call.text.contains(mark) && (!shows_end || call.has_result(mark))
                };
                let written = self.calls.iter().find(says_it);
                let written = written.unwrap_or_else(|| panic!("{mark} was answered and never written"));
                self.assert_synced("tradewind.db-wal", written, answer, mark);
            }
        }
        answers
    }

    /// The file whose path contains `path` was synced before the answer that shows the mark's task as ended.
    fn check_file(&self, path: &str, mark: &str) {
        let is_end = |call: &&Call| call.is_answer() && call.text.contains(mark) && call.text.contains("success");
        let answer = self.calls.iter().find(is_end).expect("the end was answered");
        let is_write =
            |call: &&Call| call.text.contains(path) && matches!(&*call.name, "write" | "pwrite64" | "writev");
        let written = self.calls.iter().find(is_write).unwrap_or_else(|| panic!("nothing was written to {path}"));
        self.assert_synced(path, written, answer, mark);
    }

    fn assert_synced(&self, path: &str, written: &Call, answer: &Call, mark: &str) {
        let covered = self.syncs_of(path).any(|sync| sync.begun > written.ended && sync.ended < answer.begun);
        assert!(covered, "{mark} was answered at line {} without a sync since line {}", answer.begun, written.begun);
    }
}

impl Call {
    fn of(begun: usize, ended: usize, text: &str) -> Option<Self> {
        let (name, text) = text.split_once('(')?;
        Some(Self { begun, ended, name: name.to_owned(), text: text.to_owned() })
    }

    fn is_sync(&self) -> bool {
        matches!(&*self.name, "fsync" | "fdatasync")
    }

    /// A page on its way into the database's log.
    fn is_log_write(&self) -> bool {
        self.name == "pwrite64" && self.text.contains("tradewind.db-wal>")
    }

    /// Bytes to a socket. A large answer goes in several calls; those after the first have no status line.
    fn is_answer(&self) -> bool {
        let sends = matches!(&*self.name, "write" | "writev" | "sendto" | "sendmsg");
        sends && self.text.split_once('>').is_some_and(|(file, _)| file.contains("<socket:"))
    }

    /// The mark as a JSON text that is neither the label nor the input.
    fn has_result(&self, mark: &str) -> bool {
        self.text.match_indices(&format!(r#"\"{mark}\""#)).any(|(place, _)| {
            let before = &self.text[..place];
            !before.ends_with(r#"mark\":"#) && !before.ends_with(r#"input\":"#)
        })
    }
}

/// The marks that a call's data contains.
fn marks(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("mark").filter_map(|(start, _)| {
        let mark = text.get(start..start + LONG_LOG.len())?;
        mark[4..].bytes().all(|byte| byte.is_ascii_digit()).then_some(mark)
    })
}

#[test]
fn an_answer_too_early_is_noticed() {
    let page = r#"1 pwrite64(9</d/tradewind.db-wal>, "..{\"mark\":\"mark0101\"}...", 4096, 0) = 4096
"#;
    let end = r#"1 pwrite64(9</d/tradewind.db-wal>, "..{\"mark\":\"mark0101\"}..\"mark0101\"..", 4096, 0) = 4096
"#;
    let sync = "1 fdatasync(9</d/tradewind.db-wal>) = 0\n";
    let answer = r#"2 sendto(11<socket:[7]>, "HTTP/1.1 201 Created {\"mark\":\"mark0101\"}", 30) = 30
"#;
    let result = r#"2 sendto(11<socket:[7]>, "HTTP/1.1 201 Created {\"result\":\"mark0101\"}", 30) = 30
"#;
    let begun = "1 fdatasync(9</d/tradewind.db-wal> <unfinished ...>\n";
    let done = "1 <... fdatasync resumed>) = 0\n";
    let passes = |lines: &[&str]| {
        let trace = Trace::read(&lines.concat());
        std::panic::catch_unwind(|| trace.check()).is_ok_and(|answers| answers == 1)
    };
    assert!(passes(&[page, sync, answer]));
    assert!(passes(&[page, begun, done, answer]));
    assert!(!passes(&[answer, page, sync]), "answered before it was written");
    assert!(!passes(&[page, answer, sync]), "answered before the sync");
    assert!(!passes(&[page, begun, answer, done]), "answered during the sync");
    assert!(!passes(&[begun, page, done, answer]), "the sync had begun before");
    assert!(passes(&[page, sync, end, sync, result]));
    assert!(!passes(&[page, sync, end, result]), "the result before its own sync");
}
