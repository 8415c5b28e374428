//! Simulated hosts and the guests on them.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tradewind::dag::Plan;
use tradewind::engine::{Assignment, Command, Ending, HostId};
use tradewind::model::task::{AttemptLog, AttemptReport, TaskResult};
use tradewind::model::{Json, Outcome, RetryAdvice, TaskError, TaskId, Timestamp, Usage};

use super::random::Random;
use super::store::NEVER_AGAIN;

pub const KILLER: &str = "killer";

/// A host: what runs on it, and what is on its way to it, in order.
pub struct SimHost {
    pub slots: u32,
    pub waiting: u32,
    pub local: bool,
    pub draining: bool,
    pub wire: VecDeque<Message>,
    pub attempts: Vec<Attempt>,
}

#[derive(Debug, Clone)]
pub enum Message {
    Start(Attempt),
    Stop(TaskId, u32),
}

#[derive(Debug, Clone)]
pub struct Attempt {
    pub task: TaskId,
    pub fence: u32,
    pub killer: bool,
    pub told_to_stop: bool,
    /// Waits in a host call.
    pub waits: bool,
    /// Which task of which DAG it is.
    pub node: Option<(Arc<Plan>, u32)>,
}

/// A report on its way.
#[derive(Debug, Clone)]
pub struct Report {
    pub host: HostId,
    pub task: TaskId,
    pub fence: u32,
    pub ending: Ending,
    pub seed: u64,
}

/// The word of a guest that waits or goes on.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    pub host: HostId,
    pub task: TaskId,
    pub fence: u32,
    pub waits: bool,
}

impl Turn {
    pub fn command(self) -> Command {
        let Turn { host, task, fence, waits } = self;
        if waits { Command::Parked { host, task, fence } } else { Command::Resumed { host, task, fence } }
    }
}

impl Attempt {
    pub fn of(assignment: &Assignment) -> Self {
        Self {
            task: assignment.task,
            fence: assignment.fence,
            killer: &*assignment.spec.function == KILLER,
            told_to_stop: false,
            waits: false,
            node: assignment.instance.as_ref().map(|instance| (instance.plan.clone(), instance.node)),
        }
    }
}

impl Attempt {
    /// Puts what the task returns in the place of nothing.
    pub fn put_output(&self, ending: &mut Ending, random: &mut Random) {
        if let (Ending::Reported(report), Some((plan, node))) = (ending, &self.node)
            && report.outcome == Outcome::Success
        {
            report.result = Some(TaskResult::Inline(super::runs::output_of(plan, *node, random)));
        }
    }
}

impl SimHost {
    pub fn new(slots: u32, waiting: u32, local: bool) -> Self {
        Self { slots, waiting, local, draining: false, wire: VecDeque::new(), attempts: Vec::new() }
    }

    /// Takes one message off the wire. A stop for an attempt that is not here says nothing to it.
    pub fn receive(&mut self) {
        match self.wire.pop_front() {
            Some(Message::Start(attempt)) => {
                self.attempts.push(attempt);
                assert!(self.attempts.len() <= (self.slots + self.waiting) as usize, "more attempts than room");
            }
            Some(Message::Stop(task, fence)) => {
                let stopped = self.attempts.iter_mut().find(|attempt| (attempt.task, attempt.fence) == (task, fence));
                if let Some(attempt) = stopped {
                    attempt.told_to_stop = true;
                }
            }
            None => {}
        }
    }

    pub fn receive_all(&mut self) {
        while !self.wire.is_empty() {
            self.receive();
        }
    }

    pub fn computing(&self) -> usize {
        self.attempts.iter().filter(|attempt| !attempt.waits).count()
    }

    /// Whether the attempt has been stopped, or will have been when the wire is empty.
    pub fn will_stop(&self, attempt: &Attempt) -> bool {
        let is_it = |message: &Message| matches!(message, Message::Stop(task, fence) if (*task, *fence) == (attempt.task, attempt.fence));
        attempt.told_to_stop || self.wire.iter().any(is_it)
    }
}

/// How a guest ends when nothing forces it to.
pub fn any_ending(random: &mut Random, told_to_stop: bool, now: Timestamp) -> Ending {
    static HANDED_BACK: LazyLock<Arc<str>> = LazyLock::new(|| "the worker is shutting down".into());
    static BROKEN: LazyLock<Arc<str>> = LazyLock::new(|| "the sandbox broke".into());
    if told_to_stop && random.chance(80) {
        return reported(Outcome::Cancelled, RetryAdvice::ByPolicy, now);
    }
    let advice = match random.below(8) {
        0 => RetryAdvice::Never,
        1 => RetryAdvice::After(Duration::from_millis(random.below(20_000))),
        _ => RetryAdvice::ByPolicy,
    };
    match random.below(100) {
        0..55 => reported(Outcome::Success, RetryAdvice::ByPolicy, now),
        55..75 => reported(Outcome::Failed, advice, now),
        75..79 => reported(Outcome::Trapped, advice, now),
        79..82 => reported(Outcome::TimedOut, advice, now),
        82..84 => reported(Outcome::OutOfMemory, advice, now),
        84..86 => reported(Outcome::Denied, advice, now),
        86..88 => reported(Outcome::Skipped, RetryAdvice::ByPolicy, now),
        88..90 => reported(Outcome::Deferred, RetryAdvice::ByPolicy, now),
        90..95 => Ending::HandedBack { reason: HANDED_BACK.clone(), pause: Duration::from_secs(random.below(3)) },
        _ => Ending::Lost { reason: BROKEN.clone() },
    }
}

pub fn reported(outcome: Outcome, advice: RetryAdvice, now: Timestamp) -> Ending {
    static NEVER: LazyLock<Arc<TaskError>> = LazyLock::new(|| Arc::new(TaskError::message(NEVER_AGAIN)));
    static FAILED: LazyLock<Arc<TaskError>> = LazyLock::new(|| Arc::new(TaskError::message("it went wrong")));
    let success = outcome == Outcome::Success;
    let error = if advice == RetryAdvice::Never { &NEVER } else { &FAILED };
    Ending::Reported(Box::new(AttemptReport {
        outcome,
        result: success.then(|| TaskResult::Inline(Json::null())),
        error: (!success).then(|| (*error).clone()),
        advice,
        log: AttemptLog::Empty,
        usage: Usage { cpu_us: 7, ..Usage::default() },
        started_at: now,
        ended_at: now,
    }))
}
