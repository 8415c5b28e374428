//! How often what happens: each profile stresses another part of the engine.

use std::time::Duration;

use tradewind::engine::EngineConfig;

use super::random::Random;

/// What one random step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Submit,
    RepeatSubmit,
    /// A guest ends; its report is applied now or later.
    GuestEnds,
    /// A guest begins to wait in a host call, or goes on.
    GuestTurns,
    /// A word of a wait comes twice, or late, or from a former life.
    LateTurn,
    /// A report that was on its way, or is a duplicate, or is from a former life.
    LateReport,
    Cancel,
    Rerun,
    Trigger,
    /// A question of a run is answered.
    Evaluate,
    LateAnswer,
    CancelRun,
    /// Tasks of a run are done again, or somebody says how one ended.
    Clear,
    Pause,
    TimePasses,
    /// A message reaches a remote host.
    Deliver,
    HostJoins,
    HostDrains,
    HostIsLost,
    /// The next thing a commit does: sealed, on the disk, known to be on the disk.
    Commit,
    CommitFails,
    Crash,
    /// An orderly end and a new start, with a comparison of the two.
    Restart,
}

use Action::*;

pub struct Profile {
    pub name: &'static str,
    pub config: EngineConfig,
    pub page_size: usize,
    /// No more is submitted while so many tasks have not ended.
    pub backlog: usize,
    /// Greatest number of tasks of a DAG; 0: no DAGs.
    pub dag_tasks: usize,
    pub queues: usize,
    pub local_slots: u32,
    /// Greatest waiting room of a host.
    pub waiting: u64,
    pub remote_hosts: usize,
    /// Greatest input of a task.
    pub input_bytes: usize,
    /// Percent of the tasks that kill the host they run on.
    pub killers: u64,
    odds: Vec<(Action, u64)>,
    total: u64,
}

pub const PROFILES: u64 = 12;

const GRAPHS: [(Action, u64); 10] = [
    (Submit, 10),
    (RepeatSubmit, 2),
    (Rerun, 2),
    (Cancel, 4),
    (Trigger, 30),
    (Evaluate, 60),
    (LateAnswer, 4),
    (CancelRun, 3),
    (Clear, 3),
    (Pause, 2),
];

impl Profile {
    pub fn of(random: &mut Random) -> Self {
        let which = random.below(PROFILES);
        let base = Self {
            name: "calm",
            config: EngineConfig {
                remember_keys: Duration::from_secs(3600),
                resident_tasks: 64,
                low_water: 8,
                ..EngineConfig::default()
            },
            page_size: 16,
            backlog: 100,
            dag_tasks: 0,
            queues: 3,
            local_slots: 3,
            waiting: random.below(6),
            remote_hosts: 0,
            input_bytes: 10,
            killers: 0,
            odds: vec![
                (Submit, 200),
                (RepeatSubmit, 15),
                (GuestEnds, 250),
                (GuestTurns, 120),
                (LateTurn, 15),
                (LateReport, 30),
                (Cancel, 20),
                (Rerun, 20),
                (Trigger, 0),
                (Evaluate, 0),
                (LateAnswer, 0),
                (CancelRun, 0),
                (Clear, 0),
                (Pause, 0),
                (TimePasses, 60),
                (Deliver, 100),
                (HostJoins, 5),
                (HostDrains, 1),
                (HostIsLost, 1),
                (Commit, 150),
                (CommitFails, 1),
                (Crash, 1),
                (Restart, 1),
            ],
            total: 0,
        };
        let tiny = EngineConfig { resident_tasks: 2 + random.index(8), low_water: 1 + random.index(4), ..base.config };
        let tiny_bytes = EngineConfig { resident_bytes: 8_000, low_water: 12, ..tiny.clone() };
        let graph = EngineConfig { open_lanes: 1 + random.index(6), ..EngineConfig::default() };
        let paged = EngineConfig { open_lanes: 3, resident_runs: 1 + random.index(6), ..tiny.clone() };
        let page_size = 1 + random.index(5);
        let this = match which {
            0 => Self { config: EngineConfig::default(), ..base },
            1 => Self { name: "paging", config: tiny, page_size, backlog: 200, queues: 4, ..base },
            2 => Self {
                name: "bytes",
                config: EngineConfig { resident_tasks: 64, ..tiny_bytes },
                page_size,
                input_bytes: 4_000,
                ..base
            },
            3 => Self { name: "crashes", config: tiny, page_size, remote_hosts: 1, ..base }.with(&[
                (Crash, 12),
                (CommitFails, 12),
                (Commit, 250),
            ]),
            4 => Self { name: "cluster", config: tiny, page_size, remote_hosts: 4, local_slots: 0, ..base }.with(&[
                (HostJoins, 20),
                (HostDrains, 6),
                (HostIsLost, 8),
                (Deliver, 250),
                (LateReport, 100),
            ]),
            5 => Self { name: "storm", config: tiny, page_size, remote_hosts: 1, queues: 2, backlog: 40, ..base }
                .with(&[(Cancel, 150), (Rerun, 150), (RepeatSubmit, 100)]),
            6 => Self { name: "killers", killers: 8, remote_hosts: 1, config: tiny, page_size, ..base },
            8 => Self { name: "graphs", config: graph.clone(), dag_tasks: 12, ..base }.with(&GRAPHS),
            9 => Self { name: "large graphs", config: graph.clone(), dag_tasks: 60, page_size, ..base }.with(&GRAPHS),
            10 => Self { name: "graphs and crashes", config: graph, dag_tasks: 15, page_size, remote_hosts: 1, ..base }
                .with(&GRAPHS)
                .with(&[(Crash, 10), (CommitFails, 10), (Restart, 5)]),
            11 => Self { name: "paged graphs", config: paged, dag_tasks: 20, page_size, ..base }
                .with(&GRAPHS)
                .with(&[(CancelRun, 15)]),
            _ => Self { name: "timeouts", config: tiny, page_size, remote_hosts: 2, local_slots: 1, ..base }.with(&[
                (TimePasses, 200),
                (Commit, 60),
                (Deliver, 60),
                (GuestEnds, 150),
                (Submit, 120),
            ]),
        };
        Self { total: this.odds.iter().map(|(_, weight)| weight).sum(), ..this }
    }

    fn with(mut self, changed: &[(Action, u64)]) -> Self {
        for (action, weight) in &mut self.odds {
            if let Some((_, new)) = changed.iter().find(|(other, _)| other == action) {
                *weight = *new;
            }
        }
        self
    }

    pub fn next_action(&self, random: &mut Random) -> Action {
        let mut left = random.below(self.total);
        for (action, weight) in &self.odds {
            if left < *weight {
                return *action;
            }
            left -= weight;
        }
        TimePasses
    }
}
