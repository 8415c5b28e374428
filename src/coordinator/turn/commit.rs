//! Sends batches to the disk, and tells everybody what is there.

use std::sync::Arc;

use crate::engine::graph::Evaluation;
use crate::engine::{Assignment, EventKind, EventRow};
use crate::model::Timestamp;
use crate::store::Batch;

use super::super::answers::Ack;
use super::super::writer::{Job, Written};
use super::super::{SubmitError, Submitted};
use super::graph::by_id;
use super::{Health, PROBE_INTERVAL, Stopping, Turn};

/// A batch on its way to the disk, and what is released when it is there.
pub(super) struct InFlight {
    batch: u64,
    pub(super) acks: Vec<Ack>,
    starts: Vec<Assignment>,
    evaluations: Vec<Evaluation>,
}

impl Turn {
    pub(super) fn write(&mut self, now: Timestamp) {
        let is_over = matches!(self.stop, Some(Stopping::Closing | Stopping::Closed));
        if self.writer_busy || is_over || !matches!(self.health, Health::Well) {
            return;
        }
        if self.engine.has_changes() || !self.pending.is_empty() || !self.acks.is_empty() {
            let sealed = self.engine.seal(now);
            let batch = Batch { changes: sealed.changes, ..std::mem::take(&mut self.pending) };
            let acks = std::mem::take(&mut self.acks);
            self.in_flight =
                Some(InFlight { batch: sealed.batch, acks, starts: sealed.starts, evaluations: sealed.evaluations });
            self.send(Job::Commit(Box::new(batch)));
        } else if let Some(Stopping::HandingBack { until }) = self.stop
            && (until <= now || self.engine.gauges().attempts() == 0)
        {
            self.stop = Some(Stopping::Closing);
            self.send(Job::Close);
        }
    }

    pub(super) fn send(&mut self, job: Job) {
        self.writer_busy = true;
        self.writer.send(job).expect("the writer lives as long as its coordinator");
    }

    pub(super) fn written(&mut self, written: Written, now: Timestamp) {
        self.writer_busy = false;
        match written {
            Written::Committed(batch) => self.committed(*batch, now),
            Written::CommitFailed(error) => self.fail(error, now),
            Written::Swept(Ok(swept)) => self.sweeper.swept(swept, now),
            Written::Swept(Err(error)) => {
                tracing::warn!(%error, "a step of retention failed; it will be tried again");
                self.sweeper.failed(now);
            }
            Written::Probed(Ok(())) => self.recover(now),
            Written::Probed(Err(error)) => {
                let next_probe = now + PROBE_INTERVAL;
                self.health = Health::Failing { reason: error.to_string(), next_probe };
            }
            Written::Closed => self.stop = Some(Stopping::Closed),
        }
    }

    /// The batch is durable: everybody may know.
    fn committed(&mut self, batch: Batch, now: Timestamp) {
        let Some(InFlight { batch: number, acks, starts, evaluations }) = self.in_flight.take() else { return };
        let tasks = &batch.changes.tasks;
        self.engine.committed(number, &batch.changes);
        self.shared.followed.committed(&batch.changes);
        self.evaluator.inputs().committed(&batch.changes);
        self.shared.metrics.committed(tasks.len());
        self.count(&batch.changes.events);
        if !starts.is_empty() {
            self.worker.start(starts);
        }
        self.evaluator.answer(evaluations);
        self.waiters.committed(tasks, &mut self.postman);
        self.dags_committed(&batch.dags, &batch.changes.runs);
        let runs = by_id(&batch.changes.runs);
        for ack in acks {
            match ack {
                Ack::Accepted { place, wait, reply } => {
                    let record = tasks[place].record.clone();
                    match wait {
                        Some(wait) if !record.state.is_final() => {
                            self.waiters.submit(record, false, now + wait, reply);
                        }
                        _ => self.postman.answer(reply, Ok(Submitted { record, replayed: false })),
                    }
                }
                Ack::Replayed { id, wait, reply } => match self.history.task(id) {
                    Ok(Some(record)) => {
                        let record = Arc::new(record);
                        match wait {
                            // Resident and not ended: its end will pass through here.
                            Some(wait) if !record.state.is_final() => {
                                self.waiters.submit(record, true, now + wait, reply);
                            }
                            _ => self.postman.answer(reply, Ok(Submitted { record, replayed: true })),
                        }
                    }
                    Ok(None) => {
                        let reason = "the task of this idempotency key has been removed by retention".into();
                        self.postman.answer(reply, Err(SubmitError::Unavailable { reason }));
                    }
                    Err(error) => {
                        let unavailable = SubmitError::Unavailable { reason: error.to_string() };
                        self.postman.answer(reply, Err(unavailable));
                    }
                },
                Ack::Refused { error, reply } => self.postman.answer(reply, Err(error)),
                Ack::Changed { place, reply } => drop(reply.send(Ok(tasks[place].record.clone()))),
                Ack::ChangeRefused { error, reply } => drop(reply.send(Err(error))),
                Ack::Modules { reply } => drop(reply.send(Ok(()))),
                Ack::Applied { applied, reply } => drop(reply.send(Ok(applied))),
                Ack::Dag { reply } => drop(reply.send(Ok(()))),
                Ack::Variable { place, reply } => self.tell_variable(&batch.dags[place], reply),
                Ack::TriggerRefused { error, reply } => drop(reply.send(Err(error))),
                ack @ (Ack::Triggered { .. } | Ack::RunChanged { .. } | Ack::RunEnded { .. } | Ack::Cleared { .. }) => {
                    self.tell_run(&runs, ack, now);
                }
            }
        }
    }

    /// Counts what everybody may know now.
    fn count(&self, events: &[EventRow]) {
        for event in events {
            match event.event {
                EventKind::Submitted => self.shared.metrics.task_submitted(),
                EventKind::HandedBack => self.shared.metrics.attempt_ended(None),
                _ if event.attempt.is_some() => self.shared.metrics.attempt_ended(event.outcome),
                _ => {}
            }
        }
    }
}
