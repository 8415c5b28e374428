//! One call of the server: what is sent, and what comes back.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;

use crate::model::Json;

use super::ClientError;

/// One call, repeatable as often as needed.
pub struct Call<'a> {
    pub method: Method,
    /// Segments below `/api/v1`, unescaped.
    pub path: &'a [&'a str],
    pub query: Vec<(&'a str, String)>,
    pub body: Body,
    pub accept: &'static str,
    /// Makes a POST repeatable.
    pub idempotency_key: Option<String>,
}

/// What a call sends.
pub enum Body {
    Empty,
    Json(Bytes),
    Wasm(Bytes),
    File(Upload),
}

/// A file that is streamed from the disk, anew for each try.
#[derive(Clone)]
pub struct Upload {
    pub path: PathBuf,
    pub bytes: u64,
    /// Told how many bytes of this try have left.
    pub progress: Arc<dyn Fn(u64) + Send + Sync>,
}

/// What came back from a call that was not refused.
#[derive(Clone)]
pub struct Answer {
    pub status: StatusCode,
    /// Whether the server had seen the idempotency key before.
    pub replayed: bool,
    pub body: Bytes,
    pub(super) call: String,
    pub(super) base: String,
}

impl<'a> Call<'a> {
    pub fn get(path: &'a [&'a str]) -> Self {
        Self {
            method: Method::GET,
            path,
            query: Vec::new(),
            body: Body::Empty,
            accept: "application/json",
            idempotency_key: None,
        }
    }

    pub fn post(path: &'a [&'a str]) -> Self {
        Self { method: Method::POST, ..Self::get(path) }
    }

    pub(super) fn is_repeatable(&self) -> bool {
        match self.method {
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE => true,
            // An upload is named by its content: the second is a no-op.
            _ => self.idempotency_key.is_some() || matches!(self.body, Body::File(_) | Body::Wasm(_)),
        }
    }
}

impl Answer {
    pub fn json(&self) -> Result<Json, ClientError> {
        self.read()
    }

    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        read(&self.body).map_err(|reason| ClientError::NotUnderstood {
            base: self.base.clone(),
            call: self.call.clone(),
            reason,
        })
    }

    /// One value a line.
    pub fn read_lines<T: DeserializeOwned>(&self) -> Result<Vec<T>, ClientError> {
        let lines = self.body.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        lines
            .map(|line| {
                read(line).map_err(|reason| ClientError::NotUnderstood {
                    base: self.base.clone(),
                    call: self.call.clone(),
                    reason,
                })
            })
            .collect()
    }
}

impl Upload {
    pub(super) async fn body(&self) -> Result<reqwest::Body, ClientError> {
        let file = tokio::fs::File::open(&self.path)
            .await
            .map_err(|error| ClientError::File { path: self.path.display().to_string(), reason: error.to_string() })?;
        let start = (file, 0, self.progress.clone());
        let pieces = futures_util::stream::try_unfold(start, |(mut file, sent, progress)| async move {
            let mut piece = bytes::BytesMut::with_capacity(128 << 10);
            let read = file.read_buf(&mut piece).await? as u64;
            progress(sent + read);
            Ok::<_, std::io::Error>((read > 0).then(|| (piece.freeze(), (file, sent + read, progress))))
        });
        Ok(reqwest::Body::wrap_stream(pieces))
    }
}

pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| error.to_string())
}
