//! What a task may know about itself.

use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::{Error, registry};

#[cfg(target_family = "wasm")]
use crate::guest::Host as Source;
#[cfg(not(target_family = "wasm"))]
use crate::testing::Facts as Source;

/// What a task may know about itself: which try this is, what it runs for, until when.
///
/// A task function that takes a `Context` or a `&Context`, before or after its input, is given one. Every answer is
/// asked of the host when it is needed, so an unused context costs nothing. In unit tests, `testing::context()` makes one.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) source: Source,
}

impl Context {
    /// The id of the task instance, `task_01J…`.
    pub fn task_id(&self) -> String {
        self.source.task_id()
    }

    /// The id of the DAG run this instance belongs to; none for a single task.
    pub fn run_id(&self) -> Option<String> {
        self.source.run_id()
    }

    /// The name of the DAG; none for a single task.
    pub fn dag_id(&self) -> Option<String> {
        self.source.dag_id()
    }

    /// The moment the run stands for; none without one.
    pub fn logical_date(&self) -> Option<Timestamp> {
        self.source.logical_date().map(|text| timestamp(&text))
    }

    /// Start of the interval whose data the run covers.
    pub fn data_interval_start(&self) -> Option<Timestamp> {
        self.source.data_interval_start().map(|text| timestamp(&text))
    }

    /// End of the interval whose data the run covers.
    pub fn data_interval_end(&self) -> Option<Timestamp> {
        self.source.data_interval_end().map(|text| timestamp(&text))
    }

    /// Which try this is, counted from 1.
    pub fn try_number(&self) -> u32 {
        self.source.try_number()
    }

    /// The place of this instance in a mapped task; none where it is not mapped.
    pub fn map_index(&self) -> Option<u32> {
        self.source.map_index()
    }

    /// The parameters of the run, an object; `{}` for a single task.
    ///
    /// Parameters that do not fit `T` are a failure that is not tried again.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, Error> {
        registry::from_json(&self.source.params())
            .map_err(|reason| Error::failed(format_args!("the params of the run do not fit: {reason}")).do_not_retry())
    }

    /// When this attempt will be stopped.
    pub fn deadline(&self) -> Timestamp {
        timestamp(&self.source.deadline())
    }

    /// How much time is left until the deadline; zero when it has passed.
    pub fn time_left(&self) -> Duration {
        Duration::try_from(self.deadline().duration_since(Timestamp::now())).unwrap_or_default()
    }
}

fn timestamp(text: &str) -> Timestamp {
    text.parse().expect("the host gives times in RFC 3339")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::context;
    use serde_json::{Value, json};

    #[test]
    fn params_that_do_not_fit_are_a_failure_that_names_the_place() {
        let context = context().with_params(json!({"days": "seven"})).build();
        let error = context.params::<std::collections::BTreeMap<String, u32>>().unwrap_err();
        assert_eq!(
            error,
            Error::failed("the params of the run do not fit: at `days`: invalid type: string \"seven\", expected u32")
                .do_not_retry()
        );
        assert_eq!(context.params::<Value>().unwrap(), json!({"days": "seven"}));
    }

    #[test]
    fn no_time_is_left_after_the_deadline() {
        let context = context().with_deadline(Timestamp::UNIX_EPOCH).build();
        assert_eq!(context.time_left(), Duration::ZERO);
    }
}
