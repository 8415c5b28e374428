//! Sends one upload, runs what it offers, takes it away again, and says what may not happen.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::inputs::example;
use crate::support::client::is_final;
use crate::support::{Answer, Client};

/// Functions of a module that are run.
const MOST_RUN: usize = 4;

/// How an attempt may end. `lost` is missing: it would mean that the host died.
const OUTCOMES: [&str; 10] = [
    "success",
    "failed",
    "skipped",
    "deferred",
    "timed_out",
    "out_of_memory",
    "trapped",
    "denied",
    "output_too_large",
    "cancelled",
];

/// What was answered, counted.
pub type Answers = BTreeMap<String, u64>;

/// Panics where the server did what it may not.
pub async fn check(client: &Client, wasm: Vec<u8>) -> Answers {
    let mut answers = Answers::new();
    let mut count = |answer: String| *answers.entry(answer).or_default() += 1;
    let uploaded = client.post("/api/v1/modules", wasm).await.expect("an answer to the upload");
    if !matches!(uploaded.status, 200 | 201) {
        count(format!("upload {}", refusal(&uploaded)));
        return answers;
    }
    count(format!("upload {}", uploaded.status));
    let module = uploaded.json();
    let digest = module["digest"].as_str().expect("a module has a digest");
    let functions = module["functions"].as_array().expect("a module has functions").iter();
    for function in functions.filter(|function| function["not_callable"].is_null()).take(MOST_RUN) {
        count(format!("run {}", run(client, digest, function).await));
    }
    let deleted = client.request(reqwest::Method::DELETE, &format!("/api/v1/modules/{digest}"));
    let deleted = crate::support::client::send(deleted).await.expect("an answer to the deletion");
    if deleted.status != 204 {
        // The same bytes under another number are being run, or were removed a moment ago.
        count(format!("delete {}", refusal(&deleted)));
    }
    answers
}

async fn run(client: &Client, digest: &str, function: &Value) -> String {
    let task = json!({
        "module": digest,
        "function": function["name"],
        "input": example(&function["input_schema"]),
        "limits": {
            "execution_timeout": "1s",
            "cpu_time": "50ms",
            "memory_bytes": 16 << 20,
            "output_bytes": 64 << 10,
            "log_bytes": 64 << 10,
        },
    });
    let answer = client.post("/api/v1/tasks?wait=60s", task.to_string()).await.expect("an answer to the task");
    if answer.status != 201 {
        return refusal(&answer);
    }
    let ended = answer.json();
    assert!(is_final(&ended), "it did not end: {ended}");
    let outcome = ended["outcome"].as_str().unwrap_or_else(|| panic!("it ended without an outcome: {ended}"));
    assert!(OUTCOMES.contains(&outcome), "{ended}");
    outcome.to_owned()
}

/// A refusal that is the caller's fault and says everything it must.
fn refusal(answer: &Answer) -> String {
    assert!((400..500).contains(&answer.status), "{}: {}", answer.status, answer.text());
    let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
    let problem = answer.refused(answer.status, &code);
    assert!(!code.is_empty() && problem["fault"] == "caller", "{problem}");
    format!("{} {code}", answer.status)
}
