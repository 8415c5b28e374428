//! Finds the task that an argument names: `task_…`, `DAG/RUN_ID/TASK`, or `DAG/RUN_ID/TASK[3]`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use super::runs;
use crate::client::{Client, ClientError, Problem, RunTask};
use crate::dag::finding::did_you_mean;
use crate::model::TaskName;

/// Of one page of the tasks of a run.
const PAGE: usize = 1000;

/// A task of a run as a whole, or one instance of a mapped one: `parse`, `parse[3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Which {
    task: TaskName,
    map_index: Option<u32>,
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (task, index) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            Some((task, index)) => (task, Some(index)),
            None => (text, None),
        };
        let map_index = index.map(str::parse).transpose();
        match (task.parse(), map_index) {
            (Ok(task), Ok(map_index)) => Ok(Self { task, map_index }),
            _ => Err("it is neither a task nor one instance of a mapped task; write parse, or parse[3]".to_owned()),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&runs::instance_name(self.task.as_str(), self.map_index.map_or(-1, i64::from)))
    }
}

impl Which {
    /// As the API has it: `"parse"`, `["parse", 3]`.
    pub(super) fn to_json(&self) -> Value {
        match self.map_index {
            None => json!(self.task),
            Some(index) => json!([self.task, index]),
        }
    }
}

/// A task, in either of the ways to name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NamedTask {
    Id(String),
    /// `run`: `run_…` or `DAG/RUN_ID`.
    OfRun {
        run: String,
        which: Which,
    },
}

impl FromStr for NamedTask {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((run, which)) = text.rsplit_once('/') else { return Ok(Self::Id(text.to_owned())) };
        if !run.contains('/') && !run.starts_with("run_") {
            return Err("it names no task; write DAG/RUN_ID/TASK, or the id of a task".to_owned());
        }
        Ok(Self::OfRun { run: run.to_owned(), which: which.parse()? })
    }
}

impl fmt::Display for NamedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::OfRun { run, which } => write!(f, "{run}/{which}"),
        }
    }
}

impl NamedTask {
    /// The id of the task. Whether there is a task of an id that was given, the server knows.
    pub(super) async fn id(&self, client: &Client) -> Result<String, ClientError> {
        let (run, which) = match self {
            Self::Id(id) => return Ok(id.clone()),
            Self::OfRun { run, which } => (run, which),
        };
        let run_id = runs::id_of(client, run).await?;
        let Instances { found, others } = instances(client, &run_id, which.task.as_str()).await?;
        let last = found.last().map_or(-1, |task| task.map_index);
        let (reason, remedy) = match (which.map_index, found.as_slice()) {
            (_, []) => {
                let guess = did_you_mean(which.task.as_str(), others.iter().map(String::as_str));
                (
                    "there is no such task".to_owned(),
                    guess.unwrap_or_else(|| format!("see `tradewind runs show {run}`")),
                )
            }
            (None, [task]) => return Ok(task.id.clone()),
            (None, _) => {
                (format!("it has {} instances", found.len()), format!("name one, as '{run}/{}[0]'", which.task))
            }
            (Some(index), _) => match found.iter().find(|task| task.map_index == i64::from(index)) {
                Some(task) => return Ok(task.id.clone()),
                None if last < 0 => ("it has no instances".to_owned(), format!("write {run}/{}", which.task)),
                None => (format!("its last instance is [{last}]"), "take a lower number".to_owned()),
            },
        };
        Err(ClientError::Refused(Box::new(Problem {
            status: 404,
            code: "not_found".to_owned(),
            thing: format!("task {which} of run {run}"),
            reason,
            remedy,
            ..Problem::default()
        })))
    }
}

/// What a run has of a task.
struct Instances {
    /// In the order of their map index.
    found: Vec<RunTask>,
    /// What the tasks are called that came before these; all, where none of these was found.
    others: BTreeSet<String>,
}

async fn instances(client: &Client, run: &str, task_id: &str) -> Result<Instances, ClientError> {
    let path = ["runs", run, "tasks"];
    let (mut found, mut others) = (Vec::new(), BTreeSet::new());
    let mut cursor = None;
    loop {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page = client.page(&path, query).await?;
        let tasks: Vec<RunTask> = client.read_items(&path, &page.items)?;
        let is_past = tasks.last().is_some_and(|task| task.task_id != task_id);
        for task in tasks {
            match task.task_id == task_id {
                true => found.push(task),
                false => drop(others.insert(task.task_id)),
            }
        }
        cursor = page.next_cursor;
        // The instances of a task stand together.
        if cursor.is_none() || (is_past && !found.is_empty()) {
            return Ok(Instances { found, others });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::extract::Query;
    use axum::routing::get;

    use super::*;
    use crate::client::stub;

    #[test]
    fn a_task_of_a_run_is_one_or_one_instance() {
        for (text, sent) in [("parse", json!("parse")), ("load.parse[3]", json!(["load.parse", 3]))] {
            let which: Which = text.parse().expect(text);
            assert_eq!((which.to_json(), which.to_string().as_str()), (sent, text));
        }
        for wrong in ["", "[3]", "parse[]", "parse[x]", "parse[-1]", "parse[3", "parse]", "parse[3][4]", "a b"] {
            let said = wrong.parse::<Which>().expect_err(wrong);
            assert!(said.contains("parse[3]"), "{said}");
        }
    }

    #[test]
    fn ids_and_names_are_told_apart() {
        let of_run = |run: &str, which: &str| NamedTask::OfRun {
            run: run.to_owned(),
            which: which.parse().expect("a task of a run"),
        };
        for (text, named) in [
            ("task_1", NamedTask::Id("task_1".to_owned())),
            ("etl/manual__2026-11-23T08:00:00+00:00/parse", of_run("etl/manual__2026-11-23T08:00:00+00:00", "parse")),
            ("run_1/parse[3]", of_run("run_1", "parse[3]")),
        ] {
            assert_eq!(text.parse(), Ok(named), "{text}");
        }
        for (wrong, said) in [("etl/parse", "DAG/RUN_ID/TASK"), ("etl/r/", "neither a task"), ("etl/r/a[b]", "neither")]
        {
            let error = wrong.parse::<NamedTask>().expect_err(wrong);
            assert!(error.contains(said), "{error}");
        }
    }

    #[tokio::test]
    async fn a_task_is_found_by_its_name_in_a_run() {
        async fn runs_of_dag() -> axum::Json<Value> {
            axum::Json(json!({"items": [runs::fixtures::run_json("success")], "next_cursor": null}))
        }
        /// A page for each task.
        async fn tasks(Query(query): Query<BTreeMap<String, String>>) -> axum::Json<Value> {
            let task = runs::fixtures::task_json;
            let (items, next) = match query.get("cursor").map(String::as_str) {
                None => (vec![task("extract", -1, "success")], Some("1")),
                Some("1") => (vec![task("parse", 0, "success"), task("parse", 1, "success")], Some("2")),
                _ => (vec![task("load", 0, "success")], None),
            };
            axum::Json(json!({"items": items, "next_cursor": next}))
        }
        let app = axum::Router::new()
            .route("/api/v1/dags/etl/runs", get(runs_of_dag))
            .route("/api/v1/runs/run_1/tasks", get(tasks));
        let client = Client::new(&stub::serve(app).await, None).expect("a client");
        for (named, found) in [
            ("task_7", Ok("task_7")),
            ("etl/nightly-7/extract", Ok("task_extract")),
            ("run_1/parse[1]", Ok("task_parse[1]")),
            ("run_1/load", Ok("task_load[0]")),
            ("run_1/parse", Err("it has 2 instances\n  to mend it: name one, as 'run_1/parse[0]'")),
            ("run_1/parse[2]", Err("its last instance is [1]")),
            ("run_1/extract[0]", Err("it has no instances\n  to mend it: write run_1/extract")),
            ("run_1/prase", Err("there is no such task\n  to mend it: did you mean `parse`?")),
        ] {
            let id = named.parse::<NamedTask>().expect(named).id(&client).await;
            match (id.map_err(|error| error.to_string()), found) {
                (Ok(id), Ok(found)) => assert_eq!(id, found, "{named}"),
                (Err(error), Err(said)) => assert!(error.contains(said), "{error}"),
                (id, _) => panic!("{named}: {id:?}"),
            }
        }
    }
}
