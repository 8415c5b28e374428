//! Says how long a request may wait for what.

use std::time::Duration;

use wasmtime_wasi_http::RequestOptions;

/// Name look-up, TCP and TLS together. Also the default.
pub(super) const MAX_CONNECT: Duration = Duration::from_secs(30);

/// From the end of the request to the head of the response: some services compute
/// for minutes before they answer.
const MAX_FIRST_BYTE: Duration = Duration::from_secs(900);
const FIRST_BYTE: Duration = Duration::from_secs(60);

/// From one piece of the response's body to the next.
const MAX_BETWEEN_BYTES: Duration = Duration::from_secs(900);
const BETWEEN_BYTES: Duration = Duration::from_secs(60);

/// Zero would be over before it began.
const LEAST: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) between_bytes: Duration,
}

impl Timeouts {
    /// What the guest asked for, within our bounds. An attempt's own timeout ends
    /// a request in any case.
    pub(super) fn of(options: Option<RequestOptions>) -> Self {
        let options = options.unwrap_or_default();
        let within = |asked: Option<Duration>, default, most| asked.unwrap_or(default).clamp(LEAST, most);
        Self {
            connect: within(options.connect_timeout, MAX_CONNECT, MAX_CONNECT),
            first_byte: within(options.first_byte_timeout, FIRST_BYTE, MAX_FIRST_BYTE),
            between_bytes: within(options.between_bytes_timeout, BETWEEN_BYTES, MAX_BETWEEN_BYTES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_waits_as_long_as_it_asks_within_bounds() {
        let options = |span: Option<Duration>| {
            Some(RequestOptions { connect_timeout: span, first_byte_timeout: span, between_bytes_timeout: span })
        };
        let timeouts = |connect, first_byte, between_bytes| Timeouts { connect, first_byte, between_bytes };
        let second = Duration::from_secs(1);
        let most = timeouts(MAX_CONNECT, MAX_FIRST_BYTE, MAX_BETWEEN_BYTES);
        assert_eq!(Timeouts::of(None), timeouts(MAX_CONNECT, FIRST_BYTE, BETWEEN_BYTES));
        assert_eq!(Timeouts::of(options(None)), Timeouts::of(None));
        assert_eq!(Timeouts::of(options(Some(second))), timeouts(second, second, second));
        assert_eq!(Timeouts::of(options(Some(Duration::ZERO))), timeouts(LEAST, LEAST, LEAST));
        assert_eq!(Timeouts::of(options(Some(Duration::from_nanos(u64::MAX)))), most);
    }
}
