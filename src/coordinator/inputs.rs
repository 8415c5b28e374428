//! Fetches what templates name: outputs of tasks, and variables.
//!
//! Sizes are looked up first, then room is waited for, and only then is anything read. What many instances read is
//! read once.

mod cache;
mod room;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::RwLock;

use crate::artifacts::{Artifacts, INLINE_RESULT_BYTES};
use crate::dag::plan::{NodeIndex, ScopeIndex};
use crate::dag::{Plan, template};
use crate::engine::Changes;
use crate::engine::graph::{InstanceContext, Output};
use crate::evaluate::{INPUT_BYTES, Inputs, KeptList};
use crate::model::run::Instance;
use crate::model::task::{ArtifactRef, TaskResult};
use crate::model::variable::{Variable, Variables};
use crate::model::{Digest, Json, RunId, TaskId};
use crate::store::{KeptResult, ReadError, Reader, Reads};

use cache::Cache;
use room::{Room, Taken};

/// The most that the outputs for one evaluation may be together: an input could not hold more of them. 64 MiB.
const MOST_BYTES: u64 = INPUT_BYTES as u64;

/// What the outputs of all evaluations that are under way may take, about.
const ROOM_BYTES: u64 = 512 << 20;

/// What outputs may take that are kept for the next who read them, about.
const OUTPUTS_BYTES: u64 = 128 << 20;

/// What lists of mapped tasks may take that are kept, so that their windows cost a slice each.
const LISTS_BYTES: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Ours: another time it may work.
    #[error("{0}")]
    Unavailable(String),
    /// Ours, and another time it will be the same.
    #[error("{0}")]
    Damaged(String),
    #[error(
        "the outputs that are named here have {bytes} bytes, and at most {MOST_BYTES} are held at once; hand large \
         data on as the name of an object in storage"
    )]
    TooLarge { bytes: u64 },
}

/// What was fetched for one evaluation. To be dropped when that is done: others may wait for its room.
pub struct Fetched {
    pub inputs: Inputs,
    _room: Taken,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct InputSource {
    shared: Arc<Shared>,
}

struct Shared {
    reads: Reads,
    artifacts: Artifacts,
    room: Room,
    /// All of them: a template may name any, and there is a bound on them.
    variables: RwLock<Arc<Variables>>,
    outputs: Cache<Source, Arc<template::Output>>,
    lists: Cache<(RunId, ScopeIndex, Digest), Arc<KeptList>>,
}

/// What is kept of outputs. Short ones are not: they stand in the one row that has to be read anyway.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Source {
    /// What has another digest is another output.
    Artifact(Digest),
    /// The outputs of all instances. Forgotten when one of them changes.
    Mapped(RunId, NodeIndex),
}

/// Where an output is to be had from, and its size.
enum Found {
    Here(Arc<template::Output>),
    Artifact { task: TaskId, fence: u32, artifact: ArtifactRef },
    Mapped { bytes: u64 },
}

impl Found {
    fn bytes(&self) -> u64 {
        match self {
            Self::Here(output) => output.text().as_str().len() as u64,
            Self::Artifact { artifact, .. } => artifact.bytes,
            Self::Mapped { bytes } => *bytes,
        }
    }
}

/// Whose output it is.
#[derive(Clone, Copy)]
struct Owner<'a> {
    run: RunId,
    plan: &'a Plan,
    node: NodeIndex,
    map_index: Option<u32>,
}

impl InputSource {
    pub fn new(reads: Reads, artifacts: Artifacts) -> Self {
        let (room, variables) = (Room::new(ROOM_BYTES), RwLock::default());
        let (outputs, lists) = (Cache::new(OUTPUTS_BYTES), Cache::new(LISTS_BYTES));
        Self { shared: Arc::new(Shared { reads, artifacts, room, variables, outputs, lists }) }
    }

    /// A life begins: nothing holds but what is stored, and these are the variables.
    pub(super) fn begin(&self, variables: Variables) {
        *self.shared.variables.write() = Arc::new(variables);
        self.shared.outputs.forget_where(|_| true);
        self.shared.lists.forget_where(|_| true);
    }

    /// Whether there was a variable of this key.
    pub(super) fn set_variable(&self, key: &str, value: Option<&Variable>) -> bool {
        let mut variables = self.shared.variables.write();
        let variables = Arc::make_mut(&mut variables);
        let before = match value {
            Some(variable) => variables.insert(key.to_owned(), variable.value.clone()),
            None => variables.remove(key),
        };
        before.is_some()
    }

    /// The changes are durable. To be told before anything is started by them.
    pub(super) fn committed(&self, changes: &Changes) {
        let ended = changes.tasks.iter().filter(|change| change.record.state.is_final());
        let mapped = ended.filter_map(|change| match change.record.instance {
            Some(Instance { run, node, map_index: Some(_) }) => Some(Source::Mapped(run, node)),
            _ => None,
        });
        self.shared.outputs.forget(mapped);
        let expanded = changes.expansions.iter().map(|row| row.run);
        for changed in changes.cleared.iter().map(|rows| rows.run).chain(expanded) {
            self.shared.outputs.forget_where(|source| matches!(source, Source::Mapped(run, _) if *run == changed));
        }
    }

    /// The run has ended: its lists are not needed any more.
    pub(super) fn forget(&self, ended: RunId) {
        self.shared.lists.forget_where(|(run, ..)| *run == ended);
        self.shared.outputs.forget_where(|source| matches!(source, Source::Mapped(run, _) if *run == ended));
    }

    /// What an attempt's input is made of. Waits while other evaluations take all the room there is.
    pub async fn for_instance(&self, instance: &InstanceContext) -> Result<Fetched, FetchError> {
        self.fetch(instance.run, &instance.plan, &instance.outputs).await
    }

    pub(super) async fn fetch(
        &self,
        run: RunId,
        plan: &Plan,
        wanted: &[(NodeIndex, Output)],
    ) -> Result<Fetched, FetchError> {
        let owner = |node| Owner { run, plan, node, map_index: None };
        let mut found = Vec::with_capacity(wanted.len());
        for (node, output) in wanted {
            found.push((*node, self.find(owner(*node), output).await?));
        }
        let bytes = found.iter().map(|(_, found)| found.bytes()).sum();
        if bytes > MOST_BYTES {
            return Err(FetchError::TooLarge { bytes });
        }
        // What is kept already counts as well: it may be dropped there while it is used here. What came with the
        // question is small, and waits for nobody.
        let from_store = found.iter().zip(wanted).filter(|(_, (_, output))| output.is_in_store());
        let weight = from_store.map(|((_, found), _)| template::Output::weight_of(found.bytes())).sum();
        let room = self.shared.room.take(weight).await;
        let mut outputs = Vec::with_capacity(found.len());
        for (node, found) in found {
            outputs.push((node, self.load(owner(node), found).await?));
        }
        let variables = self.shared.variables.read().clone();
        Ok(Fetched { inputs: Inputs { outputs, variables }, _room: room })
    }

    async fn find(&self, owner: Owner<'_>, output: &Output) -> Result<Found, FetchError> {
        let here = |value: Json| Ok(Found::Here(template::Output::new(value)));
        let source = match output {
            Output::None => return here(Json::null()),
            Output::Inline(value) => return here(value.clone()),
            Output::Mapped => Source::Mapped(owner.run, owner.node),
            Output::Stored(task) => {
                let task = *task;
                let kept = self.shared.reads.run(move |reader| reader.result_of(task)).await?;
                return match kept.map(|kept| (kept.fence, kept.result)) {
                    Some((_, TaskResult::Inline(value))) => here(value),
                    Some((fence, TaskResult::Artifact(artifact))) => Ok(Found::Artifact { task, fence, artifact }),
                    // Cleared meanwhile: its next try has not ended.
                    None => here(Json::null()),
                };
            }
        };
        if let Some(output) = self.shared.outputs.get(&source) {
            return Ok(Found::Here(output));
        }
        let Owner { run, node, .. } = owner;
        let bytes = self.shared.reads.run(move |reader| reader.bytes_of_results(run, node)).await?;
        Ok(Found::Mapped { bytes })
    }

    async fn load(&self, owner: Owner<'_>, found: Found) -> Result<Arc<template::Output>, FetchError> {
        let source = match &found {
            Found::Here(output) => return Ok(output.clone()),
            Found::Artifact { artifact, .. } => Source::Artifact(artifact.digest),
            Found::Mapped { .. } => Source::Mapped(owner.run, owner.node),
        };
        let make = async {
            let output = match found {
                Found::Here(output) => output,
                Found::Artifact { task, fence, artifact } => {
                    template::Output::new(self.artifact(owner, task, fence, artifact).await?)
                }
                Found::Mapped { .. } => template::Output::list(&self.results_of(owner).await?),
            };
            let weight = template::Output::weight_of(output.text().as_str().len() as u64);
            Ok((output, weight))
        };
        self.shared.outputs.get_or_make(&source, make).await
    }

    /// The outputs of a mapped task in the order of its list; null where an instance did not succeed.
    async fn results_of(&self, owner: Owner<'_>) -> Result<Vec<Json>, FetchError> {
        let Owner { run, plan, node, .. } = owner;
        let scope = plan.node(node).scope;
        let read =
            move |reader: &Reader<'_>| Ok((reader.results_of(run, node, MOST_BYTES)?, reader.total_of(run, scope)?));
        let (kept, total) = self.shared.reads.run(read).await?;
        let kept = kept.map_err(|bytes| FetchError::TooLarge { bytes })?;
        let mut results = Vec::with_capacity(total as usize);
        for (map_index, KeptResult { task, fence, result }) in kept {
            results.resize(map_index as usize, Json::null());
            results.push(match result {
                TaskResult::Inline(value) => value,
                TaskResult::Artifact(artifact) => {
                    let owner = Owner { map_index: Some(map_index), ..owner };
                    self.artifact(owner, task, fence, artifact).await?
                }
            });
        }
        results.resize(total as usize, Json::null());
        Ok(results)
    }

    async fn artifact(
        &self,
        owner: Owner<'_>,
        task: TaskId,
        fence: u32,
        artifact: ArtifactRef,
    ) -> Result<Json, FetchError> {
        let loaded = self.shared.artifacts.result(task, fence, artifact).await;
        read(loaded, || {
            let name = &owner.plan.node(owner.node).name;
            let instance = owner.map_index.map_or(String::new(), |index| format!(" of instance {index}"));
            (format!("the output{instance} of task `{name}`"), format!("clear `{name}` with what is behind it"))
        })
    }

    /// The list of a mapped task or group, ready to be taken from.
    pub(super) async fn list(
        &self,
        run: RunId,
        plan: &Plan,
        scope: ScopeIndex,
        list: &TaskResult,
    ) -> Result<Arc<KeptList>, FetchError> {
        let content = match list {
            TaskResult::Inline(text) => Digest::of(text.as_str().as_bytes()),
            TaskResult::Artifact(artifact) => artifact.digest,
        };
        let whose = || {
            let name = plan.scope(scope).expansion.as_ref().map_or("", |expansion| &expansion.name);
            let remedy = "clear the tasks it is made of with what is behind them, or begin another run";
            (format!("the list that `{name}` is mapped over"), remedy.to_owned())
        };
        let make = async {
            let text = match list {
                TaskResult::Inline(text) => text.clone(),
                TaskResult::Artifact(artifact) => read(self.shared.artifacts.list(run, scope, *artifact).await, whose)?,
            };
            let list = KeptList::parse(&text).map_err(|error| damaged(whose(), &error))?;
            let bytes = list.bytes() as u64;
            Ok((Arc::new(list), bytes))
        };
        self.shared.lists.get_or_make(&(run, scope, content), make).await
    }

    /// Makes a list durable that is too long for its row.
    pub(super) async fn keep_list(
        &self,
        run: RunId,
        scope: ScopeIndex,
        list: TaskResult,
    ) -> Result<TaskResult, FetchError> {
        let TaskResult::Inline(text) = &list else { return Ok(list) };
        if text.as_str().len() <= INLINE_RESULT_BYTES {
            return Ok(list);
        }
        let bytes = bytes::Bytes::copy_from_slice(text.as_str().as_bytes());
        let kept = self.shared.artifacts.put_list(run, scope, bytes).await;
        kept.map(TaskResult::Artifact).map_err(|error| FetchError::Unavailable(error.to_string()))
    }
}

/// What was read of object storage, as JSON. `whose` says what it is, and what to do where it is not there any more.
fn read(loaded: std::io::Result<bytes::Bytes>, whose: impl Fn() -> (String, String)) -> Result<Json, FetchError> {
    let bytes = loaded.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData => damaged(whose(), &error),
        _ => FetchError::Unavailable(error.to_string()),
    })?;
    let text = String::from_utf8(bytes.into()).map_err(|error| damaged(whose(), &error))?;
    Json::parse(text).map_err(|error| damaged(whose(), &error))
}

fn damaged((what, remedy): (String, String), error: &dyn std::fmt::Display) -> FetchError {
    let reason = format!("{what} cannot be read any more: {error}; restore it from a backup, or {remedy}");
    tracing::warn!(reason, "something that was kept is damaged");
    FetchError::Damaged(reason)
}

impl From<ReadError> for FetchError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
