//! Has tasks of runs done again.
//!
//! A run is cleared from what the store says of it, so everything that memory knows of it has to be durable
//! at that moment. Until it is, all other letters wait: for the time of two commits. Clears of several runs
//! share these; of one run each takes another.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::graph::{Clear, Mark, NotCleared, Selection, StoredRun};
use crate::engine::{Command, Page};
use crate::model::run::Instance;
use crate::model::{RunId, RunState, TaskName, TaskState, Timestamp};
use crate::store::CommitError;

use super::super::Message;
use super::super::answers::Ack;
use super::super::graph::{ClearError, ClearReply, ClearRequest, Cleared, ClearedInstance, Clearing, GraphMessage};
use super::Turn;

#[derive(Default)]
pub(super) struct Clearings {
    asked: VecDeque<Asked>,
    /// Letters that came meanwhile.
    letters: VecDeque<Message>,
    /// Clears that came while these letters waited, and were taken before them.
    joined: usize,
}

/// So many clears may be taken before letters that came earlier.
const MAX_JOINED: usize = 1_000;

struct Asked {
    id: RunId,
    what: Clearing,
    by: Arc<str>,
    reply: ClearReply,
}

enum Done {
    Changed(Vec<ClearedInstance>),
    /// Nothing was to be changed.
    Told(Cleared),
}

impl Clearings {
    pub(super) fn ask(&mut self, id: RunId, what: Clearing, by: Arc<str>, reply: ClearReply) {
        self.asked.push_back(Asked { id, what, by, reply });
    }

    pub(super) fn are_waited_for(&self) -> bool {
        !self.asked.is_empty()
    }
}

impl Turn {
    pub(super) fn receive(&mut self, letter: Message, now: Timestamp) {
        match letter {
            letter @ Message::Written(_) => self.handle(letter, now),
            letter if !self.clearings.are_waited_for() => self.handle(letter, now),
            letter @ Message::Graph(GraphMessage::Clear { .. }) if self.clearings.joined < MAX_JOINED => {
                self.clearings.joined += 1;
                self.handle(letter, now);
            }
            letter => self.clearings.letters.push_back(letter),
        }
    }

    /// Carries out what was asked for, if memory and store agree, and then what came meanwhile.
    pub(super) fn carry_out_clearings(&mut self, now: Timestamp) {
        while let Some(Asked { id, .. }) = self.clearings.asked.front()
            && self.is_settled(*id)
        {
            let Some(Asked { id, what, by, reply }) = self.clearings.asked.pop_front() else { return };
            match self.clear(id, what, by, now) {
                Ok(Done::Changed(instances)) => self.acks.push(Ack::Cleared { id, instances, reply }),
                Ok(Done::Told(cleared)) => drop(reply.send(Ok(cleared))),
                Err(error) => drop(reply.send(Err(error))),
            }
        }
        if !self.clearings.are_waited_for() {
            self.clearings.joined = 0;
        }
        while !self.clearings.are_waited_for()
            && let Some(letter) = self.clearings.letters.pop_front()
        {
            self.handle(letter, now);
        }
    }

    fn clear(&mut self, id: RunId, what: Clearing, by: Arc<str>, now: Timestamp) -> Result<Done, ClearError> {
        if self.stop.is_some() {
            return Err(ClearError::Unavailable { reason: "the server is stopping".into() });
        }
        let run = match self.run_page(id).map_err(unavailable)? {
            Page::Run(Some(run)) => run,
            Page::Run(None) | Page::Tasks { .. } | Page::Runs { .. } => return Err(ClearError::NotFound),
        };
        let mut remark = None;
        let (selection, mark) = match what {
            Clearing::Tasks(request) => (selection_of(&request, &run)?, None),
            Clearing::Instance(Instance { node, map_index, .. }) => {
                let tasks = Some(vec![(node, map_index)]);
                (Selection { tasks, ..Selection::default() }, None)
            }
            Clearing::Mark { instance, state, note } => {
                remark = note;
                let selection = Selection {
                    tasks: Some(vec![(instance.node, instance.map_index)]),
                    downstream: true,
                    only_failed: true,
                    upstream: false,
                };
                (selection, Some(self.mark_of(&run, instance, state)?))
            }
        };
        let mut cleared = selection.of(&run).map_err(refusal)?;
        if let Some(mark) = &mark {
            let is_marked = |place: &usize| {
                let instance = &run.instances[*place];
                (instance.node, instance.map_index) == (mark.node, mark.map_index)
            };
            cleared.retain(|place| !is_marked(place));
        }
        let instances: Vec<ClearedInstance> = cleared.iter().map(|place| shown(&run, *place)).collect();
        if instances.is_empty() && mark.is_none() {
            return Ok(Done::Told(Cleared { instances, run: Arc::new(run.record) }));
        }
        self.engine.apply(Command::Clear(Box::new(Clear { run, cleared, mark, by })), now);
        // In the same commit, behind the row of a task that had none before.
        self.pending.notes.extend(remark);
        Ok(Done::Changed(instances))
    }

    /// What a clear would do, by what is stored now.
    pub(super) fn would_clear(&self, id: RunId, request: &ClearRequest) -> Result<Cleared, ClearError> {
        let Page::Run(Some(run)) = self.run_page(id).map_err(unavailable)? else { return Err(ClearError::NotFound) };
        let cleared = selection_of(request, &run)?.of(&run).map_err(refusal)?;
        let instances = cleared.iter().map(|place| shown(&run, *place)).collect();
        Ok(Cleared { instances, run: Arc::new(run.record) })
    }

    fn mark_of(&self, run: &StoredRun, instance: Instance, state: TaskState) -> Result<Mark, ClearError> {
        let Instance { node, map_index, .. } = instance;
        if run.record.state == RunState::Queued {
            return Err(ClearError::NotBegun);
        }
        if let Some(reason) = run.plan.cannot_mark(node, map_index, state) {
            return Err(ClearError::CannotMark(reason));
        }
        let known = run.instances.iter().find(|other| (other.node, other.map_index) == (node, map_index));
        let stored = match known {
            None if map_index.is_some() => return Err(ClearError::CannotMark("it has been taken back")),
            None => None,
            Some(known) if !known.state.is_final() && !known.is_cleared => {
                return Err(ClearError::Active { id: known.id, state: known.state });
            }
            Some(known) => self.history.task(known.id).map_err(unavailable)?.map(Box::new),
        };
        Ok(Mark { node, map_index, state, stored })
    }

    pub(super) fn refuse_clearings(&mut self, reason: &str) {
        for Asked { reply, .. } in self.clearings.asked.drain(..) {
            let _ = reply.send(Err(ClearError::Unavailable { reason: reason.into() }));
        }
    }

    /// Whether the store knows all that memory knows of the run.
    fn is_settled(&self, run: RunId) -> bool {
        // Who was answered before is told of the run as it was then.
        let only_clears = self.acks.iter().all(|ack| matches!(ack, Ack::Cleared { .. }));
        !self.writer_busy && only_clears && self.pending.is_empty() && !self.engine.has_changes_of(run)
    }
}

fn selection_of(request: &ClearRequest, run: &StoredRun) -> Result<Selection, ClearError> {
    let place_of = |(name, map_index): &(TaskName, Option<u32>)| match run.plan.find(name.as_str()) {
        Some(node) => Ok((node, *map_index)),
        None => {
            let all: Vec<u32> = (0..run.plan.nodes.len() as u32).collect();
            Err(ClearError::NoTask { name: name.clone(), known: run.plan.names(&all) })
        }
    };
    let tasks = request.tasks.as_ref().map(|tasks| tasks.iter().map(place_of).collect()).transpose()?;
    let ClearRequest { upstream, downstream, only_failed, .. } = *request;
    Ok(Selection { tasks, upstream, downstream, only_failed })
}

fn shown(run: &StoredRun, place: usize) -> ClearedInstance {
    let instance = &run.instances[place];
    ClearedInstance {
        id: instance.id,
        task: run.plan.node(instance.node).name.clone(),
        map_index: instance.map_index,
        state: instance.state,
    }
}

fn refusal(reason: NotCleared) -> ClearError {
    match reason {
        NotCleared::Active(id, state) => ClearError::Active { id, state },
        NotCleared::Stopping => ClearError::Stopping,
    }
}

fn unavailable(error: CommitError) -> ClearError {
    ClearError::Unavailable { reason: error.to_string() }
}
