//! Simulated clients: what they ask for, and what they were promised.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tradewind::engine::Answer;
use tradewind::model::task::Terms;
use tradewind::model::{Digest, Json, Limits, QueueName, RetryPolicy, RunId, Span, TaskId, TaskSpec, Timestamp};

use super::guests::KILLER;
use super::profile::Profile;
use super::random::Random;

/// What a client is told when the batch that was open at its command is durable.
#[derive(Debug, Clone)]
pub struct Promise {
    pub asked: Asked,
    pub answer: Answer,
}

#[derive(Debug, Clone, Copy)]
pub enum Asked {
    Submit(Submit),
    Report { task: TaskId, fence: u32 },
    Cancel { task: TaskId },
    Rerun { task: TaskId },
    Trigger,
    CancelRun { run: RunId },
}

#[derive(Debug, Clone, Copy)]
pub struct Submit {
    pub key: Option<[u8; 32]>,
    pub body: [u8; 32],
}

pub struct Clients {
    queues: Vec<QueueName>,
    terms: Vec<Arc<Terms>>,
    inputs: Vec<Json>,
    functions: [Arc<str>; 2],
    module: Digest,
    pub by: Arc<str>,
    /// Ids that were answered, durable or not: what somebody may ask about.
    pub known: Vec<TaskId>,
    /// Accepted, and the acceptance durable.
    pub promised: Vec<TaskId>,
    submits: u64,
    keyed: Vec<Submit>,
}

impl Clients {
    pub fn new(profile: &Profile, random: &mut Random) -> Self {
        let queue = |index: usize| format!("queue-{index}").parse().expect("a name");
        let input = |length: usize| Json::parse(format!("\"{}\"", "x".repeat(length))).expect("JSON");
        Self {
            queues: (0..profile.queues).map(queue).collect(),
            terms: (0..12).map(|index| Arc::new(terms(random, index > 0))).collect(),
            inputs: (0..6).map(|index| input(profile.input_bytes * index / 5)).collect(),
            functions: ["run".into(), KILLER.into()],
            module: Digest::from_bytes([7; 32]),
            by: "someone".into(),
            known: Vec::new(),
            promised: Vec::new(),
            submits: 0,
            keyed: Vec::new(),
        }
    }

    /// A submit that was never made before; one of four carries a key.
    pub fn fresh(&mut self, random: &mut Random) -> Submit {
        self.submits += 1;
        let submit = Submit { key: random.chance(25).then(|| bytes(self.submits)), body: bytes(self.submits << 1) };
        if submit.key.is_some() {
            self.keyed.push(submit);
        }
        submit
    }

    /// A submit with a key that was used before, sometimes with another body.
    pub fn repeat(&mut self, random: &mut Random) -> Submit {
        let Some(from) = self.keyed.len().checked_sub(1) else { return self.fresh(random) };
        let mut submit = self.keyed[from - random.index(30).min(from)];
        if random.chance(20) {
            submit.body = bytes(1);
        }
        submit
    }

    pub fn spec(&self, profile: &Profile, random: &mut Random, now: Timestamp) -> TaskSpec {
        let delay = if random.chance(50) { random.below(2_000) } else { random.below(600_000) };
        let kills = random.chance(profile.killers);
        // A killer has one try, so that what bounds its kills is how often it may be lost.
        let terms = if kills { &self.terms[0] } else { random.pick(&self.terms) };
        TaskSpec {
            module: self.module,
            function: self.functions[usize::from(kills)].clone(),
            input: random.pick(&self.inputs).clone(),
            args: Arc::default(),
            queue: random.pick(&self.queues).clone(),
            priority_weight: *random.pick(&[1, 1, 1, 2, 5, -3, i32::MAX, i32::MIN]),
            not_before: random.chance(15).then(|| now + Duration::from_millis(delay)),
            labels: BTreeMap::new(),
            terms: terms.clone(),
        }
    }

    /// Some task: mostly a recent one, now and then one that never was.
    pub fn any_task(&self, random: &mut Random) -> TaskId {
        let Some(last) = self.known.len().checked_sub(1) else { return TaskId::from_u64(1) };
        match random.below(100) {
            0 => TaskId::from_u64(1 + random.below(1_000)),
            1..20 => self.known[random.index(self.known.len())],
            _ => self.known[last - random.index(60).min(last)],
        }
    }
}

fn terms(random: &mut Random, again: bool) -> Terms {
    let delay = *random.pick(&[0, 0, 10, 1_000, 60_000]);
    Terms {
        limits: Limits { execution_timeout: Span::from_secs(*random.pick(&[1, 30, 3_600])), ..Limits::default() },
        retry: RetryPolicy {
            retries: u32::from(again) * random.pick(&[0, 0, 1, 2, 4]),
            retry_delay: Span::from_millis(delay),
            max_retry_delay: Span::from_secs(300),
            ..RetryPolicy::default()
        },
        ..Terms::default()
    }
}

fn bytes(number: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}
