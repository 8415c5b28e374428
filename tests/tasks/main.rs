//! What a caller is promised of single tasks and batches, through a real server.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod limits;
mod shown;
mod submits;
#[path = "../support/mod.rs"]
mod support;
mod tries;

use serde_json::Value;
use support::{Client, TestServer, setup};

async fn server() -> (TestServer, Client, String) {
    setup().start_with_guests().await
}

/// One attempt at a time, so that the order of attempts is the order of choice.
async fn server_with_one_slot() -> (TestServer, Client, String) {
    setup().with_setting("worker.slots", 1).with_setting("worker.waiting", 0).start_with_guests().await
}

fn id(task: &Value) -> &str {
    task["id"].as_str().expect("a task has an id")
}

/// The value with more keys.
fn with(mut value: Value, more: Value) -> Value {
    let object = value.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    value
}

fn at(value: &Value) -> jiff::Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}
