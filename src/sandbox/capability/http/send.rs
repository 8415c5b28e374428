//! Sends one request: decided at once, carried out in a future that can be dropped.

use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::addresses::Access;
use super::bodies::{Download, Over, Turn, Upload};
use super::clients::HttpClients;
use super::failure::{Failure, code_of, failure_in};
use super::headers::{LINE_BYTES, bytes_of, is_forbidden};
use super::permission::{Asked, Denied, decide, may_reach};
use super::timeouts::Timeouts;
use crate::model::Grants;
use crate::sandbox::meter::Meter;

/// Largest head of a response. A guest may keep heads for as long as it lives, and
/// they are in the host's memory, not in its own.
const MAX_RESPONSE_HEAD_BYTES: usize = 64 << 10;

/// Requests of one attempt that may be under way, bodies included.
pub(super) const MAX_IN_FLIGHT: usize = 32;

/// What one attempt sends its requests with.
pub(super) struct Sender {
    clients: HttpClients,
    grants: Arc<Grants>,
    meter: Arc<Meter>,
    in_flight: Arc<Semaphore>,
    over: Arc<Over>,
}

/// A request's place among those under way: given back when both bodies have ended.
pub(super) struct Ticket {
    _of_attempt: OwnedSemaphorePermit,
    _of_server: OwnedSemaphorePermit,
}

/// A request that may be sent.
pub(super) struct Sending {
    asked: Asked,
    access: Access,
    request: reqwest::Request,
    body: WasiBody,
    timeouts: Timeouts,
    place: OwnedSemaphorePermit,
    clients: HttpClients,
    meter: Arc<Meter>,
    over: Arc<Over>,
}

impl Sender {
    pub(super) fn new(clients: HttpClients, grants: Arc<Grants>, meter: Arc<Meter>) -> Self {
        Self { clients, grants, meter, in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)), over: Arc::default() }
    }

    /// Checks all that can be checked before a name is looked up.
    pub(super) fn begin(&self, request: Request<WasiBody>, options: Option<RequestOptions>) -> Result<Sending, Error> {
        let (head, body) = request.into_parts();
        let asked = Asked::read(head.method, &head.uri).ok_or(Error::HttpRequestUriInvalid)?;
        let access = self.check(&asked).map_err(|denied| {
            self.meter.deny(|| format!("{asked}: {denied}"));
            match denied {
                Denied::PrivateAddress(_) | Denied::MetadataAddress(_) => Error::DestinationIpProhibited,
                _ => Error::HttpRequestDenied,
            }
        })?;
        let place = self.in_flight.clone().try_acquire_owned().map_err(|_| Error::ConnectionLimitReached)?;
        let mut headers = head.headers;
        // Denied to the guest where it sets them; what is left here would be a defect.
        let forbidden: Vec<_> = headers.keys().filter(|name| is_forbidden(name)).cloned().collect();
        forbidden.iter().for_each(|name| drop(headers.remove(name)));
        let head_bytes = asked.method.as_str().len() + asked.url.as_str().len() + LINE_BYTES + bytes_of(&headers);
        let sent = self.meter.sent();
        if !sent.spend(head_bytes as u64) {
            return Err(Error::HttpRequestBodySize(Some(sent.most())));
        }
        let mut request = reqwest::Request::new(asked.method.clone(), asked.url.clone());
        *request.headers_mut() = headers;
        Ok(Sending {
            asked,
            access,
            request,
            body,
            timeouts: Timeouts::of(options),
            place,
            clients: self.clients.clone(),
            meter: self.meter.clone(),
            over: self.over.clone(),
        })
    }

    fn check(&self, asked: &Asked) -> Result<Access, Denied> {
        let access = decide(&self.grants.http, asked)?;
        if let Some(address) = asked.address() {
            may_reach(access, address, self.clients.place_of(address))?;
        }
        Ok(access)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.over.set();
    }
}

impl Sending {
    /// Dropping the future ends the request, and closes its connection.
    pub(super) async fn send(self) -> Result<Response<WasiBody>, Error> {
        let Self { asked, access, mut request, body, timeouts, place, clients, meter, over } = self;
        let room = timeout(timeouts.connect, clients.room().clone().acquire_owned()).await;
        let room = room.ok().and_then(Result::ok).ok_or(Error::ConnectionLimitReached)?;
        let ticket = Arc::new(Ticket { _of_attempt: place, _of_server: room });
        let client = clients.client(access).await?;
        // A body is only asked for when there is a connection; without one, the
        // time to connect and that to the first byte are measured together.
        let turn = Arc::new(Turn::of_target(Instant::now() + timeouts.connect));
        if !body.is_end_stream() {
            let (meter, turn) = (meter.clone(), turn.clone());
            let upload = Upload { body: Mutex::new(body), meter, turn, over, _ticket: ticket.clone() };
            *request.body_mut() = Some(reqwest::Body::wrap(upload));
        }
        let response = answered(client.execute(request), &turn, &timeouts).await?.map_err(|error| {
            if let Some(Failure::Prohibited(address)) = failure_in(&error) {
                let place = clients.place_of(address);
                let denied = may_reach(access, address, place).err().unwrap_or(Denied::PrivateAddress(address));
                meter.deny(|| format!("{asked}: {denied}"));
            }
            code_of(&error)
        })?;
        let (head, body) = Response::<reqwest::Body>::from(response).into_parts();
        let head_bytes = LINE_BYTES + bytes_of(&head.headers);
        if head_bytes > MAX_RESPONSE_HEAD_BYTES {
            return Err(Error::HttpResponseHeaderSectionSize(u32::try_from(head_bytes).ok()));
        }
        let received = meter.received();
        if !received.spend(head_bytes as u64) {
            return Err(Error::HttpResponseBodySize(Some(received.most())));
        }
        let body = Download::new(body, ticket, meter, timeouts.between_bytes);
        Ok(Response::from_parts(head, body.boxed_unsync()))
    }
}

/// Waits for the head of a response, for as long as its target is not silent too long.
async fn answered<T>(answer: impl Future<Output = T>, turn: &Turn, timeouts: &Timeouts) -> Result<T, Error> {
    let mut answer = pin!(answer);
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return Ok(answer),
            () = sleep_until(turn.ends(timeouts.first_byte)) => {
                // The turn may have passed meanwhile.
                if turn.ends(timeouts.first_byte) <= Instant::now() {
                    return Err(Error::ConnectionReadTimeout);
                }
            }
        }
    }
}
