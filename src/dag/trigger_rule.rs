//! Decides from the states of its upstreams what becomes of a waiting task.
//!
//! The rules are those of Airflow 3.3.2 (`ti_deps/deps/trigger_rule_dep.py`), surprises included; what its own code
//! answers lies beside this file in `trigger_rules.txt` and is what the tests compare with.
//!
//! A verdict other than [`Verdict::Wait`] stands, and may come before the upstreams are done: `all_success` skips its
//! task at the first skip, though a later failure would have made it `upstream_failed`. `Wait` with every upstream done means never. That happens where a removed instance stands in the
//! way (`all_skipped`, and setups above the upstreams); Airflow then calls the run deadlocked and fails it.
//!
//! Setups and teardowns add two conditions of which a rule knows nothing:
//!
//! - A task waits for the setups of its scope also where it is not directly downstream of them. Those are the setups
//!   anywhere above it that have a teardown below it, or no teardown at all; direct upstreams are left out, as the
//!   rule counts them. See [`TriggerRule::decide_in_setups`].
//! - A teardown waits, once its rule lets it run, until every task between its setups and itself is done, in whatever
//!   state: all tasks that are below one of its direct setups and above it, without its direct upstreams. It does not
//!   heed setups above its upstreams. See [`TriggerRule::decide_teardown`]. Its rule is always
//!   `all_done_setup_success`; Airflow refuses another.
//!
//! `always`, and a task without upstreams, run whatever the setups and the scope say.

use crate::model::TaskState;
use crate::model::states::words;

words! {
    /// When a task runs, as a condition on the states of its direct upstreams.
    TriggerRule {
        /// Every upstream succeeded. A failure or a skip is passed on as soon as it is known.
        AllSuccess = 1 "all_success",
        /// Every upstream failed or is `upstream_failed`; the first success or skip skips the task.
        AllFailed = 2 "all_failed",
        /// Every upstream is done, in whatever state.
        AllDone = 3 "all_done",
        /// Every upstream is done, one succeeded and none was skipped: one skip skips the task at once.
        AllDoneMinOneSuccess = 4 "all_done_min_one_success",
        /// Every upstream is done, and one of the setups among them, where there are any, succeeded. For teardowns.
        AllDoneSetupSuccess = 5 "all_done_setup_success",
        /// One upstream succeeded; waits for no other.
        OneSuccess = 6 "one_success",
        /// One upstream failed or is `upstream_failed`; waits for no other.
        OneFailed = 7 "one_failed",
        /// One upstream succeeded or failed by itself; waits for no other.
        OneDone = 8 "one_done",
        /// Every upstream succeeded or was skipped.
        NoneFailed = 9 "none_failed",
        /// Every upstream is done and none was skipped.
        NoneSkipped = 10 "none_skipped",
        /// Every upstream succeeded or was skipped, and one succeeded. The rule for a join below a branch.
        NoneFailedMinOneSuccess = 11 "none_failed_min_one_success",
        /// Every upstream was skipped.
        AllSkipped = 12 "all_skipped",
        /// At once, whatever the upstreams do.
        Always = 13 "always",
    }
}

/// What becomes of a waiting task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing yet; never anything, when every upstream is done.
    Wait,
    Run,
    /// The task ends `skipped`. With `depends_on_past`, Airflow holds this back until the past allows it.
    Skip,
    /// The task ends `upstream_failed`.
    UpstreamFailed,
    /// The task ends `removed`: it is an instance of a map that has become shorter.
    Removed,
}

/// How many task instances are upstream of a task, and in which state: every instance of a mapped task counts.
///
/// What is in none of the five states is pending. The setups are counted again by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Upstream {
    pub total: u32,
    pub success: u32,
    pub failed: u32,
    pub upstream_failed: u32,
    pub skipped: u32,
    pub removed: u32,
    pub setups: u32,
    pub success_setups: u32,
    pub skipped_setups: u32,
}

impl Upstream {
    /// Counts one more upstream. One that was cancelled counts as failed.
    pub fn add(&mut self, state: TaskState, is_setup: bool) {
        self.total += 1;
        self.setups += u32::from(is_setup);
        match state {
            TaskState::Success => {
                self.success += 1;
                self.success_setups += u32::from(is_setup);
            }
            TaskState::Skipped => {
                self.skipped += 1;
                self.skipped_setups += u32::from(is_setup);
            }
            TaskState::Failed | TaskState::Cancelled => self.failed += 1,
            TaskState::UpstreamFailed => self.upstream_failed += 1,
            TaskState::Removed => self.removed += 1,
            TaskState::Scheduled
            | TaskState::Queued
            | TaskState::Running
            | TaskState::UpForRetry
            | TaskState::Deferred => {}
        }
    }

    /// One of those that were counted as pending has ended so.
    pub fn note(&mut self, state: TaskState, is_setup: bool) {
        let (total, setups) = (self.total, self.setups);
        self.add(state, is_setup);
        (self.total, self.setups) = (total, setups);
    }

    /// Where so many were counted, there are so many.
    pub fn recount(&mut self, before: u32, now: u32, is_setup: bool) {
        self.total = self.total - before + now;
        if is_setup {
            self.setups = self.setups - before + now;
        }
    }

    /// How many are in a final state, which is all of them in the end.
    pub fn done(&self) -> u32 {
        self.success + self.failed + self.upstream_failed + self.skipped + self.removed
    }

    fn is_complete(&self) -> bool {
        self.done() >= self.total
    }

    fn any_failed(&self) -> bool {
        self.failed > 0 || self.upstream_failed > 0
    }

    /// Airflow's sign that instance `map_index` has lost its upstream: fewer succeeded than it has instances before it.
    fn has_removed(&self, map_index: Option<u32>) -> bool {
        self.removed > 0 && self.success > 0 && map_index.is_some_and(|index| index >= self.success)
    }
}

impl TriggerRule {
    /// The verdict on a task that is no instance of a map.
    pub fn decide(self, upstream: &Upstream) -> Verdict {
        self.decide_instance(upstream, None)
    }

    /// The verdict on instance `map_index` of a mapped task or group, counting the upstreams that concern it.
    ///
    /// Only `all_success` asks for the index, and only where an upstream was removed.
    pub fn decide_instance(self, upstream: &Upstream, map_index: Option<u32>) -> Verdict {
        use Verdict::*;
        if upstream.total == 0 {
            return Run;
        }
        let complete = upstream.is_complete();
        let (success, failure, skip) = (upstream.success > 0, upstream.any_failed(), upstream.skipped > 0);
        let all_skipped = upstream.skipped >= upstream.total;
        match self {
            Self::AllSuccess if failure => UpstreamFailed,
            Self::AllSuccess if skip => Skip,
            Self::AllSuccess if upstream.has_removed(map_index) => Removed,
            Self::AllSuccess if complete => Run,
            Self::AllSuccess => Wait,

            Self::AllFailed if success || skip => Skip,
            Self::AllFailed if complete => Run,
            Self::AllFailed => Wait,

            Self::AllDone if complete => Run,
            Self::AllDone => Wait,

            Self::AllDoneMinOneSuccess if skip => Skip,
            Self::AllDoneMinOneSuccess if !complete => Wait,
            Self::AllDoneMinOneSuccess if success => Run,
            Self::AllDoneMinOneSuccess => UpstreamFailed,

            Self::AllDoneSetupSuccess if !complete => Wait,
            Self::AllDoneSetupSuccess if upstream.setups == 0 || upstream.success_setups > 0 => Run,
            Self::AllDoneSetupSuccess if upstream.skipped_setups >= upstream.setups => Skip,
            Self::AllDoneSetupSuccess => UpstreamFailed,

            Self::OneSuccess if success => Run,
            Self::OneSuccess if !complete => Wait,
            Self::OneSuccess if all_skipped => Skip,
            Self::OneSuccess => UpstreamFailed,

            Self::OneFailed if failure => Run,
            Self::OneFailed if complete => Skip,
            Self::OneFailed => Wait,

            // An upstream that is `upstream_failed` never ran, and does not count.
            Self::OneDone if success || upstream.failed > 0 => Run,
            Self::OneDone if complete => Skip,
            Self::OneDone => Wait,

            Self::NoneFailed if failure => UpstreamFailed,
            Self::NoneFailed if complete => Run,
            Self::NoneFailed => Wait,

            Self::NoneSkipped if skip => Skip,
            Self::NoneSkipped if complete => Run,
            Self::NoneSkipped => Wait,

            Self::NoneFailedMinOneSuccess if failure => UpstreamFailed,
            Self::NoneFailedMinOneSuccess if !complete => Wait,
            Self::NoneFailedMinOneSuccess if success => Run,
            Self::NoneFailedMinOneSuccess if all_skipped => Skip,
            Self::NoneFailedMinOneSuccess => UpstreamFailed,

            Self::AllSkipped if success || failure => Skip,
            Self::AllSkipped if all_skipped => Run,
            Self::AllSkipped => Wait,

            Self::Always => Run,
        }
    }

    /// The verdict on a task in the scope of setups of which it is not directly downstream; `setups` counts those.
    ///
    /// A failed or skipped setup decides alone. While one is pending, the rule can still skip or fail the task.
    pub fn decide_in_setups(self, upstream: &Upstream, setups: &Upstream, map_index: Option<u32>) -> Verdict {
        let by_rule = self.decide_instance(upstream, map_index);
        if self == Self::Always || upstream.total == 0 {
            return by_rule;
        }
        match (setup_verdict(setups, map_index), by_rule) {
            (Verdict::Run, by_rule) => by_rule,
            (Verdict::Wait, Verdict::Run) => Verdict::Wait,
            (Verdict::Wait, by_rule) => by_rule,
            (by_setups, _) => by_setups,
        }
    }

    /// The verdict on a teardown; `scope` counts the instances of the tasks between its setups and itself.
    pub fn decide_teardown(self, upstream: &Upstream, scope: &Upstream, map_index: Option<u32>) -> Verdict {
        let by_rule = self.decide_instance(upstream, map_index);
        let exempt = self == Self::Always || upstream.total == 0;
        if by_rule == Verdict::Run && !exempt && !scope.is_complete() { Verdict::Wait } else { by_rule }
    }
}

/// What the setups above a task's upstreams say: `Run` when all of them succeeded or there are none.
///
/// A removed setup never lets a task run that is no instance of a map.
pub fn setup_verdict(setups: &Upstream, map_index: Option<u32>) -> Verdict {
    let excused = if map_index.is_some() { setups.removed } else { 0 };
    if setups.any_failed() {
        Verdict::UpstreamFailed
    } else if setups.skipped > 0 {
        Verdict::Skip
    } else if setups.has_removed(map_index) {
        Verdict::Removed
    } else if setups.success + excused >= setups.total {
        Verdict::Run
    } else {
        Verdict::Wait
    }
}

#[cfg(test)]
mod tests;
