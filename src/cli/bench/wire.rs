//! Connections of the load generator: HTTP/1.1, kept alive, as little client as possible between us and the socket.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::cli::error::CliError;
use crate::client::{Client, ClientError};

/// Where to send, and as whom.
pub(super) struct Wire {
    address: SocketAddr,
    base: String,
    prefix: String,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

/// One kept-alive connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Wire {
    pub(super) async fn to(client: &Client) -> Result<Self, CliError> {
        let base = client.base();
        if base.scheme() != "http" {
            return Err(CliError::Usage(format!(
                "bench speaks plain HTTP, and {base} is https; measure on the server's own machine"
            )));
        }
        let host = base.host_str().unwrap_or_default();
        let port = base.port_or_known_default().unwrap_or(80);
        let unreachable = |reason: String| {
            CliError::Client(ClientError::Unreachable { base: base.to_string(), reason, remedy: "check the address" })
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut addresses =
            tokio::net::lookup_host((bare, port)).await.map_err(|error| unreachable(error.to_string()))?;
        let address = addresses.next().ok_or_else(|| unreachable("the name has no address".to_owned()))?;
        let header = |text: String| HeaderValue::try_from(text).map_err(|error| CliError::Usage(error.to_string()));
        let authorization = match client.token() {
            Some(token) => {
                let mut value = header(format!("Bearer {}", token.expose()))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(Self {
            address,
            base: base.to_string(),
            prefix: base.path().trim_end_matches('/').to_owned(),
            host: header(format!("{host}:{port}"))?,
            authorization,
        })
    }

    pub(super) async fn open(&self) -> Result<Connection, CliError> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| self.unreachable(error))?;
        stream.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(error))?;
        // Ends with its sender; its error reaches the request that waits.
        tokio::spawn(connection);
        Ok(Connection { sender })
    }

    /// A POST that is made once and cloned for each use.
    pub(super) fn post(
        &self,
        path_and_query: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, CliError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path_and_query}", self.prefix))
            .header(header::HOST, self.host.clone())
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::new(body))
            .map_err(|error| CliError::Usage(format!("no request can be made for {}: {error}", self.base)))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    pub(super) fn unreachable(&self, reason: impl ToString) -> CliError {
        CliError::Client(ClientError::Unreachable {
            base: self.base.clone(),
            reason: reason.to_string(),
            remedy: "look at the server's log",
        })
    }
}

impl Connection {
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}
