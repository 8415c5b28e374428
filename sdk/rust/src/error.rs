//! How a task says that it did not succeed, and whether another try makes sense.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// The end of a task that did not succeed: it failed, or it skipped itself.
///
/// `?` turns any [`std::error::Error`] into a failure whose message is the error and the chain of its sources; whether
/// it is tried again is then up to the task's retry policy. Like the error type of `anyhow`, this one is therefore no
/// `std::error::Error` itself.
///
/// ```
/// # use std::time::Duration;
/// # use tradewind_sdk::{Error, json};
/// Error::failed("the table `orders` does not exist").do_not_retry();
/// Error::failed("the service is busy").with_data(json!({"status": 429})).retry_after(Duration::from_secs(30));
/// Error::skip("no new files since yesterday");
/// ```
#[derive(Clone, PartialEq)]
pub struct Error(Box<Kind>);

/// What a failure says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAdvice {
    /// As the task's retry policy says.
    ByPolicy,
    /// Never: another try would fail the same way.
    Never,
    /// Not before so much time has passed, if the policy has a try left. Whole milliseconds count.
    After(Duration),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Failed { message: String, data: Option<Value>, retry: RetryAdvice },
    Skipped { reason: String },
}

impl Error {
    /// The task failed. `message` is for people; [`with_data`](Self::with_data) adds what programs need.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self(Box::new(Kind::Failed { message: message.to_string(), data: None, retry: RetryAdvice::ByPolicy }))
    }

    /// There was nothing to do. The task ends as `skipped` and is not tried again.
    pub fn skip(reason: impl fmt::Display) -> Self {
        Self(Box::new(Kind::Skipped { reason: reason.to_string() }))
    }

    /// Adds a value for programs, shown as `error.data`. A skip has none and stays as it is.
    ///
    /// A value that has no form in JSON, a map with keys that are not text for one, is left out and the message says so.
    #[must_use]
    pub fn with_data(mut self, value: impl Serialize) -> Self {
        if let Kind::Failed { message, data, .. } = &mut *self.0 {
            match serde_json::to_value(value) {
                Ok(value) => *data = Some(value),
                Err(error) => message.push_str(&format!(" (its data has no form in JSON: {error})")),
            }
        }
        self
    }

    /// Another try would fail the same way: none is made, whatever the retry policy says.
    #[must_use]
    pub fn do_not_retry(self) -> Self {
        self.with_retry(RetryAdvice::Never)
    }

    /// Another try makes sense after `delay`, if the retry policy has one left.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        self.with_retry(RetryAdvice::After(delay))
    }

    /// The message of a failure, or the reason of a skip.
    pub fn message(&self) -> &str {
        match &*self.0 {
            Kind::Failed { message, .. } => message,
            Kind::Skipped { reason } => reason,
        }
    }

    /// The value for programs, where there is one.
    pub fn data(&self) -> Option<&Value> {
        match &*self.0 {
            Kind::Failed { data, .. } => data.as_ref(),
            Kind::Skipped { .. } => None,
        }
    }

    /// What a failure says about trying again; none for a skip.
    pub fn retry_advice(&self) -> Option<RetryAdvice> {
        match &*self.0 {
            Kind::Failed { retry, .. } => Some(*retry),
            Kind::Skipped { .. } => None,
        }
    }

    pub fn is_skip(&self) -> bool {
        matches!(*self.0, Kind::Skipped { .. })
    }

    #[cfg(target_family = "wasm")]
    pub(crate) fn into_kind(self) -> Kind {
        *self.0
    }

    fn with_retry(mut self, advice: RetryAdvice) -> Self {
        if let Kind::Failed { retry, .. } = &mut *self.0 {
            *retry = advice;
        }
        self
    }

    /// For task functions that return another error type: `anyhow::Error`, `Box<dyn Error + Send + Sync>`, `String`.
    pub(crate) fn from_boxed(error: Box<dyn StdError + Send + Sync>) -> Self {
        match error.downcast::<Boxed>() {
            Ok(boxed) => boxed.0,
            Err(error) => Self::failed(chain(&*error)),
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self::from_boxed(Box::new(error))
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        Box::new(Boxed(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An [`Error`] on its way through a `Box<dyn Error>`; taken out again by [`Error::from_boxed`], with its advice.
struct Boxed(Error);

impl StdError for Boxed {}

impl fmt::Display for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The error and its sources in one line: `cannot read the orders: line 7: a date is missing`.
fn chain(error: &dyn StdError) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = Cow::from(error.to_string());
        // Many errors repeat their source in their own text; once is enough.
        if !message.ends_with(&*text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = error.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Layer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|layer| layer as _)
        }
    }

    #[test]
    fn question_mark_keeps_the_whole_chain() {
        fn read() -> Result<(), Error> {
            Err(Layer("cannot read", Some(Box::new(Layer("line 7", Some(Box::new(Layer("no date", None))))))))?
        }
        assert_eq!(read(), Err(Error::failed("cannot read: line 7: no date")));
    }

    #[test]
    fn a_source_that_the_error_repeats_is_said_once() {
        let error = Layer("cannot read: no date", Some(Box::new(Layer("no date", None))));
        assert_eq!(Error::from(error).message(), "cannot read: no date");
    }

    #[test]
    fn advice_and_data_survive_a_box() {
        let error = Error::failed("busy").with_data(json!({"status": 429})).retry_after(Duration::from_secs(3));
        let boxed: Box<dyn StdError + Send + Sync> = error.clone().into();
        assert_eq!(Error::from_boxed(boxed), error);
        assert_eq!(error.retry_advice(), Some(RetryAdvice::After(Duration::from_secs(3))));
    }

    #[test]
    fn data_without_a_form_in_json_is_said_in_the_message() {
        let error = Error::failed("bad").with_data(BTreeMap::from([(vec![1], 2)]));
        assert_eq!(error.data(), None);
        assert_eq!(error.message(), "bad (its data has no form in JSON: key must be a string)");
    }

    #[test]
    fn a_skip_has_neither_data_nor_advice() {
        let skip = Error::skip("nothing new").with_data(1).do_not_retry();
        assert!(skip.is_skip());
        assert_eq!((skip.data(), skip.retry_advice()), (None, None));
    }
}
