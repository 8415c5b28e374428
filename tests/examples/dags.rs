//! The examples that are DAGs, through the command line as their READMEs say.

use std::collections::BTreeMap;
use std::process::Output;

use serde::Deserialize;
use serde_json::Value;

use super::support::{TestServer, guests, tradewind};

/// What an example with a DAG comes to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    module: Module,
    /// The file of the DAG.
    dag: String,
    runs: Vec<Run>,
}

/// As what its component is pushed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Module {
    name: String,
    tag: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    conf: Value,
    state: String,
    /// Those worth a look.
    tasks: BTreeMap<String, Task>,
    #[serde(default)]
    mapped: BTreeMap<String, Mapped>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    state: String,
    try_number: Option<u32>,
    /// Said where it matters; null: it has none.
    #[serde(default, deserialize_with = "given")]
    output: Option<Value>,
    /// Each of these members of the task's `error`, and maybe more.
    #[serde(default)]
    error: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mapped {
    instances: usize,
    /// Of the first ones.
    labels: Vec<String>,
}

fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[tokio::test]
async fn the_dag_of_an_airflow_tutorial() {
    as_expected("airflow-tutorial").await;
}

#[tokio::test]
async fn an_etl() {
    as_expected("etl").await;
}

async fn as_expected(name: &str) {
    let directory = guests::example_directory(name);
    let expected = std::fs::read(directory.join("expected.json")).unwrap();
    let expected: Example = serde_json::from_slice(&expected).unwrap_or_else(|error| panic!("{name}: {error}"));
    let server = TestServer::start().await;
    let data = server.data();
    let call =
        |arguments: &[&str]| -> Output { tradewind().arg("--data-dir").arg(&data).args(arguments).output().unwrap() };
    let works = |arguments: &[&str]| -> String {
        let output = call(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let Module { name: module, tag } = &expected.module;
    let component = guests::example(name);
    works(&["push", component.to_str().unwrap(), "--name", module, "--tag", tag]);
    works(&["apply", directory.join(&expected.dag).to_str().unwrap()]);
    let dags: Value = serde_json::from_str(&works(&["dags", "list", "-o", "json"])).unwrap();
    let dag = dags["items"][0]["dag_id"].as_str().unwrap();
    assert!(!expected.runs.is_empty(), "{name} has no runs");
    for (place, run) in expected.runs.iter().enumerate() {
        let run_id = format!("run-{place}");
        let conf = run.conf.to_string();
        let ended = call(&["dags", "trigger", dag, "--run-id", &run_id, "--conf", &conf, "--wait", "60s"]);
        assert_eq!(ended.status.success(), run.state == "success", "{name}: {ended:?}");
        let shown = works(&["runs", "show", &format!("{dag}/{run_id}"), "-o", "json"]);
        run.holds(&serde_json::from_str(&shown).unwrap());
        works(&["runs", "show", &format!("{dag}/{run_id}")]);
    }
    works(&["dags", "graph", dag]);
}

impl Run {
    fn holds(&self, run: &Value) {
        assert_eq!(run["state"], self.state.as_str(), "{run:#}");
        let tasks = run["tasks"].as_array().unwrap();
        for (name, expected) in &self.tasks {
            let task = tasks.iter().find(|task| task["task_id"] == name.as_str()).unwrap();
            assert_eq!(task["state"], expected.state.as_str(), "{task:#}");
            if let Some(try_number) = expected.try_number {
                assert_eq!(task["try_number"], try_number, "{task:#}");
            }
            if let Some(output) = &expected.output {
                assert_eq!(task["result"], *output, "{task:#}");
            }
            for (member, value) in &expected.error {
                assert_eq!(task["error"][member], *value, "{member} of {task:#}");
            }
        }
        for (name, expected) in &self.mapped {
            let instances: Vec<&Value> = tasks.iter().filter(|task| task["task_id"] == name.as_str()).collect();
            assert_eq!(instances.len(), expected.instances, "{name}");
            let labels = instances.iter().take(expected.labels.len()).map(|task| &task["rendered_map_index"]);
            assert!(labels.eq(&expected.labels), "{name}: {instances:#?}");
        }
    }
}
