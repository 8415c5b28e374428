//! Something on the loopback for guests to send requests to, and what it was sent.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;

/// Answers by the path: `/bytes/{n}`, `/endless`, `/never`, `/redirect?{url}`, and with
/// nothing everywhere else, once it has read the request's body.
pub struct Target {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub line: String,
    pub headers: hyper::HeaderMap,
    /// None as long as its body has not ended, and for ever if it broke off.
    pub body_bytes: Option<usize>,
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

impl Target {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let task = tokio::spawn(serve(listener, seen.clone()));
        Self { port, seen, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let seen = seen.clone();
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(request, seen.clone()));
            // A client that goes away is what some tests are about.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, seen: Arc<Mutex<Vec<Seen>>>) -> Result<Answer, hyper::Error> {
    let (head, mut body) = request.into_parts();
    let place = {
        let mut seen = seen.lock();
        let line = format!("{} {}", head.method, head.uri);
        seen.push(Seen { line, headers: head.headers, body_bytes: None });
        seen.len() - 1
    };
    if head.uri.path() == "/never" {
        std::future::pending::<()>().await;
    }
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    seen.lock()[place].body_bytes = Some(bytes);
    Ok(match head.uri.path() {
        "/endless" => {
            let frame = || Some((Ok(Frame::data(Bytes::from_static(&[b'x'; 16 << 10]))), ()));
            Response::new(BoxBody::new(StreamBody::new(futures_util::stream::unfold((), move |()| async move {
                // Gives way, so that the client's end is noticed.
                tokio::time::sleep(Duration::ZERO).await;
                frame()
            }))))
        }
        "/redirect" => {
            let mut answer = Response::new(full(0));
            *answer.status_mut() = StatusCode::FOUND;
            answer.headers_mut().insert("location", head.uri.query().unwrap_or_default().parse().unwrap());
            answer
        }
        path => Response::new(full(path.strip_prefix("/bytes/").map_or(0, |bytes| bytes.parse().unwrap()))),
    })
}

fn full(bytes: usize) -> BoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(vec![b'x'; bytes])).boxed()
}
