//! Follows a run to its end: as a picture on a terminal, else in lines.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::super::error::CliError;
use super::super::output::Output;
use super::super::text;
use super::failure::headline;
use super::lines::Lines;
use super::live::Live;
use super::show::graph;
use super::watch::Watch;
use super::{counts, result, why_queued};
use crate::client::{Answer, Client, ClientError, Run, RunEvent, RunTask};
use crate::model::{TaskState, Timestamp};

/// Between two pictures.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Between two lines that say how far a wide map is.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Between two questions how all tasks are, while events come.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Of the time, the part that may go into such questions is one over this: the tasks of a run may be a hundred thousand.
const ASK_SELDOM: u32 = 10;

/// Before a stream that has broken off is asked for again.
const PAUSE: Duration = Duration::from_millis(200);

/// Failures that are told at the end.
const MOST_FAILURES: usize = 5;

/// Where lines go that tell what happens. With `--output json` it is stderr always: stdout is for the run's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum LinesTo {
    Stdout,
    Stderr,
}

/// Shows `run` until it has ended, tells how, and fails where it has failed.
pub(in crate::cli) async fn follow(
    client: &Client,
    output: &Output,
    run: &Run,
    lines_to: LinesTo,
) -> Result<(), CliError> {
    if let Some(why) = why_queued(client, run).await? {
        eprintln!("run {} of {} is queued: {why}", text::line(&run.run_id), text::line(&run.dag_id));
    }
    let live = match output.is_terminal() && !output.is_json() {
        true => Some(Live::new(graph(client, run).await?)),
        false => None,
    };
    let lines_to = if output.is_json() { LinesTo::Stderr } else { lines_to };
    let (run, watch, lines) = (run.clone(), Watch::default(), Lines::default());
    let mut follower = Follower { client, output, run, watch, live, lines, lines_to, asked: None };
    let answer = follower.until_end().await?;
    if output.is_json() {
        output.json(&answer.json()?)?;
    }
    tell(&follower.run, follower.watch.tasks());
    result(follower.run.state)
}

/// Tells on stderr how a run has ended.
pub(in crate::cli) async fn tell_end(client: &Client, run: &Run) -> Result<(), CliError> {
    tell(run, &all_tasks(client, &run.id).await?);
    Ok(())
}

struct Follower<'a> {
    client: &'a Client,
    output: &'a Output,
    run: Run,
    watch: Watch,
    live: Option<Live>,
    lines: Lines,
    lines_to: LinesTo,
    /// When the server last said how all tasks are, and how long it took.
    asked: Option<(Instant, Duration)>,
}

impl Follower<'_> {
    async fn until_end(&mut self) -> Result<Answer, CliError> {
        self.ask().await?;
        let mut after = 0;
        loop {
            self.events(&mut after).await?;
            let answer = self.client.run(&self.run.id).await?;
            self.run = answer.read()?;
            if self.run.state.is_final() {
                self.ask().await?;
                self.draw()?;
                return Ok(answer);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Shows what the stream brings until it ends or breaks off.
    async fn events(&mut self, after: &mut u64) -> Result<(), CliError> {
        let mut events = self.client.run_events(&self.run.id, *after).await?;
        let mut ticks = tokio::time::interval(if self.live.is_some() { DRAW_EVERY } else { SAY_EVERY });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_changed = false;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Ok(Some(event)) => {
                        *after = event.seq;
                        has_changed = true;
                        self.take(&event).await?;
                    }
                    Ok(None) | Err(ClientError::Unreachable { .. }) => return Ok(()),
                    Err(error) => return Err(error.into()),
                },
                _ = ticks.tick() => {
                    let lines = self.lines.progress(&self.watch, Timestamp::now());
                    self.say(&lines)?;
                    if self.live.is_some() && has_changed && self.may_ask(ASK_EVERY) {
                        has_changed = false;
                        self.ask().await?;
                    }
                    self.draw()?;
                }
            }
        }
    }

    async fn take(&mut self, event: &RunEvent) -> Result<(), CliError> {
        // An event says of which task it is; the server, what else has come to be with it, and what that is called.
        if self.watch.is_news(event) && self.may_ask(Duration::ZERO) {
            self.ask().await?;
        }
        self.watch.take(event);
        if event.task.is_none() {
            // Of a newer server it may be a state that is not known here; the end is asked for anyway.
            self.run.state = event.state.parse().unwrap_or(self.run.state);
        }
        if self.live.is_some() {
            return Ok(());
        }
        if let Some(id) = self.watch.without_label(event).filter(|_| self.lines.names(event, &self.watch)) {
            match self.client.task(id).await {
                Ok(answer) => self.watch.set_label(id, answer.read::<RunTask>()?.rendered_map_index),
                // It has gone meanwhile, and a label is no reason to stop.
                Err(ClientError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let lines = self.lines.of(event, &self.watch);
        self.say(&lines)
    }

    fn say(&self, lines: &[String]) -> Result<(), CliError> {
        match self.lines_to {
            LinesTo::Stdout => lines.iter().try_for_each(|line| self.output.line(line)),
            LinesTo::Stderr => {
                lines.iter().for_each(|line| eprintln!("{line}"));
                Ok(())
            }
        }
    }

    fn may_ask(&self, at_least: Duration) -> bool {
        self.asked.is_none_or(|(at, took)| at.elapsed() >= at_least.max(took * ASK_SELDOM))
    }

    async fn ask(&mut self) -> Result<(), CliError> {
        let began = Instant::now();
        self.watch.replace(all_tasks(self.client, &self.run.id).await?);
        self.asked = Some((Instant::now(), began.elapsed()));
        Ok(())
    }

    fn draw(&mut self) -> Result<(), CliError> {
        match &mut self.live {
            Some(live) => live.draw(self.output, &self.run, self.watch.tasks(), Timestamp::now()),
            None => Ok(()),
        }
    }
}

async fn all_tasks(client: &Client, id: &str) -> Result<Vec<RunTask>, ClientError> {
    let items = client.run_tasks(id).await?;
    client.read_items(&["runs", id, "tasks"], &items)
}

/// On stderr.
fn tell(run: &Run, tasks: &[RunTask]) {
    eprintln!("{}", ending(run, tasks));
}

fn ending(run: &Run, tasks: &[RunTask]) -> String {
    let length = run.duration_ms.map(|ms| format!(" after {}", text::milliseconds(ms))).unwrap_or_default();
    let (name, dag) = (text::line(&run.run_id), text::line(&run.dag_id));
    let mut said = format!("run {name} of {dag} ended as {}{length}: {}", run.state, counts(tasks));
    let failed: Vec<&RunTask> = tasks.iter().filter(|task| task.state == TaskState::Failed).collect();
    for task in failed.iter().take(MOST_FAILURES) {
        let message = task.error.as_ref().map(|error| text::line(&error.message)).unwrap_or_default();
        said += &format!("\n  {}\n    {message}", headline(task));
    }
    if failed.len() > MOST_FAILURES {
        said += &format!("\n  and {} more", failed.len() - MOST_FAILURES);
    }
    if !failed.is_empty() {
        said += &format!("\nall about it: tradewind runs show {}", text::line(&run.id));
    }
    said
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::extract::{Query, State};
    use axum::routing::get;
    use serde_json::json;

    use super::super::fixtures;
    use super::*;
    use crate::cli::output::Format;
    use crate::client::stub;
    use crate::model::RunState;

    #[test]
    fn the_end_is_told_with_its_reasons() {
        let failed = json!({"outcome": "trapped", "duration_ms": 5.0, "error": {"message": "unreachable\nexecuted", "data": null, "exit_code": null}});
        let mut parse = fixtures::task_json("parse", 3, "failed");
        parse.as_object_mut().expect("an object").extend(failed.as_object().cloned().expect("an object"));
        let tasks = [fixtures::task("a", -1, "success"), serde_json::from_value(parse).expect("a task")];
        assert_eq!(
            ending(&fixtures::run("failed"), &tasks),
            "run nightly-7 of etl ended as failed after 12.00s: 1 success, 1 failed\n  \
             parse[3] failed: trapped, try 1, after 5.00ms\n    unreachable\\nexecuted\n\
             all about it: tradewind runs show run_1"
        );
        assert_eq!(
            ending(&fixtures::run("success"), &tasks[..1]),
            "run nightly-7 of etl ended as success after 12.00s: 1 success"
        );
    }

    /// A server whose first stream breaks off after one event.
    async fn events(
        State(streams): State<Arc<AtomicU32>>,
        Query(query): Query<std::collections::BTreeMap<String, String>>,
    ) -> impl axum::response::IntoResponse {
        let nth = streams.fetch_add(1, Ordering::SeqCst);
        assert_eq!(query["after"], ["0", "7"][nth as usize]);
        let event = |seq: u64, state: &str| {
            let at = "2026-11-23T08:15:30Z";
            json!({"seq": seq, "at": at, "event": "x", "run": "run_1", "task": null, "state": state, "outcome": null})
        };
        let (seq, state) = [(7, "running"), (9, "failed")][nth as usize];
        let body = format!(": alive\n\nid: {seq}\nevent: run\ndata: {}\n\n", event(seq, state));
        ([("content-type", "text/event-stream")], body)
    }

    #[tokio::test]
    async fn a_run_is_followed_over_a_broken_stream_to_its_end() {
        let streams = Arc::new(AtomicU32::new(0));
        let run = async |State(streams): State<Arc<AtomicU32>>| {
            let state = if streams.load(Ordering::SeqCst) < 2 { "running" } else { "failed" };
            axum::Json(fixtures::run_json(state))
        };
        let tasks =
            async || axum::Json(json!({"items": [fixtures::task_json("a", -1, "failed")], "next_cursor": null}));
        let app = axum::Router::new()
            .route("/api/v1/runs/run_1", get(run))
            .route("/api/v1/runs/run_1/tasks", get(tasks))
            .route("/api/v1/runs/run_1/events", get(events))
            .with_state(streams.clone());
        let client = Client::new(&stub::serve(app).await, None).expect("a client");
        let output = Output::new(Format::Json);
        let followed = follow(&client, &output, &fixtures::run("running"), LinesTo::Stdout).await;
        assert!(matches!(followed, Err(CliError::TaskFailed)), "{followed:?}");
        assert_eq!(streams.load(Ordering::SeqCst), 2);
        assert!(result(RunState::Success).is_ok());
    }
}
