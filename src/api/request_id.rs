//! Gives every request a name that its answer, its problem and the server's log share.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The caller's own id where it sends a plain one, else one of ours.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

/// Longest id of a caller that is taken over.
const MAX_BYTES: usize = 64;

impl RequestId {
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(HEADER) {
            Some(theirs) if is_plain(theirs.as_bytes()) => Self(theirs.clone()),
            _ => Self::new(),
        }
    }

    fn new() -> Self {
        /// Tells this process's ids from those of the one before it.
        static PROCESS: LazyLock<u32> = LazyLock::new(|| getrandom::u32().unwrap_or(0));
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut text = String::with_capacity(24);
        // Writing into a String cannot fail.
        let _ = write!(text, "req_{:08x}{:x}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed));
        Self(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("req_0")))
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_plain(bytes: &[u8]) -> bool {
    (1..=MAX_BYTES).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::new))
    }
}
