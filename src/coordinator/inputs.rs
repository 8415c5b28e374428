//! Fetches what templates name: outputs of tasks, and variables.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::artifacts::{Artifacts, INLINE_RESULT_BYTES};
use crate::dag::plan::{NodeIndex, ScopeIndex};
use crate::dag::{Plan, template};
use crate::engine::graph::{InstanceContext, Output};
use crate::evaluate::{Inputs, KeptList};
use crate::model::task::TaskResult;
use crate::model::variable::{Variable, Variables};
use crate::model::{Digest, Json, RunId, TaskId};
use crate::store::{KeptResult, ReadError, Reader, Reads};

/// The most that the outputs for one evaluation may be together: they lie in memory. 256 MiB.
const MOST_BYTES: u64 = 256 << 20;

/// Lists of mapped tasks kept parsed, so that their windows cost a slice each.
const MOST_LISTS: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Ours: another time it may work.
    #[error("{0}")]
    Unavailable(String),
    #[error(
        "the outputs that are named here have {bytes} bytes, and at most {MOST_BYTES} are held at once; hand large \
         data on as the name of an object in storage"
    )]
    TooLarge { bytes: u64 },
}

/// Cheap to clone.
#[derive(Clone)]
pub struct InputSource {
    shared: Arc<Shared>,
}

struct Shared {
    reads: Reads,
    artifacts: Artifacts,
    /// All of them: a template may name any, and they are few and short.
    variables: RwLock<Arc<Variables>>,
    /// By what they hold: a list may be made anew.
    lists: Mutex<HashMap<(RunId, ScopeIndex, Digest), Arc<KeptList>>>,
}

impl InputSource {
    pub fn new(reads: Reads, artifacts: Artifacts) -> Self {
        let (variables, lists) = Default::default();
        Self { shared: Arc::new(Shared { reads, artifacts, variables, lists }) }
    }

    pub(super) fn set_variables(&self, variables: Variables) {
        *self.shared.variables.write() = Arc::new(variables);
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

    /// What an attempt's input is made of.
    pub async fn for_instance(&self, instance: &InstanceContext) -> Result<Inputs, FetchError> {
        self.fetch(instance.run, &instance.plan, &instance.outputs).await
    }

    pub(super) async fn fetch(
        &self,
        run: RunId,
        plan: &Plan,
        wanted: &[(NodeIndex, Output)],
    ) -> Result<Inputs, FetchError> {
        let mut outputs = Vec::with_capacity(wanted.len());
        let mut bytes = 0;
        for (node, output) in wanted {
            let fetched = match output {
                Output::None => template::Output::new(Json::null()),
                Output::Inline(value) => template::Output::new(value.clone()),
                Output::Stored(task) => template::Output::new(self.result_of(*task, &mut bytes).await?),
                Output::Mapped => {
                    let scope = plan.node(*node).scope;
                    template::Output::list(&self.results_of(run, (*node, scope), &mut bytes).await?)
                }
            };
            outputs.push((*node, fetched));
        }
        let variables = self.shared.variables.read().clone();
        Ok(Inputs { outputs, variables })
    }

    async fn result_of(&self, task: TaskId, bytes: &mut u64) -> Result<Json, FetchError> {
        let kept = self.shared.reads.run(move |reader| reader.result_of(task)).await?;
        match kept {
            Some(kept) => self.load(kept, bytes).await,
            // Cleared meanwhile: its next try has not ended.
            None => Ok(Json::null()),
        }
    }

    /// The outputs of a mapped task in the order of its list; null where an instance did not succeed.
    async fn results_of(
        &self,
        run: RunId,
        (node, scope): (NodeIndex, ScopeIndex),
        bytes: &mut u64,
    ) -> Result<Vec<Json>, FetchError> {
        let read =
            move |reader: &Reader<'_>| Ok((reader.results_of(run, node, MOST_BYTES)?, reader.total_of(run, scope)?));
        let (kept, total) = self.shared.reads.run(read).await?;
        let kept = kept.map_err(|bytes| FetchError::TooLarge { bytes })?;
        let mut results = Vec::new();
        for (map_index, kept) in kept {
            results.resize(map_index as usize, Json::null());
            results.push(self.load(kept, bytes).await?);
        }
        results.resize(total as usize, Json::null());
        Ok(results)
    }

    async fn load(&self, kept: KeptResult, bytes: &mut u64) -> Result<Json, FetchError> {
        let KeptResult { task, fence, result } = kept;
        self.load_result(task, fence, result, bytes).await
    }

    async fn load_result(
        &self,
        task: TaskId,
        fence: u32,
        result: TaskResult,
        bytes: &mut u64,
    ) -> Result<Json, FetchError> {
        *bytes += match &result {
            TaskResult::Inline(value) => value.as_str().len() as u64,
            TaskResult::Artifact(artifact) => artifact.bytes,
        };
        if *bytes > MOST_BYTES {
            return Err(FetchError::TooLarge { bytes: *bytes });
        }
        let artifact = match result {
            TaskResult::Inline(value) => return Ok(value),
            TaskResult::Artifact(artifact) => artifact,
        };
        let unavailable = |reason: String| FetchError::Unavailable(reason);
        let loaded = self.shared.artifacts.result(task, fence, artifact).await;
        let loaded = loaded.map_err(|error| unavailable(error.to_string()))?;
        let text = String::from_utf8(loaded.into()).map_err(|error| unavailable(error.to_string()))?;
        Json::parse(text).map_err(|error| unavailable(error.to_string()))
    }

    /// The list of a mapped task or group, ready to be taken from.
    pub(super) async fn list(
        &self,
        run: RunId,
        scope: ScopeIndex,
        list: &TaskResult,
    ) -> Result<Arc<KeptList>, FetchError> {
        let content = match list {
            TaskResult::Inline(text) => Digest::of(text.as_str().as_bytes()),
            TaskResult::Artifact(artifact) => artifact.digest,
        };
        let key = (run, scope, content);
        if let Some(list) = self.shared.lists.lock().get(&key) {
            return Ok(list.clone());
        }
        let (name, fence) = list_name(run, scope);
        let text = self.load_result(name, fence, list.clone(), &mut 0).await?;
        let list = KeptList::parse(&text).map_err(|error| FetchError::Unavailable(error.to_string()))?;
        Ok(self.remember(key, list))
    }

    fn remember(&self, key: (RunId, ScopeIndex, Digest), list: KeptList) -> Arc<KeptList> {
        let mut lists = self.shared.lists.lock();
        if lists.len() >= MOST_LISTS {
            // Whichever: one that is needed again is read again.
            let any = lists.keys().next().copied();
            any.map(|key| lists.remove(&key));
        }
        let list = Arc::new(list);
        lists.insert(key, list.clone());
        list
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
        let (name, fence) = list_name(run, scope);
        let kept = self.shared.artifacts.put_result(name, fence, bytes).await;
        kept.map(TaskResult::Artifact).map_err(|error| FetchError::Unavailable(error.to_string()))
    }

    /// The run has ended: its lists are not needed any more.
    pub(super) fn forget(&self, run: RunId) {
        self.shared.lists.lock().retain(|(of, ..), _| *of != run);
    }
}

/// Under which name a list lies among the results: ids of runs and of tasks are never the same number.
fn list_name(run: RunId, scope: ScopeIndex) -> (TaskId, u32) {
    (TaskId::from_u64(run.as_u64()), scope)
}

impl From<ReadError> for FetchError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
