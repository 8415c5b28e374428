//! From a definition and what its tasks left to conditions, lists and inputs.

mod conditions;
mod inputs;
mod lists;

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::dag::plan::ROOT;
use crate::dag::{Definition, Plan};
use crate::engine::graph::{About, Element, InstanceContext};
use crate::model::task::TaskResult;
use crate::model::{Digest, Json, RunId, RunSpec, RunType, TaskId, TaskSpec};

/// A DAG whose last task, `parse`, has these keys; `extract`, `list` and `other` are upstream of it.
fn plan(keys: Value) -> Arc<Plan> {
    let mut parse = task("parse", keys);
    parse["upstream"] = json!(["extract", "list", "other"]);
    if parse.get("expansion").is_some() {
        parse["scope"] = json!("task");
    }
    with_upstream(json!([]), parse)
}

/// The same with a mapped group of one task, `g.t`.
fn group(keys: Value) -> Arc<Plan> {
    let mut task = task("g.t", keys);
    (task["group"], task["scope"]) = (json!("g"), json!({"group": "g"}));
    let expansion = json!({"expand": [{"key": "file", "values": ["a", "b"]}]});
    let group = json!({"id": "g", "expansion": expansion, "map_index_template": "{{ ti.task_id }} {{ file }}"});
    with_upstream(json!([group]), task)
}

fn task(id: &str, keys: Value) -> Value {
    let mut task = json!({"id": id, "module": Digest::of(b""), "function": "run"});
    task.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    task
}

fn with_upstream(groups: Value, last: Value) -> Arc<Plan> {
    let upstream = ["extract", "list", "other"].map(|id| task(id, json!({})));
    let tasks: Value = upstream.into_iter().chain([last]).collect();
    of(json!({"dag_id": "etl", "groups": groups, "tasks": tasks}))
}

fn of(definition: Value) -> Arc<Plan> {
    let definition: Definition = serde_json::from_value(definition).unwrap();
    Arc::new(Plan::of(&definition).unwrap_or_else(|error| panic!("{error}")))
}

fn json(value: Value) -> Json {
    Json::of(&value).unwrap()
}

fn inputs() -> Inputs {
    let output = |value: Value| template::Output::new(json(value));
    Inputs {
        outputs: vec![
            (
                0,
                output(
                    json!({"n": 3, "files": ["a.csv", "b.csv"], "size": [1, 2, 3], "rows": [{"x": 1}, {"x": 2, "y": "z"}]}),
                ),
            ),
            (1, template::Output::list(&[Json::null(), json(json!({"id": 1}))])),
            (2, output(Value::Null)),
        ],
        variables: Arc::new([("bucket".to_owned(), "s3://b".to_owned())].into()),
    }
}

fn spec() -> Arc<RunSpec> {
    Arc::new(RunSpec {
        dag_id: "etl".parse().unwrap(),
        version: Digest::of(b""),
        run_id: "r1".parse().unwrap(),
        run_type: RunType::Manual,
        logical_date: Some("2026-01-02T00:00:00Z".parse().unwrap()),
        data_interval_start: None,
        data_interval_end: None,
        conf: json(json!({"fast": true})),
        params: json(json!({"city": "Ames", "n": 3, "empty": [], "zero": 0, "text": "false"})),
    })
}

fn asks(plan: &Arc<Plan>, question: Question, element: Option<Value>) -> Evaluation {
    Evaluation {
        ticket: 1,
        run: RunId::from_u64(1),
        about: About::Scope(ROOT),
        spec: spec(),
        plan: plan.clone(),
        question,
        outputs: Vec::new(),
        element: element.map(|input| Element { input: json(input), label: None }),
    }
}

fn expand(columns: Value) -> Value {
    let columns = columns.as_array().unwrap().iter();
    let columns = columns.map(|column| json!({"key": column[0], "values": column[1]})).collect::<Value>();
    json!({"expansion": {"expand": columns}})
}

fn zip(columns: Value) -> Value {
    json!({"expansion": {"zip": expand(columns)["expansion"]["expand"]}})
}

fn kwargs(objects: Value) -> Value {
    json!({"expansion": {"expand_kwargs": objects}})
}

fn with(mut keys: Value, key: &str, value: Value) -> Value {
    keys[key] = value;
    keys
}

/// What the first or only attempt of `parse` is given.
fn given(keys: Value, element: Option<Value>) -> Result<(Value, Vec<String>), String> {
    let plan = plan(keys);
    given_to(&plan, 3, element)
}

fn given_to(plan: &Arc<Plan>, node: NodeIndex, element: Option<Value>) -> Result<(Value, Vec<String>), String> {
    let map_index = element.as_ref().map(|_| 7);
    let context = InstanceContext {
        run: RunId::from_u64(1),
        spec: spec(),
        plan: plan.clone(),
        node,
        map_index,
        outputs: Vec::new(),
    };
    let own = plan.node(node).spec.clone();
    let spec = match element {
        Some(element) => TaskSpec { input: json(element), ..(*own).clone() },
        None => (*own).clone(),
    };
    let attempt = Attempt { context: &context, spec: &spec, task: TaskId::from_u64(5), try_number: 2 };
    let given = input_of(&attempt, &inputs()).map_err(|error| error.message)?;
    Ok((given.input.to_value().unwrap(), given.args.to_vec()))
}

#[test]
#[ignore = "prints times; run with --release --nocapture"]
fn speed() {
    let time = |what: &str, times: u32, run: &mut dyn FnMut()| {
        let started = std::time::Instant::now();
        (0..times).for_each(|_| run());
        println!("{what}: {:?}", started.elapsed() / times);
    };
    let plan =
        plan(with(expand(json!([["n", (0..100_000).collect::<Value>()]])), "map_index_template", json!("{{ n }}")));
    let question = asks(&plan, Question::List { scope: 1 }, None);
    let Evaluated::List { list: TaskResult::Inline(text), .. } = evaluate(&question, &inputs(), None) else { panic!() };
    time("list of 100 000 with 1 000 labels", 20, &mut || drop(evaluate(&question, &inputs(), None)));
    time("KeptList::parse of 100 000", 20, &mut || drop(KeptList::parse(&text)));
    let kept = KeptList::parse(&text).unwrap();
    time("slice of 1 000", 1_000, &mut || drop(kept.slice(50_000, 1_000)));
    let run = inputs();
    time("reading::of_run", 100_000, &mut || drop(reading::of_run(&question.spec, &plan, &run)));
    let small = self::plan(json!({"input": {"n": "{{ params.n }}"}}));
    let context = InstanceContext {
        run: RunId::from_u64(1),
        spec: spec(),
        plan: small.clone(),
        node: 3,
        map_index: None,
        outputs: Vec::new(),
    };
    let attempt = Attempt { context: &context, spec: &small.node(3).spec, task: TaskId::from_u64(5), try_number: 2 };
    time("input_of with one template", 100_000, &mut || drop(input_of(&attempt, &run)));
}
