//! The runs that somebody follows: woken by the commits that tell of theirs, and by no others.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::engine::Changes;
use crate::model::RunId;

#[derive(Default)]
pub(crate) struct FollowedRuns(Mutex<HashMap<RunId, watch::Sender<()>>>);

impl FollowedRuns {
    /// Changes with every commit that tells something of the run, from here on.
    pub(crate) fn follow(&self, run: RunId) -> watch::Receiver<()> {
        let mut followed = self.0.lock();
        // Whoever left did so without a word: who comes sweeps up.
        followed.retain(|_, sender| sender.receiver_count() > 0);
        followed.entry(run).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// The changes are durable.
    pub(super) fn committed(&self, changes: &Changes) {
        let followed = self.0.lock();
        // Nearly always: nobody follows anything.
        if followed.is_empty() {
            return;
        }
        let of_tasks = changes.events.iter().filter_map(|event| event.run);
        for run in of_tasks.chain(changes.run_events.iter().map(|event| event.run)) {
            if let Some(sender) = followed.get(&run) {
                sender.send_replace(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{RunEventKind, RunEventRow};
    use crate::model::{RunState, Timestamp};

    fn of(run: u64) -> Changes {
        let (run, at) = (RunId::from_u64(run), Timestamp::from_micros(0));
        let (event, state) = (RunEventKind::Queued, RunState::Queued);
        Changes { run_events: vec![RunEventRow { seq: 1, run, at, event, state, by: None }], ..Changes::default() }
    }

    #[test]
    fn a_commit_wakes_those_who_follow_its_runs_and_nobody_else() {
        let runs = FollowedRuns::default();
        let (first, again, other) =
            (runs.follow(RunId::from_u64(1)), runs.follow(RunId::from_u64(1)), runs.follow(RunId::from_u64(2)));
        runs.committed(&of(1));
        let woken = [&first, &again, &other].map(|receiver| receiver.has_changed().expect("it is followed"));
        assert_eq!(woken, [true, true, false]);
    }

    #[test]
    fn who_left_is_forgotten() {
        let runs = FollowedRuns::default();
        drop(runs.follow(RunId::from_u64(1)));
        let stays = runs.follow(RunId::from_u64(2));
        assert_eq!(runs.0.lock().len(), 1);
        runs.committed(&of(1));
        assert!(!stays.has_changed().expect("it is followed"));
    }
}
