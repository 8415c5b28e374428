//! Says what went wrong with a request in the words of `wasi:http`.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;

use wasmtime_wasi_http::Error;

/// What we ended a request for. Found again by its type below the errors of the
/// libraries that it passes through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("the name leads to {0} only, which may not be reached")]
    Prohibited(IpAddr),
    #[error("the name has no address")]
    NoSuchName,
    #[error("the attempt has sent its sent_bytes of {0}")]
    SentTooMuch(u64),
    #[error("the guest gave the body up")]
    GivenUp,
}

impl Failure {
    pub(super) fn code(&self) -> Error {
        match self {
            Self::Prohibited(_) => Error::DestinationIpProhibited,
            Self::NoSuchName => Error::DnsError { rcode: None, info_code: None },
            Self::SentTooMuch(most) => Error::HttpRequestBodySize(Some(*most)),
            Self::GivenUp => Error::HttpProtocolError,
        }
    }
}

/// Our own reason, if that is what it was.
pub(super) fn failure_in(error: &reqwest::Error) -> Option<Failure> {
    chain(error).find_map(|cause| cause.downcast_ref::<Failure>()).cloned()
}

pub(super) fn code_of(error: &reqwest::Error) -> Error {
    if let Some(failure) = failure_in(error) {
        return failure.code();
    }
    if let Some(tls) = chain(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        return code_of_tls(tls);
    }
    if error.is_timeout() {
        return if error.is_connect() { Error::ConnectionTimeout } else { Error::ConnectionReadTimeout };
    }
    if let Some(io) = chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last() {
        return code_of_io(io);
    }
    match chain(error).find_map(|cause| cause.downcast_ref::<hyper::Error>()) {
        Some(error) if error.is_incomplete_message() => Error::HttpResponseIncomplete,
        Some(error) if error.is_canceled() || error.is_closed() => Error::ConnectionTerminated,
        _ => Error::HttpProtocolError,
    }
}

fn code_of_tls(error: &rustls::Error) -> Error {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Error::TlsCertificateError,
        rustls::Error::AlertReceived(alert) => {
            Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
        }
        _ => Error::TlsProtocolError,
    }
}

fn code_of_io(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
        io::ErrorKind::AddrNotAvailable => Error::DestinationUnavailable,
        _ => Error::ConnectionTerminated,
    }
}

/// The error and what it came from. An I/O error hides the one it was made of:
/// its `source` is that one's source already.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        let error: &'a (dyn StdError + 'static) = *error;
        let hidden = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        hidden.map(|hidden| hidden as &'a (dyn StdError + 'static)).or_else(|| error.source())
    })
}
