//! Ready tasks in order: by priority, then by age; queues of equal priority take turns.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{QueueName, TaskId};

use super::paged::Paged;

/// The order within a queue: greater priority first, then the older task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadyKey {
    priority: Reverse<i32>,
    id: TaskId,
}

impl ReadyKey {
    pub fn new(priority_weight: i32, id: TaskId) -> Self {
        Self { priority: Reverse(priority_weight), id }
    }

    /// Before every key there can be.
    pub fn first() -> Self {
        Self { priority: Reverse(i32::MAX), id: TaskId::from_u64(0) }
    }

    pub fn priority_weight(&self) -> i32 {
        self.priority.0
    }

    pub fn id(&self) -> TaskId {
        self.id
    }
}

#[derive(Debug, Default)]
pub(super) struct ReadyQueues {
    queues: BTreeMap<QueueName, Queue>,
    /// Queues that have a near task: the best priority first, among those the one served longest ago.
    heads: BTreeSet<(Reverse<i32>, u64, QueueName)>,
    /// Queues with fewer near tasks than they should have and more in the store.
    hungry: BTreeSet<QueueName>,
    turn: u64,
}

#[derive(Debug, Default)]
struct Queue {
    keys: Paged<ReadyKey>,
    last_served: u64,
    head: Option<Reverse<i32>>,
}

impl ReadyQueues {
    /// Announces a queue that has ready tasks in the store.
    pub(super) fn announce(&mut self, queue: QueueName) {
        self.hungry.insert(queue.clone());
        self.queues.insert(queue, Queue { keys: Paged::behind(ReadyKey::first()), ..Queue::default() });
    }

    /// Returns whether the key is near, that is, its task must stay in memory.
    pub(super) fn push(&mut self, queue: &QueueName, key: ReadyKey) -> bool {
        let near = match self.queues.get_mut(queue) {
            Some(known) => known.keys.insert(key),
            None => self.queues.entry(queue.clone()).or_default().keys.insert(key),
        };
        self.settle(queue);
        near
    }

    /// Takes the task that goes first.
    pub(super) fn pop(&mut self) -> Option<TaskId> {
        let (_, _, queue) = self.heads.first()?.clone();
        self.turn += 1;
        let turn = self.turn;
        let found = self.queues.get_mut(&queue)?;
        let key = found.keys.pop_first();
        let old_head = found.head.take().map(|head| (head, found.last_served, queue.clone()));
        found.last_served = turn;
        if let Some(old_head) = old_head {
            self.heads.remove(&old_head);
        }
        self.settle(&queue);
        key.map(|key| key.id)
    }

    pub(super) fn remove(&mut self, queue: &QueueName, key: ReadyKey) {
        if let Some(found) = self.queues.get_mut(queue) {
            found.keys.remove(&key);
            self.settle(queue);
        }
    }

    pub(super) fn forget_far(&mut self, queue: &QueueName, key: ReadyKey) {
        if let Some(found) = self.queues.get_mut(queue) {
            found.keys.forget_far(&key);
            self.settle(queue);
        }
    }

    pub(super) fn is_near(&self, queue: &QueueName, key: &ReadyKey) -> bool {
        self.queues.get(queue).is_some_and(|found| found.keys.is_near(key))
    }

    pub(super) fn contains(&self, queue: &QueueName, key: &ReadyKey) -> bool {
        self.queues.get(queue).is_some_and(|found| found.keys.contains(key))
    }

    /// How many queues there are.
    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }

    pub(super) fn near_len(&self) -> usize {
        self.queues.values().map(|queue| queue.keys.near_len()).sum()
    }

    /// Moves the last task of the fullest queue behind its horizon, if the queue has more than `spare`.
    pub(super) fn evict(&mut self, spare: usize) -> Option<TaskId> {
        let (fullest, queue) = self.queues.iter().max_by_key(|(_, queue)| queue.keys.near_len())?;
        let fullest = (queue.keys.near_len() > spare).then(|| fullest.clone())?;
        let evicted = self.queues.get_mut(&fullest)?.keys.evict_last()?;
        self.settle(&fullest);
        Some(evicted.id)
    }

    /// A queue that should be paged in, and behind which key. `full`: only one
    /// that has nothing else to give.
    pub(super) fn hungry(&self, low_water: usize, full: bool) -> Option<(QueueName, ReadyKey)> {
        self.hungry.iter().find_map(|name| {
            let keys = &self.queues.get(name)?.keys;
            let enough = if full { 1 } else { low_water };
            (keys.near_len() < enough).then(|| Some((name.clone(), keys.horizon()?)))?
        })
    }

    /// Returns the tasks that were in memory already and are near now.
    pub(super) fn page_in(&mut self, queue: &QueueName, keys: &[ReadyKey], up_to: Option<ReadyKey>) -> Vec<TaskId> {
        let Some(found) = self.queues.get_mut(queue) else { return Vec::new() };
        let reached = found.keys.page_in(keys, up_to);
        self.settle(queue);
        reached.into_iter().map(|key| key.id).collect()
    }

    pub(super) fn has_near(&self) -> bool {
        !self.heads.is_empty()
    }

    /// Brings `heads` and `hungry` in line with the queue, and drops it when nothing is left.
    fn settle(&mut self, name: &QueueName) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let head = queue.keys.first().map(|key| key.priority);
        if head != queue.head {
            if let Some(old) = queue.head {
                self.heads.remove(&(old, queue.last_served, name.clone()));
            }
            if let Some(new) = head {
                self.heads.insert((new, queue.last_served, name.clone()));
            }
            queue.head = head;
        }
        if queue.keys.horizon().is_some() {
            if !self.hungry.contains(name) {
                self.hungry.insert(name.clone());
            }
        } else if !self.hungry.is_empty() {
            self.hungry.remove(name);
        }
        if queue.keys.is_empty() {
            self.queues.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(priority_weight: i32, id: u64) -> ReadyKey {
        ReadyKey::new(priority_weight, TaskId::from_u64(id))
    }

    fn drain(ready: &mut ReadyQueues) -> Vec<u64> {
        std::iter::from_fn(|| ready.pop()).map(TaskId::as_u64).collect()
    }

    #[test]
    fn greater_priority_goes_first_then_the_older() {
        let mut ready = ReadyQueues::default();
        let queue = QueueName::default();
        for (priority_weight, id) in [(1, 3), (1, 1), (9, 4), (-5, 2)] {
            ready.push(&queue, key(priority_weight, id));
        }
        assert_eq!(drain(&mut ready), [4, 1, 3, 2]);
    }

    #[test]
    fn queues_of_equal_priority_take_turns() {
        let mut ready = ReadyQueues::default();
        let [a, b]: [QueueName; 2] = ["a", "b"].map(|name| name.parse().expect("a name"));
        for id in 1..=3 {
            ready.push(&a, key(1, id));
            ready.push(&b, key(1, id + 10));
        }
        assert_eq!(drain(&mut ready), [1, 11, 2, 12, 3, 13]);
    }
}
