//! What authors of DAGs are promised, each feature once, through a real server with real guests.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod again;
mod control;
mod damaged;
mod edges;
mod mapping;
mod outputs;
mod refusals;
mod rules;
mod runs;
#[path = "../support/mod.rs"]
mod support;
mod versions;

use std::ops::Deref;

use serde_json::{Value, json};
use support::{Client, Run, Setup, TestServer, dag, setup};

/// A server that knows the test guests, and a client that may do everything.
struct House {
    server: TestServer,
    client: Client,
    /// The digest of the guests.
    module: String,
}

impl Deref for House {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl House {
    async fn new() -> Self {
        Self::with(setup()).await
    }

    async fn with(setup: Setup) -> Self {
        let (server, client, module) = setup.start_with_guests().await;
        Self { server, client, module }
    }

    /// Applies a DAG of the guests' functions.
    async fn dag(&self, dag_id: &str, rest: &str) -> Value {
        self.apply(&dag(&self.module, dag_id, rest)).await
    }

    /// Applies it, runs it once without any conf, and returns the run as it has ended.
    async fn run(&self, rest: &str) -> Run {
        self.dag("it", rest).await;
        self.run_dag("it", json!({})).await
    }
}

/// What the run's task says went wrong.
fn message<'a>(run: &'a Run, task: &str) -> &'a str {
    run.task(task)["error"]["message"].as_str().unwrap_or_else(|| panic!("`{task}` has no error: {run:#?}"))
}

fn at(value: &Value) -> jiff::Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

/// The address of a task of the run.
fn address(run: &Run, task: &str) -> String {
    format!("/api/v1/tasks/{}", run.task(task)["id"].as_str().unwrap())
}
