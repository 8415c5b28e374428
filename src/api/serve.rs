//! Accepts connections and serves HTTP/1.1 on them until told to stop.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bounds::Bounds;
use super::edge::Edge;
use super::linger::Lingering;

/// For one connection too many, which is told so before anything of it is read.
const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\nconnection: close\r\n\
content-type: application/problem+json\r\ncontent-length: 196\r\n\r\n\
{\"type\":\"tag:tradewind,2026:problem:busy\",\"title\":\"Too much at once\",\"status\":429,\"detail\":\"too many connections \
are open; try again in a second\",\"code\":\"busy\",\"fault\":\"platform\",\"retryable\":true}";

/// Serves until `shutdown`; then accepts nothing more, and gives what is being
/// answered up to `grace` to finish.
pub async fn serve(
    listener: TcpListener,
    edge: Arc<Edge>,
    bounds: &Bounds,
    shutdown: CancellationToken,
    grace: Duration,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.header_timeout).max_header_size(bounds.max_header_bytes);
    let connections = Arc::new(Semaphore::new(bounds.max_connections));
    let open = TaskTracker::new();
    // Fires when the grace is over: connections then end where they are.
    let abandon = CancellationToken::new();
    let mut accept_failed = false;
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly. Said once, not a thousand times a second.
                if !std::mem::replace(&mut accept_failed, true) {
                    tracing::error!(%error, "connections cannot be accepted; trying again every 100 ms");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        accept_failed = false;
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            refuse(&stream);
            continue;
        };
        // Answers are small and somebody waits for each.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        let service = {
            let edge = edge.clone();
            service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let edge = edge.clone();
                async move { Ok::<_, Infallible>(edge.answer(request.map(|body| Body::new(Lingering::new(body)))).await) }
            })
        };
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let (shutdown, abandon) = (shutdown.clone(), abandon.clone());
        open.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => Some(ended),
                () = shutdown.cancelled() => {
                    // Answers what has arrived, and reads no further request.
                    connection.as_mut().graceful_shutdown();
                    abandon.run_until_cancelled(connection).await
                }
            };
            // A connection that breaks is the caller's business.
            if let Some(Err(error)) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    open.close();
    if tokio::time::timeout(grace, open.wait()).await.is_err() {
        tracing::warn!("requests were still being answered after {} s; their connections are closed", grace.as_secs());
        abandon.cancel();
        open.wait().await;
    }
}

/// Best effort: a fresh socket takes so few bytes at once, or the caller is gone.
fn refuse(stream: &TcpStream) {
    if let Err(error) = stream.try_write(TOO_MANY_CONNECTIONS) {
        tracing::debug!(%error, "a connection too many was closed without an answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_a_connection_has_the_length_it_says() {
        let text = std::str::from_utf8(TOO_MANY_CONNECTIONS).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{} bytes", body.len());
        serde_json::from_str::<serde_json::Value>(body).expect("JSON");
    }
}
