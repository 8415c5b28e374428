//! When the store fails, and when it works again.

use std::time::Duration;

use crate::engine::{Command, Ending, Engine, HostId, Overview};
use crate::model::variable::Stock;
use crate::model::{TaskId, Timestamp};
use crate::store::{Batch, CommitError};

use super::super::Readiness;
use super::{Health, PROBE_INTERVAL, Turn};

impl Turn {
    /// Why nothing can be stored now, if so.
    pub(super) fn failing(&self) -> Option<&str> {
        match &self.health {
            Health::Well => None,
            Health::Failing { reason, .. } => Some(reason),
        }
    }

    /// Nothing of the batch was stored, and what was applied since stands on it.
    /// Callers are told so; the engine is loaded again when the store takes a write.
    pub(super) fn fail(&mut self, error: CommitError, now: Timestamp) {
        tracing::error!(%error, "a commit failed: nothing starts and nothing is accepted until the store works again");
        let reason = error.to_string();
        if self.stop.is_none() {
            self.shared.readiness.send_replace(Readiness::Degraded { reason: reason.clone() });
        }
        // Their reports come from a life that is over.
        self.worker.hand_back_all();
        let in_flight = self.in_flight.take();
        for ack in in_flight.into_iter().flat_map(|batch| batch.acks).chain(std::mem::take(&mut self.acks)) {
            ack.fail(&reason, &mut self.postman);
        }
        self.waiters.fail_cancels(&reason);
        self.pending = Batch::default();
        self.refuse_clearings(&reason);
        self.versions_under_way.clear();
        // An engine without hosts, so that nothing can start.
        self.engine = Engine::new(self.settings.engine.clone(), 0, self.engine.ids().last());
        self.host = HostId::GONE;
        self.health = Health::Failing { reason, next_probe: now + PROBE_INTERVAL };
    }

    pub(super) fn recover(&mut self, now: Timestamp) {
        let overview = match self.history.overview() {
            Ok(overview) => overview,
            Err(error) => return self.fail(error, now),
        };
        tracing::info!("the store works again");
        // What ran was given up by us, not lost: it costs nothing.
        let running: Vec<(TaskId, u32)> = overview.running.iter().map(|task| (task.id, task.fence)).collect();
        // Ids that were given out and not stored are not given out again.
        let last_id = overview.last_id.max(self.engine.ids().last());
        self.engine = Engine::load(self.settings.engine.clone(), Overview { last_id, ..overview });
        // The runs of what ran have to be there before it is taken back.
        let paged = self.page_in(now);
        let variables = paged.and_then(|()| self.history.variables());
        match variables {
            Ok(variables) => {
                self.variables = Stock::of(&variables);
                self.evaluator.inputs().begin(variables);
            }
            Err(error) => return self.fail(error, now),
        }
        for (task, fence) in running {
            let ending = Ending::HandedBack { reason: "the store had failed".into(), pause: Duration::ZERO };
            self.engine.apply(Command::Report { host: HostId::GONE, task, fence, ending, seed: 0 }, now);
        }
        self.engine.apply(Command::HostLost { host: HostId::GONE }, now);
        self.health = Health::Well;
        // A server that stops starts nothing any more.
        if self.stop.is_none() {
            self.join_host(now);
            self.shared.readiness.send_replace(Readiness::Ready);
        }
    }
}
