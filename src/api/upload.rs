//! Takes modules in: `POST /api/v1/modules`, with progress for who asks for it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::coordinator::{Naming, UploadStage};
use crate::model::{ModuleName, Tag};
use crate::sandbox::CompileStage;

use super::Api;
use super::auth::Principal;
use super::extract::Query;
use super::modules::{Module, latest};
use super::problem::{Problem, ProblemBody, internal};
use super::request_id::RequestId;

/// Events that a slow reader may have waiting; what is only news of the time is then
/// left out.
const MAX_WAITING_EVENTS: usize = 16;

#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// Points a name at the module.
    #[param(value_type = Option<String>)]
    name: Option<ModuleName>,
    /// Default `latest`.
    #[param(value_type = Option<String>)]
    tag: Option<Tag>,
}

impl UploadQuery {
    fn name(self) -> Result<Option<(ModuleName, Tag)>, Problem> {
        match (self.name, self.tag) {
            (None, None) => Ok(None),
            (Some(name), tag) => Ok(Some((name, tag.unwrap_or_else(latest)))),
            (None, Some(_)) => Err(Problem::invalid("tag", "a tag belongs to a name", "give `name` too")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UploadStage)]
#[repr(u8)]
pub enum Stage {
    Waiting,
    Compiling,
    Inspecting,
    Storing,
}

/// How far an upload is: `event: progress`.
#[derive(Serialize, utoipa::ToSchema)]
pub struct UploadProgress {
    stage: Stage,
    /// Since the bytes had arrived.
    elapsed_ms: u64,
    /// Processor time of the compilation so far; null in other stages.
    cpu_ms: Option<u64>,
    /// The most it may take.
    cpu_limit_ms: Option<u64>,
    /// Modules that are compiled before this one; null when it no longer waits.
    position: Option<usize>,
}

/// Uploads a module.
///
/// It is checked and compiled before the answer. The same bytes again cost nothing but their way:
/// ask with HEAD first. Who leaves before the answer cancels the upload.
///
/// With `Accept: text/event-stream` the answer begins when the bytes have arrived: an event `progress` at
/// every change and about once a second, then one event `module` or `problem`, whose data are the module or
/// the problem.
#[utoipa::path(post, path = "/modules", tag = "modules", params(UploadQuery),
    request_body(content = [u8], content_type = "application/wasm", description = "A WebAssembly component."),
    responses(
        (status = 200, description = "The module is known already; its name now points at it. As a stream: the bytes have arrived.",
            content((Module = "application/json"), (UploadProgress = "text/event-stream"))),
        (status = 201, description = "The module is stored.", body = Module),
        (status = 413, description = "The module is too large.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "The bytes are not a module that can run; nothing was kept.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 429, description = "Too many uploads are under way.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "It cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn upload(
    State(api): State<Api>,
    principal: Principal,
    request_id: RequestId,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name = query.name()?;
    let pieces = impatient(body, api.bounds.body_timeout).boxed();
    let received = api.modules.receive(pieces).await?;
    let naming = Naming { name: name.clone(), by: principal.name().clone() };
    if !accepts_events(&headers) {
        let uploaded = api.modules.take_in(received, naming, Box::new(|_| {})).await?;
        let status = if uploaded.created { StatusCode::CREATED } else { StatusCode::OK };
        let location = [(header::LOCATION, format!("/api/v1/modules/{}", uploaded.info.digest))];
        return Ok((status, location, axum::Json(Module::of(&uploaded.info, name))).into_response());
    }
    let (reporter, reports) = Reporter::new();
    let take_in =
        async move { api.modules.take_in(received, naming, Box::new(move |stage| reporter.tell(stage))).await };
    // A task of its own, which goes on whether or not the caller reads, and ends when the stream does.
    let taken_in = AbortOnDropHandle::new(tokio::spawn(take_in));
    let last = async move {
        match taken_in.await {
            Ok(Ok(uploaded)) => event("module", &Module::of(&uploaded.info, name)),
            Ok(Err(error)) => event("problem", &Problem::from(error).body(&request_id)),
            // The panic itself is in the log already.
            Err(error) => event("problem", &internal(&error).body(&request_id)),
        }
    };
    let events = stream::unfold(reports, |mut reports| async move { Some((reports.recv().await?, reports)) })
        .map(|progress| event("progress", &progress))
        .chain(stream::once(last));
    Ok(Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::default()).into_response())
}

pub(super) fn event(kind: &str, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).unwrap_or_default();
    Event::default().event(kind).data(data)
}

pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Turns stages into events, as many as the reader takes.
struct Reporter {
    begun: Instant,
    /// The stage told last, as a number; none at first.
    last: AtomicU8,
    events: mpsc::Sender<UploadProgress>,
}

impl Reporter {
    const NO_STAGE: u8 = u8::MAX;
    /// Places kept for changes of stage, of which there are no more.
    const STAGES: usize = 4;

    fn new() -> (Self, mpsc::Receiver<UploadProgress>) {
        let (events, reports) = mpsc::channel(MAX_WAITING_EVENTS);
        (Self { begun: Instant::now(), last: AtomicU8::new(Self::NO_STAGE), events }, reports)
    }

    fn tell(&self, stage: UploadStage) {
        let progress = progress(stage, self.begun.elapsed());
        let changed = self.last.swap(progress.stage as u8, Ordering::Relaxed) != progress.stage as u8;
        if changed || self.events.capacity() > Self::STAGES {
            // When nobody reads any more, nobody is told.
            let _ = self.events.try_send(progress);
        }
    }
}

fn progress(stage: UploadStage, elapsed: Duration) -> UploadProgress {
    let milliseconds = |time: Duration| time.as_millis() as u64;
    let (stage, compiling, position) = match stage {
        UploadStage::Compile(CompileStage::Waiting { ahead }) => (Stage::Waiting, None, Some(ahead)),
        UploadStage::Compile(CompileStage::Compiling { cpu, cpu_limit }) => {
            (Stage::Compiling, Some((milliseconds(cpu), milliseconds(cpu_limit))), None)
        }
        UploadStage::Inspecting => (Stage::Inspecting, None, None),
        UploadStage::Storing => (Stage::Storing, None, None),
    };
    let (cpu_ms, cpu_limit_ms) = compiling.unzip();
    UploadProgress { stage, elapsed_ms: milliseconds(elapsed), cpu_ms, cpu_limit_ms, position }
}

/// Breaks off when no piece comes for `pause`: an upload may take long, but not stand still.
fn impatient(body: Body, pause: Duration) -> impl Stream<Item = std::io::Result<bytes::Bytes>> {
    let pieces = body.into_data_stream().map_err(std::io::Error::other).boxed();
    stream::try_unfold(pieces, move |mut pieces| async move {
        let next = tokio::time::timeout(pause, pieces.try_next());
        let piece = next.await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        Ok(piece.map(|piece| (piece, pieces)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_who_sleeps_misses_the_time_and_no_stage() {
        let (reporter, mut reports) = Reporter::new();
        let compiling = CompileStage::Compiling { cpu: Duration::ZERO, cpu_limit: Duration::from_secs(300) };
        for _ in 0..1000 {
            reporter.tell(UploadStage::Compile(CompileStage::Waiting { ahead: 1 }));
        }
        for _ in 0..1000 {
            reporter.tell(UploadStage::Compile(compiling));
        }
        reporter.tell(UploadStage::Inspecting);
        reporter.tell(UploadStage::Storing);
        drop(reporter);
        let mut stages = Vec::new();
        while let Some(progress) = reports.recv().await {
            stages.push(progress.stage);
        }
        assert!(stages.len() <= MAX_WAITING_EVENTS);
        stages.dedup();
        assert_eq!(stages, [Stage::Waiting, Stage::Compiling, Stage::Inspecting, Stage::Storing]);
    }
}
