//! Ends the time slices of guests that compute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use super::machine::Promised;

/// Length of a time slice: what a guest may compute before another one's turn.
pub(super) const SLICE: Duration = Duration::from_millis(2);

/// Idle ticks before the ticker goes to sleep. Waking it costs a system call,
/// which work that comes and goes should not pay each time.
const LINGER_TICKS: u32 = 50;

/// A thread that advances the engine's epoch every [`SLICE`] while any guest
/// thread is busy, and sleeps otherwise: an idle server uses no processor.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

struct Shared {
    busy: AtomicUsize,
    ticks: AtomicU64,
    asleep: AtomicBool,
    closed: AtomicBool,
}

/// A thread that may be running a guest, for as long as this lives.
pub(super) struct Busy<'a>(&'a Ticker);

impl Ticker {
    pub(super) fn start(machine: Promised) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            busy: AtomicUsize::new(0),
            ticks: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let of_thread = shared.clone();
        let handle =
            std::thread::Builder::new().name("guest-ticker".to_owned()).spawn(move || of_thread.run(&machine))?;
        Ok(Self { shared, thread: handle.thread().clone(), handle: Some(handle) })
    }

    /// Ticks so far, for measuring time without reading a clock.
    pub(super) fn ticks(&self) -> u64 {
        self.shared.ticks.load(Ordering::Relaxed)
    }

    pub(super) fn busy(&self) -> Busy<'_> {
        self.enter();
        Busy(self)
    }

    /// Runs `wait` on a thread that is busy otherwise.
    pub(super) fn idle_while<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.leave();
        let waited = wait();
        self.enter();
        waited
    }

    fn enter(&self) {
        self.shared.busy.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
    }

    fn leave(&self) {
        self.shared.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.thread.unpark();
        if let Some(handle) = self.handle.take()
            && handle.thread().id() != std::thread::current().id()
        {
            let _ = handle.join();
        }
    }
}

impl Shared {
    fn run(&self, machine: &Promised) {
        let mut idle_ticks = 0;
        while !self.closed.load(Ordering::SeqCst) {
            std::thread::sleep(SLICE);
            if let Some(machine) = machine.if_made() {
                machine.engine.increment_epoch();
            }
            self.ticks.fetch_add(1, Ordering::Relaxed);
            idle_ticks = if self.busy.load(Ordering::SeqCst) == 0 { idle_ticks + 1 } else { 0 };
            if idle_ticks > LINGER_TICKS {
                // Says so before looking once more; a thread that becomes busy
                // counts itself before looking whether to wake us.
                self.asleep.store(true, Ordering::SeqCst);
                while self.busy.load(Ordering::SeqCst) == 0 && !self.closed.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                self.asleep.store(false, Ordering::SeqCst);
                idle_ticks = 0;
            }
        }
    }
}
