//! Tells a guest that waits from one that only gave way.
//!
//! Both leave `poll` as pending. One that gave way at the end of its time slice,
//! or whose wait was over at once, has been woken before it left; one that waits
//! has not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// Is told when a guest begins to wait in a host call, and when it computes again.
///
/// Called on the guest's thread, in turns, beginning with `parked`. Must not block.
pub trait WaitListener: Send + Sync {
    /// The guest waits: for a timer, say, or for the answer of another system.
    fn parked(&self);
    /// The guest has computed for a whole time slice since. One that waits, goes on
    /// for less and waits again is not worth a word, nor is the end of the guest.
    fn resumed(&self);
}

/// Wakes the attempt, and remembers that it was woken.
pub(super) struct Remembering {
    attempt: Waker,
    woken: AtomicBool,
}

impl Remembering {
    pub(super) fn new(attempt: &Waker) -> Arc<Self> {
        Arc::new(Self { attempt: attempt.clone(), woken: AtomicBool::new(false) })
    }

    /// Whether it wakes what this waker does.
    pub(super) fn is_for(&self, attempt: &Waker) -> bool {
        self.attempt.will_wake(attempt)
    }

    /// To be called before a poll.
    pub(super) fn forget(&self) {
        self.woken.store(false, Ordering::Relaxed);
    }

    /// Whether the attempt was woken since. A wake that comes later is none of this
    /// poll: it has the attempt polled again.
    pub(super) fn was_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }
}

impl Wake for Remembering {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        self.attempt.wake_by_ref();
    }
}
