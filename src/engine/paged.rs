//! An ordered set of which only the head must be in memory.
//!
//! Keys up to the horizon are *near*: all of them are here. Keys behind it are
//! in the store, and some of them also here (*far*), because their task has
//! changes that are not durable yet.

use std::collections::BTreeSet;

#[derive(Debug)]
pub(super) struct Paged<K> {
    near: BTreeSet<K>,
    far: BTreeSet<K>,
    /// None: nothing of this set is only in the store.
    horizon: Option<K>,
}

impl<K: Ord + Copy> Default for Paged<K> {
    fn default() -> Self {
        Self { near: BTreeSet::new(), far: BTreeSet::new(), horizon: None }
    }
}

impl<K: Ord + Copy> Paged<K> {
    /// A set whose content is still all in the store, behind `lowest`.
    pub(super) fn behind(lowest: K) -> Self {
        Self { horizon: Some(lowest), ..Self::default() }
    }

    /// Returns whether the key is near, that is, must stay in memory.
    pub(super) fn insert(&mut self, key: K) -> bool {
        if self.horizon.is_some_and(|horizon| key > horizon) {
            self.far.insert(key);
            false
        } else {
            self.near.insert(key);
            true
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if !self.near.remove(key) {
            self.far.remove(key);
        }
    }

    pub(super) fn first(&self) -> Option<K> {
        self.near.first().copied()
    }

    pub(super) fn pop_first(&mut self) -> Option<K> {
        self.near.pop_first()
    }

    pub(super) fn near_len(&self) -> usize {
        self.near.len()
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.near.contains(key) || self.far.contains(key)
    }

    pub(super) fn is_near(&self, key: &K) -> bool {
        self.near.contains(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.near.is_empty() && self.far.is_empty() && self.horizon.is_none()
    }

    pub(super) fn horizon(&self) -> Option<K> {
        self.horizon
    }

    /// Moves the last near key behind the horizon and returns it. Keeps the first one near.
    pub(super) fn evict_last(&mut self) -> Option<K> {
        if self.near.len() < 2 {
            return None;
        }
        let evicted = self.near.pop_last()?;
        self.far.insert(evicted);
        self.horizon = self.near.last().copied();
        Some(evicted)
    }

    /// Forgets a far key whose task left memory: the store has it.
    pub(super) fn forget_far(&mut self, key: &K) {
        self.far.remove(key);
    }

    /// Takes in the page behind the horizon: `keys`, and everything that is here
    /// already up to the page's end (`None`: the store has no more). Returns the
    /// keys that were here.
    pub(super) fn page_in(&mut self, keys: &[K], up_to: Option<K>) -> Vec<K> {
        self.near.extend(keys);
        let reached: Vec<K> = match up_to {
            Some(end) => self.far.range(..=end).copied().collect(),
            None => self.far.iter().copied().collect(),
        };
        for key in &reached {
            self.far.remove(key);
            self.near.insert(*key);
        }
        self.horizon = up_to;
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_behind_the_horizon_wait_for_their_page() {
        let mut set = Paged::default();
        for key in [1, 2, 3, 4] {
            assert!(set.insert(key));
        }
        assert_eq!((set.evict_last(), set.evict_last()), (Some(4), Some(3)));
        assert!(!set.insert(9), "behind the horizon");
        assert!(set.insert(0), "before it");
        set.forget_far(&4);
        assert_eq!(set.page_in(&[4], Some(4)), [3], "3 was still here");
        assert_eq!(set.horizon(), Some(4));
        set.page_in(&[], None);
        let drained: Vec<i32> = std::iter::from_fn(|| set.pop_first()).collect();
        assert_eq!(drained, [0, 1, 2, 3, 4, 9]);
    }
}
