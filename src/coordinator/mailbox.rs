//! Where everybody leaves what the coordinator must know. Taken whole, so that
//! what arrived during one commit goes into the next.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

#[derive(Debug)]
pub(crate) struct Mailbox<M> {
    /// None once nobody reads any more.
    letters: Mutex<Option<Vec<M>>>,
    arrived: Condvar,
}

impl<M> Default for Mailbox<M> {
    fn default() -> Self {
        Self { letters: Mutex::new(Some(Vec::new())), arrived: Condvar::new() }
    }
}

impl<M> Mailbox<M> {
    pub(crate) fn push(&self, letter: M) {
        let mut open = self.letters.lock();
        // Dropping a letter tells its sender, who waits for the reply in it.
        let Some(letters) = &mut *open else { return };
        letters.push(letter);
        // Only the first letter can find the coordinator asleep.
        if letters.len() == 1 {
            self.arrived.notify_one();
        }
    }

    /// Swaps everything that has arrived into `taken`, which must be empty.
    /// Waits for a first letter, but not beyond `patience`.
    pub(crate) fn take(&self, taken: &mut Vec<M>, patience: Option<Duration>) {
        let is_empty = |letters: &mut Option<Vec<M>>| letters.as_ref().is_some_and(Vec::is_empty);
        let mut letters = self.letters.lock();
        if is_empty(&mut letters) {
            match patience {
                Some(patience) => {
                    let until = Instant::now() + patience;
                    self.arrived.wait_while_until(&mut letters, is_empty, until);
                }
                None => self.arrived.wait_while(&mut letters, is_empty),
            }
        }
        if let Some(letters) = &mut *letters {
            std::mem::swap(letters, taken);
        }
    }

    /// Drops what has arrived and whatever still comes.
    pub(crate) fn close(&self) {
        let letters = self.letters.lock().take();
        drop(letters);
    }
}
