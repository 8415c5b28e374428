//! The change feed of everything: `GET /events`.

use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::model::{Outcome, TaskId, TaskState, Timestamp};
use crate::store::EventRecord;

use super::Api;
use super::extract::{Query, text};
use super::page::{self, List};
use super::problem::{Problem, ProblemBody};

/// Something that happened to a task.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Event {
    /// Grows from event to event; not every number is used.
    seq: u64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `submitted`, `ready`, `started`, `attempt_ended`, `ended`, `handed_back` or `rerun`.
    event: &'static str,
    #[schema(value_type = String)]
    task: TaskId,
    try_number: u32,
    /// The state afterwards.
    state: TaskState,
    outcome: Option<Outcome>,
    /// Who asked; null where the scheduler decided.
    by: Option<String>,
}

impl From<EventRecord> for Event {
    fn from(record: EventRecord) -> Self {
        let EventRecord { seq, at, event, task, try_number, state, outcome, by } = record;
        Self { seq, at, event: event.as_str(), task, try_number, state, outcome, by }
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

/// Lists events, oldest first.
///
/// To follow the feed, ask again with the last `seq` as `after`.
#[utoipa::path(get, path = "/events", tag = "events", params(EventQuery),
    responses(
        (status = 200, description = "A page of events; `next_cursor` is null where there are no more yet.", body = List<Event>),
        (status = 422, description = "A parameter is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn list(api: State<Api>, Query(query): Query<EventQuery>) -> Result<axum::Json<List<Event>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = page::read_cursor(query.cursor.as_deref())?;
    let after = cursor.or(query.after).unwrap_or(0);
    if i64::try_from(after).is_err() {
        return Err(Problem::invalid("after", "it is larger than any seq", "take a seq from the feed"));
    }
    let events = api.reads.run(move |r| r.events(after, limit)).await?;
    let next_cursor = events.last().filter(|_| events.len() == limit).map(|last| page::write_cursor(last.seq));
    Ok(axum::Json(List { items: events.into_iter().map(Event::from).collect(), next_cursor }))
}
