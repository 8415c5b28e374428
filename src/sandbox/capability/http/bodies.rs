//! Lets bodies pass both ways, counted, and no further than their budgets.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::failure::{Failure, code_of};
use super::headers::bytes_of;
use super::send::Ticket;
use crate::sandbox::meter::Meter;

/// What a frame costs at least: one without bytes is work too.
const LEAST_FRAME_BYTES: u64 = 1;

/// The body of a request, from the guest to its target.
pub(super) struct Upload {
    /// Locked by nobody: it makes a body that only moves between threads one that
    /// may be looked at from several.
    pub(super) body: Mutex<WasiBody>,
    pub(super) meter: Arc<Meter>,
    pub(super) turn: Arc<Turn>,
    pub(super) over: Arc<Over>,
    pub(super) _ticket: Arc<Ticket>,
}

/// Whether the attempt has ended. Until then the end of a guest's body is what the
/// guest said; afterwards it is only that nobody is there to write, and a target
/// must not take a half for the whole.
#[derive(Debug, Default)]
pub(super) struct Over(AtomicBool);

/// Whom a request waits for, and since when.
#[derive(Debug)]
pub(super) struct Turn(Mutex<Whose>);

#[derive(Debug)]
enum Whose {
    /// The guest has more of the body to give. Its attempt's timeout is its bound.
    Guest,
    Target {
        since: Instant,
    },
}

/// The body of a response, from a target to the guest. Read as fast as the guest
/// does: what has not been asked for stays with the target.
pub(super) struct Download {
    body: Option<Open>,
    meter: Arc<Meter>,
    between_bytes: Duration,
    /// Runs while a guest waits for the next piece.
    patience: Option<Pin<Box<Sleep>>>,
}

struct Open {
    body: reqwest::Body,
    _ticket: Arc<Ticket>,
}

impl Over {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Turn {
    /// The target's, from a moment that may be still to come.
    pub(super) fn of_target(since: Instant) -> Self {
        Self(Mutex::new(Whose::Target { since }))
    }

    fn pass(&self, to: Whose) {
        *self.0.lock() = to;
    }

    /// When a target that stays silent for `span` has done so.
    pub(super) fn ends(&self, span: Duration) -> Instant {
        match *self.0.lock() {
            Whose::Guest => Instant::now() + span,
            Whose::Target { since } => since + span,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let polled = Pin::new(self.body.get_mut()).poll_frame(cx);
        let Poll::Ready(frame) = polled else {
            self.turn.pass(Whose::Guest);
            return Poll::Pending;
        };
        self.turn.pass(Whose::Target { since: Instant::now() });
        let sent = self.meter.sent();
        Poll::Ready(match frame {
            Some(Ok(frame)) if sent.spend(cost(&frame)) => Some(Ok(frame)),
            Some(Ok(_)) => Some(Err(Failure::SentTooMuch(sent.most()))),
            Some(Err(_)) => Some(Err(Failure::GivenUp)),
            None if self.over.is_set() => Some(Err(Failure::GivenUp)),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.lock().size_hint()
    }
}

impl Download {
    pub(super) fn new(body: reqwest::Body, ticket: Arc<Ticket>, meter: Arc<Meter>, between_bytes: Duration) -> Self {
        Self { body: Some(Open { body, _ticket: ticket }), meter, between_bytes, patience: None }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(open) = &mut self.body else { return Poll::Ready(None) };
        let received = self.meter.received();
        match Pin::new(&mut open.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) if received.spend(cost(&frame)) => {
                self.patience = None;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Ok(_))) => Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(received.most()))))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(code_of(&error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let between_bytes = self.between_bytes;
                let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(between_bytes)));
                patience.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = self.poll_open(cx);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            // Gives the connection back, or closes it; and makes room for another request.
            self.body = None;
            self.patience = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|open| open.body.is_end_stream())
    }
}

fn cost(frame: &Frame<Bytes>) -> u64 {
    let bytes = match (frame.data_ref(), frame.trailers_ref()) {
        (Some(data), _) => data.len(),
        (None, Some(trailers)) => bytes_of(trailers),
        (None, None) => 0,
    };
    (bytes as u64).max(LEAST_FRAME_BYTES)
}
