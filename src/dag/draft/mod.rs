//! A DAG file in its typed form: defaults merged, groups flattened, names resolved.
//!
//! A draft can be made of any document. Where something in it is wrong, there is a
//! finding, and the draft goes on with what it would be by default: so that everything
//! wrong is found at once, and nothing twice.

mod expansion;
mod fields;
mod graph_keys;
mod layers;
mod params;
mod settings;
mod tasks;
mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

pub use layers::WORK_KEYS;

use super::check;
use super::definition::{
    Definition, Expansion, GroupDefinition, ResolvedTask, Scope, Settings, TaskDefinition, TaskKind, Teardown,
};
use super::finding::{Finding, Place};
use super::source::Source;
use super::template::OutputPath;
use super::trigger_rule::TriggerRule;
use crate::model::dag_names::{DagId, TaskName};

pub(super) use fields::{Reader, Spot};
pub(super) use graph_keys::Templated;
pub(super) use tasks::{Owner, Read};

/// Tasks of one DAG.
pub const MAX_TASKS: usize = 10_000;
/// Pairs of tasks of which one waits for the other, groups resolved.
pub const MAX_EDGES: usize = 100_000;

/// A DAG, but for what its tasks run.
#[derive(Debug)]
pub struct Draft {
    /// `None` where it has a finding.
    pub dag_id: Option<DagId>,
    pub settings: Settings,
    /// A group before the groups in it.
    pub groups: Vec<DraftGroup>,
    /// Those of the DAG itself, then group by group: the tasks of a group and of all groups in it lie together.
    pub tasks: Vec<DraftTask>,
    /// What its templates read of outputs, as far as there are such tasks.
    pub(super) reads: Vec<OutputRead>,
}

/// A template that reads the output of a task.
#[derive(Debug)]
pub(super) struct OutputRead {
    pub(super) owner: Owner,
    /// In `Draft::tasks`.
    pub(super) task: usize,
    pub(super) output: OutputPath,
    /// Of the template: JSON pointer into the object of its owner, as if it stood there where it is in `default_args`.
    pub(super) pointer: String,
    /// JSON pointer.
    pub(super) path: String,
    pub(super) place: Place,
}

#[derive(Debug)]
pub struct DraftGroup {
    pub id: String,
    /// JSON pointer.
    pub path: String,
    pub place: Place,
    /// In `Draft::groups`.
    pub parent: Option<usize>,
    /// In `Draft::tasks`: its own and those of the groups in it.
    pub tasks: std::ops::Range<usize>,
    pub expansion: Option<Expansion>,
    pub map_index_template: Option<String>,
    /// Whether something is wrong with what it waits for.
    pub(super) upstream_unsure: bool,
}

#[derive(Debug)]
pub struct DraftTask {
    pub id: String,
    /// JSON pointer.
    pub path: String,
    pub place: Place,
    /// In `Draft::groups`: the innermost it is in.
    pub group: Option<usize>,
    /// In `Draft::tasks`. Sorted, each once; of a cycle, all but the edges that close it.
    pub upstream: Vec<usize>,
    pub trigger_rule: TriggerRule,
    pub kind: TaskKind,
    pub setup: bool,
    pub teardown: Option<DraftTeardown>,
    pub when: Option<Value>,
    pub expansion: Option<Expansion>,
    pub map_index_template: Option<String>,
    pub max_active_tis_per_dagrun: Option<u32>,
    pub depends_on_past: bool,
    pub wait_for_downstream: bool,
    pub pool: String,
    /// With templates.
    pub input: Option<Arc<DraftKey>>,
    /// The keys that a single task has too, but `input`: its own, else of the innermost
    /// `default_args`. `execution_timeout` is short for that of `limits` and goes before it.
    pub keys: BTreeMap<&'static str, Arc<DraftKey>>,
    /// Some key of it has a finding, so that what runs cannot be known.
    pub is_broken: bool,
    pub(super) upstream_unsure: bool,
    /// Where its trigger rule is stated, if it is: on the task, or in some `default_args`.
    pub(super) trigger_rule_path: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct DraftTeardown {
    /// In `Draft::tasks`.
    pub setups: Vec<usize>,
    pub on_failure_fail_dagrun: bool,
}

/// A key's value, and where it stands: on the task, or in some `default_args`.
#[derive(Debug)]
pub struct DraftKey {
    pub value: Value,
    /// JSON pointer.
    pub path: String,
    /// Of the value.
    pub place: Place,
    /// Of the value as JSON.
    pub(super) bytes: usize,
    pub(super) fate: Fate,
}

/// What becomes of a key of a task that a single task has too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    /// It has a finding of its own: what it should be is not known.
    Refused,
    /// Some of it could not be read.
    Broken,
}

/// What is known about the world outside of the file.
pub struct Outside<'a> {
    /// Checks a value against a schema: pointers into the value with what is wrong there; or why the schema is none.
    pub schema_problems: &'a SchemaProblems<'a>,
    /// Whether there is a time zone of this name.
    pub is_timezone: &'a dyn Fn(&str) -> bool,
}

pub type SchemaProblems<'a> = dyn Fn(&Value, &Value) -> Result<Vec<(String, String)>, String> + 'a;

impl Draft {
    /// Reads a document and checks its graph: all that can be known without its modules.
    pub fn read(source: &Source, outside: &Outside<'_>) -> (Self, Vec<Finding>) {
        let mut reader = fields::Reader::new(source.findings());
        let mut read = tasks::read(&mut reader, source.root(), outside);
        upstream::resolve(&mut reader, &mut read);
        check::graph(&mut reader, &mut read);
        (read.draft, reader.findings.into_vec())
    }

    /// What gives the task at `index` its map index.
    pub fn scope(&self, index: usize) -> Scope {
        let task = &self.tasks[index];
        if task.expansion.is_some() {
            return Scope::Task;
        }
        match self.mapped_group(task.group) {
            Some(group) => Scope::Group(name(&self.groups[group].id)),
            None => Scope::Run,
        }
    }

    /// The nearest mapped group from `group` outwards.
    pub(super) fn mapped_group(&self, group: Option<usize>) -> Option<usize> {
        self.enclosing(group).find(|group| self.groups[*group].expansion.is_some())
    }

    /// The group itself and those it is in, from the inside out.
    pub(super) fn enclosing(&self, group: Option<usize>) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(group, |group| self.groups[*group].parent)
    }

    /// The names in its templates that differ between the instances of a task; `None` where they are known in a run only.
    pub fn mapped_keys(&self, index: usize) -> Option<Vec<&str>> {
        let task = &self.tasks[index];
        let group = self.mapped_group(task.group).and_then(|group| self.groups[group].expansion.as_ref());
        let mut keys = Vec::new();
        for expansion in task.expansion.iter().chain(group) {
            keys.extend(expansion.keys()?);
        }
        Some(keys)
    }

    /// The version that this draft is, with what each of its tasks runs, in the order of the tasks.
    ///
    /// Only for a draft without findings, and for as many `resolved` as there are tasks.
    pub fn finish(self, resolved: Vec<ResolvedTask>) -> Definition {
        assert_eq!(resolved.len(), self.tasks.len(), "each task is resolved");
        let names: Vec<TaskName> = self.tasks.iter().map(|task| name(&task.id)).collect();
        let scopes: Vec<Scope> = (0..self.tasks.len()).map(|index| self.scope(index)).collect();
        let named = |tasks: &[usize]| tasks.iter().map(|task| names[*task].clone()).collect();
        let groups: Vec<GroupDefinition> = self.groups.into_iter().map(DraftGroup::finish).collect();
        let tasks = self.tasks.into_iter().zip(resolved).zip(scopes).map(|((task, work), scope)| TaskDefinition {
            id: name(&task.id),
            group: task.group.map(|group| groups[group].id.clone()),
            upstream: named(&task.upstream),
            trigger_rule: task.trigger_rule,
            kind: task.kind,
            setup: task.setup,
            teardown: task.teardown.map(|teardown| Teardown {
                setups: named(&teardown.setups),
                on_failure_fail_dagrun: teardown.on_failure_fail_dagrun,
            }),
            when: task.when,
            expansion: task.expansion,
            map_index_template: task.map_index_template,
            max_active_tis_per_dagrun: task.max_active_tis_per_dagrun,
            depends_on_past: task.depends_on_past,
            wait_for_downstream: task.wait_for_downstream,
            scope,
            pool: task.pool,
            input: task.input.map_or(Value::Null, |input| input.value.clone()),
            work,
        });
        let tasks = tasks.collect();
        let dag_id = self.dag_id.expect("a draft without findings has a name");
        Definition { dag_id, settings: self.settings, groups, tasks }
    }
}

impl DraftGroup {
    fn finish(self) -> GroupDefinition {
        let Self { id, expansion, map_index_template, .. } = self;
        GroupDefinition { id: name(&id), expansion, map_index_template }
    }
}

impl DraftTask {
    /// The keys that a single task has too, as the object that would be submitted.
    pub fn task_keys(&self) -> Map<String, Value> {
        self.keys.iter().map(|(key, value)| ((*key).to_owned(), value.value.clone())).collect()
    }

    /// The keys that each instance's input gets beside `input`; `None` where they are known in a run only.
    pub fn input_keys(&self) -> Option<Vec<&str>> {
        match &self.expansion {
            None => Some(Vec::new()),
            Some(expansion) => expansion.keys().map(Vec::from_iter),
        }
    }

    /// Where the value at `pointer` into the task's object comes from: `/retries` may
    /// stand in `/default_args/retries`.
    pub fn path_of(&self, pointer: &str) -> String {
        let rest = pointer.strip_prefix('/').unwrap_or(pointer);
        let (key, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let input = self.input.as_ref().filter(|_| key == "input");
        match input.or_else(|| self.keys.get(key)) {
            Some(key) => format!("{}{below}", key.path),
            None => self.path.clone(),
        }
    }
}

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(id: &str) -> T {
    id.parse().expect("the names of a draft without findings are well-formed")
}
