//! Drives the load: so many lanes, each with a connection of its own and one request under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use indicatif::ProgressBar;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::payload::Payload;
use super::recorder::{Recorder, Sent};
use super::wire::{Connection, Wire};
use crate::cli::error::CliError;
use crate::client::{ClientError, Problem};
use crate::model::Timestamp;

/// How often one request may be turned away with 429 or 503 before that counts as a refusal.
const PATIENCE: u32 = 50;

pub(super) struct Load<'a> {
    pub(super) wire: &'a Wire,
    pub(super) payload: &'a Payload,
    pub(super) tasks: u64,
    /// Tasks, not requests.
    pub(super) in_flight: u64,
    pub(super) shape: Shape,
    /// Whether an answer is the result rather than the acceptance.
    pub(super) until_ended: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// One request for each task.
    Singles,
    /// One request for each task, at moments fixed beforehand. Times count from
    /// those moments, so that a server that falls behind cannot hide it.
    Paced { tasks_per_s: f64 },
    /// NDJSON, so many tasks a request.
    Batches { size: u64 },
}

impl Load<'_> {
    pub(super) async fn drive(&self, recorder: Arc<Mutex<Recorder>>, bar: &ProgressBar) -> Result<(), CliError> {
        if self.tasks == 0 {
            return Ok(());
        }
        let (size, request) = match self.shape {
            Shape::Batches { size } => (size, self.batch(size)?),
            Shape::Singles | Shape::Paced { .. } => (1, self.single()?),
        };
        let wanted = (self.in_flight / size).max(1);
        let lanes = wanted.min(self.tasks.div_ceil(size));
        let shared = Arc::new(Shared {
            next: AtomicU64::new(0),
            tasks: self.tasks,
            size,
            line_bytes: self.payload.line_bytes(),
            pace: match self.shape {
                Shape::Paced { tasks_per_s } => Some(tasks_per_s),
                Shape::Singles | Shape::Batches { .. } => None,
            },
            batch: matches!(self.shape, Shape::Batches { .. }),
            request,
            recorder,
            bar: bar.clone(),
        });
        let mut connections = Vec::new();
        for _ in 0..lanes {
            connections.push(self.wire.open().await?);
        }
        let started = Instant::now();
        let mut running = JoinSet::new();
        for connection in connections {
            running.spawn(lane(connection, shared.clone(), started));
        }
        while let Some(ended) = running.join_next().await {
            // Dropping the set stops the other lanes.
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(LaneError::Lost(reason))) => return Err(self.wire.unreachable(reason)),
                Ok(Err(LaneError::Refused(problem))) => return Err(ClientError::Refused(problem).into()),
                Ok(Err(LaneError::Wrong(reason))) => return Err(CliError::Bench(reason)),
                Err(error) => return Err(CliError::Bench(format!("a lane of the load broke: {error}"))),
            }
        }
        Ok(())
    }

    fn single(&self) -> Result<Request<Full<Bytes>>, CliError> {
        self.wire.post(&format!("/api/v1/tasks{}", self.wait()), "application/json", self.payload.single())
    }

    fn batch(&self, size: u64) -> Result<Request<Full<Bytes>>, CliError> {
        let lines = self.payload.lines(size.min(self.tasks) as usize);
        self.wire.post(&format!("/api/v1/tasks/batch{}", self.wait()), "application/x-ndjson", lines)
    }

    fn wait(&self) -> &'static str {
        if self.until_ended { "?wait=60s" } else { "" }
    }
}

struct Shared {
    next: AtomicU64,
    tasks: u64,
    /// Tasks a request.
    size: u64,
    line_bytes: usize,
    pace: Option<f64>,
    batch: bool,
    request: Request<Full<Bytes>>,
    recorder: Arc<Mutex<Recorder>>,
    bar: ProgressBar,
}

enum LaneError {
    Lost(String),
    Refused(Box<Problem>),
    Wrong(String),
}

impl From<hyper::Error> for LaneError {
    fn from(error: hyper::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

async fn lane(mut connection: Connection, shared: Arc<Shared>, started: Instant) -> Result<(), LaneError> {
    loop {
        let first = shared.next.fetch_add(shared.size, Ordering::Relaxed);
        if first >= shared.tasks {
            return Ok(());
        }
        let count = shared.size.min(shared.tasks - first);
        let mut sent = Sent { at: Timestamp::now(), instant: Instant::now() };
        if let Some(tasks_per_s) = shared.pace {
            let due = started + Duration::from_secs_f64(first as f64 / tasks_per_s);
            tokio::time::sleep_until(due.into()).await;
            // Late or not, the time counts from when it was due.
            sent = Sent { at: Timestamp::now() - due.elapsed(), instant: due };
        }
        exchange(&mut connection, &shared, count, sent).await?;
        shared.bar.inc(count);
    }
}

/// Sends one request until it is taken, and records each line of its answer.
async fn exchange(connection: &mut Connection, shared: &Shared, count: u64, sent: Sent) -> Result<(), LaneError> {
    let mut turned_away = 0;
    loop {
        let mut request = shared.request.clone();
        if count < shared.size {
            // All lines are alike, so fewer of them are a shorter piece of the same bytes.
            let whole = std::mem::take(request.body_mut()).collect().await.unwrap_or_default().to_bytes();
            *request.body_mut() = Full::new(whole.slice(..count as usize * shared.line_bytes));
        }
        let response = connection.send(request).await?;
        let status = response.status().as_u16();
        if response.status().is_success() {
            let body = response.into_body();
            let answered = match shared.batch {
                true => record_lines(body, shared, sent).await?,
                false => {
                    let line = body.collect().await?.to_bytes();
                    shared.recorder.lock().answer(&line, sent, Instant::now());
                    1
                }
            };
            return match answered == count {
                true => Ok(()),
                false => Err(LaneError::Wrong(format!("{answered} answers came to {count} tasks of one batch"))),
            };
        }
        let body = response.into_body().collect().await?.to_bytes();
        let mut problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        problem.status = status;
        turned_away += 1;
        if !matches!(status, 429 | 503) || turned_away > PATIENCE {
            return Err(LaneError::Refused(Box::new(problem)));
        }
        shared.recorder.lock().turned_away += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Records the lines of an answer as they come. Returns how many came.
async fn record_lines(mut body: Incoming, shared: &Shared, sent: Sent) -> Result<u64, LaneError> {
    let mut lines = 0;
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        let now = Instant::now();
        let mut recorder = shared.recorder.lock();
        let mut piece = &piece[..];
        while let Some(end) = piece.iter().position(|&byte| byte == b'\n') {
            if rest.is_empty() {
                recorder.answer(&piece[..end], sent, now);
            } else {
                rest.extend_from_slice(&piece[..end]);
                recorder.answer(&rest, sent, now);
                rest.clear();
            }
            lines += 1;
            piece = &piece[end + 1..];
        }
        rest.extend_from_slice(piece);
    }
    if !rest.is_empty() {
        shared.recorder.lock().answer(&rest, sent, Instant::now());
        lines += 1;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use axum::routing::post;

    use super::*;
    use crate::client::stub;
    use crate::client::{Client, Module};
    use crate::model::TaskId;

    /// Answers every task with a success of its own, after it has turned away the first request.
    #[derive(Default)]
    struct Tasks {
        requests: AtomicU64,
        tasks: AtomicU64,
    }

    impl Tasks {
        fn success(&self) -> String {
            let id = TaskId::from_u64(self.tasks.fetch_add(1, Ordering::SeqCst));
            let now = Timestamp::now();
            format!(
                r#"{{"id":"{id}","state":"success","outcome":"success","result":null,"queued_at":"{now}","start_date":"{now}"}}"#
            )
        }

        fn turns_away(&self) -> bool {
            self.requests.fetch_add(1, Ordering::SeqCst) == 0
        }
    }

    async fn single(State(tasks): State<Arc<Tasks>>) -> axum::response::Response {
        match tasks.turns_away() {
            true => StatusCode::TOO_MANY_REQUESTS.into_response(),
            false => (StatusCode::CREATED, tasks.success()).into_response(),
        }
    }

    async fn batch(State(tasks): State<Arc<Tasks>>, body: String) -> axum::response::Response {
        match tasks.turns_away() {
            true => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            false => body.lines().map(|_| tasks.success() + "\n").collect::<String>().into_response(),
        }
    }

    async fn driven(shape: Shape, tasks: u64) -> (Arc<Mutex<Recorder>>, u64) {
        let server = Arc::new(Tasks::default());
        let app = axum::Router::new()
            .route("/api/v1/tasks", post(single))
            .route("/api/v1/tasks/batch", post(batch))
            .with_state(server.clone());
        let client = Client::new(&stub::serve(app).await, None).expect("a client");
        let wire = Wire::to(&client).await.expect("an address");
        let module: Module = serde_json::from_value(serde_json::json!({
            "digest": crate::model::Digest::of(b""), "size_bytes": 0, "kind": "functions", "imports": [], "grants_needed": [],
            "functions": [{"name": "run", "input_schema": {}, "output_schema": {}, "docs": "", "not_callable": null}]
        }))
        .expect("a module");
        let payload = Payload::new(&module, None, 10, None).expect("a payload");
        let recorder = Arc::new(Mutex::new(Recorder::new(true, false)));
        let load = Load { wire: &wire, payload: &payload, tasks, in_flight: 8, shape, until_ended: true };
        load.drive(recorder.clone(), &ProgressBar::hidden()).await.unwrap_or_else(|error| panic!("{error:?}"));
        let requests = server.requests.load(Ordering::SeqCst);
        (recorder, requests)
    }

    #[tokio::test]
    async fn every_task_is_sent_once_and_its_answer_recorded() {
        for (shape, tasks, requests) in [
            (Shape::Singles, 50, 51),
            (Shape::Singles, 1, 2),
            (Shape::Paced { tasks_per_s: 5_000.0 }, 50, 51),
            (Shape::Batches { size: 4 }, 50, 14),
            (Shape::Batches { size: 100 }, 50, 2),
        ] {
            let (recorder, sent) = driven(shape, tasks).await;
            let recorder = recorder.lock();
            assert!(recorder.verdict(tasks).is_ok(), "{shape:?}: {:?}", recorder.verdict(tasks));
            assert_eq!((recorder.ids.len() as u64, recorder.turned_away, sent), (tasks, 1, requests), "{shape:?}");
        }
    }
}
