//! Tasks that send requests, well-behaved and not.

use std::collections::BTreeMap;

use tradewind_sdk::{Error, data, task};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    Scheme,
};
use wasip2::io::streams::{OutputStream, StreamError};

#[data]
#[serde(deny_unknown_fields)]
struct Get {
    url: String,
    #[serde(default = "Get::method")]
    method: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Sent as the body.
    #[serde(default)]
    body_bytes: usize,
    /// Whether to send another request to where a redirect leads.
    #[serde(default)]
    follow: bool,
}

impl Get {
    fn method() -> String {
        "GET".to_owned()
    }
}

#[data]
struct Got {
    status: u16,
    /// Of the body.
    bytes: u64,
    headers: BTreeMap<String, String>,
    /// Headers that the host did not take.
    refused_headers: Vec<String>,
}

/// Sends a request and reads the response to its end.
#[task]
fn http_get(input: Get) -> Result<Got, Error> {
    let mut url = input.url.clone();
    for _ in 0..10 {
        let (request, refused_headers) = request(&input.method, &url, &input.headers)?;
        let (response, sent) = start(request)?;
        if let Some(body) = sent.filter(|_| input.body_bytes > 0) {
            send(body, input.body_bytes)?;
        }
        let got = receive(&wait(response)?, refused_headers)?;
        match got.headers.get("location") {
            Some(location) if input.follow && (300..400).contains(&got.status) => url = location.clone(),
            _ => return Ok(got),
        }
    }
    Err(Error::failed("too many redirects"))
}

#[data]
#[serde(deny_unknown_fields)]
struct Target {
    url: String,
}

/// Sends a body that has no end.
#[task]
fn http_upload_forever(input: Target) -> Result<(), Error> {
    let (response, body, stream) = upload(&input.url)?;
    let chunk = [b'x'; 4096];
    while stream.blocking_write_and_flush(&chunk).is_ok() {}
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
    wait(response).map(drop)
}

/// Writes nothing, again and again.
#[task]
fn http_empty_writes(input: Target) -> Result<(), Error> {
    let (_response, _body, stream) = upload(&input.url)?;
    loop {
        match stream.check_write() {
            Ok(0) => stream.subscribe().block(),
            Ok(_) => stream.write(&[]).map_err(stream_failed)?,
            Err(error) => return Err(stream_failed(error)),
        }
    }
}

/// Starts a body, and returns without its end.
#[task]
fn http_half_upload(input: Target) -> Result<(), Error> {
    let (response, body, stream) = upload(&input.url)?;
    stream.blocking_write_and_flush(b"half").map_err(stream_failed)?;
    // Nothing of this is dropped by the guest.
    std::mem::forget((response, body, stream));
    Ok(())
}

/// How many requests can be under way at once.
#[task]
fn http_in_flight(input: Target) -> Result<usize, Error> {
    let mut pending = Vec::new();
    while pending.len() < 1_000 {
        let (request, _) = request("GET", &input.url, &BTreeMap::new())?;
        let response = handle(request, None).map_err(failed)?;
        // One that is refused says so before anything is sent.
        let pollable = response.subscribe();
        if pending.len() >= 32 {
            pollable.block();
        }
        if let Some(Ok(Err(error))) = response.get() {
            return match error {
                ErrorCode::ConnectionLimitReached => Ok(pending.len()),
                other => Err(failed(other)),
            };
        }
        drop(pollable);
        pending.push(response);
    }
    Ok(pending.len())
}

/// Whether the host takes an authority, a path and a method of this many bytes.
#[task]
fn http_long_texts(bytes: usize) -> Vec<bool> {
    let request = OutgoingRequest::new(Fields::new());
    let long = "a".repeat(bytes);
    vec![
        request.set_authority(Some(&long)).is_ok(),
        request.set_path_with_query(Some(&format!("/{long}"))).is_ok(),
        request.set_method(&Method::Other(long)).is_ok(),
    ]
}

fn request(
    method: &str,
    url: &str,
    headers: &BTreeMap<String, String>,
) -> Result<(OutgoingRequest, Vec<String>), Error> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| Error::failed("no scheme"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let fields = Fields::new();
    let mut refused = Vec::new();
    for (name, value) in headers {
        if fields.append(name, value.as_bytes()).is_err() {
            refused.push(name.clone());
        }
    }
    let request = OutgoingRequest::new(fields);
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        other => Method::Other(other.to_owned()),
    };
    let unusable = |()| Error::failed("the host does not take this request");
    request.set_scheme(Some(&scheme)).map_err(unusable)?;
    request.set_authority(Some(authority)).map_err(unusable)?;
    request.set_path_with_query(Some(path)).map_err(unusable)?;
    request.set_method(&method).map_err(unusable)?;
    Ok((request, refused))
}

/// The body is there where the request has one to be written.
fn start(request: OutgoingRequest) -> Result<(FutureIncomingResponse, Option<OutgoingBody>), Error> {
    let body = match request.method() {
        Method::Get => None,
        _ => Some(request.body().expect("asked for once")),
    };
    Ok((handle(request, None).map_err(failed)?, body))
}

fn upload(url: &str) -> Result<(FutureIncomingResponse, OutgoingBody, OutputStream), Error> {
    let (request, _) = request("POST", url, &BTreeMap::new())?;
    let (response, body) = start(request)?;
    let body = body.expect("POST has a body");
    let stream = body.write().expect("asked for once");
    Ok((response, body, stream))
}

fn send(body: OutgoingBody, bytes: usize) -> Result<(), Error> {
    let stream = body.write().expect("asked for once");
    let chunk = [b'x'; 4096];
    let mut left = bytes;
    while left > 0 {
        let piece = &chunk[..left.min(chunk.len())];
        // What went wrong is said by the response.
        if stream.blocking_write_and_flush(piece).is_err() {
            break;
        }
        left -= piece.len();
    }
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
    Ok(())
}

fn wait(response: FutureIncomingResponse) -> Result<IncomingResponse, Error> {
    response.subscribe().block();
    response.get().expect("waited for").expect("asked for once").map_err(failed)
}

fn receive(response: &IncomingResponse, refused_headers: Vec<String>) -> Result<Got, Error> {
    let headers = response.headers().entries().into_iter();
    let headers = headers.map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned())).collect();
    let body = response.consume().expect("asked for once");
    let stream = body.stream().expect("asked for once");
    let mut bytes = 0;
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(piece) => bytes += piece.len() as u64,
            Err(StreamError::Closed) => break,
            Err(error) => return Err(stream_failed(error)),
        }
    }
    drop(stream);
    drop(IncomingBody::finish(body));
    Ok(Got { status: response.status(), bytes, headers, refused_headers })
}

fn failed(error: ErrorCode) -> Error {
    Error::failed(format_args!("{error:?}"))
}

fn stream_failed(error: StreamError) -> Error {
    match error {
        StreamError::Closed => Error::failed("the stream is closed"),
        StreamError::LastOperationFailed(error) => Error::failed(error.to_debug_string()),
    }
}
