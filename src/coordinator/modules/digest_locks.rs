//! Lets those who bring and those who remove the same module take turns.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::model::Digest;

type Lock = tokio::sync::Mutex<()>;

/// A lock for each digest that somebody holds or waits for.
#[derive(Default)]
pub(super) struct DigestLocks(Mutex<HashMap<Digest, Weak<Lock>>>);

impl DigestLocks {
    /// The only one for this digest, until the guard is dropped.
    pub(super) async fn lock(&self, digest: Digest) -> OwnedMutexGuard<()> {
        let lock = self.of(digest);
        lock.lock_owned().await
    }

    fn of(&self, digest: Digest) -> Arc<Lock> {
        let mut locks = self.0.lock();
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&digest).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(Lock::default());
        locks.insert(digest, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_digest_is_one_holders_and_forgotten_after() {
        let locks = DigestLocks::default();
        let held = locks.lock(Digest::of(b"a")).now_or_never().expect("free");
        assert!(locks.lock(Digest::of(b"a")).now_or_never().is_none());
        let other = locks.lock(Digest::of(b"b")).now_or_never();
        assert!(other.is_some());
        drop((held, other));
        assert!(locks.lock(Digest::of(b"a")).now_or_never().is_some());
        assert_eq!(locks.0.lock().len(), 1);
    }
}
