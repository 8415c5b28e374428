//! What was measured, for programs by the names of the contract, for people as a table.

use std::time::Duration;

use serde_json::json;

use super::calibration::Calibration;
use super::process::Memory;
use super::recorder::{Percentiles, Recorder};
use crate::cli::error::CliError;
use crate::cli::output::{Field, Output};
use crate::cli::text;

pub(super) struct Report {
    pub(super) tasks: u64,
    /// From the first byte sent to the last result committed.
    pub(super) elapsed: Duration,
    pub(super) queue: Option<Queue>,
    pub(super) server_cpu: Option<Duration>,
    pub(super) server_memory: Option<Memory>,
    pub(super) client_cpu: Duration,
    pub(super) calibration: Calibration,
}

/// What `--queue-first` adds.
pub(super) struct Queue {
    pub(super) submit_s: f64,
    pub(super) left_at_last_submit: u64,
    pub(super) drain_tasks_per_s: Option<f64>,
}

impl Report {
    pub(super) fn print(&self, recorder: &Recorder, output: &Output) -> Result<(), CliError> {
        if output.is_json() { output.line(&self.json(recorder).to_string()) } else { self.table(recorder, output) }
    }

    fn tasks_per_s(&self) -> f64 {
        self.tasks as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn micros_per_task(&self, cpu: Duration) -> f64 {
        round(cpu.as_secs_f64() * 1e6 / self.tasks as f64)
    }

    fn json(&self, recorder: &Recorder) -> serde_json::Value {
        let mut report = json!({
            "tasks_per_s": round(self.tasks_per_s()),
            "submit_ms": recorder.submit.percentiles(),
            "start_ms": recorder.start.percentiles(),
            "done_ms": recorder.done.percentiles(),
            "cpu_us_per_task": {
                "server": self.server_cpu.map(|cpu| self.micros_per_task(cpu)),
                "client": self.micros_per_task(self.client_cpu),
            },
            "calibration": {
                "fsyncs_per_s": self.calibration.fsyncs_per_s.map(round),
                "bare_sandboxes_per_s": self.calibration.bare_sandboxes_per_s.map(round),
            },
            "submit_to_start_ms": recorder.submit_to_start.percentiles(),
            "tasks": self.tasks,
            "failed": recorder.failed,
            "turned_away": recorder.turned_away,
            "elapsed_s": self.elapsed.as_secs_f64(),
            "server_memory_bytes": self.server_memory,
        });
        if let Some(queue) = &self.queue {
            report["queue"] = json!({
                "submit_s": queue.submit_s,
                "left_at_last_submit": queue.left_at_last_submit,
                "drain_tasks_per_s": queue.drain_tasks_per_s.map(round),
            });
        }
        report
    }

    fn table(&self, recorder: &Recorder, output: &Output) -> Result<(), CliError> {
        let ended =
            if recorder.failed == 0 { "all succeeded".to_owned() } else { format!("{} failed", recorder.failed) };
        output.line(&format!(
            "{} tasks in {}: {} tasks/s, {ended}\n",
            text::count(self.tasks as f64),
            text::duration(self.elapsed),
            text::count(self.tasks_per_s()),
        ))?;
        let row = |name: &str, times: Option<Percentiles>| {
            let cell =
                |value: fn(&Percentiles) -> f64| Field::or_dash(times.as_ref().map(value).map(text::milliseconds));
            vec![name.into(), cell(|times| times.p50), cell(|times| times.p99), cell(|times| times.max)]
        };
        output.table(
            &["", "P50", "P99", "MAX"],
            vec![
                row("submit: sent → accepted", recorder.submit.percentiles()),
                row("start: accepted → guest starts", recorder.start.percentiles()),
                row("sent → guest starts", recorder.submit_to_start.percentiles()),
                row("done: sent → result", recorder.done.percentiles()),
            ],
        )?;
        output.line("")?;
        let per_second = |rate: Option<f64>| Field::or_dash(rate.map(|rate| format!("{}/s", text::count(rate))));
        let micros =
            |cpu: Option<Duration>| Field::or_dash(cpu.map(|cpu| format!("{:.1} µs", self.micros_per_task(cpu))));
        let mut pairs = vec![
            ("server CPU a task", micros(self.server_cpu)),
            ("client CPU a task", micros(Some(self.client_cpu))),
            (
                "server memory",
                Field::or_dash(
                    self.server_memory
                        .map(|memory| format!("{}, at most {}", text::size(memory.now), text::size(memory.peak))),
                ),
            ),
            ("this disk: 4 KiB made durable", per_second(self.calibration.fsyncs_per_s)),
            ("this machine: bare sandboxes, one thread", per_second(self.calibration.bare_sandboxes_per_s)),
        ];
        if recorder.turned_away > 0 {
            pairs.push(("requests turned away and sent again", recorder.turned_away.into()));
        }
        if let Some(queue) = &self.queue {
            pairs.push(("submitted in", text::duration(Duration::from_secs_f64(queue.submit_s)).into()));
            pairs.push(("queued when the last was submitted", text::count(queue.left_at_last_submit as f64).into()));
            pairs.push(("those drained at", per_second(queue.drain_tasks_per_s)));
        }
        output.pairs(pairs)
    }
}

/// Three decimals are more than any of these measurements is worth.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
