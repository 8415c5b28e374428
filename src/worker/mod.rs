//! Runs attempts in this process and reports how they ended.
//!
//! Knows the sandbox and where to report to; nothing of the store or of HTTP.

mod attempt;
mod live;
mod log;
pub mod segments;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::artifacts::Artifacts;
use crate::coordinator::{InputSource, Modules, Reports};
use crate::engine::{Assignment, HostId};
use crate::model::TaskId;
use crate::sandbox::Sandbox;

pub use live::LiveAttempts;
pub use segments::Segments;

/// The room for attempts of this process.
#[derive(Clone)]
pub struct LocalWorker {
    shared: Arc<Shared>,
}

struct Shared {
    sandbox: Sandbox,
    modules: Modules,
    inputs: InputSource,
    artifacts: Artifacts,
    segments: Segments,
    reports: Reports,
    live: LiveAttempts,
    life: AtomicU64,
}

impl LocalWorker {
    pub fn new(
        sandbox: Sandbox,
        modules: Modules,
        inputs: InputSource,
        artifacts: Artifacts,
        segments: Segments,
        reports: Reports,
        live: LiveAttempts,
    ) -> Self {
        let life = AtomicU64::new(HostId::GONE.0);
        Self { shared: Arc::new(Shared { sandbox, modules, inputs, artifacts, segments, reports, live, life }) }
    }

    /// Where what templates name is fetched.
    pub fn inputs(&self) -> &InputSource {
        &self.shared.inputs
    }

    /// Begins another life: reports of attempts of before are told apart by their host.
    pub fn new_life(&self) -> HostId {
        HostId(self.shared.life.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Starts attempts. Does not wait for them.
    pub fn start(&self, assignments: Vec<Assignment>) {
        for assignment in assignments {
            attempt::spawn(&self.shared, assignment);
        }
    }

    /// Stops one attempt; its report says that it was cancelled.
    pub fn stop(&self, task: TaskId, fence: u32) {
        self.shared.live.stop(task, fence);
    }

    /// Stops all attempts; their reports hand them back at no cost.
    pub fn hand_back_all(&self) {
        self.shared.live.hand_back_all();
    }
}
