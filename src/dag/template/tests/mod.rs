//! What templates promise, as tables.

mod bounds;
mod failures;
mod names;
mod random;
mod references;
mod refused;
mod speed;
mod trees;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::model::{Json, TaskId};

fn output(value: Value) -> Arc<Output> {
    Output::new(Json::of(&value).unwrap())
}

fn run() -> Run<'static> {
    let time = |text: &str| Some(text.parse().unwrap());
    Run {
        dag_id: "etl",
        run_id: "manual__1",
        logical_date: time("2026-01-01T00:00:00Z"),
        data_interval_start: time("2026-01-01T00:00:00Z"),
        data_interval_end: time("2026-01-02T00:00:00.5Z"),
        params: Json::of(
            &json!({"city": "Ames", "n": 3, "big": u64::MAX, "low": i64::MIN, "f": 1.5, "empty": "", "none": null,
            "list": [3, 1, 2], "name with space": 1, "true": true,
            "people": [{"name": "Bo", "age": 4}, {"name": "Al", "age": 7}, {"name": "cy", "age": 4}]}),
        )
        .unwrap(),
        conf: Json::of(&json!({"x": {"y": [10, 20]}})).unwrap(),
        variables: Arc::new(BTreeMap::from([
            ("bucket".to_owned(), "s3://b".to_owned()),
            ("settings".to_owned(), r#"{"a": [1, 2]}"#.to_owned()),
            ("broken".to_owned(), "{".to_owned()),
        ])),
        outputs: BTreeMap::from([
            ("a".to_owned(), output(json!({"n": 7, "files": ["x.csv", "y.csv"], "deep": {"er": [{"k": "v"}]}}))),
            ("load.x".to_owned(), output(json!("loaded"))),
            ("load.deep.y".to_owned(), output(json!([1, 2]))),
            ("text".to_owned(), output(json!("x".repeat(1_000_000)))),
            ("wide".to_owned(), output(json!((0..100_000).collect::<Vec<_>>()))),
            ("nothing".to_owned(), output(Value::Null)),
            ("rows".to_owned(), Output::list(&[Json::null(), Json::of(&json!({"i": 1})).unwrap()])),
        ]),
    }
}

fn scope() -> Scope {
    let keys = json!({"file": "x.csv", "index": 2});
    Scope::of_run(run())
        .for_instance(Instance { id: Some(TaskId::from_u64(5)), task_id: "parse", map_index: 2, try_number: 1 })
        .with_keys(keys.as_object().unwrap())
}

fn render(text: &str) -> Result<Value, RenderError> {
    Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).render(&scope())
}

fn refused(text: &str) -> TemplateError {
    Template::parse(text).map(|_| ()).expect_err(text)
}

fn fails(text: &str) -> RenderError {
    render(text).expect_err(text)
}
