//! `tradewind runs`.

mod failure;
mod follow;
mod lines;
mod live;
mod show;
mod watch;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use super::each::Each;
use super::error::CliError;
use super::named::Which;
use super::output::Field;
use super::tasks::{PageArgs, pages};
use super::{Context, connect, text};
use crate::client::{Clear, Cleared, Client, ClientError, Dag, Problem, Run, RunTask};
use crate::model::{DagId, Json, RunState, TaskState};

pub(super) use follow::{LinesTo, follow, tell_end};

#[derive(Debug, Subcommand)]
pub(super) enum RunsCommand {
    List(ListCommand),
    Show(show::ShowCommand),
    Cancel(CancelCommand),
    Clear(ClearCommand),
    Note(NoteCommand),
}

/// List runs, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tradewind runs list --dag etl --state failed
  tradewind runs list --all --output json | jq -r '.items[].run_id'")]
pub(super) struct ListCommand {
    /// Only runs of this DAG
    #[arg(long, value_name = "NAME")]
    dag: Option<DagId>,
    /// Only runs in this state: queued, running, success, failed, cancelled
    #[arg(long)]
    state: Option<RunState>,
    #[command(flatten)]
    page: PageArgs,
}

/// Cancel runs; tasks that run are stopped at once, and no other starts.
#[derive(Debug, Args)]
pub(super) struct CancelCommand {
    /// The runs, run_… or DAG/RUN_ID
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
}

/// Run tasks of a run again, as if they had not run yet.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tradewind runs clear etl/nightly-7 --failed   run again what has failed
  tradewind runs clear run_01J… --task parse --downstream --dry-run
  tradewind runs clear etl/nightly-7 --task 'parse[3]'
                                                one instance of a mapped task")]
pub(super) struct ClearCommand {
    /// The run, run_… or DAG/RUN_ID
    run: String,
    /// Only this task, or one instance of a mapped one as parse[3]; may be repeated [default: all]
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<Which>,
    /// The tasks that come after those, too
    #[arg(long)]
    downstream: bool,
    /// The tasks that come before those, too
    #[arg(long)]
    upstream: bool,
    /// Only tasks that have failed
    #[arg(long)]
    failed: bool,
    /// Only show what would be cleared
    #[arg(long)]
    dry_run: bool,
}

/// Write a remark on a run, in place of the one before.
#[derive(Debug, Args)]
pub(super) struct NoteCommand {
    /// The run, run_… or DAG/RUN_ID
    run: String,
    /// The remark; an empty one takes it away
    text: String,
}

impl RunsCommand {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let client = connect::client(&context.loaded.settings)?;
        match self {
            Self::List(command) => command.run(context, &client).await,
            Self::Show(command) => command.run(context, &client).await,
            Self::Cancel(command) => command.run(context, &client).await,
            Self::Clear(command) => command.run(context, &client).await,
            Self::Note(command) => command.run(context, &client).await,
        }
    }
}

impl ListCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let mut query = Vec::new();
        query.extend(self.dag.map(|dag| ("dag_id", dag.to_string())));
        query.extend(self.state.map(|state| ("state", state.to_string())));
        let list = pages(client, &["runs"], query, &self.page).await?;
        if context.output.is_json() {
            return context.output.json_list(&list.items, list.next_cursor.as_deref());
        }
        let rows = list.read::<Run>()?.into_iter().map(|run| {
            vec![
                run.id.into(),
                run.dag_id.into(),
                run.run_id.into(),
                Field::run_state(run.state),
                run.run_type.into(),
                run.queued_at.into(),
                Field::or_dash(run.duration_ms.map(text::milliseconds)),
                run.note.unwrap_or_default().into(),
            ]
        });
        let header = ["ID", "DAG", "RUN ID", "STATE", "TYPE", "QUEUED", "DURATION", ""];
        context.output.table(&header, rows.collect())?;
        list.tell_of_more();
        Ok(())
    }
}

impl CancelCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let mut each = Each::default();
        for run in &self.runs {
            let Some(id) = each.of(run, id_of(client, run).await)? else { continue };
            match each.of(run, client.cancel_run(&id).await)? {
                Some(answer) if context.output.is_json() => context.output.json(&answer.json()?)?,
                Some(answer) => {
                    let now: Run = answer.read()?;
                    let state = if now.state.is_final() { now.state.as_str() } else { "is being cancelled" };
                    context.output.line(&format!("{} {state}", text::line(&now.id)))?;
                }
                None => {}
            }
        }
        each.end()
    }
}

impl ClearCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let id = id_of(client, &self.run).await?;
        let answer = client.clear_run(&id, &self.request()).await?;
        if context.output.is_json() {
            return context.output.json(&answer.json()?);
        }
        let cleared: Cleared = answer.read()?;
        let rows = cleared.cleared.iter().map(|task| {
            let name = instance_name(&task.task_id, task.map_index);
            vec![name.into(), Field::state(task.state), task.id.as_str().into()]
        });
        if !cleared.cleared.is_empty() {
            context.output.table(&["TASK", "WAS", "ID"], rows.collect())?;
        }
        let would = if cleared.dry_run { "would be " } else { "" };
        let run = text::line(&cleared.run.run_id);
        eprintln!(
            "{} {would}cleared; run {run} is {}",
            text::plural(cleared.cleared.len() as u64, "task"),
            cleared.run.state
        );
        Ok(())
    }

    fn request(&self) -> Clear {
        Clear {
            task_ids: (!self.tasks.is_empty()).then(|| self.tasks.iter().map(Which::to_json).collect()),
            only_failed: self.failed,
            include_downstream: self.downstream,
            include_upstream: self.upstream,
            dry_run: self.dry_run,
        }
    }
}

impl NoteCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let id = id_of(client, &self.run).await?;
        let answer = client.note_run(&id, &self.text).await?;
        if context.output.is_json() {
            return context.output.json(&answer.json()?);
        }
        eprintln!("noted on {}", text::line(&id));
        Ok(())
    }
}

/// The run that is meant by `run_…` or `DAG/RUN_ID`.
async fn find(client: &Client, named: &str) -> Result<(Json, Run), ClientError> {
    let Some((dag, run_id)) = named.split_once('/') else {
        let answer = client.run(named).await?;
        return Ok((answer.json()?, answer.read()?));
    };
    let item = client.find_run(dag, run_id).await?.ok_or_else(|| no_such_run(dag, run_id))?;
    let run = client.read_items(&["dags", dag, "runs"], std::slice::from_ref(&item))?.swap_remove(0);
    Ok((item, run))
}

/// The id of a run that is named in either way.
pub(super) async fn id_of(client: &Client, named: &str) -> Result<String, ClientError> {
    match named.contains('/') {
        true => Ok(find(client, named).await?.1.id),
        // The server knows whether there is such a run.
        false => Ok(named.to_owned()),
    }
}

fn no_such_run(dag: &str, run_id: &str) -> ClientError {
    ClientError::Refused(Box::new(Problem {
        status: 404,
        code: "not_found".to_owned(),
        thing: format!("run {run_id} of DAG {dag}"),
        reason: "there is no such run".to_owned(),
        remedy: format!("see `tradewind runs list --dag {dag}`"),
        ..Problem::default()
    }))
}

/// How the command ends that waited for a run.
pub(super) fn result(state: RunState) -> Result<(), CliError> {
    match state {
        RunState::Failed | RunState::Cancelled => Err(CliError::TaskFailed),
        RunState::Success | RunState::Queued | RunState::Running => Ok(()),
    }
}

/// `parse`, or `parse[3]` of a mapped one.
pub(super) fn instance_name(task_id: &str, map_index: i64) -> String {
    match map_index {
        ..0 => task_id.to_owned(),
        index => format!("{task_id}[{index}]"),
    }
}

/// `parse[3] (b.csv)`, with the label where there is one.
fn full_name(task: &RunTask) -> String {
    let name = instance_name(&task.task_id, task.map_index);
    match &task.rendered_map_index {
        Some(label) => format!("{name} ({label})"),
        None => name,
    }
}

/// What the tasks of a run are, in numbers.
fn counts<'a>(tasks: impl IntoIterator<Item = &'a RunTask>) -> String {
    let mut counts: BTreeMap<TaskState, usize> = BTreeMap::new();
    for task in tasks {
        *counts.entry(task.state).or_default() += 1;
    }
    say(&counts)
}

/// `7 success, 1 failed`, in the order of the states.
fn say(counts: &BTreeMap<TaskState, usize>) -> String {
    let said: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    said.join(", ")
}

/// Why a run that is queued does not begin, and what to do about it, where that is for people to do.
pub(super) async fn why_queued(client: &Client, run: &Run) -> Result<Option<String>, ClientError> {
    if run.state != RunState::Queued {
        return Ok(None);
    }
    let dag: Dag = match client.dag(&run.dag_id).await {
        Ok(answer) => answer.read()?,
        // Perhaps it was deleted since.
        Err(ClientError::Refused(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let name = text::line(&run.dag_id);
    Ok(dag.is_paused.then(|| format!("the DAG is paused; `tradewind dags unpause {name}` lets it begin")))
}

/// Runs and tasks for the tests of this directory.
#[cfg(test)]
pub(super) mod fixtures {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Digest;

    pub(in crate::cli) fn run_json(state: &str) -> Value {
        json!({"id": "run_1", "run_id": "nightly-7", "dag_id": "etl", "dag_version": Digest::of(b""), "state": state,
            "run_type": "manual", "logical_date": null, "queued_at": "2026-11-23T08:15:30Z",
            "start_date": "2026-11-23T08:15:30Z", "end_date": null, "duration_ms": 12_000.0,
            "conf": {}, "params": {"city": "Ames"}, "note": null})
    }

    pub(super) fn run(state: &str) -> Run {
        serde_json::from_value(run_json(state)).expect("a run")
    }

    pub(in crate::cli) fn task_json(task_id: &str, map_index: i64, state: &str) -> Value {
        json!({"id": format!("task_{}", instance_name(task_id, map_index)), "task_id": task_id,
            "map_index": map_index, "state": state, "try_number": 1})
    }

    pub(super) fn task(task_id: &str, map_index: i64, state: &str) -> RunTask {
        serde_json::from_value(task_json(task_id, map_index, state)).expect("a task")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::extract::Query;
    use axum::routing::{get, post};
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::stub;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        runs: RunsCommand,
    }

    fn clear(line: &str) -> Value {
        let words = ["runs", "clear"].into_iter().chain(line.split(' '));
        match Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).runs {
            RunsCommand::Clear(command) => json!(command.request()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_cleared_is_said_in_full() {
        assert_eq!(
            clear("run_1"),
            json!({"task_ids": null, "only_failed": false, "include_downstream": false, "include_upstream": false,
                "dry_run": false})
        );
        assert_eq!(
            clear("etl/r --task a --task load.b[3] --downstream --upstream --failed --dry-run"),
            json!({"task_ids": ["a", ["load.b", 3]], "only_failed": true, "include_downstream": true,
                "include_upstream": true, "dry_run": true})
        );
    }

    #[tokio::test]
    async fn a_run_is_found_by_its_id_and_by_its_name() {
        async fn of_dag(Query(query): Query<BTreeMap<String, String>>) -> axum::Json<Value> {
            let runs = if query["run_id"] == "nightly-7" { vec![fixtures::run_json("running")] } else { Vec::new() };
            axum::Json(json!({"items": runs, "next_cursor": null}))
        }
        async fn note(body: axum::Json<Value>) -> axum::Json<Value> {
            assert_eq!(body.0, json!({"note": "looked at"}));
            axum::Json(fixtures::run_json("running"))
        }
        async fn cleared(body: axum::Json<Value>) -> axum::Json<Value> {
            assert_eq!(body.0["only_failed"], json!(true));
            let task = json!({"task_id": "parse", "map_index": 3, "id": "task_1", "state": "failed"});
            axum::Json(json!({"dry_run": false, "cleared": [task], "run": fixtures::run_json("running")}))
        }
        let app = axum::Router::new()
            .route("/api/v1/dags/etl/runs", get(of_dag))
            .route("/api/v1/runs/run_1", get(async || axum::Json(fixtures::run_json("failed"))).patch(note))
            .route("/api/v1/runs/run_1/clear", post(cleared));
        let client = Client::new(&stub::serve(app).await, None).expect("a client");

        assert_eq!(find(&client, "run_1").await.expect("a run").1.state, RunState::Failed);
        assert_eq!(id_of(&client, "etl/nightly-7").await.expect("a run"), "run_1");
        assert_eq!(id_of(&client, "run_x").await.expect("not looked for"), "run_x");
        let missing = find(&client, "etl/other").await.expect_err("no run").to_string();
        assert!(missing.contains("run other of DAG etl"), "{missing}");

        client.note_run("run_1", "looked at").await.expect("noted");
        let request = Clear { only_failed: true, ..Clear::default() };
        let cleared: Cleared = client.clear_run("run_1", &request).await.expect("cleared").read().expect("what");
        assert_eq!((cleared.cleared.len(), cleared.run.state), (1, RunState::Running));
    }

    #[test]
    fn states_are_counted() {
        let tasks =
            [("a", "success"), ("b", "failed"), ("c", "success")].map(|(id, state)| fixtures::task(id, -1, state));
        assert_eq!(counts(&tasks), "2 success, 1 failed");
        assert_eq!([instance_name("a", -1), instance_name("a", 0)], ["a", "a[0]"]);
    }
}
