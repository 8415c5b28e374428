//! What happened to a run and its tasks: pages, or a stream that ends with the run.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::watch;

use crate::api::Api;
use crate::api::bounds::PAGE;
use crate::api::events::{Event, EventQuery};
use crate::api::extract::Query;
use crate::api::page::{self, List};
use crate::api::problem::{Problem, ProblemBody};
use crate::api::request_id::RequestId;
use crate::api::upload::{accepts_events, event};
use crate::coordinator::Readiness;
use crate::dag::Definition;
use crate::engine::RunEventKind;
use crate::model::{RunId, TaskName};
use crate::store::run_reads::RunEventRecord;
use crate::store::{Happened, ReadError};

use super::Id;
use super::read::find;

/// Something that happened to a run or to one of its tasks.
#[derive(Serialize, utoipa::ToSchema)]
pub struct RunEvent {
    #[serde(flatten)]
    event: Event,
    /// What the DAG calls the task; null where it happened to the run as a whole, or the task was taken back since.
    #[schema(value_type = Option<String>, required)]
    task_id: Option<TaskName>,
    /// Which instance of a mapped task; -1 where it is not mapped.
    #[schema(required)]
    map_index: Option<i64>,
}

impl RunEvent {
    fn of(record: RunEventRecord, definition: Option<&Definition>) -> Self {
        let RunEventRecord { event, node, map_index } = record;
        let task = node.zip(definition).and_then(|(node, definition)| definition.tasks.get(node as usize));
        let map_index = node.map(|_| map_index.map_or(-1, i64::from));
        Self { event: event.into(), task_id: task.map(|task| task.id.clone()), map_index }
    }
}

/// Between two looks for more events, however much is committed meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// Lists what happened to a run and its tasks, oldest first.
///
/// With `Accept: text/event-stream`, a stream of the same events, each with its `seq` as `id`, that ends after
/// `run_ended`; `Last-Event-ID` resumes it.
#[utoipa::path(get, path = "/runs/{id}/events", tag = "runs",
    params(("id" = String, Path, description = "`run_01J…`"), EventQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Of a stream: where it went on to.")),
    responses(
        (status = 200, description = "A page of events; `next_cursor` is null where there are no more yet.",
            content((List<RunEvent> = "application/json"), (RunEvent = "text/event-stream"))),
        (status = 404, description = "There is no such run.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn list(
    State(api): State<Api>,
    Id(id): Id,
    request_id: RequestId,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (after, limit) = query.place()?;
    let version = find(&api, id).await?.spec.version;
    let definition = api.definitions().get(&api.reads, version).await?;
    if !accepts_events(&headers) {
        let events = api.reads.run(move |reader| reader.run_events(id, after, limit)).await?;
        let next_cursor = events.last().filter(|_| events.len() == limit);
        let next_cursor = next_cursor.map(|last| page::write_cursor(last.event.seq));
        let items = events.into_iter().map(|record| RunEvent::of(record, definition.as_deref())).collect();
        return Ok(axum::Json(List { items, next_cursor }).into_response());
    }
    let after = last_event_id(&headers)?.unwrap_or(after);
    let (readiness, commits) = (api.readiness.clone(), api.coordinator.follow(id));
    let (found, is_over, goes_on) = (VecDeque::new(), false, false);
    let following = Following { api, run: id, definition, after, found, is_over, goes_on, commits, readiness };
    let events = stream::unfold((Some(following), request_id), |(following, request_id)| async move {
        let mut following = following?;
        match following.next().await {
            Ok(record) => {
                let record = record?;
                let id = record.event.seq.to_string();
                let shown = RunEvent::of(record, following.definition.as_deref());
                let data = serde_json::to_string(&shown).unwrap_or_default();
                let sent = sse::Event::default().id(id).data(data);
                Some((Ok::<_, Infallible>(sent), (Some(following), request_id)))
            }
            Err(error) => {
                let sent = event("problem", &Problem::from(error).body(&request_id));
                Some((Ok(sent), (None, request_id)))
            }
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let id = id.to_str().ok().and_then(|id| id.parse::<u64>().ok()).filter(|id| i64::try_from(*id).is_ok());
    let refused =
        || Problem::invalid("Last-Event-ID", "it is not a seq of the feed", "send the `id` of the last event");
    id.map(Some).ok_or_else(refused)
}

/// A run on its way to its end, seen through the store.
struct Following {
    api: Api,
    run: RunId,
    definition: Option<Arc<Definition>>,
    /// The last event that was read.
    after: u64,
    /// Read and not told yet.
    found: VecDeque<RunEventRecord>,
    /// The last event that was read is the end of the run.
    is_over: bool,
    /// The run had not ended when all events before were told.
    goes_on: bool,
    /// Tells when there is more.
    commits: watch::Receiver<()>,
    readiness: watch::Receiver<Readiness>,
}

impl Following {
    /// None: the run has ended, or the server is about to.
    async fn next(&mut self) -> Result<Option<RunEventRecord>, ReadError> {
        loop {
            if let Some(event) = self.found.pop_front() {
                return Ok(Some(event));
            }
            self.commits.mark_unchanged();
            // Before the events are read: the end of a run that is over by now is among them.
            let goes_on = self.goes_on().await?;
            let (run, after) = (self.run, self.after);
            let read = self.api.reads.run(move |reader| reader.run_events(run, after, PAGE.1)).await?;
            if let Some(last) = read.last() {
                self.after = last.event.seq;
                self.is_over = matches!(last.event.happened, Happened::Run { event: RunEventKind::Ended, .. });
                self.found.extend(read);
                continue;
            }
            if self.is_over || self.is_stopping() || !goes_on {
                return Ok(None);
            }
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                changed = self.commits.changed() => if changed.is_err() { return Ok(None) },
                changed = self.readiness.changed() => if changed.is_err() { return Ok(None) },
            }
        }
    }

    /// Whether there is more to come: the caller may have seen the end already. Asked once, because a run that
    /// goes on tells of its end.
    async fn goes_on(&mut self) -> Result<bool, ReadError> {
        if !self.goes_on {
            let run = self.run;
            let found = self.api.reads.run(move |reader| reader.run(run)).await?;
            self.goes_on = found.is_some_and(|record| !record.state.is_final());
        }
        Ok(self.goes_on)
    }

    fn is_stopping(&self) -> bool {
        *self.readiness.borrow() == Readiness::Stopping
    }
}
