//! Keeps what is costly to make: up to so many bytes of it, and made once however many want it at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// Entries, whatever their size: the one to go is searched among them.
const MOST_ENTRIES: usize = 1_024;

pub(super) struct Cache<K, V> {
    most_bytes: u64,
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K, V> {
    by_key: HashMap<K, Entry<V>>,
    bytes: u64,
    /// Counts uses.
    clock: u64,
}

struct Entry<V> {
    /// Empty while its value is made.
    cell: Arc<OnceCell<V>>,
    bytes: u64,
    used_at: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new(most_bytes: u64) -> Self {
        let entries = Entries { by_key: HashMap::new(), bytes: 0, clock: 0 };
        Self { most_bytes, entries: Mutex::new(entries) }
    }

    /// What is there already.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut entries = self.entries.lock();
        let cell = entries.used(key)?;
        cell.get().cloned()
    }

    /// What is there, or what is made now, with its size. Who comes while it is made waits for it.
    ///
    /// What was forgotten since it was asked for is not found by those who ask later.
    pub(super) async fn get_or_make<E>(
        &self,
        key: &K,
        make: impl Future<Output = Result<(V, u64), E>>,
    ) -> Result<V, E> {
        let cell = self.entries.lock().cell(key);
        let mut bytes_made = None;
        let made = cell
            .get_or_try_init(|| async {
                let (value, bytes) = make.await?;
                bytes_made = Some(bytes);
                Ok(value)
            })
            .await
            .cloned();
        let mut entries = self.entries.lock();
        match (&made, bytes_made) {
            (Ok(_), Some(bytes)) => entries.weigh(key, &cell, bytes),
            (Ok(_), None) => {}
            // The next who asks makes it.
            (Err(_), _) => entries.drop_empty(key, &cell),
        }
        entries.shrink(self.most_bytes);
        drop(entries);
        made
    }

    pub(super) fn forget(&self, keys: impl Iterator<Item = K>) {
        let mut entries = self.entries.lock();
        if !entries.by_key.is_empty() {
            keys.for_each(|key| entries.remove(&key));
        }
    }

    pub(super) fn forget_where(&self, is_stale: impl Fn(&K) -> bool) {
        let mut entries = self.entries.lock();
        let stale: Vec<K> = entries.by_key.keys().filter(|key| is_stale(key)).cloned().collect();
        stale.iter().for_each(|key| entries.remove(key));
    }
}

impl<K: Clone + Eq + Hash, V> Entries<K, V> {
    fn used(&mut self, key: &K) -> Option<Arc<OnceCell<V>>> {
        self.clock += 1;
        let entry = self.by_key.get_mut(key)?;
        entry.used_at = self.clock;
        Some(entry.cell.clone())
    }

    fn cell(&mut self, key: &K) -> Arc<OnceCell<V>> {
        self.used(key).unwrap_or_else(|| {
            let cell = Arc::new(OnceCell::new());
            let entry = Entry { cell: cell.clone(), bytes: 0, used_at: self.clock };
            self.by_key.insert(key.clone(), entry);
            cell
        })
    }

    fn weigh(&mut self, key: &K, cell: &Arc<OnceCell<V>>, bytes: u64) {
        if let Some(entry) = self.by_key.get_mut(key).filter(|entry| Arc::ptr_eq(&entry.cell, cell)) {
            entry.bytes = bytes;
            self.bytes += bytes;
        }
    }

    fn drop_empty(&mut self, key: &K, cell: &Arc<OnceCell<V>>) {
        if !cell.initialized() && self.by_key.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.cell, cell)) {
            self.remove(key);
        }
    }

    /// What was used longest ago goes first.
    fn shrink(&mut self, most_bytes: u64) {
        while self.bytes > most_bytes || self.by_key.len() > MOST_ENTRIES {
            let oldest = self.by_key.iter().min_by_key(|(_, entry)| entry.used_at).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &K) {
        self.bytes -= self.by_key.remove(key).map_or(0, |entry| entry.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    async fn make(cache: &Cache<u32, u32>, key: u32, bytes: u64) -> u32 {
        let made = cache.get_or_make(&key, async { Ok::<_, Infallible>((key * 10, bytes)) }).await;
        made.unwrap_or_else(|error| match error {})
    }

    fn kept(cache: &Cache<u32, u32>) -> Vec<u32> {
        let mut keys: Vec<u32> = cache.entries.lock().by_key.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    #[tokio::test]
    async fn what_was_used_longest_ago_goes_when_there_are_too_many_bytes() {
        let cache = Cache::new(100);
        for key in [1, 2, 3] {
            assert_eq!(make(&cache, key, 30).await, key * 10);
        }
        assert_eq!(cache.get(&1), Some(10));
        make(&cache, 4, 40).await;
        assert_eq!((kept(&cache), cache.entries.lock().bytes), (vec![1, 3, 4], 100));
        assert_eq!(make(&cache, 5, 101).await, 50, "what is larger than all of it is made and not kept");
        assert_eq!((kept(&cache), cache.entries.lock().bytes), (vec![], 0));
    }

    #[tokio::test]
    async fn no_more_entries_are_kept_than_can_be_searched() {
        let cache = Cache::new(100);
        for key in 0..MOST_ENTRIES as u32 + 5 {
            make(&cache, key, 0).await;
        }
        assert_eq!((kept(&cache).len(), kept(&cache)[0]), (MOST_ENTRIES, 5));
    }

    #[tokio::test]
    async fn it_is_made_once_however_many_want_it() {
        let cache = Arc::new(Cache::new(100));
        let (may_end, ends) = tokio::sync::watch::channel(false);
        let made = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let all = (0..5).map(|_| {
            let (cache, mut ends, made) = (cache.clone(), ends.clone(), made.clone());
            tokio::spawn(async move {
                let make = async {
                    made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    ends.wait_for(|ends| *ends).await.expect("it is told");
                    Ok::<_, Infallible>((70, 7))
                };
                cache.get_or_make(&7, make).await.unwrap_or_else(|error| match error {})
            })
        });
        let all: Vec<_> = all.collect();
        may_end.send(true).expect("somebody waits");
        for one in all {
            assert_eq!(one.await.expect("it ends"), 70);
        }
        assert_eq!((made.load(std::sync::atomic::Ordering::Relaxed), cache.entries.lock().bytes), (1, 7));
    }

    #[tokio::test]
    async fn what_failed_is_made_by_the_next() {
        let cache = Cache::new(100);
        let failed = cache.get_or_make(&1, async { Err::<(u32, u64), _>("no") }).await;
        assert_eq!((failed, kept(&cache)), (Err("no"), vec![]));
        assert_eq!(make(&cache, 1, 1).await, 10);
    }

    #[tokio::test]
    async fn what_was_forgotten_while_it_was_made_is_not_found_later() {
        let cache = Cache::new(100);
        let make_stale = async {
            cache.forget([1].into_iter());
            Ok::<_, Infallible>((11, 5))
        };
        assert_eq!(cache.get_or_make(&1, make_stale).await, Ok(11));
        assert_eq!((cache.get(&1), cache.entries.lock().bytes), (None, 0));
        make(&cache, 1, 5).await;
        make(&cache, 2, 5).await;
        cache.forget_where(|key| *key == 1);
        assert_eq!((kept(&cache), cache.entries.lock().bytes), (vec![2], 5));
    }
}
