//! Looks at every answer: did the task succeed, is its id its own, how long did it take?

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::cli::error::CliError;
use crate::cli::text;
use crate::model::{TaskId, Timestamp};

/// When a request left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) at: Timestamp,
    pub(super) instant: Instant,
}

pub(super) struct Recorder {
    /// Whether the server's clock is ours.
    same_clock: bool,
    /// Whether an answer says only that the task was accepted.
    accepted_only: bool,
    pub(super) submit: Times,
    pub(super) start: Times,
    pub(super) submit_to_start: Times,
    pub(super) done: Times,
    pub(super) failed: u64,
    /// Requests answered with 429 or 503 and sent again.
    pub(super) turned_away: u64,
    pub(super) last_done: Option<Instant>,
    first_failure: Option<String>,
    repeated_ids: u64,
    /// Every id seen, with when its request left.
    pub(super) ids: HashMap<TaskId, Timestamp>,
}

/// Lengths of time, to the microsecond, with three digits kept.
pub(super) struct Times(Histogram<u64>);

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// Of a task object only what is looked at; of a refused line, the absence of an id.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    id: Option<&'a str>,
    #[serde(borrow)]
    state: Option<&'a str>,
    #[serde(borrow)]
    outcome: Option<&'a str>,
    #[serde(borrow)]
    queued_at: Option<&'a str>,
    #[serde(borrow)]
    start_date: Option<&'a str>,
}

impl Recorder {
    pub(super) fn new(same_clock: bool, accepted_only: bool) -> Self {
        Self {
            same_clock,
            accepted_only,
            submit: Times::new(),
            start: Times::new(),
            submit_to_start: Times::new(),
            done: Times::new(),
            failed: 0,
            turned_away: 0,
            last_done: None,
            first_failure: None,
            repeated_ids: 0,
            ids: HashMap::new(),
        }
    }

    /// One answer to one task.
    pub(super) fn answer(&mut self, line: &[u8], sent: Sent, now: Instant) {
        self.last_done = Some(now);
        let answer = serde_json::from_slice::<Answer>(line).ok();
        let id = answer.as_ref().and_then(|answer| answer.id?.parse::<TaskId>().ok());
        let (Some(answer), Some(id)) = (answer, id) else {
            return self.fail(line);
        };
        if self.ids.insert(id, sent.at).is_some() {
            self.repeated_ids += 1;
        }
        let waited = now.saturating_duration_since(sent.instant);
        if self.accepted_only {
            return self.submit.add(waited);
        }
        if answer.outcome != Some("success") || answer.state != Some("success") {
            return self.fail(line);
        }
        self.done.add(waited);
        let moment = |text: Option<&str>| text.and_then(|text| text.parse::<Timestamp>().ok());
        let (Some(queued_at), Some(start_date)) = (moment(answer.queued_at), moment(answer.start_date)) else {
            return self.fail(line);
        };
        self.start.add(start_date.since(queued_at));
        if self.same_clock {
            self.submit.add(queued_at.since(sent.at));
            self.submit_to_start.add(start_date.since(sent.at));
        }
    }

    fn fail(&mut self, line: &[u8]) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| String::from_utf8_lossy(line).chars().take(500).collect());
    }

    pub(super) fn fail_because(&mut self, count: u64, reason: &str) {
        if count > 0 {
            self.failed += count;
            self.first_failure.get_or_insert_with(|| reason.to_owned());
        }
    }

    /// Whether all went as promised.
    pub(super) fn verdict(&self, tasks: u64) -> Result<(), CliError> {
        if self.repeated_ids > 0 {
            return Err(CliError::Bench(format!("{} answers bore the id of another task", self.repeated_ids)));
        }
        if self.failed > 0 {
            let first = text::line(self.first_failure.as_deref().unwrap_or_default());
            return Err(CliError::Bench(format!(
                "{} of {tasks} tasks did not succeed; the first: {first}",
                self.failed
            )));
        }
        if self.ids.len() as u64 != tasks {
            return Err(CliError::Bench(format!("{} of {tasks} tasks were answered", self.ids.len())));
        }
        Ok(())
    }
}

impl Times {
    fn new() -> Self {
        // One microsecond to two hours; these bounds are within what a histogram takes.
        Self(Histogram::new_with_bounds(1, 7_200_000_000, 3).expect("bounds of a histogram"))
    }

    pub(super) fn add(&mut self, length: Duration) {
        self.0.saturating_record(u64::try_from(length.as_micros()).unwrap_or(u64::MAX));
    }

    /// In milliseconds; `None` where nothing was measured.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let at = |micros: u64| micros as f64 / 1e3;
        (!self.0.is_empty()).then(|| Percentiles {
            p50: at(self.0.value_at_quantile(0.5)),
            p99: at(self.0.value_at_quantile(0.99)),
            max: at(self.0.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"index": 0, "id": "task_01KAQZ3X5T008", "state": "success", "outcome": "success", "result": "task_\"x",
        "error": null, "queued_at": "2026-11-23T08:00:00.001Z", "start_date": "2026-11-23T08:00:00.003Z"}"#;

    fn recorded(lines: &[&str]) -> Recorder {
        let mut recorder = Recorder::new(true, false);
        let now = Instant::now();
        let sent = Sent { at: "2026-11-23T08:00:00Z".parse().expect("a time"), instant: now };
        for line in lines {
            recorder.answer(line.as_bytes(), sent, now + Duration::from_millis(5));
        }
        recorder
    }

    #[test]
    fn a_success_is_timed() {
        let recorder = recorded(&[GOOD]);
        assert!(recorder.verdict(1).is_ok());
        let medians = [&recorder.submit, &recorder.start, &recorder.submit_to_start, &recorder.done]
            .map(|times| times.percentiles().expect("one value").p50.round());
        assert_eq!(medians, [1.0, 2.0, 3.0, 5.0]);
    }

    #[test]
    fn anything_but_a_success_of_its_own_is_found() {
        let failed = GOOD.replace("\"outcome\": \"success\"", "\"outcome\": \"trapped\"");
        let unfinished = GOOD.replace("\"success\"", "\"queued\"");
        for lines in [&[failed.as_str()][..], &[&unfinished], &["{}"], &["not JSON"], &[GOOD, GOOD], &[]] {
            let tasks = lines.len().max(1) as u64;
            let verdict = recorded(lines).verdict(tasks);
            assert!(matches!(verdict, Err(CliError::Bench(_))), "{lines:?}");
        }
    }
}
