//! When a call that failed is made again.

use std::time::Duration;

use reqwest::header;

/// Tries of one call, the first included.
pub(super) const MAX_TRIES: u32 = 5;

/// A server that asks for a longer pause is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How a try failed, as far as it decides about another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Failure {
    /// No connection: certainly not carried out.
    NotSent,
    /// Sent, and no answer: perhaps carried out.
    Lost,
    /// Answered with this status, and perhaps a Retry-After.
    Refused(u16, Option<Duration>),
}

/// The pause before the next try of a call that failed `tried` times; `None` where it is not to be repeated.
pub(super) fn pause_before_repeat(tried: u32, repeatable: bool, failure: Failure) -> Option<Duration> {
    let growing = Duration::from_millis(100 << tried.min(10));
    let pause = match failure {
        // A server that is restarting is back in a moment; one that is not there should be told of soon.
        Failure::NotSent if tried >= 3 => return None,
        Failure::NotSent => growing,
        Failure::Lost if repeatable => growing,
        // Turned away at the door: not carried out, whatever it was.
        Failure::Refused(429, asked) => asked.unwrap_or(growing),
        Failure::Refused(502..=504, asked) if repeatable => asked.unwrap_or(growing),
        Failure::Lost | Failure::Refused(..) => return None,
    };
    (tried < MAX_TRIES && pause <= LONGEST_PAUSE).then_some(pause)
}

pub(super) fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
