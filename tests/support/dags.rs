//! DAGs whose tasks are those of the test guests: applied, triggered, and seen to their end.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{Answer, Client, send};
use super::poll;

/// A DAG file: `dag(&module, "etl", "tasks: …")`. What is written indented is moved to the margin. Where a task is
/// tried again, the test does not wait for it.
pub fn dag(module: &str, dag_id: &str, rest: &str) -> String {
    let lines = || rest.lines().filter(|line| !line.trim().is_empty());
    let margin = lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let rest: String = lines().map(|line| format!("{}\n", &line[margin..])).collect();
    format!("dag_id: {dag_id}\ndefault_args: {{module: \"{module}\", retry_delay: 1ms}}\n{rest}")
}

/// A run and its tasks, as they are shown.
#[derive(Debug)]
pub struct Run {
    pub run: Value,
    pub tasks: Vec<Value>,
}

impl Run {
    pub fn id(&self) -> &str {
        self.run["id"].as_str().expect("a run has an id")
    }

    pub fn state(&self) -> &str {
        self.run["state"].as_str().expect("a run has a state")
    }

    pub fn has_ended(&self) -> bool {
        !matches!(self.state(), "queued" | "running")
    }

    /// By their map index. Of a task that is not mapped, the one there is.
    pub fn instances(&self, task: &str) -> Vec<&Value> {
        let found: Vec<&Value> = self.tasks.iter().filter(|shown| shown["task_id"] == task).collect();
        assert!(!found.is_empty(), "no task `{task}` in {self:#?}");
        found
    }

    pub fn task(&self, task: &str) -> &Value {
        let found = self.instances(task);
        assert_eq!(found.len(), 1, "`{task}` has several instances");
        found[0]
    }

    pub fn instance(&self, task: &str, map_index: i64) -> &Value {
        let found = self.instances(task).into_iter().find(|shown| shown["map_index"] == map_index);
        found.unwrap_or_else(|| panic!("`{task}` has no instance {map_index}"))
    }

    pub fn output(&self, task: &str) -> &Value {
        &self.task(task)["result"]
    }

    /// A member of every instance of the task.
    pub fn each(&self, task: &str, member: &str) -> Value {
        json!(self.instances(task).iter().map(|shown| &shown[member]).collect::<Vec<_>>())
    }

    /// A member of every task: `{"extract": "success", "parse": ["success", "failed"]}`.
    pub fn all(&self, member: &str) -> Value {
        let mut all = Map::new();
        for task in &self.tasks {
            let name = task["task_id"].as_str().expect("a task of a run has a name").to_owned();
            let shown = task[member].clone();
            if task["map_index"] == -1 {
                assert_eq!(all.insert(name, shown), None, "{task} is there twice");
            } else {
                let list = all.entry(name).or_insert_with(|| json!([]));
                list.as_array_mut().expect("a task is mapped or not").push(shown);
            }
        }
        Value::Object(all)
    }

    pub fn states(&self) -> Value {
        self.all("state")
    }

    pub fn tries(&self) -> Value {
        self.all("try_number")
    }

    #[track_caller]
    pub fn ended(self, state: &str) -> Self {
        let told: Vec<Value> =
            self.tasks.iter().map(|task| json!([task["task_id"], task["state"], task["error"]["message"]])).collect();
        assert_eq!(self.state(), state, "{}\n{}", self.run, json!(told));
        self
    }
}

impl Client {
    /// Sends a DAG file to the address that it names in its first line.
    pub async fn put_dag(&self, file: &str, query: &str) -> Answer {
        let name = file.lines().next().and_then(|line| line.strip_prefix("dag_id: ")).expect("a DAG has an id");
        send(self.request(Method::PUT, &format!("/api/v1/dags/{name}{query}")).body(file.to_owned())).await.unwrap()
    }

    /// Sends a DAG file that must be accepted.
    pub async fn apply(&self, file: &str) -> Value {
        let answer = self.put_dag(file, "").await;
        assert!(matches!(answer.status, 200 | 201), "{}\n{file}", answer.text());
        answer.json()
    }

    /// `query` is `?wait=1s`, or nothing.
    pub async fn trigger(&self, dag: &str, body: &Value, query: &str) -> Answer {
        self.post(&format!("/api/v1/dags/{dag}/runs{query}"), body.to_string()).await.unwrap()
    }

    /// Triggers a run that must be accepted, and returns its id.
    pub async fn begin(&self, dag: &str, body: Value) -> String {
        let run = self.trigger(dag, &body, "").await.expect(201);
        run["id"].as_str().expect("a run has an id").to_owned()
    }

    /// Triggers a run, and returns it as it has ended.
    pub async fn run_dag(&self, dag: &str, conf: Value) -> Run {
        let run = self.begin(dag, json!({ "conf": conf })).await;
        self.end_of_run(&run).await
    }

    pub async fn run_now(&self, id: &str) -> Run {
        // The run first: what has ended has all its tasks.
        let run = self.json(&format!("/api/v1/runs/{id}")).await;
        Run { run, tasks: self.all_items(&format!("/api/v1/runs/{id}/tasks")).await }
    }

    /// The run once it is as asked.
    pub async fn run_when(&self, id: &str, is_so: impl Fn(&Run) -> bool) -> Run {
        poll(&format!("run {id}"), async || Some(self.run_now(id).await).filter(&is_so)).await
    }

    /// The run once it has ended.
    pub async fn end_of_run(&self, id: &str) -> Run {
        let has_ended = async || {
            let run = self.json(&format!("/api/v1/runs/{id}")).await;
            (!matches!(run["state"].as_str(), Some("queued" | "running"))).then_some(())
        };
        poll(&format!("the end of run {id}"), has_ended).await;
        self.run_now(id).await
    }

    /// The run once this task of it is in this state.
    pub async fn run_when_task(&self, id: &str, task: &str, state: &str) -> Run {
        self.run_when(id, |run| run.task(task)["state"] == state).await
    }

    /// All pages of a list.
    pub async fn all_items(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        let mark = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self.json(&format!("{path}{mark}limit=1000{cursor}")).await;
            items.extend(page["items"].as_array().expect("a list").iter().cloned());
            let Some(next) = page["next_cursor"].as_str() else { return items };
            cursor = format!("&cursor={next}");
        }
    }

    pub async fn cancel_run(&self, id: &str) -> Answer {
        self.post(&format!("/api/v1/runs/{id}/cancel"), "").await.unwrap()
    }

    /// Clears tasks of a run, and returns what the answer says.
    pub async fn clear(&self, id: &str, what: Value) -> Value {
        self.post(&format!("/api/v1/runs/{id}/clear"), what.to_string()).await.unwrap().expect(200)
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::PATCH, path).body(body.to_string())).await.unwrap()
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::PUT, path).body(body.to_string())).await.unwrap()
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await.unwrap()
    }
}
