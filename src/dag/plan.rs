//! A DAG version made ready to run: numbers instead of names, and who follows whom.
//!
//! Made once per version and shared by all its runs. The engine walks it and never
//! looks at a template: where one has to be evaluated, the node says so.

mod link;
mod making;
mod templates;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{DagId, Digest, TaskName, TaskSpec};

use super::TriggerRule;

pub use link::MOST_UNDER_SETUPS;
pub use making::PlanError;
pub use templates::{Column, ListForm, ListTemplate, NodeTemplates};

/// The place of a task in `Plan::nodes`.
pub type NodeIndex = u32;

/// The place of a scope in `Plan::scopes`. 0 is the DAG itself.
pub type ScopeIndex = u32;

/// The scope of everything that is not mapped.
pub const ROOT: ScopeIndex = 0;

#[derive(Debug)]
pub struct Plan {
    pub dag_id: DagId,
    pub version: Digest,
    pub nodes: Vec<Node>,
    pub scopes: Vec<Scope>,
    /// The first failure ends the run.
    pub fail_fast: bool,
    pub timeout: Option<Duration>,
    /// Runs of the DAG that are under way at once.
    pub max_active_runs: u32,
    /// Whether some task depends on the run before.
    pub looks_back: bool,
    /// The tasks of a group that have no upstream in it, by the group's name.
    pub groups: HashMap<String, Vec<NodeIndex>>,
}

/// A task of the DAG.
#[derive(Debug)]
pub struct Node {
    pub name: TaskName,
    pub scope: ScopeIndex,
    /// Its place among the nodes of its scope.
    pub place: u32,
    /// What all its instances share. The input is null where it is made from a template.
    pub spec: Arc<TaskSpec>,
    pub rule: TriggerRule,
    pub choice: Choice,
    pub role: Role,
    /// A condition has to be evaluated before an instance is made.
    pub has_condition: bool,
    /// Those of its input, arguments and condition. The engine does not look at them.
    pub templates: Arc<NodeTemplates>,
    pub upstream: Vec<NodeIndex>,
    pub downstream: Vec<NodeIndex>,
    /// Setups that are upstream of it, though not directly, and whose teardown is still to come: it runs only under them.
    pub setups: Vec<NodeIndex>,
    /// The inverse of `setups`.
    pub shelters: Vec<NodeIndex>,
    /// Of a teardown: the tasks between its setups and itself.
    pub cleans_up_after: Vec<NodeIndex>,
    /// The inverse of `cleans_up_after`.
    pub cleaned_up_by: Vec<NodeIndex>,
    /// Tasks whose output the templates of its input name.
    pub reads: Vec<NodeIndex>,
    /// Tasks whose output its condition names.
    pub condition_reads: Vec<NodeIndex>,
    /// Scopes whose list is made of its output.
    pub feeds: Vec<ScopeIndex>,
    /// Whether some template names its output.
    pub is_read: bool,
    /// Instances of a run that may be under way at once.
    pub max_active: Option<u32>,
    pub depends_on_past: bool,
    /// Also the tasks directly downstream of its former self must have ended well.
    pub wait_for_downstream: bool,
    /// Whether its end decides how the run ended.
    pub decides_run: bool,
}

impl Node {
    /// A task that does this when all before it succeeded, and nothing special besides.
    pub fn new(name: TaskName, spec: Arc<TaskSpec>) -> Self {
        Self {
            name,
            scope: ROOT,
            place: 0,
            spec,
            rule: TriggerRule::AllSuccess,
            choice: Choice::None,
            role: Role::Work,
            has_condition: false,
            templates: Arc::default(),
            upstream: Vec::new(),
            downstream: Vec::new(),
            setups: Vec::new(),
            shelters: Vec::new(),
            cleans_up_after: Vec::new(),
            cleaned_up_by: Vec::new(),
            reads: Vec::new(),
            condition_reads: Vec::new(),
            feeds: Vec::new(),
            is_read: false,
            max_active: None,
            depends_on_past: false,
            wait_for_downstream: false,
            decides_run: false,
        }
    }
}

/// What a task's output means for those behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    None,
    /// It names the tasks that are followed; the others directly behind it are skipped.
    Branch,
    /// If it is false, what is behind it is skipped: all of it, or only what is directly behind.
    ShortCircuit {
        all: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Work,
    Setup,
    Teardown { fails_run: bool },
}

impl Role {
    pub fn is_teardown(self) -> bool {
        matches!(self, Self::Teardown { .. })
    }
}

/// Tasks that are instantiated together: those of the DAG once, those of a mapped
/// task or group once for each element of a list.
#[derive(Debug)]
pub struct Scope {
    pub nodes: Vec<NodeIndex>,
    /// None: the DAG itself.
    pub expansion: Option<Expansion>,
}

#[derive(Debug)]
pub struct Expansion {
    /// Of the group, or of the task itself.
    pub name: String,
    /// Tasks whose output the list is made of.
    pub reads: Vec<NodeIndex>,
    /// A mapped group waits for nothing but its list; a mapped task for its trigger rule, too.
    pub is_group: bool,
    /// How the list is made. The engine does not look at it.
    pub list: Arc<ListTemplate>,
}

impl Plan {
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index as usize]
    }

    pub fn scope(&self, index: ScopeIndex) -> &Scope {
        &self.scopes[index as usize]
    }

    pub fn find(&self, name: &str) -> Option<NodeIndex> {
        self.nodes.iter().position(|node| node.name.as_str() == name).map(|index| index as NodeIndex)
    }

    /// These tasks and all that are behind them.
    pub fn reachable_from(&self, from: &[NodeIndex]) -> HashSet<NodeIndex> {
        let mut reached: HashSet<NodeIndex> = from.iter().copied().collect();
        let mut next: Vec<NodeIndex> = from.to_vec();
        while let Some(index) = next.pop() {
            next.extend(self.node(index).downstream.iter().copied().filter(|behind| reached.insert(*behind)));
        }
        reached
    }

    /// The tasks that a branch means by a name: the one of that name, or the first ones of the group.
    /// Empty where they are not directly behind it.
    pub fn followed_by(&self, branch: NodeIndex, name: &str) -> Vec<NodeIndex> {
        let behind = &self.node(branch).downstream;
        let of_group = self.groups.get(name).into_iter().flatten();
        let mut found: Vec<NodeIndex> = of_group.copied().filter(|index| behind.contains(index)).collect();
        found.extend(behind.iter().copied().filter(|index| self.node(*index).name.as_str() == name));
        found
    }

    /// The tasks' names, for people.
    pub fn names(&self, nodes: &[NodeIndex]) -> String {
        let names: Vec<String> = nodes.iter().take(20).map(|index| format!("`{}`", self.node(*index).name)).collect();
        names.join(", ")
    }
}
