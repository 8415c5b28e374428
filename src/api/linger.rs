//! Reads on when an answer did not need the whole body.
//!
//! A connection that is closed while the caller still sends is reset, and a reset
//! takes the answer with it: the caller sees "connection reset" where the server
//! said 429. So what was left unread is read and thrown away, within bounds.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// The body of a request, which is read to its end also when nobody wants it.
pub(super) struct Lingering(Option<Incoming>);

/// What is read at most of a body nobody wants; after that the connection is closed.
const MAX_BYTES: usize = 8 << 20;
const MAX_TIME: Duration = Duration::from_secs(5);

impl Lingering {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) {
            tokio::spawn(tokio::time::timeout(MAX_TIME, read_away(body)));
        }
    }
}

async fn read_away(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MAX_BYTES {
            return;
        }
    }
}
