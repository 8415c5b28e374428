//! Shows what an attempt wrote: `GET /tasks/{id}/log`.

use std::borrow::Cow;
use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;

use crate::api::Api;
use crate::api::extract::{Query, text};
use crate::api::health::with_type;
use crate::api::problem::{Kind, Problem, ProblemBody, unreadable};
use crate::model::task::AttemptLog;
use crate::model::{TaskId, TaskState};

use super::Id;
use super::read::find;

const NDJSON: &str = "application/x-ndjson";
/// Bytes of NDJSON that are turned into text as one piece.
const PIECE_BYTES: usize = 64 << 10;

#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Which try, counted from 1. Default: the one that runs, or the last that has ended.
    #[serde(default, deserialize_with = "text")]
    try_number: Option<u32>,
}

/// A line of a log.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct LogLine<'a> {
    /// Counts the lines of an attempt.
    #[serde(default)]
    #[expect(dead_code, reason = "shown in NDJSON, which leaves as it is stored")]
    seq: u64,
    #[serde(borrow)]
    #[schema(format = DateTime)]
    at: Cow<'a, str>,
    /// `stdout`, `stderr` or `log`.
    #[serde(borrow)]
    stream: Cow<'a, str>,
    /// `trace`, `debug`, `info`, `warn` or `error`; null where the stream has none.
    #[serde(borrow)]
    level: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// Shows the log of a try: complete when it has ended, so far while it runs.
///
/// As text, a line is its time, its level and its message, control characters escaped, so that a
/// log can do nothing to the terminal that shows it. With `Accept: application/x-ndjson`, a
/// line is `{seq, at, stream, level, message}`.
#[utoipa::path(get, path = "/tasks/{id}/log", tag = "tasks",
    params(("id" = String, Path, description = "`task_01J…`"), LogQuery),
    responses(
        (status = 200, description = "The log. Empty where no try has begun.",
            content((String = "text/plain"), (LogLine<'_> = "application/x-ndjson"))),
        (status = 404, description = "There is no such task, or no such try of it.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn log(
    api: State<Api>,
    Id(id): Id,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let lines = lines(&api, id, query.try_number).await?;
    if accepts_ndjson(&headers) { Ok(with_type(NDJSON, lines)) } else { Ok(as_text(lines)) }
}

/// The NDJSON of a try: from the store when it has ended, from its worker while it runs.
async fn lines(api: &Api, id: TaskId, wanted: Option<u32>) -> Result<Bytes, Problem> {
    let unreadable = |error: std::io::Error| unreadable(format!("the log of task {id}"), &error);
    let record = find(api, id).await?;
    // The store says that it runs, so that its acceptance and fence are committed.
    if record.state == TaskState::Running
        && wanted.is_none_or(|wanted| wanted == record.try_number)
        && let Some(so_far) = api.live.log(id, record.fence).await
    {
        return so_far.map(Bytes::from).map_err(unreadable);
    }
    match (api.reads.run(move |r| r.log(id, wanted)).await?, wanted) {
        (Some(AttemptLog::Inline(lines)), _) => Ok(Bytes::from_owner(lines)),
        (Some(AttemptLog::Segments(pieces)), _) => api.segments.read(pieces).await.map(Bytes::from).map_err(unreadable),
        (Some(AttemptLog::Empty), _) | (None, None) => Ok(Bytes::new()),
        (None, Some(try_number)) => Err(Problem::new(
            Kind::TryNotFound,
            format!("try {try_number} of task {id}"),
            "no such try has begun, or its log is not stored yet",
            format!("list the tries with GET /api/v1/tasks/{id}/attempts"),
        )),
    }
}

fn accepts_ndjson(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let media_type = range.split(';').next().unwrap_or_default().trim();
        [NDJSON, "application/ndjson", "application/json"].iter().any(|known| media_type.eq_ignore_ascii_case(known))
    })
}

/// Turned into text piece by piece, as fast as the caller takes it.
fn as_text(lines: Bytes) -> Response {
    let pieces = stream::unfold(lines, |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        let end = rest.iter().skip(PIECE_BYTES).position(|byte| *byte == b'\n');
        let piece = rest.split_to(end.map_or(rest.len(), |end| PIECE_BYTES + end + 1));
        Some((Ok::<_, Infallible>(text_of(&piece)), rest))
    });
    with_type("text/plain; charset=utf-8", Body::from_stream(pieces))
}

fn text_of(lines: &[u8]) -> String {
    let mut text = String::with_capacity(lines.len());
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<LogLine<'_>>(line) {
            Ok(LogLine { at, stream, level, message, .. }) => {
                text.extend([&at, " ", level.as_deref().unwrap_or(&stream), " "]);
                escape(&message, &mut text);
            }
            // Not ours to hide what we cannot read.
            Err(_) => escape(&String::from_utf8_lossy(line), &mut text),
        }
        text.push('\n');
    }
    text
}

/// Writes control characters as `\n`, `\u{1b}`; a tab stays.
fn escape(message: &str, text: &mut String) {
    for character in message.chars() {
        if character.is_control() && character != '\t' {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_can_do_nothing_to_the_terminal() {
        let lines = br#"{"seq":1,"at":"2026-11-23T08:00:00Z","stream":"log","level":"warn","message":"red \u001b[31m\nnext\ttab"}
{"seq":2,"at":"2026-11-23T08:00:01Z","stream":"stderr","level":null,"message":"plain"}
"#;
        let text = text_of(lines);
        let expected = "2026-11-23T08:00:00Z warn red \\u{1b}[31m\\nnext\ttab\n2026-11-23T08:00:01Z stderr plain\n";
        assert_eq!(text, expected);
    }
}
