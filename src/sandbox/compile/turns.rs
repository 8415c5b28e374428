//! Who compiles next: one at a time, in the order of arrival.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::timeout;

use super::TELL_INTERVAL;

/// A line of those who compile or wait for it. Cheap to clone.
#[derive(Clone)]
pub(in crate::sandbox) struct Turns(Arc<watch::Sender<Line>>);

#[derive(Default)]
struct Line {
    next: u64,
    /// The first of them has its turn.
    tickets: BTreeSet<u64>,
}

/// A place in the line, left when dropped.
pub(super) struct Turn {
    turns: Turns,
    ticket: u64,
}

impl Turns {
    pub(in crate::sandbox) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Line::default())))
    }

    /// Waits for a turn, which lasts until it is dropped. Tells how many are ahead, at
    /// every change and once a second. Dropping the future leaves the line.
    pub(super) async fn take(&self, tell: impl Fn(usize)) -> Turn {
        let mut line = self.0.subscribe();
        let turn = self.join();
        loop {
            let ahead = line.borrow_and_update().tickets.range(..turn.ticket).count();
            if ahead == 0 {
                return turn;
            }
            tell(ahead);
            // The sender is ours, so nothing but a change or the time ends this.
            let _ = timeout(TELL_INTERVAL, line.changed()).await;
        }
    }

    fn join(&self) -> Turn {
        let mut ticket = 0;
        self.0.send_modify(|line| {
            ticket = line.next;
            line.next += 1;
            line.tickets.insert(ticket);
        });
        Turn { turns: self.clone(), ticket }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.send_modify(|line| {
            line.tickets.remove(&self.ticket);
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn turns_come_one_by_one_and_who_leaves_holds_nobody_up() {
        let turns = Turns::new();
        let told = Mutex::new(Vec::new());
        let first = turns.take(|ahead| panic!("{ahead} ahead of the first")).await;
        let mut second = Box::pin(turns.take(|_| {}));
        let mut third = Box::pin(turns.take(|ahead| told.lock().push(ahead)));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        assert_eq!(*told.lock(), [2]);
        drop(second);
        assert!(third.as_mut().now_or_never().is_none());
        assert_eq!(*told.lock(), [2, 1]);
        drop(first);
        third.await;
        assert!(turns.take(|_| {}).now_or_never().is_some(), "the line is empty again");
    }
}
