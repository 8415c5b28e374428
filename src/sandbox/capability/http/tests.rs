//! Where requests end up, with names that lead where a test says and listeners on the loopback.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, StreamBody};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::addresses::{Place, place_of};
use super::clients::HttpClients;
use super::names::Lookup;
use super::send::{MAX_IN_FLIGHT, Sender};
use crate::model::{Grants, Limits};
use crate::sandbox::meter::Meter;

/// Stands for a public address.
const PUBLIC: &str = "127.0.0.2";
const PRIVATE: &str = "127.0.0.1";

const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell";
const WELL_AND_BYE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nwell";

/// Every name leads to these, one answer a look-up; the last one stays.
struct Answers(Mutex<VecDeque<&'static [&'static str]>>);

impl Lookup for Answers {
    fn lookup(&self, _name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let mut answers = self.0.lock();
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() };
        let addresses = next.unwrap_or_default().iter().map(|text| text.parse().expect("an address")).collect();
        Box::pin(async move { Ok(addresses) })
    }

    fn place_of(&self, address: IpAddr) -> Place {
        if address.to_string() == PUBLIC { Place::Public } else { place_of(address) }
    }
}

fn clients(answers: &[&'static [&'static str]]) -> HttpClients {
    HttpClients::with(Arc::new(Answers(Mutex::new(answers.iter().copied().collect()))))
}

/// A listener that answers every request of a connection with the same bytes.
struct Target {
    port: u16,
    connections: Arc<AtomicUsize>,
    /// What arrived, in pieces; closed when the connection is.
    arrived: mpsc::UnboundedReceiver<Option<String>>,
}

impl Target {
    async fn new(ip: &str, port: u16, answer: &'static str) -> Self {
        let listener = TcpListener::bind((ip, port)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (connections, (pieces, arrived)) = (Arc::new(AtomicUsize::new(0)), mpsc::unbounded_channel());
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, answer, pieces.clone()));
            }
        });
        Self { port, connections, arrived }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    async fn piece(&mut self) -> String {
        self.arrived.recv().await.flatten().expect("a piece of a request")
    }

    /// All that arrives until the connection is closed.
    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        while let Some(piece) = self.arrived.recv().await.flatten() {
            rest.push_str(&piece);
        }
        rest
    }
}

async fn serve(mut stream: TcpStream, answer: &str, pieces: mpsc::UnboundedSender<Option<String>>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let piece = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let is_head = piece.contains("\r\n\r\n");
        let _ = pieces.send(Some(piece));
        if is_head && stream.write_all(answer.as_bytes()).await.is_err() {
            break;
        }
    }
    let _ = pieces.send(None);
}

/// An attempt.
struct Attempt {
    sender: Sender,
    meter: Arc<Meter>,
}

impl Attempt {
    fn new(clients: &HttpClients, http: &str, limits: &Limits) -> Self {
        let grants = Grants { http: serde_json::from_str(http).expect("grants"), ..Grants::default() };
        let meter = Arc::new(Meter::new(limits));
        Self { sender: Sender::new(clients.clone(), Arc::new(grants), meter.clone()), meter }
    }

    async fn get(&self, url: &str) -> Result<(u16, String), Error> {
        self.send(url, "GET", empty(), None).await
    }

    async fn send(
        &self,
        url: &str,
        method: &str,
        body: WasiBody,
        options: Option<RequestOptions>,
    ) -> Result<(u16, String), Error> {
        let request = Request::builder().method(method).uri(url).body(body).expect("a request");
        let response = self.sender.begin(request, options)?.send().await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

fn empty() -> WasiBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn anywhere(target: &Target) -> String {
    format!(r#"[{{"host": "*", "ports": [{}]}}]"#, target.port)
}

fn anywhere_private(target: &Target) -> String {
    format!(r#"[{{"host": "*", "ports": [{}], "private_addresses": true}}]"#, target.port)
}

fn well() -> (u16, String) {
    (200, "well".to_owned())
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_refused() {
    let target = Target::new(PRIVATE, 0, WELL).await;
    let attempt = Attempt::new(&clients(&[&[PRIVATE]]), &anywhere(&target), &Limits::default());
    let refused = attempt.get(&format!("http://innocent.example:{}/?token=1", target.port)).await;
    assert!(matches!(refused, Err(Error::DestinationIpProhibited)), "{refused:?}");
    let denied = format!(
        "GET http://innocent.example:{}: 127.0.0.1 is not a public address, and no grant for it says private_addresses",
        target.port
    );
    assert_eq!((attempt.meter.denied_calls(), target.connections()), (vec![denied], 0));
}

#[tokio::test]
async fn a_name_with_both_kinds_of_addresses_leads_to_the_public_one() {
    let public = Target::new(PUBLIC, 0, WELL).await;
    let private = Target::new(PRIVATE, public.port, WELL).await;
    let attempt = Attempt::new(&clients(&[&[PRIVATE, PUBLIC]]), &anywhere(&public), &Limits::default());
    assert_eq!(attempt.get(&format!("http://both.example:{}/", public.port)).await.expect("an answer"), well());
    assert_eq!((public.connections(), private.connections()), (1, 0));
}

#[tokio::test]
async fn a_name_that_changes_after_the_check_leads_to_what_was_checked() {
    let public = Target::new(PUBLIC, 0, WELL_AND_BYE).await;
    let private = Target::new(PRIVATE, public.port, WELL).await;
    let attempt = Attempt::new(&clients(&[&[PUBLIC], &[PRIVATE]]), &anywhere(&public), &Limits::default());
    let url = format!("http://rebound.example:{}/", public.port);
    assert_eq!(attempt.get(&url).await.expect("an answer"), well());
    let refused = attempt.get(&url).await;
    assert!(matches!(refused, Err(Error::DestinationIpProhibited)), "a new connection is checked anew: {refused:?}");
    assert_eq!((public.connections(), private.connections()), (1, 0));
}

#[tokio::test]
async fn a_connection_to_a_private_address_is_not_shared_with_who_may_not_have_it() {
    let target = Target::new(PRIVATE, 0, WELL).await;
    let clients = clients(&[&[PRIVATE]]);
    let trusted = Attempt::new(&clients, &anywhere_private(&target), &Limits::default());
    let url = format!("http://inside.example:{}/", target.port);
    for _ in 0..2 {
        assert_eq!(trusted.get(&url).await.expect("an answer"), well());
    }
    assert_eq!(target.connections(), 1, "the second request reuses the connection of the first");

    let other = Attempt::new(&clients, &anywhere(&target), &Limits::default());
    let refused = other.get(&url).await;
    assert!(matches!(refused, Err(Error::DestinationIpProhibited)), "{refused:?}");
    assert_eq!(target.connections(), 1);
}

#[tokio::test]
async fn an_address_in_place_of_a_name_is_checked_however_it_is_written() {
    let target = Target::new(PRIVATE, 0, WELL).await;
    let public = Attempt::new(&clients(&[]), &anywhere(&target), &Limits::default());
    let private = Attempt::new(&clients(&[]), &anywhere_private(&target), &Limits::default());
    for host in ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1"] {
        let url = format!("http://{host}:{}/", target.port);
        let refused = public.get(&url).await;
        assert!(matches!(refused, Err(Error::DestinationIpProhibited)), "{host}: {refused:?}");
        assert_eq!(private.get(&url).await.expect("an answer"), well(), "{host}");
    }
    let mapped = format!("http://[::ffff:127.0.0.1]:{}/", target.port);
    assert!(matches!(public.get(&mapped).await, Err(Error::DestinationIpProhibited)));
}

#[tokio::test]
async fn a_redirect_is_the_guests_to_follow_and_checked_then() {
    let target =
        Target::new(PUBLIC, 0, "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n");
    let target = target.await;
    let grants = format!(r#"[{{"host": "*", "ports": [80, {}]}}]"#, target.port);
    let attempt = Attempt::new(&clients(&[&[PUBLIC]]), &grants, &Limits::default());
    let answer = attempt.get(&format!("http://moved.example:{}/", target.port)).await.expect("an answer");
    assert_eq!(answer, (302, String::new()));
    assert!(matches!(attempt.get("http://127.0.0.1/").await, Err(Error::DestinationIpProhibited)));
}

#[tokio::test]
async fn host_is_the_one_of_the_checked_url() {
    let mut target = Target::new(PRIVATE, 0, WELL).await;
    let attempt = Attempt::new(&clients(&[&[PRIVATE]]), &anywhere_private(&target), &Limits::default());
    let request = Request::get(format!("http://MINE.example:{}/a?b", target.port));
    let request = request.header("host", "evil.example").header("x-forwarded-for", "1.2.3.4").body(empty());
    attempt.sender.begin(request.expect("a request"), None).expect("allowed").send().await.expect("an answer");
    let port = target.port;
    assert_eq!(target.piece().await, format!("GET /a?b HTTP/1.1\r\naccept: */*\r\nhost: mine.example:{port}\r\n\r\n"));
}

#[tokio::test]
async fn what_an_attempt_sends_and_receives_is_bounded() {
    let target = Target::new(PRIVATE, 0, WELL).await;
    let (clients, grants) = (clients(&[&[PRIVATE]]), anywhere_private(&target));
    let url = format!("http://a.example:{}/", target.port);
    let attempt = |sent_bytes, received_bytes| {
        Attempt::new(&clients, &grants, &Limits { sent_bytes, received_bytes, ..Limits::default() })
    };
    let frames = |frame: &'static [u8]| -> WasiBody {
        let endless = futures_util::stream::repeat_with(move || Ok(http_body::Frame::data(Bytes::from_static(frame))));
        StreamBody::new(endless).boxed_unsync()
    };

    let no_head = attempt(10, 1_000).get(&url).await;
    assert!(matches!(no_head, Err(Error::HttpRequestBodySize(Some(10)))), "{no_head:?}");
    // An early answer would end the request before its budget does.
    let silent = Target::new(PRIVATE, 0, "").await;
    let grants = anywhere_private(&silent);
    let silent_url = format!("http://a.example:{}/", silent.port);
    for frame in [&[b'x'; 1_000][..], b""] {
        let sender = Attempt::new(&clients, &grants, &Limits { sent_bytes: 100_000, ..Limits::default() });
        let endless = sender.send(&silent_url, "POST", frames(frame), None).await;
        assert!(matches!(endless, Err(Error::HttpRequestBodySize(Some(100_000)))), "{endless:?}");
        assert!((99_000..=100_000).contains(&sender.meter.sent().spent()));
    }
    let head = attempt(1_000, 10).get(&url).await;
    assert!(matches!(head, Err(Error::HttpResponseBodySize(Some(10)))), "{head:?}");
    // 16 for the first line and the last, 19 and 4 for the length.
    let body = attempt(1_000, 36).get(&url).await;
    assert!(matches!(body, Err(Error::HttpResponseBodySize(Some(36)))), "{body:?}");
    assert_eq!(attempt(1_000, 39).get(&url).await.expect("an answer"), well());
}

#[tokio::test]
async fn requests_under_way_are_bounded_until_their_bodies_have_ended() {
    let target = Target::new(PRIVATE, 0, WELL).await;
    let attempt = Attempt::new(&clients(&[&[PRIVATE]]), &anywhere_private(&target), &Limits::default());
    let url = format!("http://a.example:{}/", target.port);
    let begin = || attempt.sender.begin(Request::get(&url).body(empty()).expect("a request"), None);
    let mut begun: Vec<_> = (0..MAX_IN_FLIGHT).map(|_| begin().expect("room")).collect();
    assert!(matches!(begin().err(), Some(Error::ConnectionLimitReached)));

    let response = begun.pop().expect("one").send().await.expect("an answer");
    assert!(matches!(begin().err(), Some(Error::ConnectionLimitReached)), "its body has not ended");
    response.into_body().collect().await.expect("a body");
    assert!(begin().is_ok());
}

#[tokio::test]
async fn a_target_may_be_silent_only_as_long_as_the_guest_waits() {
    let mut silent = Target::new(PRIVATE, 0, "").await;
    let attempt = Attempt::new(&clients(&[&[PRIVATE]]), &anywhere_private(&silent), &Limits::default());
    let url = format!("http://a.example:{}/", silent.port);
    let short = Some(Duration::from_millis(20));
    let options = RequestOptions { connect_timeout: short, first_byte_timeout: short, between_bytes_timeout: short };
    let late = attempt.send(&url, "GET", empty(), Some(options)).await;
    assert!(matches!(late, Err(Error::ConnectionReadTimeout)), "{late:?}");
    assert!(silent.rest().await.starts_with("GET / "), "its connection is closed");

    let half = Target::new(PRIVATE, 0, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    let attempt = Attempt::new(&clients(&[&[PRIVATE]]), &anywhere_private(&half), &Limits::default());
    let url = format!("http://a.example:{}/", half.port);
    let options = RequestOptions { connect_timeout: None, first_byte_timeout: None, between_bytes_timeout: short };
    let late = attempt.send(&url, "GET", empty(), Some(options)).await;
    assert!(matches!(late, Err(Error::ConnectionReadTimeout)), "{late:?}");
}

#[tokio::test]
async fn an_attempt_that_ends_breaks_its_request_off_and_does_not_complete_it() {
    let mut silent = Target::new(PRIVATE, 0, "").await;
    let clients = clients(&[&[PRIVATE]]);
    let url = format!("http://a.example:{}/", silent.port);
    for ends_before_its_body in [false, true] {
        let attempt = Attempt::new(&clients, &anywhere_private(&silent), &Limits::default());
        let (mut guest, body) = HostOutgoingBody::new(StreamContext::Request, None, 1, 1_000);
        let request = Request::post(&url).body(body).expect("a request");
        let sending = tokio::spawn(attempt.sender.begin(request, None).expect("allowed").send());
        let mut stream = guest.take_output_stream().expect("asked for once");
        stream.write(Bytes::from_static(b"half")).expect("room");
        while !silent.piece().await.contains("half") {}
        if ends_before_its_body {
            // The order in which a store drops them.
            drop(attempt);
            drop((stream, guest));
            assert_eq!(silent.rest().await, "", "no end of the chunks");
            assert!(sending.await.expect("no panic").is_err());
        } else {
            drop(stream);
            guest.finish(None).expect("finished");
            assert_eq!(silent.piece().await, "0\r\n\r\n");
            sending.abort();
            assert_eq!(silent.rest().await, "", "dropping the request closes its connection");
        }
    }
}

/// A port whose listener says something else before it is asked.
async fn speaks_no_tls() -> u16 {
    let listener = TcpListener::bind((PRIVATE, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"not TLS at all\r\n\r\n").await;
        }
    });
    port
}

#[tokio::test]
async fn what_went_wrong_is_said_in_the_words_of_the_interface() {
    let target = Target::new(PRIVATE, 0, "not HTTP at all\r\n\r\n").await;
    let attempt = |answers| Attempt::new(&clients(answers), &anywhere_private(&target), &Limits::default());
    let url = format!("http://a.example:{}/", target.port);
    let nonsense = attempt(&[&[PRIVATE]]).get(&url).await;
    assert!(matches!(nonsense, Err(Error::HttpProtocolError)), "{nonsense:?}");
    let unknown = attempt(&[]).get(&url).await;
    assert!(matches!(unknown, Err(Error::DnsError { .. })), "{unknown:?}");
    let port = speaks_no_tls().await;
    let grants = format!(r#"[{{"host": "*", "ports": [{port}], "private_addresses": true}}]"#);
    let no_tls = Attempt::new(&clients(&[&[PRIVATE]]), &grants, &Limits::default());
    let no_tls = no_tls.get(&format!("https://a.example:{port}/")).await;
    assert!(matches!(no_tls, Err(Error::TlsProtocolError)), "{no_tls:?}");

    // Nobody listens where a listener just was.
    let closed = TcpListener::bind((PRIVATE, 0)).await.expect("a free port").local_addr().expect("an address").port();
    let grants = format!(r#"[{{"host": "*", "ports": [{closed}], "private_addresses": true}}]"#);
    let refused = Attempt::new(&clients(&[&[PRIVATE]]), &grants, &Limits::default());
    let refused = refused.get(&format!("http://a.example:{closed}/")).await;
    assert!(matches!(refused, Err(Error::ConnectionRefused)), "{refused:?}");
}
