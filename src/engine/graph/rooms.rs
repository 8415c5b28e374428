//! How many runs are under way, of each DAG and in all, and which wait for room.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::model::{DagId, RunId};

use super::super::paged::Paged;

#[derive(Debug, Default)]
pub(in crate::engine) struct DagRooms {
    rooms: BTreeMap<DagId, Room>,
    /// Runs under way in all.
    running: usize,
    /// DAGs that have a waiting run, are not paused and have room.
    may_begin: BTreeSet<DagId>,
    /// The DAG whose run was the last to begin: the next one is that of the DAG behind it.
    last: Option<DagId>,
    /// DAGs whose waiting runs are only in the store.
    hungry: BTreeSet<DagId>,
}

#[derive(Debug)]
struct Room {
    running: u32,
    /// As of the version of the newest run that was seen. One, until one was seen: the first run brings its own.
    most: u32,
    most_by: Option<RunId>,
    paused: bool,
    /// Oldest first.
    waiting: Paged<RunId>,
}

impl Default for Room {
    fn default() -> Self {
        Self { running: 0, most: 1, most_by: None, paused: false, waiting: Paged::default() }
    }
}

/// Waiting runs of a DAG that are kept in memory by their ids.
const NEAR_RUNS: usize = 1_000;

impl DagRooms {
    /// The store has waiting runs of the DAG.
    pub(super) fn announce(&mut self, dag: DagId) {
        let room = self.rooms.entry(dag.clone()).or_default();
        room.waiting = Paged::behind(RunId::from_u64(0));
        self.settle(&dag);
    }

    pub(super) fn set_paused(&mut self, dag: &DagId, paused: bool) {
        self.rooms.entry(dag.clone()).or_default().paused = paused;
        self.settle(dag);
    }

    /// How many runs its newest run lets be under way.
    pub(super) fn set_most(&mut self, dag: &DagId, run: RunId, most: u32) {
        let room = self.rooms.entry(dag.clone()).or_default();
        if room.most_by.is_none_or(|newest| newest <= run) {
            (room.most, room.most_by) = (most, Some(run));
            self.settle(dag);
        }
    }

    pub(super) fn is_paused(&self, dag: &DagId) -> bool {
        self.rooms.get(dag).is_some_and(|room| room.paused)
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    pub(super) fn enter(&mut self, dag: &DagId) {
        self.rooms.entry(dag.clone()).or_default().running += 1;
        self.running += 1;
        self.settle(dag);
    }

    pub(super) fn leave(&mut self, dag: &DagId) {
        let room = self.rooms.get_mut(dag).expect("who leaves was there");
        room.running -= 1;
        self.running -= 1;
        self.settle(dag);
    }

    /// Returns the run that has to be thought of by the store from here on, if one too many waits.
    pub(super) fn wait(&mut self, dag: &DagId, run: RunId) -> Option<RunId> {
        let room = self.rooms.entry(dag.clone()).or_default();
        room.waiting.insert(run);
        let evicted = if room.waiting.near_len() > NEAR_RUNS { room.waiting.evict_last() } else { None };
        self.settle(dag);
        evicted
    }

    pub(super) fn forget(&mut self, dag: &DagId, run: RunId) {
        if let Some(room) = self.rooms.get_mut(dag) {
            room.waiting.remove(&run);
            self.settle(dag);
        }
    }

    /// The run has left memory: the store knows that it waits.
    pub(super) fn forget_far(&mut self, dag: &DagId, run: RunId) {
        if let Some(room) = self.rooms.get_mut(dag) {
            room.waiting.forget_far(&run);
            self.settle(dag);
        }
    }

    /// The run that begins next, if there is room for one more.
    pub(super) fn pop(&mut self, most_in_all: usize) -> Option<RunId> {
        if self.running >= most_in_all {
            return None;
        }
        let behind = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut in_turn = self.may_begin.range::<DagId, _>((behind, Bound::Unbounded)).chain(&self.may_begin);
        let dag = in_turn.next()?.clone();
        self.last = Some(dag.clone());
        let run = self.rooms.get_mut(&dag)?.waiting.pop_first();
        self.settle(&dag);
        run
    }

    /// A DAG that has room, and whose next run only the store knows.
    pub(super) fn hungry(&self, most_in_all: usize) -> Option<(DagId, RunId)> {
        if self.running >= most_in_all {
            return None;
        }
        let dag = self.hungry.first()?;
        Some((dag.clone(), self.rooms.get(dag)?.waiting.horizon()?))
    }

    /// `end`: there are more behind it.
    pub(super) fn page_in(&mut self, dag: &DagId, runs: &[RunId], end: Option<RunId>) {
        if let Some(room) = self.rooms.get_mut(dag) {
            room.waiting.page_in(runs, end);
            self.settle(dag);
        }
    }

    fn settle(&mut self, dag: &DagId) {
        let Some(room) = self.rooms.get(dag) else { return };
        let has_room = !room.paused && room.running < room.most;
        mark(&mut self.may_begin, dag, has_room && room.waiting.near_len() > 0);
        mark(&mut self.hungry, dag, has_room && room.waiting.near_len() == 0 && room.waiting.horizon().is_some());
        if room.running == 0 && !room.paused && room.waiting.is_empty() {
            self.rooms.remove(dag);
        }
    }
}

fn mark(set: &mut BTreeSet<DagId>, dag: &DagId, belongs: bool) {
    if belongs {
        if !set.contains(dag) {
            set.insert(dag.clone());
        }
    } else {
        set.remove(dag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dags_take_turns_where_there_is_no_room_for_all() {
        let mut rooms = DagRooms::default();
        let dags: Vec<DagId> = ["a", "b", "z"].iter().map(|name| name.parse().expect("a name")).collect();
        for (number, dag) in dags.iter().cycle().take(9).enumerate() {
            let run = RunId::from_u64(number as u64 + 1);
            rooms.set_most(dag, run, 9);
            rooms.wait(dag, run);
        }
        let begun: Vec<u64> = std::iter::from_fn(|| rooms.pop(1)).map(RunId::as_u64).collect();
        assert_eq!(begun, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
}
