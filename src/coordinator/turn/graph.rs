//! What the coordinator's thread does with DAGs and runs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::graph::Trigger;
use crate::engine::{Answer, Command, Once, Page, RunChange};
use crate::model::{DagId, Digest, RunId, RunName, RunRecord, RunSpec, RunType, TaskId, Timestamp};
use crate::store::{CommitError, DagChange, Noted};

use super::super::answers::Ack;
use super::super::graph::{
    Applied, ClearError, Cleared, Clearing, DagChangeError, DagReply, Existed, GraphMessage, NewVersion,
    RunChangeError, RunReply, TriggerError, TriggerReply, TriggerRun, Triggered, VariableReply, VariableSet,
};
use super::super::{CommitFailed, KeyOf};
use super::Turn;

impl Turn {
    pub(super) fn handle_graph(&mut self, message: GraphMessage, now: Timestamp) {
        if matches!(message, GraphMessage::Trigger { .. }) {
            self.shared.waiting_submissions.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(reason) = self.failing().map(str::to_owned) {
            return refuse(message, &reason);
        }
        match message {
            GraphMessage::Apply { versions, by, reply } => match self.apply_versions(versions, by, now) {
                Ok(applied) => self.acks.push(Ack::Applied { applied, reply }),
                Err(error) => drop(reply.send(Err(CommitFailed(error.to_string())))),
            },
            GraphMessage::Pause { dag, paused, reply } => match self.history.current_version(&dag) {
                Ok(Some(_)) => {
                    self.pending.dags.push(DagChange::Pause { dag: dag.clone(), paused, at: now });
                    self.engine.apply(Command::PauseDag { dag, paused }, now);
                    self.acks.push(Ack::Dag { reply });
                }
                Ok(None) => drop(reply.send(Err(DagChangeError::NotFound))),
                Err(error) => drop(reply.send(Err(DagChangeError::Unavailable { reason: error.to_string() }))),
            },
            GraphMessage::Delete { dag, reply } => self.delete_dag(dag, reply, now),
            GraphMessage::Trigger { run, plan, wait, reply } => {
                self.trigger(*run, plan, wait, reply, now);
            }
            GraphMessage::Cancel { id, by, reply } => self.cancel_run(id, by, reply, now),
            GraphMessage::SetVariable { key, value, by, reply } => {
                if let Err(full) = self.variables.set(&key, value.as_ref().map(|variable| variable.value.as_str())) {
                    return drop(reply.send(Err(full.into())));
                }
                self.acks.push(Ack::Variable { place: self.pending.dags.len(), reply });
                self.pending.dags.push(DagChange::SetVariable { key, value, at: now, by });
            }
            GraphMessage::Clear { id, what: Clearing::Tasks(request), reply, .. } if request.dry_run => {
                drop(reply.send(self.would_clear(id, &request)));
            }
            GraphMessage::Clear { id, what, by, reply } => self.clearings.ask(id, what, by, reply),
            GraphMessage::Note { note, reply } => {
                if let Noted::Run(id) = note.of {
                    self.engine.apply(Command::NoteRun { id, note: note.note.clone() }, now);
                }
                self.pending.notes.push(note);
                self.acks.push(Ack::Modules { reply });
            }
            GraphMessage::Evaluated(command) => drop(self.engine.apply(command, now)),
        }
    }

    fn apply_versions(
        &mut self,
        versions: Vec<NewVersion>,
        by: Arc<str>,
        now: Timestamp,
    ) -> Result<Vec<Applied>, CommitError> {
        let mut applied = Vec::with_capacity(versions.len());
        let mut changes = Vec::with_capacity(versions.len());
        for NewVersion { definition, source } in versions {
            let (dag_id, version) = (definition.dag_id.clone(), definition.digest());
            if let Some(gone) = definition.tasks.iter().find(|task| self.blocked_modules.contains(&task.work.module)) {
                return Err(CommitError::Failed(format!("module {} is being deleted", gone.work.module)));
            }
            let created = self.version_of(&dag_id)? != Some(version);
            if created {
                changes.push(DagChange::PutVersion { version, definition, source, at: now, by: by.clone() });
            }
            applied.push(Applied { dag_id, version, created });
        }
        // All of them are well: from here on these are the DAGs' versions.
        let put = applied.iter().filter(|applied| applied.created);
        self.versions_under_way.extend(put.map(|applied| (applied.dag_id.clone(), Some(applied.version))));
        self.pending.dags.extend(changes);
        Ok(applied)
    }

    /// The version that new runs of the DAG take, as it will be stored.
    fn version_of(&self, dag: &DagId) -> Result<Option<Digest>, CommitError> {
        match self.versions_under_way.get(dag) {
            Some(version) => Ok(*version),
            None => Ok(self.history.current_version(dag)?.map(|(version, _)| version)),
        }
    }

    fn delete_dag(&mut self, dag: DagId, reply: DagReply, now: Timestamp) {
        let found = self.version_of(&dag).and_then(|found| Ok((found, self.history.active_runs(&dag)?)));
        match found {
            Ok((None, _)) => drop(reply.send(Err(DagChangeError::NotFound))),
            Ok((Some(_), stored)) => {
                let runs = stored.max(self.engine.active_runs_of(&dag));
                if runs > 0 {
                    return drop(reply.send(Err(DagChangeError::Busy { runs })));
                }
                self.versions_under_way.insert(dag.clone(), None);
                // One of the same name that comes later is not paused.
                self.engine.apply(Command::PauseDag { dag: dag.clone(), paused: false }, now);
                self.pending.dags.push(DagChange::Delete { dag });
                self.acks.push(Ack::Dag { reply });
            }
            Err(error) => drop(reply.send(Err(DagChangeError::Unavailable { reason: error.to_string() }))),
        }
    }

    fn trigger(
        &mut self,
        run: TriggerRun,
        plan: Arc<crate::dag::Plan>,
        wait: Option<Duration>,
        reply: TriggerReply,
        now: Timestamp,
    ) {
        if self.stop.is_some() {
            return drop(reply.send(Err(TriggerError::Unavailable { reason: "the server is stopping".into() })));
        }
        match self.version_of(&run.dag_id) {
            Ok(Some(_)) => {}
            // Deleted since the request was read: its version may be gone with it.
            Ok(None) => return drop(reply.send(Err(TriggerError::NotFound))),
            Err(error) => return drop(reply.send(Err(TriggerError::Unavailable { reason: error.to_string() }))),
        }
        if let Some(node) = plan.nodes.iter().find(|node| self.blocked_modules.contains(&node.spec.module)) {
            return drop(reply.send(Err(TriggerError::ModuleGone(node.spec.module))));
        }
        let trigger = match self.prepare(run, plan, now) {
            Ok(trigger) => trigger,
            Err(error) => return drop(reply.send(Err(TriggerError::Unavailable { reason: error.to_string() }))),
        };
        match self.engine.apply(Command::Trigger(Box::new(trigger)), now) {
            Answer::RunAccepted(id) => self.acks.push(Ack::Triggered { id, existed: Existed::No, wait, reply }),
            Answer::RunExists(id) => self.acks.push(Ack::Triggered { id, existed: Existed::ByName, wait, reply }),
            Answer::Replayed(id) => {
                let id = RunId::from_u64(id.as_u64());
                self.acks.push(Ack::Triggered { id, existed: Existed::ByKey, wait, reply });
            }
            Answer::KeyMismatch(id) => {
                let error = match self.key_of(id) {
                    Ok(became) => TriggerError::IdempotencyMismatch { became },
                    Err(error) => TriggerError::Unavailable { reason: error.to_string() },
                };
                self.acks.push(Ack::TriggerRefused { error, reply });
            }
            other => unreachable!("a trigger is not answered by {other:?}"),
        }
    }

    /// What a key stands for, so that it is called by its name.
    pub(super) fn key_of(&self, number: TaskId) -> Result<KeyOf, CommitError> {
        let run = RunId::from_u64(number.as_u64());
        let is_run = self.engine.has_run(run) || self.history.run_record(run)?.is_some();
        Ok(if is_run { KeyOf::Run(run) } else { KeyOf::Task(number) })
    }

    /// Looks up what the store knows of the run's name, its key and its past.
    fn prepare(
        &mut self,
        run: TriggerRun,
        plan: Arc<crate::dag::Plan>,
        now: Timestamp,
    ) -> Result<Trigger, CommitError> {
        let (id, first_task) = self.engine.ids().next_run(now, plan.nodes.len());
        let TriggerRun { dag_id, version, run_id, logical_date, conf, params, note, idempotency, by } = run;
        let run_id = match run_id {
            Some(run_id) => run_id,
            None => made_up_name(now, id),
        };
        let earlier = self.history.run_named(&dag_id, &run_id)?;
        let once = match idempotency {
            None => None,
            Some(given) => {
                let earlier = self.history.idempotency_key(&given.key)?;
                Some(Once { key: given.key, body: given.body, earlier })
            }
        };
        let spec = Arc::new(RunSpec {
            dag_id,
            version,
            run_id,
            run_type: RunType::Manual,
            logical_date,
            // Of a run that somebody asks for the interval is the moment itself, as in Airflow.
            data_interval_start: logical_date,
            data_interval_end: logical_date,
            conf,
            params,
        });
        let before = self.history.before(id, &spec, &plan)?;
        Ok(Trigger { id, first_task, spec, plan, earlier, once, before, note, by })
    }

    fn cancel_run(&mut self, id: RunId, by: Arc<str>, reply: RunReply, now: Timestamp) {
        if !self.engine.has_run(id) {
            match self.history.run_record(id) {
                Ok(Some(record)) if record.state.is_final() => {
                    return drop(reply.send(Err(RunChangeError::AlreadyEnded(Arc::new(record)))));
                }
                Ok(_) => {}
                Err(error) => return drop(reply.send(Err(RunChangeError::Unavailable { reason: error.to_string() }))),
            }
        }
        // A run that waits may be in the store alone.
        let stored = if self.engine.has_run(id) { Ok(Page::Run(None)) } else { self.run_page(id) };
        let stored = match stored {
            Ok(Page::Run(stored)) => stored,
            Ok(Page::Tasks { .. } | Page::Runs { .. }) => None,
            Err(error) => return drop(reply.send(Err(RunChangeError::Unavailable { reason: error.to_string() }))),
        };
        match self.engine.apply(Command::CancelRun { id, stored, by }, now) {
            Answer::Cancelled | Answer::Stopping => self.acks.push(Ack::RunChanged { id, reply }),
            Answer::AlreadyEnded => self.acks.push(Ack::RunEnded { id, reply }),
            Answer::NotFound => drop(reply.send(Err(RunChangeError::NotFound))),
            other => unreachable!("the cancel of a run is not answered by {other:?}"),
        }
    }

    /// The change is durable: templates see it. Only here is it known what it was a change of.
    pub(super) fn tell_variable(&mut self, change: &DagChange, reply: VariableReply) {
        let DagChange::SetVariable { key, value, at, .. } = change else {
            unreachable!("the place of a variable holds its change")
        };
        let existed = self.evaluator.inputs().set_variable(key, value.as_ref());
        let _ = reply.send(Ok(VariableSet { existed, at: *at }));
    }

    /// The changes are durable: they need not be remembered.
    pub(super) fn dags_committed(&mut self, stored: &[DagChange], runs: &[RunChange]) {
        for change in stored {
            match change {
                DagChange::PutVersion { definition, version, .. } => {
                    self.forget_version(&definition.dag_id, Some(*version));
                }
                DagChange::Delete { dag } => self.forget_version(dag, None),
                // Each has its answer to be told, and is set with it.
                DagChange::SetVariable { .. } | DagChange::Pause { .. } => {}
            }
        }
        for run in runs.iter().filter(|run| run.record.state.is_final()) {
            self.evaluator.inputs().forget(run.record.id);
        }
        self.run_waiters.committed(runs);
    }

    /// What is stored need not be remembered, unless there is something newer.
    fn forget_version(&mut self, dag: &DagId, stored: Option<Digest>) {
        if self.versions_under_way.get(dag) == Some(&stored) {
            self.versions_under_way.remove(dag);
        }
    }

    /// A run with everything the engine has to know of it.
    pub(super) fn run_page(&self, id: RunId) -> Result<Page, CommitError> {
        let Some(record) = self.history.run_record(id)? else { return Ok(Page::Run(None)) };
        let version = record.spec.version;
        let plan = match self.shared.plans.find(&version) {
            Some(plan) => Ok(plan),
            None => match self.history.definition(&version)? {
                Some(definition) => self.shared.plans.make(version, &definition),
                None => Err("it is not stored".to_owned()),
            },
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(reason) => {
                // One run that cannot be read must not stop all others.
                tracing::error!(run = %id, %version, reason, "the version of a run cannot be used; the run stays as it is");
                return Ok(Page::Run(None));
            }
        };
        Ok(Page::Run(Some(Box::new(self.history.stored_run(record, plan)?))))
    }

    /// The batch is durable: whoever asked for a run is told.
    pub(super) fn tell_run(&mut self, runs: &HashMap<RunId, Arc<RunRecord>>, ack: Ack, now: Timestamp) {
        let find = |turn: &Self, id: RunId| match runs.get(&id) {
            Some(record) => Ok(Some(record.clone())),
            None => turn.history.run_record(id).map(|record| record.map(Arc::new)),
        };
        match ack {
            Ack::Triggered { id, existed, wait, reply } => match find(self, id) {
                Ok(Some(record)) => match wait {
                    Some(wait) if !record.state.is_final() => {
                        self.run_waiters.wait(record, existed, now + wait, reply);
                    }
                    _ => drop(reply.send(Ok(Triggered { record, existed }))),
                },
                Ok(None) => {
                    let reason = "the run of this name has been removed by retention".to_owned();
                    drop(reply.send(Err(TriggerError::Unavailable { reason })));
                }
                Err(error) => drop(reply.send(Err(TriggerError::Unavailable { reason: error.to_string() }))),
            },
            Ack::RunChanged { id, reply } => match find(self, id) {
                Ok(Some(record)) => drop(reply.send(Ok(record))),
                Ok(None) => drop(reply.send(Err(RunChangeError::NotFound))),
                Err(error) => drop(reply.send(Err(RunChangeError::Unavailable { reason: error.to_string() }))),
            },
            Ack::Cleared { id, instances, reply } => match find(self, id) {
                Ok(Some(run)) => drop(reply.send(Ok(Cleared { instances, run }))),
                Ok(None) => drop(reply.send(Err(ClearError::NotFound))),
                Err(error) => drop(reply.send(Err(ClearError::Unavailable { reason: error.to_string() }))),
            },
            Ack::RunEnded { id, reply } => match find(self, id) {
                Ok(Some(record)) => drop(reply.send(Err(RunChangeError::AlreadyEnded(record)))),
                Ok(None) => drop(reply.send(Err(RunChangeError::NotFound))),
                Err(error) => drop(reply.send(Err(RunChangeError::Unavailable { reason: error.to_string() }))),
            },
            _ => unreachable!("answers about runs are given here"),
        }
    }
}

/// `manual__` and the moment, as Airflow makes it up; the id makes it one of a kind.
fn made_up_name(now: Timestamp, id: RunId) -> RunName {
    let name = format!("manual__{now}_{}", &id.to_string()[RunId::PREFIX.len() + 8..]);
    name.parse().expect("a moment and an id make a name")
}

fn refuse(message: GraphMessage, reason: &str) {
    let reason = || reason.to_owned();
    match message {
        GraphMessage::Apply { reply, .. } => drop(reply.send(Err(CommitFailed(reason())))),
        GraphMessage::Pause { reply, .. } | GraphMessage::Delete { reply, .. } => {
            drop(reply.send(Err(DagChangeError::Unavailable { reason: reason() })));
        }
        GraphMessage::Trigger { reply, .. } => drop(reply.send(Err(TriggerError::Unavailable { reason: reason() }))),
        GraphMessage::Cancel { reply, .. } => drop(reply.send(Err(RunChangeError::Unavailable { reason: reason() }))),
        GraphMessage::Clear { reply, .. } => drop(reply.send(Err(ClearError::Unavailable { reason: reason() }))),
        GraphMessage::SetVariable { reply, .. } => drop(reply.send(Err(CommitFailed(reason()).into()))),
        GraphMessage::Note { reply, .. } => drop(reply.send(Err(CommitFailed(reason())))),
        // The engine that asked is gone.
        GraphMessage::Evaluated(_) => {}
    }
}

/// Until when, whether the run existed before, and where the answer goes.
type RunWaiter = (Timestamp, Existed, TriggerReply);

/// Callers that wait for the end of a run, each up to its own deadline.
#[derive(Default)]
pub(super) struct RunWaiters {
    /// The run as it was last stored, and who waits.
    by_run: HashMap<RunId, (Arc<RunRecord>, Vec<RunWaiter>)>,
    deadlines: BTreeSet<(Timestamp, RunId)>,
}

impl RunWaiters {
    fn wait(&mut self, record: Arc<RunRecord>, existed: Existed, until: Timestamp, reply: TriggerReply) {
        let id = record.id;
        self.deadlines.insert((until, id));
        self.by_run.entry(id).or_insert_with(|| (record, Vec::new())).1.push((until, existed, reply));
    }

    pub(super) fn committed(&mut self, runs: &[RunChange]) {
        if self.by_run.is_empty() {
            return;
        }
        for record in runs.iter().map(|change| &change.record) {
            if record.state.is_final() {
                for (until, existed, reply) in
                    self.by_run.remove(&record.id).map(|(_, callers)| callers).unwrap_or_default()
                {
                    self.deadlines.remove(&(until, record.id));
                    let _ = reply.send(Ok(Triggered { record: record.clone(), existed }));
                }
            } else if let Some((known, _)) = self.by_run.get_mut(&record.id) {
                *known = record.clone();
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Tells those whose time is up how far the run is.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some(&(until, id)) = self.deadlines.first().filter(|(until, _)| *until <= now) {
            self.deadlines.remove(&(until, id));
            let Some((record, callers)) = self.by_run.get_mut(&id) else { continue };
            for (_, existed, reply) in callers.extract_if(.., |(until, ..)| *until <= now) {
                let _ = reply.send(Ok(Triggered { record: record.clone(), existed }));
            }
            if callers.is_empty() {
                self.by_run.remove(&id);
            }
        }
    }
}

/// Runs of a batch by their ids.
pub(super) fn by_id(runs: &[RunChange]) -> HashMap<RunId, Arc<RunRecord>> {
    runs.iter().map(|change| (change.record.id, change.record.clone())).collect()
}

/// Versions that were put and are not durable yet.
pub(super) type VersionsUnderWay = HashMap<DagId, Option<Digest>>;
