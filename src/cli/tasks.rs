//! `tradewind tasks`.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::each::Each;
use super::error::CliError;
use super::follow::{self, LogPrinter};
use super::named::NamedTask;
use super::output::Field;
use super::run::label;
use super::{Context, connect, text};
use crate::client::{Call, Client, ClientError, Task};
use crate::model::{Grants, Json, Outcome, TaskState};

/// The most that one page holds.
const PAGE: usize = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum TasksCommand {
    List(ListCommand),
    Show(ShowCommand),
    Logs(LogsCommand),
    Result(ResultCommand),
    Attempts(AttemptsCommand),
    Events(EventsCommand),
    Cancel(CancelCommand),
    Rerun(RerunCommand),
    Mark(MarkCommand),
}

/// List tasks, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tradewind tasks list --state failed --limit 10
  tradewind tasks list --label team=a --all --output json | jq -r '.items[].id'")]
pub(super) struct ListCommand {
    /// Only tasks in this state: queued, running, success, failed …
    #[arg(long)]
    state: Option<TaskState>,
    /// Only tasks whose last attempt ended so: success, failed, timed_out …
    #[arg(long)]
    outcome: Option<Outcome>,
    /// Only tasks of this module: sha256:… or name:tag
    #[arg(long)]
    module: Option<String>,
    /// Only tasks of this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only tasks with this label, as in team=a
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Option<(String, String)>,
    #[command(flatten)]
    page: PageArgs,
}

/// How much of a list.
#[derive(Debug, Args)]
pub(super) struct PageArgs {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Go on where an earlier list ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Show one task.
#[derive(Debug, Args)]
pub(super) struct ShowCommand {
    /// The task, task_… or DAG/RUN_ID/TASK, of a mapped one DAG/RUN_ID/TASK[3]
    task: NamedTask,
}

/// Print the log of a task.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tradewind tasks logs task_01J… --follow
  tradewind tasks logs etl/nightly-7/extract --try 1
  tradewind tasks logs 'etl/nightly-7/parse[3]'")]
pub(super) struct LogsCommand {
    /// The task, task_… or DAG/RUN_ID/TASK, of a mapped one DAG/RUN_ID/TASK[3]
    task: NamedTask,
    /// The log of this try [default: the last]
    #[arg(long = "try", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    try_number: Option<u32>,
    /// Go on until the task has ended
    #[arg(long, short, conflicts_with = "try_number")]
    follow: bool,
}

/// Print the result of a task.
#[derive(Debug, Args)]
pub(super) struct ResultCommand {
    /// The task, task_… or DAG/RUN_ID/TASK, of a mapped one DAG/RUN_ID/TASK[3]
    task: NamedTask,
}

/// List the attempts of a task.
#[derive(Debug, Args)]
pub(super) struct AttemptsCommand {
    /// The task, task_… or DAG/RUN_ID/TASK, of a mapped one DAG/RUN_ID/TASK[3]
    task: NamedTask,
}

/// List what happened to a task.
#[derive(Debug, Args)]
pub(super) struct EventsCommand {
    /// The task, task_… or DAG/RUN_ID/TASK, of a mapped one DAG/RUN_ID/TASK[3]
    task: NamedTask,
}

/// Cancel tasks; one that runs is stopped at once.
#[derive(Debug, Args)]
pub(super) struct CancelCommand {
    /// The tasks, each task_… or DAG/RUN_ID/TASK, of a mapped one DAG/RUN_ID/TASK[3]
    #[arg(required = true, value_name = "TASK")]
    tasks: Vec<NamedTask>,
}

/// Run ended tasks again.
#[derive(Debug, Args)]
pub(super) struct RerunCommand {
    /// The tasks, each task_… or DAG/RUN_ID/TASK, of a mapped one DAG/RUN_ID/TASK[3]
    #[arg(required = true, value_name = "TASK")]
    tasks: Vec<NamedTask>,
}

/// Say how a task ended, whatever it did: what waits for it goes on by that.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tradewind tasks mark task_01J… success --note 'loaded by hand'
  tradewind tasks mark etl/nightly-7/load skipped")]
pub(super) struct MarkCommand {
    /// The task, task_… or DAG/RUN_ID/TASK, of a mapped one DAG/RUN_ID/TASK[3]
    task: NamedTask,
    /// How it ended
    state: MarkedState,
    /// A remark for people
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum MarkedState {
    Success,
    Failed,
    Skipped,
}

impl TasksCommand {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let client = connect::client(&context.loaded.settings)?;
        match self {
            Self::List(command) => command.run(context, &client).await,
            Self::Show(command) => command.run(context, &client).await,
            Self::Logs(command) => command.run(context, &client).await,
            Self::Result(command) => command.run(context, &client).await,
            Self::Attempts(command) => command.run(context, &client).await,
            Self::Events(command) => command.run(context, &client).await,
            Self::Cancel(command) => steer(context, &client, &command.tasks, "cancel").await,
            Self::Rerun(command) => steer(context, &client, &command.tasks, "rerun").await,
            Self::Mark(command) => command.run(context, &client).await,
        }
    }
}

impl ListCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let mut query = Vec::new();
        query.extend(self.state.map(|state| ("state", state.to_string())));
        query.extend(self.outcome.map(|outcome| ("outcome", outcome.to_string())));
        query.extend(self.module.map(|module| ("module", module)));
        query.extend(self.queue.map(|queue| ("queue", queue)));
        query.extend(self.label.map(|(key, value)| ("label", format!("{key}:{value}"))));
        let list = pages(client, &["tasks"], query, &self.page).await?;
        if context.output.is_json() {
            return context.output.json_list(&list.items, list.next_cursor.as_deref());
        }
        let rows = list.read::<Task>()?.into_iter().map(|task| {
            let name = name(&task);
            vec![
                task.id.into(),
                Field::state(task.state),
                Field::or_dash(task.outcome),
                task.try_number.into(),
                task.function.into(),
                short_digest(&task.module).into(),
                task.queued_at.into(),
                Field::or_dash(task.duration_ms.map(text::milliseconds)),
                Field::or_dash(name),
            ]
        });
        let header = ["ID", "STATE", "OUTCOME", "TRY", "FUNCTION", "MODULE", "QUEUED", "DURATION", "NAME"];
        context.output.table(&header, rows.collect())?;
        list.tell_of_more();
        Ok(())
    }
}

impl ShowCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let answer = client.task(&self.task.id(client).await?).await?;
        if context.output.is_json() {
            return context.output.json(&answer.json()?);
        }
        let task: Task = answer.read()?;
        let labels: Vec<String> = task.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut pairs = vec![("id", task.id.clone().into())];
        if let Some(name) = name(&task) {
            let label = task.rendered_map_index.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
            pairs.push(("name", format!("{name}{label}").into()));
        }
        pairs.extend([
            ("state", Field::state(task.state)),
            ("outcome", Field::or_dash(task.outcome)),
            ("try", task.try_number.into()),
            ("module", task.module.into()),
            ("function", task.function.into()),
            ("arguments", Field::or_dash((!task.args.is_empty()).then(|| task.args.join(" ")))),
            ("grants", Field::or_dash(granted(task.grants.as_ref()))),
            ("queue", task.queue.into()),
            ("labels", Field::or_dash((!labels.is_empty()).then(|| labels.join(", ")))),
            ("queued", task.queued_at.into()),
            ("started", Field::or_dash(task.start_date)),
            ("ended", Field::or_dash(task.end_date)),
            ("duration", Field::or_dash(task.duration_ms.map(text::milliseconds))),
        ]);
        pairs.extend(task.note.map(|note| ("note", note.into())));
        if let Some(usage) = task.usage {
            pairs.push(("processor", text::milliseconds(usage.cpu_us as f64 / 1e3).into()));
            pairs.push(("peak memory", text::size(usage.peak_memory_bytes).into()));
            pairs.push(("log", text::size(usage.log_bytes).into()));
            pairs.push((
                "host",
                format!("{}, {}", text::size(usage.host_bytes), text::plural(usage.host_calls, "call")).into(),
            ));
        }
        if let Some(kept) = task.result_ref {
            pairs.push(("result", format!("{}, {}", text::size(kept.bytes), kept.digest).into()));
        } else if let Some(result) = task.result.filter(|_| task.state == TaskState::Success) {
            pairs.push(("result", result.as_str().into()));
        }
        if let Some(error) = task.error {
            pairs.push(("error", error.message.into()));
            pairs.extend(error.data.map(|data| ("error data", data.as_str().into())));
            pairs.extend(error.exit_code.map(|code| ("exit code", code.into())));
            pairs.extend(error.denied_calls.into_iter().map(|call| ("denied", call.into())));
            pairs.extend(error.backtrace.into_iter().map(|frame| ("at", frame.into())));
        }
        context.output.pairs(pairs)
    }
}

/// `etl/nightly-7/parse[3]`, by which every command finds it; none for a single task.
fn name(task: &Task) -> Option<String> {
    let (dag_id, run_id, task_id) = (task.dag_id.as_ref()?, task.run_id.as_ref()?, task.task_id.as_ref()?);
    let instance = super::runs::instance_name(task_id, task.map_index.unwrap_or(-1));
    Some(format!("{dag_id}/{run_id}/{instance}"))
}

/// What a task was granted, on one line. The values of its environment are not shown.
pub(super) fn granted(grants: Option<&Grants>) -> Option<String> {
    let grants = grants.filter(|grants| !grants.is_empty())?;
    let http = grants.http.iter().map(|grant| {
        let ports = grant.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let private = if grant.private_addresses { " (private too)" } else { "" };
        format!("http {}:{ports}{private}", grant.host)
    });
    let env = grants.env.keys().map(|key| format!("env {key}"));
    let scratch = grants.scratch.iter().map(|scratch| format!("scratch {}", text::size(scratch.bytes)));
    Some(http.chain(env).chain(scratch).collect::<Vec<_>>().join(", "))
}

impl LogsCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let print = |line: &crate::client::LogLine| match context.output.is_json() {
            true => context.output.line(
                &serde_json::json!({ "seq": line.seq, "at": line.at, "stream": line.stream,
                                     "level": line.level, "message": line.message })
                .to_string(),
            ),
            false => context.output.line(&follow::log_line(line)),
        };
        let id = self.task.id(client).await?;
        if !self.follow {
            return client.log(&id, self.try_number).await?.iter().try_for_each(print);
        }
        let mut log = LogPrinter::new(client, &id, 1);
        loop {
            let task: Task = client.task(&id).await?.read()?;
            log.catch_up(&task, &mut { print }).await?;
            if task.state.is_final() {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}

impl ResultCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let answer = client.call(Call::get(&["tasks", &self.task.id(client).await?, "result"])).await?;
        context.output.value(&answer.json()?)
    }
}

/// One attempt, as far as the table shows it.
#[derive(Deserialize)]
struct AttemptRow {
    try_number: u32,
    state: Option<String>,
    outcome: Option<Outcome>,
    start_date: Option<String>,
    end_date: Option<String>,
    duration_ms: Option<f64>,
    error: Option<crate::model::TaskError>,
}

impl AttemptsCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let list = whole(client, &["tasks", &self.task.id(client).await?, "attempts"]).await?;
        if context.output.is_json() {
            return context.output.json_list(&list.items, list.next_cursor.as_deref());
        }
        let rows = list.read::<AttemptRow>()?.into_iter().map(|row| {
            vec![
                row.try_number.into(),
                Field::or_dash(row.outcome.map(|outcome| outcome.to_string()).or(row.state)),
                Field::or_dash(row.start_date),
                Field::or_dash(row.end_date),
                Field::or_dash(row.duration_ms.map(text::milliseconds)),
                Field::or_dash(row.error.map(|error| error.message)),
            ]
        });
        context.output.table(&["TRY", "OUTCOME", "STARTED", "ENDED", "DURATION", "ERROR"], rows.collect())?;
        list.tell_of_more();
        Ok(())
    }
}

/// One event, as far as the table shows it.
#[derive(Deserialize)]
struct EventRow {
    seq: u64,
    at: String,
    event: String,
    try_number: Option<u32>,
    state: Option<String>,
    outcome: Option<String>,
    by: Option<String>,
}

impl EventsCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let list = whole(client, &["tasks", &self.task.id(client).await?, "events"]).await?;
        if context.output.is_json() {
            return context.output.json_list(&list.items, list.next_cursor.as_deref());
        }
        let rows = list.read::<EventRow>()?.into_iter().map(|row| {
            vec![
                row.seq.into(),
                row.at.into(),
                row.event.into(),
                Field::or_dash(row.try_number),
                Field::or_dash(row.state),
                Field::or_dash(row.outcome),
                Field::or_dash(row.by),
            ]
        });
        context.output.table(&["SEQ", "AT", "EVENT", "TRY", "STATE", "OUTCOME", "BY"], rows.collect())?;
        list.tell_of_more();
        Ok(())
    }
}

/// Cancels or reruns several tasks.
async fn steer(context: &Context, client: &Client, tasks: &[NamedTask], verb: &str) -> Result<(), CliError> {
    let mut each = Each::default();
    for task in tasks {
        let named = task.to_string();
        let Some(id) = each.of(&named, task.id(client).await)? else { continue };
        match each.of(&named, client.call(Call::post(&["tasks", &id, verb])).await)? {
            Some(answer) if context.output.is_json() => context.output.json(&answer.json()?)?,
            Some(answer) => {
                let task: Task = answer.read()?;
                context.output.line(&format!("{} {}", text::line(&task.id), task.state))?;
            }
            None => {}
        }
    }
    each.end()
}

impl MarkCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let state = match self.state {
            MarkedState::Success => TaskState::Success,
            MarkedState::Failed => TaskState::Failed,
            MarkedState::Skipped => TaskState::Skipped,
        };
        let answer = client.mark_task(&self.task.id(client).await?, state, self.note.as_deref()).await?;
        if context.output.is_json() {
            return context.output.json(&answer.json()?);
        }
        let task: Task = answer.read()?;
        context.output.line(&format!("{} {}", text::line(&task.id), task.state))
    }
}

/// A list, as much of it as was asked for.
pub(super) struct List {
    pub(super) items: Vec<Json>,
    pub(super) next_cursor: Option<String>,
    base: String,
}

impl List {
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, ClientError> {
        let read = |item: &Json| {
            serde_json::from_str(item.as_str()).map_err(|error| ClientError::NotUnderstood {
                base: self.base.clone(),
                call: "a list".to_owned(),
                reason: error.to_string(),
            })
        };
        self.items.iter().map(read).collect()
    }

    pub(super) fn tell_of_more(&self) {
        if let Some(cursor) = &self.next_cursor {
            eprintln!("there are more: --all, or --cursor {}", text::line(cursor));
        }
    }
}

/// A list that comes as one page.
pub(super) async fn whole(client: &Client, path: &[&str]) -> Result<List, ClientError> {
    let page = client.page(path, Vec::new()).await?;
    Ok(List { items: page.items, next_cursor: page.next_cursor, base: client.base().to_string() })
}

/// Follows a list from page to page until there is enough of it.
pub(super) async fn pages(
    client: &Client,
    path: &[&str],
    query: Vec<(&str, String)>,
    asked: &PageArgs,
) -> Result<List, ClientError> {
    let enough = if asked.all { usize::MAX } else { asked.limit as usize };
    let mut list = List { items: Vec::new(), next_cursor: asked.cursor.clone(), base: client.base().to_string() };
    loop {
        let missing = enough - list.items.len();
        let mut query = query.clone();
        query.push(("limit", missing.min(PAGE).to_string()));
        query.extend(list.next_cursor.take().map(|cursor| ("cursor", cursor)));
        let page = client.page(path, query).await?;
        // Where few match a filter, a page may be empty and yet not the last.
        list.items.extend(page.items.into_iter().take(missing));
        list.next_cursor = page.next_cursor;
        if list.next_cursor.is_none() || list.items.len() >= enough {
            return Ok(list);
        }
    }
}

/// `sha256:9f86d081884c`: enough to tell modules of one server apart.
pub(super) fn short_digest(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

#[cfg(test)]
mod tests {
    use axum::routing::patch;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::stub;

    #[tokio::test]
    async fn a_task_is_marked_with_a_note_or_without() {
        async fn mark(body: axum::Json<Value>) -> axum::Json<Value> {
            body
        }
        let app = axum::Router::new().route("/api/v1/tasks/task_1", patch(mark));
        let client = Client::new(&stub::serve(app).await, None).expect("a client");
        for (note, sent) in
            [(Some("by hand"), json!({"state": "success", "note": "by hand"})), (None, json!({"state": "success"}))]
        {
            let answer = client.mark_task("task_1", TaskState::Success, note).await.expect("marked");
            assert_eq!(answer.read::<Value>().expect("what was sent"), sent);
        }
    }
}
