//! Decides which guest runs next, on threads of their own.
//!
//! A guest runs until it ends, waits, or has used up its time slice. Guests that
//! have not used one up yet go first, so that a task of microseconds never waits
//! behind those that compute for hours; these share what is left, and are never
//! starved altogether.
//!
//! The threads are nicer than the server's: under load the server still accepts,
//! commits and answers.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_task::{FallibleTask, ScheduleInfo, Task, WithInfo};
use parking_lot::{Condvar, Mutex};

use super::ticker::{SLICE, Ticker};

/// How much nicer than the server's own threads.
const NICENESS: i32 = 10;

/// Ticks after which guests that used up a slice get a turn even though fresh ones wait.
const PATIENCE_TICKS: u64 = 4;

/// Threads that run guests, and nothing else. Dropping them stops and joins them;
/// guests that have not ended are dropped.
pub struct GuestThreads {
    shared: Arc<Shared>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

/// A guest under way. Dropping it cancels the guest; `None` when the threads were
/// shut down first.
#[must_use = "dropping it cancels the guest; use detach() to let it run"]
pub struct GuestTask<T>(FallibleTask<T, Turns>);

/// How long the guest has had a thread, in nanoseconds.
#[derive(Debug, Clone, Default)]
struct Turns(Arc<AtomicU64>);

impl Turns {
    fn add(&self, turn: Duration) {
        self.0.fetch_add(u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether they were more than a time slice together, however often the guest waited between.
    fn used_a_slice(&self) -> bool {
        u128::from(self.0.load(Ordering::Relaxed)) > SLICE.as_nanos()
    }
}

type Runnable = async_task::Runnable<Turns>;

struct Shared {
    queues: Mutex<Queues>,
    work: Condvar,
    ticker: Ticker,
}

#[derive(Default)]
struct Queues {
    fresh: VecDeque<Runnable>,
    worn: VecDeque<Runnable>,
    worn_served_at: u64,
    sleeping: usize,
    /// A thread was notified and has not looked yet: it will wake the next one
    /// itself, so that a burst of work costs one system call.
    waking: bool,
    closed: bool,
}

impl GuestThreads {
    /// Starts the threads. Timers and sockets of guests belong to `runtime`.
    pub(super) fn start(count: usize, ticker: Ticker, runtime: &tokio::runtime::Handle) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { queues: Mutex::default(), work: Condvar::new(), ticker });
        let threads = Self { shared, handles: Mutex::default() };
        for number in 0..count.max(1) {
            let shared = threads.shared.clone();
            let runtime = runtime.clone();
            let handle = std::thread::Builder::new().name(format!("guest-{number}")).spawn(move || {
                let _runtime = runtime.enter();
                be_nice();
                shared.run();
            })?;
            threads.handles.lock().push(handle);
        }
        Ok(threads)
    }

    pub fn spawn<F>(&self, future: F) -> GuestTask<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let shared = self.shared.clone();
        let schedule = WithInfo(move |runnable: Runnable, info: ScheduleInfo| shared.push(runnable, info));
        let (runnable, task): (Runnable, Task<F::Output, Turns>) =
            async_task::Builder::new().metadata(Turns::default()).spawn(move |_| future, schedule);
        runnable.schedule();
        GuestTask(task.fallible())
    }

    /// Stops and joins the threads. Guests that have not ended are dropped.
    pub fn shut_down(&self) {
        let dropped = {
            let mut queues = self.shared.queues.lock();
            queues.closed = true;
            self.shared.work.notify_all();
            (std::mem::take(&mut queues.fresh), std::mem::take(&mut queues.worn))
        };
        drop(dropped);
        for handle in std::mem::take(&mut *self.handles.lock()) {
            // The last owner may be a guest's own future.
            if handle.thread().id() != std::thread::current().id() {
                let _ = handle.join();
            }
        }
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl<T> GuestTask<T> {
    /// Lets the guest run with nobody waiting for it.
    pub fn detach(self) {
        self.0.detach();
    }
}

impl<T> Future for GuestTask<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Shared {
    fn push(&self, runnable: Runnable, info: ScheduleInfo) {
        // Woken while it runs: it gave way at the end of its slice.
        let worn = info.woken_while_running || runnable.metadata().used_a_slice();

        let mut queues = self.queues.lock();
        if queues.closed {
            drop(queues);
            // Cancels the guest.
            return drop(runnable);
        }
        if worn {
            queues.worn.push_back(runnable);
        } else {
            queues.fresh.push_back(runnable);
        }
        let wake = queues.sleeping > 0 && !queues.waking;
        queues.waking |= wake;
        drop(queues);
        if wake {
            self.work.notify_one();
        }
    }

    fn run(&self) {
        let busy = self.ticker.busy();
        while let Some(runnable) = self.next() {
            // An attempt catches its own panics. This is for what may panic while
            // a cancelled one is dropped: it must not cost the thread.
            let (turns, began) = (runnable.metadata().clone(), Instant::now());
            if std::panic::catch_unwind(AssertUnwindSafe(|| runnable.run())).is_err() {
                tracing::error!("a guest's future panicked outside of its attempt");
            }
            turns.add(began.elapsed());
        }
        drop(busy);
    }

    /// The next guest; waits for one. `None` when the threads are to end.
    fn next(&self) -> Option<Runnable> {
        let mut queues = self.queues.lock();
        loop {
            if queues.closed {
                return None;
            }
            if let Some(runnable) = queues.take(self.ticker.ticks()) {
                let wake = queues.sleeping > 0 && !queues.waking && !queues.is_empty();
                queues.waking |= wake;
                drop(queues);
                if wake {
                    self.work.notify_one();
                }
                return Some(runnable);
            }
            queues.sleeping += 1;
            self.ticker.idle_while(|| self.work.wait(&mut queues));
            queues.sleeping -= 1;
            queues.waking = false;
        }
    }
}

impl Queues {
    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.worn.is_empty()
    }

    fn take(&mut self, now_ticks: u64) -> Option<Runnable> {
        let patience_ended = now_ticks.wrapping_sub(self.worn_served_at) >= PATIENCE_TICKS;
        if (self.fresh.is_empty() || patience_ended)
            && let Some(runnable) = self.worn.pop_front()
        {
            self.worn_served_at = now_ticks;
            return Some(runnable);
        }
        self.fresh.pop_front()
    }
}

/// Lowers the priority of the calling thread below the server's.
pub fn be_nice() {
    // On Linux a thread has its own niceness, addressed by its thread id. Failing
    // costs nothing but the courtesy.
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
        tracing::debug!(%error, "the priority of a guest thread could not be lowered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runnables(count: usize) -> VecDeque<Runnable> {
        let schedule = |_: Runnable| {};
        (0..count)
            .map(|_| {
                let builder = async_task::Builder::new().metadata(Turns::default());
                let (runnable, task) = builder.spawn(|_| async {}, schedule);
                task.detach();
                runnable
            })
            .collect()
    }

    fn left(queues: &Queues) -> (usize, usize) {
        (queues.fresh.len(), queues.worn.len())
    }

    #[test]
    fn a_fresh_guest_goes_before_all_that_used_up_a_slice() {
        let mut queues = Queues { fresh: runnables(1), worn: runnables(14), worn_served_at: 100, ..Queues::default() };
        queues.take(101).expect("a guest");
        assert_eq!(left(&queues), (0, 14));
        queues.take(101).expect("a guest");
        assert_eq!(left(&queues), (0, 13));
    }

    #[test]
    fn guests_that_used_up_a_slice_get_a_turn_among_ever_new_ones() {
        let mut queues = Queues { fresh: runnables(9), worn: runnables(1), worn_served_at: 100, ..Queues::default() };
        for ticks in [100, 101, 103] {
            queues.take(ticks).expect("a guest");
        }
        assert_eq!(left(&queues), (6, 1));
        queues.take(100 + PATIENCE_TICKS).expect("a guest");
        assert_eq!(left(&queues), (6, 0));
    }
}
