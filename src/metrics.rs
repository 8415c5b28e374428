//! Counters of the server, in Prometheus' text form.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::engine::Gauges;
use crate::model::Outcome;

/// Counted since the start of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    submitted: AtomicU64,
    /// By `Outcome::code`; 0 for attempts our side gave up.
    attempts: [AtomicU64; 12],
    fenced: AtomicU64,
    commits: AtomicU64,
    committed_tasks: AtomicU64,
    resident: AtomicU64,
    computing: AtomicU64,
    waiting: AtomicU64,
    slots: AtomicU64,
    http_requests: AtomicU64,
}

impl Metrics {
    pub fn task_submitted(&self) {
        self.submitted.fetch_add(1, Relaxed);
    }

    pub fn attempt_ended(&self, outcome: Option<Outcome>) {
        let place = outcome.map_or(0, |outcome| outcome.code() as usize);
        self.attempts[place].fetch_add(1, Relaxed);
    }

    pub fn report_fenced(&self) {
        self.fenced.fetch_add(1, Relaxed);
    }

    pub fn committed(&self, tasks: usize) {
        self.commits.fetch_add(1, Relaxed);
        self.committed_tasks.fetch_add(tasks as u64, Relaxed);
    }

    pub fn gauges(&self, now: Gauges) {
        self.resident.store(now.resident as u64, Relaxed);
        self.computing.store(now.computing.into(), Relaxed);
        self.waiting.store(now.waiting.into(), Relaxed);
        self.slots.store(now.slots.into(), Relaxed);
    }

    pub fn http_request(&self) {
        self.http_requests.fetch_add(1, Relaxed);
    }

    /// The text a scraper reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut metric = |kind: &str, name: &str, help: &str, values: &[(String, u64)]| {
            let _ = writeln!(text, "# HELP tradewind_{name} {help}\n# TYPE tradewind_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "tradewind_{name}{labels} {value}");
            }
        };
        let one = |value: &AtomicU64| vec![(String::new(), value.load(Relaxed))];
        metric("counter", "tasks_submitted_total", "Tasks accepted.", &one(&self.submitted));
        let attempts =
            |place: usize, name: &str| (format!("{{outcome=\"{name}\"}}"), self.attempts[place].load(Relaxed));
        let by_outcome: Vec<_> = std::iter::once(attempts(0, "given_up"))
            .chain(Outcome::ALL.iter().map(|outcome| attempts(outcome.code() as usize, outcome.as_str())))
            .collect();
        metric("counter", "attempts_total", "Attempts that ended, by outcome.", &by_outcome);
        metric("counter", "reports_fenced_total", "Reports refused because another owns the task.", &one(&self.fenced));
        metric("counter", "commits_total", "Durable commits.", &one(&self.commits));
        metric("counter", "committed_tasks_total", "Task rows written by commits.", &one(&self.committed_tasks));
        metric("gauge", "resident_tasks", "Tasks in the coordinator's memory.", &one(&self.resident));
        metric("gauge", "computing_attempts", "Attempts that compute, each in a slot.", &one(&self.computing));
        metric("gauge", "waiting_attempts", "Attempts that wait in a host call.", &one(&self.waiting));
        metric("gauge", "slots", "Slots of all workers.", &one(&self.slots));
        metric("counter", "http_requests_total", "Requests answered.", &one(&self.http_requests));
        text
    }
}
