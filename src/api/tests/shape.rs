//! What clients rely on keeps its shape.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::api::OPENAPI;
use crate::api::tasks::object::TaskObject;
use crate::model::task::{ArtifactRef, TaskResult, Terms};
use crate::model::{
    Digest, Json, Outcome, RetryPolicy, TaskError, TaskId, TaskRecord, TaskSpec, TaskState, Timestamp, Usage,
};

fn record() -> TaskRecord {
    let at: Timestamp = "2026-11-23T08:00:00Z".parse().expect("a time");
    TaskRecord {
        id: TaskId::from_u64(0x0335_1234_5678_9abc),
        instance: None,
        label: None,
        note: None,
        spec: Arc::new(TaskSpec {
            labels: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
            ..TaskSpec::new(Digest::of(b"module"), "run", Json::null())
        }),
        state: TaskState::Success,
        outcome: Some(Outcome::Success),
        try_number: 1,
        max_tries: 1,
        fence: 1,
        lost_in_row: 0,
        due_at: None,
        queued_at: at,
        start_date: Some(at + Duration::from_micros(150)),
        end_date: Some(at + Duration::from_micros(550)),
        result: Some(TaskResult::Inline(Json::parse("{\"rows\":3}".into()).expect("JSON"))),
        error: None,
        usage: Usage::default(),
        last_event: 2,
    }
}

/// The keys of an object in the order of its text.
fn keys(text: &str) -> Vec<String> {
    struct Keys(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Keys;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                    let mut keys = Vec::new();
                    while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                        keys.push(key);
                    }
                    Ok(Keys(keys))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Keys>(text).expect("an object").0
}

#[test]
fn the_task_object_has_the_keys_of_the_contract_in_its_order() {
    let text = serde_json::to_string(&TaskObject::single(&record())).expect("JSON");
    let contract = [
        "id",
        "state",
        "outcome",
        "result",
        "result_ref",
        "error",
        "try_number",
        "module",
        "function",
        "labels",
        "priority_weight",
        "queue",
        "queued_at",
        "start_date",
        "end_date",
        "duration_ms",
        "usage",
    ];
    assert_eq!(keys(&text)[..contract.len()], contract);
    let described: Value = serde_json::from_str(&OPENAPI).expect("JSON");
    let described = described["components"]["schemas"]["Task"]["properties"].as_object().expect("properties").clone();
    let mut shown = keys(&text);
    shown.sort();
    let mut described: Vec<String> = described.into_iter().map(|(key, _)| key).collect();
    described.sort();
    assert_eq!(shown, described, "`Task` describes another object than `TaskObject` writes");
}

#[test]
fn task_objects_read_like_this() {
    let well = record();
    let mut failed = record();
    failed.state = TaskState::Failed;
    failed.outcome = Some(Outcome::Failed);
    failed.result = None;
    failed.error = Some(Arc::new(TaskError { exit_code: Some(2), ..TaskError::message("no rows") }));
    let retry = RetryPolicy { retries: 3, retry_on: vec![Outcome::Failed], ..RetryPolicy::default() };
    failed.max_tries = 4;
    Arc::make_mut(&mut failed.spec).terms = Arc::new(Terms { retry, ..Terms::default() });
    let mut large = record();
    large.result = Some(TaskResult::Artifact(ArtifactRef { digest: Digest::of(b"large"), bytes: 70_000 }));
    let objects =
        [well, failed, large].map(|record| serde_json::to_string_pretty(&TaskObject::single(&record)).expect("JSON"));
    insta::assert_snapshot!("task_objects", objects.join("\n"));
}

#[test]
fn openapi_describes_every_response() {
    let document: Value = serde_json::from_str(&OPENAPI).expect("JSON");
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let responses = operation["responses"].as_object().expect("responses");
            assert!(!responses.is_empty(), "{method} {path}");
            for (status, response) in responses {
                assert!(
                    response["description"].as_str().is_some_and(|text| !text.is_empty()),
                    "{method} {path} {status}"
                );
            }
        }
    }
    insta::assert_snapshot!("openapi", &*OPENAPI);
}
