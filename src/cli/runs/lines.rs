//! Says what happens to a run in lines, for logs and programs: of a wide map only what fails, and how far it is.

use std::collections::BTreeMap;

use super::super::text;
use super::say;
use super::watch::{Counts, Watch};
use crate::client::RunEvent;
use crate::model::{TaskState, Timestamp};

/// A task mapped to more instances is wide.
const MOST_INSTANCES: usize = 20;

/// Of a wide map, failed tries that have a line of their own.
const MOST_FAILURES: usize = 20;

#[derive(Default)]
pub(super) struct Lines {
    /// The wide maps that were met, by their tasks.
    wide: BTreeMap<String, Wide>,
}

#[derive(Default)]
struct Wide {
    failures: usize,
    /// Something has happened that no line has told yet.
    has_news: bool,
}

impl Lines {
    /// The lines for an event that `watch` has taken.
    pub(super) fn of(&mut self, event: &RunEvent, watch: &Watch) -> Vec<String> {
        let line = || event_line(event, watch.name(event).as_deref());
        let Some(task_id) = wide(event, watch) else {
            // What comes after a map stands below its end, and nothing is open above the end of the run.
            let is_due = |counts: &Counts| event.task.is_none() || ended(counts) == total(counts);
            let mut lines = self.told(watch, event.at, is_due);
            lines.push(line());
            return lines;
        };
        let names = self.names(event, watch);
        let wide = self.wide.entry(task_id.to_owned()).or_default();
        wide.has_news = true;
        wide.failures += usize::from(names);
        if names { vec![line()] } else { Vec::new() }
    }

    /// Whether the event has a line of its own.
    pub(super) fn names(&self, event: &RunEvent, watch: &Watch) -> bool {
        let failures = |task_id| self.wide.get(task_id).map_or(0, |wide| wide.failures);
        wide(event, watch).is_none_or(|task_id| is_failure(event) && failures(task_id) < MOST_FAILURES)
    }

    /// How far the wide maps are of which something has not been told.
    pub(super) fn progress(&mut self, watch: &Watch, now: Timestamp) -> Vec<String> {
        self.told(watch, now, |_| true)
    }

    fn told(&mut self, watch: &Watch, at: Timestamp, is_due: impl Fn(&Counts) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        for (task_id, wide) in self.wide.iter_mut().filter(|(_, wide)| wide.has_news) {
            let Some(counts) = watch.counts(task_id).filter(|counts| is_due(counts)) else { continue };
            wide.has_news = false;
            lines.push(progress_line(task_id, counts, at));
        }
        lines
    }
}

/// The task of an instance that is one of many.
fn wide<'a>(event: &'a RunEvent, watch: &Watch) -> Option<&'a str> {
    let task_id = event.task_id.as_deref().filter(|_| event.map_index.is_some_and(|index| index >= 0))?;
    watch.counts(task_id).is_some_and(|counts| total(counts) > MOST_INSTANCES).then_some(task_id)
}

fn total(counts: &Counts) -> usize {
    counts.values().sum()
}

fn ended(counts: &Counts) -> usize {
    counts.iter().filter(|(state, _)| state.is_final()).map(|(_, count)| count).sum()
}

fn is_failure(event: &RunEvent) -> bool {
    matches!(event.state.parse(), Ok(TaskState::Failed | TaskState::UpForRetry))
}

/// `08:15:31.000 parse [0..56] 50/57: 7 running, 48 success, 2 failed`
fn progress_line(task_id: &str, counts: &Counts, at: Timestamp) -> String {
    let (ended, total) = (ended(counts), total(counts));
    format!("{} {} [0..{}] {ended}/{total}: {}", time(at), text::line(task_id), total - 1, say(counts))
}

/// `08:15:30.123 parse[3] (b.csv) running, try 2`; of the run as a whole `08:15:30.123 run_started: running`.
fn event_line(event: &RunEvent, name: Option<&str>) -> String {
    let time = time(event.at);
    let state = text::line(&event.state);
    let Some(name) = name else { return format!("{time} {}: {state}", text::line(&event.event)) };
    let try_number = try_number(event).map(|number| format!(", try {number}")).unwrap_or_default();
    // `success: success` says nothing more.
    let outcome = event.outcome.as_ref().filter(|outcome| **outcome != event.state);
    let outcome = outcome.map(|outcome| format!(": {}", text::line(outcome))).unwrap_or_default();
    format!("{time} {} {state}{outcome}{try_number}", text::line(name))
}

/// Which try an event is about: of one that waits for its next, that one.
fn try_number(event: &RunEvent) -> Option<u32> {
    let used = event.try_number.filter(|number| *number > 0)?;
    Some(if matches!(event.event.as_str(), "ready" | "rerun") { used + 1 } else { used })
}

fn time(at: Timestamp) -> String {
    let at = at.to_string();
    at.split_once('T').map_or(at.as_str(), |(_, time)| time).get(..12).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixtures;
    use super::*;

    fn event(value: Value) -> RunEvent {
        let mut event = json!({"seq": 1, "at": "2026-11-23T08:15:30.123456Z", "event": "started", "run": "run_1",
            "task": "task_a", "state": "running", "outcome": null, "by": null});
        event.as_object_mut().expect("an object").extend(value.as_object().cloned().expect("an object"));
        serde_json::from_value(event).expect("an event")
    }

    #[test]
    fn an_event_is_one_line() {
        for (value, name, line) in [
            (json!({"try_number": 2}), Some("parse[3] (b.csv)"), "08:15:30.123 parse[3] (b.csv) running, try 2"),
            (
                json!({"state": "up_for_retry", "outcome": "trapped", "try_number": 1}),
                Some("a"),
                "08:15:30.123 a up_for_retry: trapped, try 1",
            ),
            (json!({"state": "queued", "event": "ready", "try_number": 1}), Some("a"), "08:15:30.123 a queued, try 2"),
            (
                json!({"state": "queued", "event": "handed_back", "try_number": 1}),
                Some("a"),
                "08:15:30.123 a queued, try 1",
            ),
            (json!({"state": "queued", "event": "ready", "try_number": 0}), Some("a"), "08:15:30.123 a queued"),
            (
                json!({"state": "success", "outcome": "success", "try_number": 1}),
                Some("a"),
                "08:15:30.123 a success, try 1",
            ),
            (json!({"state": "skipped", "try_number": 0}), Some("a\n\u{1b}[2J"), "08:15:30.123 a\\n\\u{1b}[2J skipped"),
            (json!({"event": "run_ended", "task": null, "state": "failed"}), None, "08:15:30.123 run_ended: failed"),
        ] {
            assert_eq!(event_line(&event(value), name), line);
        }
    }

    fn of_instance(index: usize, state: &str) -> RunEvent {
        event(json!({"task": format!("task_parse[{index}]"), "task_id": "parse", "map_index": index, "state": state,
            "try_number": 1, "outcome": if state == "failed" { json!("trapped") } else { Value::Null }}))
    }

    /// What is told of a map so wide, of which one fails, and of a task after it.
    fn told(width: usize) -> Vec<String> {
        let (mut lines, mut watch) = (Lines::default(), Watch::default());
        watch.replace((0..width).map(|index| fixtures::task("parse", index as i64, "scheduled")).collect());
        let others = (0..width).filter(|index| *index != 3).map(|index| of_instance(index, "success"));
        let of_map =
            (0..width).map(|index| of_instance(index, "running")).chain([of_instance(3, "failed")]).chain(others);
        let after = event(json!({"task_id": "load", "map_index": -1, "task": "task_load"}));
        let mut told = Vec::new();
        for event in of_map.chain([after]) {
            watch.take(&event);
            told.extend(lines.of(&event, &watch));
        }
        assert!(lines.progress(&watch, Timestamp::now()).is_empty(), "all is told");
        told
    }

    #[test]
    fn of_a_wide_map_failures_are_told_and_how_far_it_is() {
        assert_eq!(told(20).len(), 41);
        assert_eq!(
            told(21),
            [
                "08:15:30.123 parse[3] failed: trapped, try 1",
                "08:15:30.123 parse [0..20] 21/21: 20 success, 1 failed",
                "08:15:30.123 load running",
            ]
        );
    }

    #[test]
    fn how_far_a_wide_map_is_is_told_when_it_is_asked_for() {
        let (mut lines, mut watch) = (Lines::default(), Watch::default());
        watch.replace((0..30).map(|index| fixtures::task("parse", index, "running")).collect());
        let mut told = Vec::new();
        for index in 0..MOST_FAILURES + 5 {
            let failed = of_instance(index, "failed");
            watch.take(&failed);
            told.extend(lines.of(&failed, &watch));
        }
        assert_eq!(told.len(), MOST_FAILURES);
        let other = event(json!({"task_id": "load", "map_index": -1, "task": "task_load"}));
        assert_eq!(lines.of(&other, &watch), ["08:15:30.123 load running"]);
        let at = "2026-11-23T08:15:31Z".parse().expect("a time");
        assert_eq!(lines.progress(&watch, at), ["08:15:31.000 parse [0..29] 25/30: 5 running, 25 failed"]);
        assert!(lines.progress(&watch, at).is_empty());
    }

    #[test]
    fn a_run_that_ends_leaves_nothing_untold() {
        let (mut lines, mut watch) = (Lines::default(), Watch::default());
        watch.replace((0..30).map(|index| fixtures::task("parse", index, "scheduled")).collect());
        watch.take(&of_instance(0, "success"));
        assert!(lines.of(&of_instance(0, "success"), &watch).is_empty());
        let end = event(json!({"event": "run_ended", "task": null, "state": "cancelled"}));
        assert_eq!(
            lines.of(&end, &watch),
            ["08:15:30.123 parse [0..29] 1/30: 29 scheduled, 1 success", "08:15:30.123 run_ended: cancelled"]
        );
    }
}
