//! Accepts many tasks at once: `POST /tasks/batch`, NDJSON in and out.
//!
//! The whole body is read first, so that a batch too large is refused before any
//! of it is accepted. Then every line stands for itself: it is accepted or refused
//! alone, and its answer leaves after its commit, in the order of the lines.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::bounds::Bounds;
use crate::api::extract::{self, Query};
use crate::api::health::with_type;
use crate::api::problem::{Kind, Problem, ProblemBody};
use crate::api::request_id::RequestId;
use crate::coordinator::{Idempotency, LineAnswers, ModuleRef, Submission, SubmitError, Submitted};
use crate::model::TaskSpec;
use crate::sandbox::Module;

use super::object::IndexedTask;
use super::submit::{IDEMPOTENCY_KEY, TaskRequest, WaitQuery, accepted_before, checked_key, idempotency, load, spec};

/// Bytes of answers that leave as one piece.
const PIECE_BYTES: usize = 64 << 10;
/// Lines parsed before others get their turn on this thread.
const LINES_AT_ONCE: usize = 256;

/// Submits up to 10 000 tasks.
///
/// One task a line, with `idempotency_key` where it is wanted. Each line is accepted or
/// refused alone. With `wait`, a line is answered when its task has ended or the time is up.
#[utoipa::path(post, path = "/tasks/batch", tag = "tasks", params(WaitQuery),
    request_body(content = TaskRequest, content_type = "application/x-ndjson", description = "One task a line."),
    responses(
        (status = 200, content_type = "application/x-ndjson", body = super::object::Task,
            description = "One line for each line that is not blank, in order: `{\"index\", …the task object}` or `{\"index\", \"error\": {problem}}`. `index` counts from 0."),
        (status = 413, description = "The batch has too many lines or bytes; nothing of it was accepted.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "The request is not valid; nothing of it was accepted.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 429, description = "Too many batches at once; nothing of it was accepted.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn batch(
    api: State<Api>,
    principal: Principal,
    request_id: RequestId,
    Query(query): Query<WaitQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wait = query.wait()?;
    if headers.contains_key(IDEMPOTENCY_KEY) {
        return Err(Problem::invalid(
            "Idempotency-Key",
            "a batch has no key of its own",
            "give each line an `idempotency_key`",
        ));
    }
    let bounds = &api.bounds;
    let permit = api.batches().clone().try_acquire_owned().map_err(|_| too_many_batches(bounds))?;
    let body = extract::body(body, bounds.max_batch_bytes, "server.max_batch_body_bytes", bounds.body_timeout).await?;
    let lines = count_lines(&body);
    if lines > bounds.max_batch_lines {
        return Err(Problem::new(
            Kind::TooManyLines,
            "the batch",
            format!("it has {lines} lines, the limit is {}", bounds.max_batch_lines),
            "send it as several batches",
        ));
    }
    let (accepted, answers) = parse(&api, &principal, &body, lines).await;
    let received = api.coordinator.submit_batch(accepted, wait)?;
    let answering = Answering { answers, next: 0, received, request_id, _permit: permit };
    let pieces = stream::unfold(answering, |mut answering| async move {
        let piece = answering.piece().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), answering))
    });
    Ok(with_type("application/x-ndjson", Body::from_stream(pieces)))
}

fn too_many_batches(bounds: &Bounds) -> Problem {
    Problem::new(
        Kind::Busy,
        "the batch",
        format!(
            "{} batches are being answered already, the limit of `server.max_batches_in_flight`",
            bounds.max_batches_in_flight
        ),
        "try again after the pause in Retry-After",
    )
    .retry_after(Duration::from_secs(1))
}

/// Lines that are not blank: those that are answered.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

fn count_lines(body: &[u8]) -> usize {
    lines(body).count()
}

/// What is known of one line's answer.
enum Answer {
    Waiting,
    Refused(Problem),
    Submitted(Result<Submitted, SubmitError>),
}

/// Parses every line; gives the good ones, and a place for the answer of each.
async fn parse(api: &Api, principal: &Principal, body: &[u8], count: usize) -> (Vec<(u32, Submission)>, Vec<Answer>) {
    let mut parser = LineParser { api, principal, modules: HashMap::new(), last_function: "".into() };
    let mut accepted = Vec::with_capacity(count);
    let mut answers = Vec::with_capacity(count);
    for (index, line) in lines(body).enumerate() {
        match parser.submission(line).await {
            Ok(submission) => {
                accepted.push((index as u32, submission));
                answers.push(Answer::Waiting);
            }
            Err(answer) => answers.push(answer),
        }
        if index % LINES_AT_ONCE == LINES_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
    }
    (accepted, answers)
}

struct LineParser<'a> {
    api: &'a Api,
    principal: &'a Principal,
    /// Each reference is resolved once: all lines of a batch see the same module under a name.
    modules: HashMap<ModuleRef, Result<Arc<Module>, Problem>>,
    /// Lines that call the same function share its name.
    last_function: Arc<str>,
}

impl LineParser<'_> {
    /// The submission, or the line's answer where there is nothing to submit.
    async fn submission(&mut self, line: &[u8]) -> Result<Submission, Answer> {
        let (request, idempotency) = self.request(line).map_err(Answer::Refused)?;
        match self.spec(request).await {
            Ok(spec) => Ok(Submission { spec: Arc::new(spec), idempotency, by: self.principal.name().clone() }),
            Err(problem) => Err(match accepted_before(self.api, idempotency).await {
                Ok(Some(submitted)) => Answer::Submitted(Ok(submitted)),
                Ok(None) | Err(_) => Answer::Refused(problem),
            }),
        }
    }

    fn request(&self, line: &[u8]) -> Result<(TaskRequest, Option<Idempotency>), Problem> {
        let bounds = &self.api.bounds;
        if line.len() > bounds.max_body_bytes {
            return Err(Problem::new(
                Kind::BodyTooLarge,
                "the line",
                format!(
                    "it has {} bytes, the limit of `server.max_task_body_bytes` is {}",
                    line.len(),
                    bounds.max_body_bytes
                ),
                "pass large data by reference, or raise the setting",
            ));
        }
        let mut request: TaskRequest = extract::json(line)?;
        let key = request.idempotency_key.take();
        let key = key.as_ref().map(|key| checked_key("/idempotency_key", key.as_bytes())).transpose()?;
        let idempotency = key.map(|key| idempotency(self.principal, key, line.trim_ascii()));
        Ok((request, idempotency))
    }

    async fn spec(&mut self, request: TaskRequest) -> Result<TaskSpec, Problem> {
        let module = self.module(request.module()).await?;
        let mut spec = spec(request, &module, &self.api.bounds.tasks)?;
        if *spec.function == *self.last_function {
            spec.function = self.last_function.clone();
        } else {
            self.last_function = spec.function.clone();
        }
        Ok(spec)
    }

    async fn module(&mut self, reference: &ModuleRef) -> Result<Arc<Module>, Problem> {
        if let Some(known) = self.modules.get(reference) {
            return known.clone();
        }
        let module = load(&self.api.modules, reference).await;
        self.modules.insert(reference.clone(), module.clone());
        module
    }
}

/// Puts answers back in order and writes them. Dropped when the caller goes away:
/// what was accepted stays accepted.
struct Answering {
    answers: Vec<Answer>,
    /// The first line that is not written yet.
    next: usize,
    received: mpsc::UnboundedReceiver<LineAnswers>,
    request_id: RequestId,
    _permit: OwnedSemaphorePermit,
}

impl Answering {
    /// The next lines, as soon as there are any; none after the last.
    async fn piece(&mut self) -> Option<Bytes> {
        let mut text = Vec::new();
        while self.next < self.answers.len() {
            while let Ok(arrived) = self.received.try_recv() {
                self.keep(arrived);
            }
            self.write_ready(&mut text);
            if !text.is_empty() {
                return Some(text.into());
            }
            match self.received.recv().await {
                Some(arrived) => self.keep(arrived),
                None => self.give_up(),
            }
        }
        None
    }

    fn keep(&mut self, arrived: LineAnswers) {
        for (index, answer) in arrived {
            self.answers[index as usize] = Answer::Submitted(answer);
        }
    }

    /// Nobody will answer the lines that still wait.
    fn give_up(&mut self) {
        for answer in &mut self.answers[self.next..] {
            if matches!(answer, Answer::Waiting) {
                let reason = "the coordinator broke off; whether the task was accepted is not known".to_owned();
                *answer = Answer::Submitted(Err(SubmitError::Unavailable { reason }));
            }
        }
    }

    fn write_ready(&mut self, text: &mut Vec<u8>) {
        while let Some(answer) = self.answers.get_mut(self.next) {
            let index = self.next as u32;
            match std::mem::replace(answer, Answer::Waiting) {
                Answer::Waiting => return,
                Answer::Refused(problem) => write_refusal(text, index, &problem, &self.request_id),
                Answer::Submitted(Err(error)) => write_refusal(text, index, &error.into(), &self.request_id),
                Answer::Submitted(Ok(submitted)) => write_line(text, &IndexedTask { index, record: &submitted.record }),
            }
            self.next += 1;
            if text.len() >= PIECE_BYTES {
                return;
            }
        }
    }
}

#[derive(Serialize)]
struct Refusal<'a> {
    index: u32,
    error: ProblemBody<'a>,
}

fn write_refusal(text: &mut Vec<u8>, index: u32, problem: &Problem, request_id: &RequestId) {
    write_line(text, &Refusal { index, error: problem.body(request_id) });
}

fn write_line(text: &mut Vec<u8>, line: &impl Serialize) {
    if text.capacity() == 0 {
        text.reserve(PIECE_BYTES + 4_096);
    }
    serde_json::to_writer(&mut *text, line).expect("an answer is plain data");
    text.push(b'\n');
}
