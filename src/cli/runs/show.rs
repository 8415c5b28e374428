//! `tradewind runs show`: the graph with its states, the tasks, and what went wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::super::dags::{graph_of, show_drawing};
use super::super::error::CliError;
use super::super::graph::Drawing;
use super::super::output::Field;
use super::super::tasks::short_digest;
use super::super::{Context, drawing, refusal, text};
use super::{LinesTo, counts, failure, find, follow, instance_name, why_queued};
use crate::client::{Client, ClientError, Run, RunTask};
use crate::model::{Json, TaskState, Timestamp};

/// A mapped task with more instances is one row.
const MOST_INSTANCES: usize = 10;

/// Failures that are told in full.
const MOST_FAILURES: usize = 20;

const EXAMPLES: &str = "\
Examples:
  tradewind runs show run_01J…
  tradewind runs show etl/nightly-7 --follow    until it has ended
  tradewind runs show etl/nightly-7 --svg run.svg";

/// Show one run: its graph, its tasks, and all about each failure.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ShowCommand {
    /// The run, run_… or DAG/RUN_ID
    run: String,
    /// Show it until it has ended; exit code 1 when it has failed
    #[arg(long, short, conflicts_with_all = ["svg", "all"])]
    follow: bool,
    /// Every instance of mapped tasks in a row of its own
    #[arg(long)]
    all: bool,
    /// Write the graph as an SVG file instead, or - for stdout
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl ShowCommand {
    pub(super) async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let output = &context.output;
        let (object, run) = find(client, &self.run).await?;
        if self.follow {
            return follow(client, output, &run, LinesTo::Stdout).await;
        }
        let items = client.run_tasks(&run.id).await?;
        if output.is_json() && self.svg.is_none() {
            return output.json(&with_tasks(&object, &items)?);
        }
        let tasks: Vec<RunTask> = client.read_items(&["runs", &run.id, "tasks"], &items)?;
        let graph = graph(client, &run).await?;
        let tasks = in_order(&graph, tasks);
        let drawn = drawing::of_run(&graph, &tasks, Timestamp::now());
        if self.svg.is_some() {
            return show_drawing(output, &drawn, self.svg.as_deref());
        }
        let mut pairs = pairs(&run, &tasks);
        if let Some(why) = why_queued(client, &run).await? {
            let after_state = pairs.iter().position(|(name, _)| *name == "state").map_or(0, |place| place + 1);
            pairs.insert(after_state, ("waits", why.into()));
        }
        output.pairs(pairs)?;
        output.line("")?;
        output.bytes(output.drawing(&drawn).as_bytes())?;
        output.line("")?;
        output.table(&["TASK", "STATE", "TRY", "STARTED", "DURATION", "ID", ""], rows(&tasks, self.all))?;
        let failed: Vec<&RunTask> = tasks.iter().filter(|task| task.state == TaskState::Failed).collect();
        for task in failed.iter().take(MOST_FAILURES) {
            let log = match client.log(&task.id, None).await {
                Ok(lines) => Ok(lines),
                // One log that is gone is no reason to hide the rest.
                Err(ClientError::Refused(problem)) => Err(refusal::said(&problem)),
                Err(error) => return Err(error.into()),
            };
            output.line(&format!("\n{}", failure::failure(task, &log).trim_end()))?;
        }
        if failed.len() > MOST_FAILURES {
            let (more, id) = (failed.len() - MOST_FAILURES, text::line(&failed[MOST_FAILURES].id));
            output
                .line(&format!("\n{more} more have failed: --all lists them; tradewind tasks show {id} tells why"))?;
        }
        if let Some(task) = tasks.iter().rfind(|task| task.state == TaskState::Success) {
            eprintln!(
                "what a task returned and logged: tradewind tasks result {0}, tradewind tasks logs {0}",
                named(&run, task)
            );
        }
        Ok(())
    }
}

/// A task as other commands take it; in quotes where a shell would see a pattern in it.
fn named(run: &Run, task: &RunTask) -> String {
    let name = format!("{}/{}/{}", run.dag_id, run.run_id, instance_name(&task.task_id, task.map_index));
    let name = text::line(&name);
    if name.contains('[') { format!("'{name}'") } else { name }
}

/// The graph of the version that a run runs.
pub(super) async fn graph(client: &Client, run: &Run) -> Result<Drawing, CliError> {
    let answer = client.dag_version(&run.dag_id, Some(run.dag_version)).await?;
    Ok(drawing::of_definition(&graph_of(&answer)?))
}

/// Tasks as one comes after the other in the graph, the instances of each together.
fn in_order(graph: &Drawing, mut tasks: Vec<RunTask>) -> Vec<RunTask> {
    let places: BTreeMap<&str, usize> =
        graph.order().into_iter().enumerate().map(|(place, task)| (graph.tasks[task].id.as_str(), place)).collect();
    let place = |task: &RunTask| (places.get(task.task_id.as_str()).copied().unwrap_or(usize::MAX), task.map_index);
    tasks.sort_by_key(place);
    tasks
}

/// The run's object with its tasks under a key of their own.
fn with_tasks(object: &Json, tasks: &[Json]) -> Result<Json, CliError> {
    let whole = object.to_value().and_then(|mut whole| {
        whole["tasks"] = serde_json::to_value(tasks)?;
        Json::of(&whole)
    });
    whole.map_err(|error| CliError::Usage(format!("the run is too deeply nested to be shown with its tasks: {error}")))
}

fn pairs<'a>(run: &Run, tasks: &[RunTask]) -> Vec<(&'a str, Field)> {
    let object = |value: &Option<Json>| {
        let shown = value.as_ref().map(Json::as_str).filter(|text| !matches!(*text, "{}" | "null"));
        Field::or_dash(shown)
    };
    let interval = run.data_interval_start.zip(run.data_interval_end).map(|(start, end)| format!("{start} to {end}"));
    vec![
        ("id", run.id.as_str().into()),
        ("dag", format!("{} {}", run.dag_id, short_digest(&run.dag_version.to_string())).into()),
        ("run id", run.run_id.as_str().into()),
        ("state", Field::run_state(run.state)),
        ("tasks", counts(tasks).into()),
        ("type", run.run_type.into()),
        ("logical date", Field::or_dash(run.logical_date)),
        ("data interval", Field::or_dash(interval)),
        ("params", object(&run.params)),
        ("conf", object(&run.conf)),
        ("note", Field::or_dash(run.note.as_deref())),
        ("queued", run.queued_at.into()),
        ("started", Field::or_dash(run.start_date)),
        ("ended", Field::or_dash(run.end_date)),
        ("duration", Field::or_dash(run.duration_ms.map(text::milliseconds))),
    ]
}

fn rows(tasks: &[RunTask], all: bool) -> Vec<Vec<Field>> {
    let mut rows = Vec::new();
    for instances in tasks.chunk_by(|before, after| before.task_id == after.task_id) {
        if instances.len() > MOST_INSTANCES && !all {
            let state = drawing::whole(instances.iter().map(|instance| instance.state));
            rows.push(vec![
                format!("{} [0..{}]", instances[0].task_id, instances.len() - 1).into(),
                state.map_or_else(|| Field::or_dash(None::<&str>), Field::state),
                Field::or_dash(instances.iter().map(|instance| instance.try_number).max()),
                Field::or_dash(instances.iter().filter_map(|instance| instance.start_date).min()),
                Field::or_dash(whole_length(instances).map(text::duration)),
                Field::or_dash(None::<&str>),
                counts(instances).into(),
            ]);
            continue;
        }
        rows.extend(instances.iter().map(|task| {
            vec![
                instance_name(&task.task_id, task.map_index).into(),
                Field::state(task.state),
                task.try_number.into(),
                Field::or_dash(task.start_date),
                Field::or_dash(task.duration_ms.map(text::milliseconds)),
                task.id.as_str().into(),
                task.rendered_map_index.as_deref().unwrap_or_default().into(),
            ]
        }));
    }
    rows
}

/// From the first start to the last end, once all have ended.
fn whole_length(instances: &[RunTask]) -> Option<Duration> {
    let have_ended = instances.iter().all(|instance| instance.state.is_final());
    let start = instances.iter().filter_map(|instance| instance.start_date).min();
    let end = instances.iter().filter_map(|instance| instance.end_date).max();
    start.zip(end).filter(|_| have_ended).map(|(start, end)| end.since(start))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;
    use crate::cli::graph::DrawnTask;

    #[test]
    fn many_instances_are_one_row_unless_all_are_wanted() {
        let mut tasks = vec![fixtures::task("extract", -1, "success")];
        tasks
            .extend((0..12).map(|index| fixtures::task("parse", index, if index == 7 { "failed" } else { "success" })));
        assert_eq!(rows(&tasks, true).len(), 13);
        let few = rows(&tasks, false);
        assert_eq!(few.len(), 2);
        assert_eq!(few[1][0], Field::from("parse [0..11]"));
        assert_eq!(few[1][1], Field::state(TaskState::Failed));
        assert_eq!(few[1][6], Field::from("11 success, 1 failed"));
    }

    #[test]
    fn a_mapped_task_takes_from_its_first_start_to_its_last_end() {
        let instance = |index, start: &str, end: Option<&str>| RunTask {
            start_date: start.parse().ok(),
            end_date: end.and_then(|end| end.parse().ok()),
            ..fixtures::task("parse", index, if end.is_some() { "success" } else { "running" })
        };
        let first = instance(0, "2026-11-23T08:15:30Z", Some("2026-11-23T08:15:31Z"));
        let second = instance(1, "2026-11-23T08:15:30.5Z", Some("2026-11-23T08:15:33Z"));
        let skipped = fixtures::task("parse", 2, "skipped");
        let running = instance(3, "2026-11-23T08:15:32Z", None);
        let ended = [first, second, skipped];
        assert_eq!(whole_length(&ended), Some(Duration::from_secs(3)));
        assert_eq!(whole_length(&[ended.as_slice(), &[running]].concat()), None);
        assert_eq!(whole_length(&ended[2..]), None);
    }

    #[test]
    fn a_task_is_named_for_the_next_command() {
        let run = fixtures::run("success");
        assert_eq!(named(&run, &fixtures::task("load.copy", -1, "success")), "etl/nightly-7/load.copy");
        assert_eq!(named(&run, &fixtures::task("parse", 3, "success")), "'etl/nightly-7/parse[3]'");
    }

    #[test]
    fn tasks_stand_as_they_come_in_the_graph() {
        let drawn = |(id, upstream): (&str, &[usize])| DrawnTask {
            id: id.to_owned(),
            upstream: upstream.to_vec(),
            ..DrawnTask::default()
        };
        let graph = Drawing { tasks: [("a", &[1][..]), ("b", &[])].map(drawn).to_vec() };
        let tasks = [("a", 1), ("gone", -1), ("b", -1), ("a", 0)];
        let tasks = in_order(&graph, tasks.map(|(id, index)| fixtures::task(id, index, "success")).to_vec());
        let names: Vec<_> = tasks.iter().map(|task| instance_name(&task.task_id, task.map_index)).collect();
        assert_eq!(names, ["b", "a[0]", "a[1]", "gone"]);
    }

    #[test]
    fn a_program_gets_the_run_and_its_tasks_as_one_object() {
        let json = |value: serde_json::Value| Json::of(&value).expect("JSON");
        let tasks = [json(fixtures::task_json("a", -1, "success"))];
        let whole =
            with_tasks(&json(fixtures::run_json("success")), &tasks).unwrap_or_else(|error| panic!("{error:?}"));
        let whole = whole.to_value().expect("JSON");
        assert_eq!((&whole["state"], &whole["tasks"][0]["task_id"]), (&"success".into(), &"a".into()));
    }
}
