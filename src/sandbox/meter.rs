//! Counts what one attempt asks of the host, and what it was denied.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::model::Limits;

/// Refused calls that are shown of one attempt; all of them count.
const MAX_DENIED_CALLS: usize = 20;

/// One attempt's counters. Shared by its store, which counts, its watch, which
/// compares, and the streams the host reads and writes for it.
#[derive(Debug)]
pub(super) struct Meter {
    calls: AtomicU64,
    most_calls: u64,
    sent: Budget,
    received: Budget,
    /// Bytes read from and written to files.
    file_bytes: AtomicU64,
    denied: Mutex<Vec<String>>,
}

/// Bytes that may pass, and those that have.
#[derive(Debug)]
pub(super) struct Budget {
    most: u64,
    spent: AtomicU64,
}

impl Meter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            calls: AtomicU64::new(0),
            most_calls: limits.host_calls,
            sent: Budget::of(limits.sent_bytes),
            received: Budget::of(limits.received_bytes),
            file_bytes: AtomicU64::new(0),
            denied: Mutex::default(),
        }
    }

    /// The guest calls the host. What it calls too often is noticed at the end of its time slice.
    pub(super) fn call(&self) {
        // Only the guest's own thread counts: nothing is lost between the two.
        self.calls.store(self.calls.load(Relaxed) + 1, Relaxed);
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    pub(super) fn too_many_calls(&self) -> bool {
        self.calls() > self.most_calls
    }

    /// Bytes of HTTP requests.
    pub(super) fn sent(&self) -> &Budget {
        &self.sent
    }

    /// Bytes of HTTP responses.
    pub(super) fn received(&self) -> &Budget {
        &self.received
    }

    pub(super) fn file_bytes(&self, bytes: u64) {
        self.file_bytes.fetch_add(bytes, Relaxed);
    }

    /// All bytes that passed between guest and host through capabilities.
    pub(super) fn bytes(&self) -> u64 {
        self.sent.spent() + self.received.spent() + self.file_bytes.load(Relaxed)
    }

    /// The guest asked for what it was not granted; `call` says what, for people.
    pub(super) fn deny(&self, call: impl FnOnce() -> String) {
        let mut denied = self.denied.lock();
        if denied.len() >= MAX_DENIED_CALLS {
            return;
        }
        let call = call();
        if !denied.contains(&call) {
            denied.push(call);
        }
    }

    pub(super) fn denied_calls(&self) -> Vec<String> {
        self.denied.lock().clone()
    }
}

impl Budget {
    fn of(most: u64) -> Self {
        Self { most, spent: AtomicU64::new(0) }
    }

    /// Takes `bytes` from what is left; false, and nothing is taken, where that is less.
    pub(super) fn spend(&self, bytes: u64) -> bool {
        let more = |spent: u64| spent.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.spent.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    pub(super) fn spent(&self) -> u64 {
        self.spent.load(Relaxed)
    }

    pub(super) fn most(&self) -> u64 {
        self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_to_the_last_byte_and_no_further() {
        let budget = Budget::of(10);
        assert!(budget.spend(4) && budget.spend(6));
        assert!(!budget.spend(1) && !budget.spend(u64::MAX) && budget.spend(0));
        assert_eq!(budget.spent(), 10);
    }

    #[test]
    fn denied_calls_are_shown_once_each_and_bounded() {
        let meter = Meter::new(&Limits::default());
        (0..3).for_each(|_| meter.deny(|| "the same".to_owned()));
        (0..100).for_each(|n| meter.deny(|| n.to_string()));
        assert_eq!(meter.denied_calls().len(), MAX_DENIED_CALLS);
        assert_eq!(meter.denied_calls()[..2], ["the same", "0"]);
    }
}
