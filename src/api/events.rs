//! The change feed of everything: `GET /events`.

use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::model::{Outcome, RunId, TaskId, Timestamp};
use crate::store::{EventRecord, Happened};

use super::Api;
use super::extract::{Query, text};
use super::page::{self, List};
use super::problem::{Problem, ProblemBody};

/// Something that happened to a task or a run.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Event {
    /// Grows from event to event; not every number is used.
    seq: u64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Of a task: `submitted`, `ready`, `started`, `attempt_ended`, `ended`, `handed_back`, `rerun` or `marked`. Of a run:
    /// `run_queued`, `run_started`, `run_stopping`, `run_timed_out`, `run_cleared` or `run_ended`.
    event: &'static str,
    /// The run, or that of the task; null for a single task.
    #[schema(value_type = Option<String>, required)]
    run: Option<RunId>,
    /// Null where it happened to the run as a whole.
    #[schema(value_type = Option<String>, required)]
    task: Option<TaskId>,
    /// Null for a run.
    #[schema(required)]
    try_number: Option<u32>,
    /// The state afterwards, of the task or of the run.
    #[schema(value_type = String)]
    state: &'static str,
    #[schema(required)]
    outcome: Option<Outcome>,
    /// Who asked; null where the scheduler decided.
    #[schema(required)]
    by: Option<String>,
}

impl From<EventRecord> for Event {
    fn from(record: EventRecord) -> Self {
        let EventRecord { seq, at, run, happened, by } = record;
        match happened {
            Happened::Task { task, event, try_number, state, outcome } => {
                let (event, state) = (event.as_str(), state.as_str());
                Self { seq, at, event, run, task: Some(task), try_number: Some(try_number), state, outcome, by }
            }
            Happened::Run { event, state } => {
                let (event, state) = (event.as_str(), state.as_str());
                Self { seq, at, event, run, task: None, try_number: None, state, outcome: None, by }
            }
        }
    }
}

#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Shows what came after this `seq`. Default 0.
    #[serde(default, deserialize_with = "text")]
    after: Option<u64>,
    /// Default 50, at most 1 000.
    #[serde(default, deserialize_with = "text")]
    limit: Option<usize>,
    /// `next_cursor` of the page before, instead of `after`.
    cursor: Option<String>,
}

impl EventQuery {
    /// After which event the page begins, and how long it is at most.
    pub(super) fn place(&self) -> Result<(u64, usize), Problem> {
        let limit = page::limit(self.limit)?;
        let cursor = page::read_cursor(self.cursor.as_deref())?;
        let after = cursor.or(self.after).unwrap_or(0);
        if i64::try_from(after).is_err() {
            return Err(Problem::invalid("after", "it is larger than any seq", "take a seq from the feed"));
        }
        Ok((after, limit))
    }
}

/// Lists events, oldest first.
///
/// To follow the feed, ask again with the last `seq` as `after`.
#[utoipa::path(get, path = "/events", tag = "events", params(EventQuery),
    responses(
        (status = 200, description = "A page of events; `next_cursor` is null where there are no more yet.", body = List<Event>),
        (status = 422, description = "A parameter is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn list(api: State<Api>, Query(query): Query<EventQuery>) -> Result<axum::Json<List<Event>>, Problem> {
    let (after, limit) = query.place()?;
    let events = api.reads.run(move |r| r.events(after, limit)).await?;
    let next_cursor = events.last().filter(|_| events.len() == limit).map(|last| page::write_cursor(last.seq));
    Ok(axum::Json(List { items: events.into_iter().map(Event::from).collect(), next_cursor }))
}
