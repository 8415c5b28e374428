//! Where everybody leaves what the coordinator must know. Taken whole, so that
//! what arrived during one commit goes into the next.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

#[derive(Debug)]
pub(crate) struct Mailbox<M> {
    letters: Mutex<Vec<M>>,
    arrived: Condvar,
}

impl<M> Default for Mailbox<M> {
    fn default() -> Self {
        Self { letters: Mutex::new(Vec::new()), arrived: Condvar::new() }
    }
}

impl<M> Mailbox<M> {
    pub(crate) fn push(&self, letter: M) {
        let mut letters = self.letters.lock();
        letters.push(letter);
        // Only the first letter can find the coordinator asleep.
        if letters.len() == 1 {
            self.arrived.notify_one();
        }
    }

    /// Swaps everything that has arrived into `taken`, which must be empty.
    /// Waits for a first letter, but not beyond `patience`.
    pub(crate) fn take(&self, taken: &mut Vec<M>, patience: Option<Duration>) {
        let mut letters = self.letters.lock();
        if letters.is_empty() {
            match patience {
                Some(patience) => {
                    let until = Instant::now() + patience;
                    self.arrived.wait_while_until(&mut letters, |letters| letters.is_empty(), until);
                }
                None => self.arrived.wait_while(&mut letters, |letters| letters.is_empty()),
            }
        }
        std::mem::swap(&mut *letters, taken);
    }
}
