//! Ends one attempt from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

/// Asks one attempt to end: a waiting guest at once, a computing one at the end
/// of its time slice. Clones are the same signal. It cannot be taken back.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<State>);

#[derive(Debug, Default)]
struct State {
    stopped: AtomicBool,
    /// The one attempt that listens.
    listener: AtomicWaker,
}

impl StopSignal {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.listener.wake();
    }

    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    /// Registers the waker, then looks: no signal is lost between the two.
    pub(super) fn is_stopped_or_wakes(&self, waker: &Waker) -> bool {
        self.0.listener.register(waker);
        self.is_stopped()
    }
}
