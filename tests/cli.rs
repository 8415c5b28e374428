//! The command line as people and programs use it, against a real server: the examples with their
//! expected output, tables and JSON, and exit codes that say whose fault it was.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use support::{TestServer, guests, tradewind};

/// What a command printed and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    #[track_caller]
    fn well(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self
    }

    /// Ended with this code, saying each of these on stderr and nothing on stdout.
    #[track_caller]
    fn ended(&self, code: i32, saying: &[&str]) {
        assert_eq!((self.code, &*self.out), (code, ""), "{}", self.err);
        for said in saying {
            assert!(self.err.contains(said), "`{said}` is not in: {}", self.err);
        }
    }
}

fn run(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Said { code: status.code().expect("an exit code"), out: text(stdout), err: text(stderr) }
}

/// A server, and commands that find it by its data directory, as on a user's own machine.
struct House(TestServer);

impl House {
    async fn new() -> Self {
        Self(TestServer::start().await)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tradewind();
        command.arg("--data-dir").arg(self.0.data()).args(arguments);
        command
    }

    fn tradewind(&self, arguments: &[&str]) -> Said {
        run(&mut self.command(arguments))
    }

    fn push(&self, file: &Path, name: &str, tag: &str) {
        self.tradewind(&["push", file.to_str().unwrap(), "--name", name, "--tag", tag]).well();
    }
}

/// The result of an example's first task.
fn expected(example: &str) -> Value {
    let path = guests::example_directory(example).join("expected.json");
    let mut cases: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    cases[0]["result"].take()
}

#[tokio::test]
async fn the_example_hello_does_what_its_readme_says() {
    let house = House::new().await;
    house.push(&guests::example("hello"), "hello", "1");
    let greeted = house.tradewind(&["run", "hello:1", "greet", "--input", r#"{"name": "Ada"}"#]).well();
    assert_eq!(greeted.json(), expected("hello"));
    let chattered = house.tradewind(&["run", "hello:1", "chatter"]).well();
    assert_eq!(chattered.out, "5\n");
    for line in ["DEBUG", "INFO", "WARN", "out of numbers"] {
        assert!(chattered.err.contains(line), "{}", chattered.err);
    }
    let nobody = house.tradewind(&["run", "hello:1", "greet", "--input", r#"{"name": ""}"#, "--retries", "3"]);
    nobody.ended(1, &["failed"]);
    assert!(!nobody.err.contains("-- try 2"), "it is not tried again: {}", nobody.err);
    let wrong = house.tradewind(&["run", "hello:1", "greet", "--input", r#"{"nam": "Ada"}"#]);
    wrong.ended(3, &["/input", "name"]);
}

#[tokio::test]
async fn the_example_weather_stats_does_what_its_readme_says() {
    let house = House::new().await;
    // Pushed and run in one.
    let module = guests::example("weather-stats");
    let input = r#"{"from": 2013, "to": 2014, "columns": ["precipitation", "temp_max"], "percentiles": [50, 90]}"#;
    let said = house.tradewind(&["run", module.to_str().unwrap(), "yearly", "--input", input]).well();
    assert_eq!(said.json(), expected("weather-stats"));
    assert!(said.err.contains("730"), "the log says how many days were read: {}", said.err);
    let digest = house.tradewind(&["modules", "list", "-o", "json"]).well().json()["items"][0]["digest"].clone();
    let wrong = ["run", digest.as_str().unwrap(), "yearly", "-i", r#"{"columns": ["humidity"]}"#, "-o", "json"];
    let wrong = house.tradewind(&wrong);
    assert_eq!((wrong.code, &wrong.json()["error"]["data"]["kind"]), (1, &json!("unknown_column")));
}

#[tokio::test]
async fn exit_codes_say_whose_fault_it_was() {
    let house = House::new().await;
    house.tradewind(&["run", "nothing:1"]).ended(3, &["nothing:1", "to mend it"]);
    house.tradewind(&["run", "no-such-file.wasm"]).ended(2, &["no-such-file.wasm"]);
    house.tradewind(&["tasks", "show", "task_0000000000000"]).ended(3, &["task_0000000000000"]);
    house.tradewind(&["tasks", "list", "--state", "asleep"]).ended(2, &["asleep"]);
    house.tradewind(&["--url", "http://127.0.0.1:1", "tasks", "list"]).ended(4, &["127.0.0.1:1"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let nobody = run(tradewind().current_dir(elsewhere.path()).args(["tasks", "list"]));
    assert!(matches!(nobody.code, 3 | 4) && nobody.err.contains("tradewind server"), "{}", nobody.err);
    let stranger = run(house.command(&["tasks", "list"]).env("TRADEWIND_TOKEN", "tw_wrong"));
    stranger.ended(3, &["token"]);
}

#[tokio::test]
async fn the_server_is_found_from_below_its_directory() {
    let house = House::new().await;
    let data = house.0.data();
    let below = data.parent().unwrap().join("a/b");
    std::fs::create_dir_all(&below).unwrap();
    let name = data.file_name().unwrap();
    let list = || {
        let mut command = tradewind();
        command.current_dir(&below).arg("--data-dir").arg(name).args(["tasks", "list"]);
        command
    };
    run(&mut list()).well();
    // A directory in the way is taken as it is.
    std::fs::create_dir(below.join(name)).unwrap();
    assert_ne!(run(&mut list()).code, 0);
}

#[tokio::test]
async fn tasks_are_seen_and_steered() {
    let house = House::new().await;
    std::fs::write(house.0.data().join("../guests.wasm"), guests::tasks()).unwrap();
    house.push(&house.0.data().join("../guests.wasm"), "guests", "1");
    let long = ["run", "guests:1", "sleep", "-i", r#"{"ms": 60000}"#, "--detach", "--label", "team=a"];
    let id = house.tradewind(&long).well().out.trim().to_owned();
    assert!(id.starts_with("task_"), "{id}");
    house.0.client().when_running(&id).await;
    let table = house.tradewind(&["tasks", "list", "--label", "team=a"]).well().out;
    assert!(table.contains(&id) && table.contains("running") && table.contains("sleep"), "{table}");
    house.tradewind(&["tasks", "cancel", &id]).well();
    let shown = house.tradewind(&["tasks", "show", &id, "--output", "json"]).well().json();
    assert_eq!((&shown["state"], &shown["labels"]), (&json!("cancelled"), &json!({"team": "a"})));
    assert!(house.tradewind(&["tasks", "show", &id]).well().out.contains("cancelled"));

    let lines = ["run", "guests:1", "log_lines", "-i", r#"{"lines": 3, "bytes": 20, "to": ["log"]}"#, "--wait"];
    let lines = house.tradewind(&lines).well();
    assert_eq!(lines.err, "", "with --wait there is no log");
    let newest = house.tradewind(&["tasks", "list", "--limit", "1", "-o", "json"]).well().json();
    let id = newest["items"][0]["id"].as_str().unwrap();
    let log = house.tradewind(&["tasks", "logs", id]).well().out;
    assert_eq!(log.lines().count(), 3, "{log}");
    assert_eq!(house.tradewind(&["tasks", "result", id]).well().out, lines.out);
    assert_eq!(house.tradewind(&["tasks", "attempts", id, "-o", "json"]).well().json()["items"][0]["try_number"], 1);
    let events = house.tradewind(&["tasks", "events", id]).well().out;
    assert!(events.contains("submitted") && events.contains("ended"), "{events}");
    let again = house.tradewind(&["tasks", "rerun", id]).well();
    assert!(again.out.contains(id), "{}", again.out);
}

#[tokio::test]
async fn a_module_is_named_shown_fetched_and_deleted() {
    let house = House::new().await;
    let file = guests::example("hello");
    house.push(&file, "hello", "1");
    let again = house.tradewind(&["push", file.to_str().unwrap(), "--name", "hello", "--tag", "2"]).well();
    assert!(again.out.contains("sha256:"), "{}", again.out);
    let shown = house.tradewind(&["modules", "show", "hello:1"]).well().out;
    assert!(shown.contains("greet") && shown.contains("name: string"), "{shown}");
    let tags = house.tradewind(&["modules", "tags", "hello", "-o", "json"]).well().json();
    assert_eq!(tags["items"].as_array().unwrap().len(), 2);
    let copy = house.0.data().join("../copy.wasm");
    house.tradewind(&["modules", "download", "hello:2", "--file", copy.to_str().unwrap()]).well();
    assert!(std::fs::read(&copy).unwrap() == std::fs::read(&file).unwrap(), "the same bytes");

    let digest = tags["items"][0]["digest"].as_str().unwrap();
    house.tradewind(&["modules", "delete", digest]).ended(3, &["hello:1", "hello:2"]);
    for tag in ["hello:1", "hello:2"] {
        house.tradewind(&["modules", "delete", tag]).well();
    }
    house.tradewind(&["modules", "delete", digest]).well();
    assert_eq!(house.tradewind(&["modules", "list", "-o", "json"]).well().json()["items"], json!([]));
}

#[tokio::test]
async fn what_is_no_component_is_refused_with_nothing_kept() {
    let house = House::new().await;
    let file = house.0.data().join("../wrong.wasm");
    let hello = std::fs::read(guests::example("hello")).unwrap();
    for wrong in [b"#!/bin/sh\n".as_slice(), b"\0asm\x01\0\0\0", &hello[..hello.len() / 2]] {
        std::fs::write(&file, wrong).unwrap();
        house.tradewind(&["push", file.to_str().unwrap(), "--name", "wrong"]).ended(3, &["wrong.wasm", "to mend it"]);
    }
    assert_eq!(house.tradewind(&["modules", "list", "-o", "json"]).well().json()["items"], json!([]));
    house.tradewind(&["modules", "show", "wrong:latest"]).ended(3, &["wrong"]);
}

#[tokio::test]
async fn the_load_generator_reports_what_the_contract_says() {
    let house = House::new().await;
    for how in [&["--batch", "50"][..], &["--in-flight", "20"], &["--idle"], &["--queue-first", "--batch", "50"]] {
        let arguments = [&["bench", "--tasks", "200", "--output", "json"], how].concat();
        let report = house.tradewind(&arguments).well().json();
        assert!(report["tasks_per_s"].as_f64().is_some_and(|rate| rate > 1.0), "{how:?}: {report}");
        for times in ["submit_ms", "done_ms"] {
            for value in ["p50", "p99", "max"] {
                assert!(report[times][value].is_number(), "{how:?}: no {times}.{value}: {report}");
            }
        }
        // Where nothing is waited for, the guest's start is not seen.
        assert!(report["start_ms"].is_object() || how[0] == "--queue-first", "{how:?}: {report}");
        assert!(report["cpu_us_per_task"]["client"].is_number() && report["cpu_us_per_task"]["server"].is_number());
        for rate in ["fsyncs_per_s", "bare_sandboxes_per_s"] {
            assert!(report["calibration"][rate].as_f64().is_some_and(|rate| rate > 1.0), "{rate}: {report}");
        }
    }
}

#[test]
fn settings_are_shown_and_wrong_ones_refused() {
    let directory = tempfile::tempdir().unwrap();
    let here = || {
        let mut command = tradewind();
        command.current_dir(directory.path());
        command
    };
    std::fs::write(directory.path().join("tradewind.toml"), "[worker]\nslots = 3\n").unwrap();
    let shown = run(here().env("TRADEWIND_WORKER_SLOTS", "4").args(["config", "show", "--output", "json"])).well();
    assert!(shown.out.contains("TRADEWIND_WORKER_SLOTS"), "the environment wins and is named: {}", shown.out);
    std::fs::write(directory.path().join("tradewind.toml"), "[worker]\nslot = 3\n").unwrap();
    run(here().args(["config", "show"])).ended(2, &["worker.slot", "tradewind.toml", "slots"]);
    std::fs::remove_file(directory.path().join("tradewind.toml")).unwrap();
    run(here().args(["server", "--listen", "nowhere"])).ended(2, &["nowhere"]);
}

#[test]
fn a_shell_completes_our_words() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(tradewind().args(["completions", shell])).well().out;
        assert!(script.contains("tradewind") && script.contains("modules"), "{shell}");
    }
    run(tradewind().args(["completions", "abacus"])).ended(2, &["abacus"]);
}
