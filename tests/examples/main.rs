//! Every example does what its `expected.json` says, from its build script to its results, through a real server.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod dags;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use support::{Client, TestServer, guests};

/// A task, and what it comes to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// Where an example has several; otherwise the module is called like the example.
    module: Option<String>,
    /// As it is submitted, without its module.
    task: Value,
    #[serde(default = "success")]
    outcome: String,
    /// Of a success.
    result: Option<Value>,
    /// Of any other: each of these members of the task's `error`, and maybe more.
    error: Option<BTreeMap<String, Value>>,
    /// All lines, where it is said.
    log: Option<Vec<String>>,
}

fn success() -> String {
    "success".to_owned()
}

#[tokio::test]
async fn hello() {
    let module = guests::example("hello");
    as_expected("hello", |_| module.clone()).await;
}

#[tokio::test]
async fn weather_stats() {
    let module = guests::example("weather-stats");
    as_expected("weather-stats", |_| module.clone()).await;
}

#[tokio::test]
async fn typed_exports_in_rust() {
    built("typed-rust").await;
}

#[tokio::test]
async fn typed_exports_in_python() {
    built("typed-python").await;
}

#[tokio::test]
async fn typed_exports_in_javascript() {
    built("typed-javascript").await;
}

#[tokio::test]
async fn a_program_in_go() {
    built("program-go").await;
}

#[tokio::test]
async fn programs_of_others() {
    built("programs").await;
}

#[test]
fn every_example_is_tested_and_in_the_table() {
    let root = guests::example_directory("");
    let table = std::fs::read_to_string(root.join("README.md")).unwrap();
    let tests = concat!(include_str!("main.rs"), include_str!("dags.rs"));
    for entry in std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            assert!(table.contains(&format!("]({name})")), "{name} is not in examples/README.md");
            assert!(tests.contains(&format!("\"{name}\"")), "{name} has no test");
        }
    }
}

/// Runs all cases of an example with a script `build`.
async fn built(example: &str) {
    let name = example.to_owned();
    // It may install a toolchain and compile for minutes.
    let output = tokio::task::spawn_blocking(move || guests::built_example(&name)).await.unwrap();
    as_expected(example, |module| output.join(module).with_extension("wasm")).await;
}

async fn as_expected(example: &str, file: impl Fn(&str) -> std::path::PathBuf) {
    let cases = std::fs::read(guests::example_directory(example).join("expected.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap_or_else(|error| panic!("{example}: {error}"));
    let server = TestServer::start().await;
    let client = server.client();
    let mut modules = BTreeMap::new();
    for case in &cases {
        let name = case.module.as_deref().unwrap_or(example);
        if !modules.contains_key(name) {
            modules.insert(name, push(&client, &file(name)).await);
        }
        case.holds(&client, &modules[name]).await;
    }
    assert!(!cases.is_empty(), "{example} has no cases");
}

async fn push(client: &Client, file: &Path) -> String {
    let module = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    client.push(&module).await
}

impl Case {
    async fn holds(&self, client: &Client, module: &str) {
        let mut task = self.task.clone();
        task["module"] = json!(module);
        let ended = client.run(&task).await;
        let lines = client.log_lines(ended["id"].as_str().unwrap(), "").await;
        let log: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
        let said = format!("{task}\nended as {ended}\nsaying {log:?}");

        assert_eq!(ended["outcome"], *self.outcome, "{said}");
        assert_eq!(ended["result"], *self.result.as_ref().unwrap_or(&Value::Null), "{said}");
        for (member, value) in self.error.iter().flatten() {
            assert_eq!(ended["error"][member], *value, "{member} of {said}");
        }
        if let Some(expected) = &self.log {
            assert_eq!(log, *expected, "{said}");
        }
    }
}
