//! The modules of this installation: taken in, named, loaded, removed.

mod digest_locks;
mod upload;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::artifacts::Artifacts;
use crate::model::names::NotAName;
use crate::model::{Digest, ModuleInfo, ModuleName, Tag, TaskId, Timestamp};
use crate::sandbox::{CompiledStore, LoadError, Module, ModuleCache, Sandbox};
use crate::store::{ModuleChange, ReadError, Reads};

use super::{CommitFailed, Coordinator};
use digest_locks::DigestLocks;
pub use upload::{Naming, Received, TellUploadStage, UploadError, UploadStage, Uploaded};

#[derive(Debug, Clone)]
pub struct ModulesSettings {
    /// Where uploads wait until they are complete.
    pub incoming: PathBuf,
    /// Size of a module. Default 256 MiB.
    pub max_bytes: u64,
    /// Uploads received at the same time; further ones wait. Default 4.
    pub uploads: usize,
}

/// How a caller names a module: `sha256:…`, `name:tag`, or `name` for its tag `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModuleRef {
    Digest(Digest),
    Named(ModuleName, Tag),
}

#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error(transparent)]
    NotFound(#[from] NotFound),
    #[error("the module is in use by {}", by.join(", "))]
    InUse { by: Vec<String> },
    #[error("{reason}")]
    Unavailable { reason: String },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no module {0}")]
pub struct NotFound(pub ModuleRef);

/// Why a module cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    #[error(transparent)]
    NotFound(#[from] NotFound),
    #[error("{reason}")]
    Unavailable { reason: String },
    /// It is there, and cannot be run: damaged, or no longer accepted.
    #[error("module {digest} cannot be run: {reason}")]
    Unusable { digest: Digest, reason: String },
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Modules {
    inner: Arc<Inner>,
}

struct Inner {
    settings: ModulesSettings,
    sandbox: Sandbox,
    compiled: Arc<CompiledStore>,
    cache: ModuleCache,
    artifacts: Artifacts,
    reads: Reads,
    coordinator: Coordinator,
    names: Mutex<Names>,
    /// One permit for each upload whose bytes arrive.
    receiving: Semaphore,
    /// One for each that is not over.
    uploads: Arc<Semaphore>,
    locks: DigestLocks,
}

/// Where names point, as far as somebody has asked.
#[derive(Default)]
struct Names {
    digests: HashMap<(ModuleName, Tag), Digest>,
    /// Grows with every change, so that an answer read before one is not remembered after it.
    generation: u64,
}

/// Uploads that may be under way, most of them waiting for the compiler. Further ones are refused.
const MAX_UPLOADS: usize = 64;

/// Names that are remembered; beyond it all are forgotten and asked again.
const REMEMBERED_NAMES: usize = 10_000;

impl Modules {
    pub fn new(
        settings: ModulesSettings,
        sandbox: Sandbox,
        compiled: Arc<CompiledStore>,
        cache: ModuleCache,
        artifacts: Artifacts,
        reads: Reads,
        coordinator: Coordinator,
    ) -> std::io::Result<Self> {
        // What an upload left that was cut off by the end of the process.
        let _ = std::fs::remove_dir_all(&settings.incoming);
        crate::files::create_private_directory(&settings.incoming)?;
        let inner = Inner {
            receiving: Semaphore::new(settings.uploads),
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            settings,
            sandbox,
            compiled,
            cache,
            artifacts,
            reads,
            coordinator,
            names: Mutex::default(),
            locks: DigestLocks::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The module, if its name is remembered and it is loaded: two look-ups.
    pub fn try_ready(&self, reference: &ModuleRef) -> Option<Arc<Module>> {
        let digest = match reference {
            ModuleRef::Digest(digest) => *digest,
            ModuleRef::Named(name, tag) => {
                // The key is two counted pointers, not a copy of the text.
                *self.inner.names.lock().digests.get(&(name.clone(), tag.clone()))?
            }
        };
        self.inner.cache.get(digest)
    }

    /// What the reference means now.
    pub async fn resolve(&self, reference: &ModuleRef) -> Result<Digest, ModuleError> {
        let (name, tag) = match reference {
            ModuleRef::Digest(digest) => return Ok(*digest),
            ModuleRef::Named(name, tag) => (name.clone(), tag.clone()),
        };
        let key = (name.clone(), tag.clone());
        let generation = {
            let names = self.inner.names.lock();
            if let Some(digest) = names.digests.get(&key) {
                return Ok(*digest);
            }
            names.generation
        };
        let found = self.inner.reads.run(move |reader| reader.resolve(&name, &tag)).await?;
        let digest = found.ok_or_else(|| NotFound(reference.clone()))?;
        let mut names = self.inner.names.lock();
        if names.generation == generation {
            if names.digests.len() >= REMEMBERED_NAMES {
                names.digests.clear();
            }
            names.digests.insert(key, digest);
        }
        Ok(digest)
    }

    pub async fn info(&self, digest: Digest) -> Result<Arc<ModuleInfo>, ModuleError> {
        if let Some(module) = self.inner.cache.get(digest) {
            return Ok(module.info().clone());
        }
        let found = self.inner.reads.run(move |reader| reader.module(&digest)).await?;
        Ok(found.ok_or(NotFound(ModuleRef::Digest(digest)))?)
    }

    /// The module, loaded: from memory, from disk, or compiled anew from its bytes.
    pub async fn module(&self, digest: Digest) -> Result<Arc<Module>, ModuleError> {
        if let Some(module) = self.inner.cache.get(digest) {
            return Ok(module);
        }
        let info = self.info(digest).await?;
        let loaded = self.inner.cache.get_or_load(&info, self.inner.artifacts.module(digest)).await;
        loaded.map_err(|error| match &error {
            LoadError::WrongBytes { .. } | LoadError::Refused(_) => {
                ModuleError::Unusable { digest, reason: error.to_string() }
            }
            LoadError::Fetch(_) | LoadError::Store(_) | LoadError::Sandbox(_) => {
                ModuleError::Unavailable { reason: error.to_string() }
            }
        })
    }

    /// The bytes as they were uploaded.
    pub async fn content(&self, digest: Digest) -> Result<Bytes, ModuleError> {
        let info = self.info(digest).await?;
        let bytes = self.inner.artifacts.module(info.digest).await;
        bytes.map_err(|error| ModuleError::Unavailable { reason: error.to_string() })
    }

    /// Stores changes and forgets what they may have made untrue. Goes on when the caller is gone.
    async fn change(&self, changes: Vec<ModuleChange>) -> Result<(), CommitFailed> {
        let this = self.clone();
        let change = async move {
            let changed = this.inner.coordinator.change_modules(changes).await;
            this.forget_names();
            changed
        };
        tokio::spawn(change).await.unwrap_or_else(|error| Err(CommitFailed(error.to_string())))
    }

    /// Takes the tag away, or removes the module if nothing names it. Goes on when the caller is gone.
    pub async fn delete(&self, reference: &ModuleRef, by: Arc<str>) -> Result<(), DeleteError> {
        let (this, reference) = (self.clone(), reference.clone());
        let delete = async move { this.delete_whole(&reference, by).await };
        tokio::spawn(delete).await.unwrap_or_else(|error| Err(DeleteError::Unavailable { reason: error.to_string() }))
    }

    async fn delete_whole(&self, reference: &ModuleRef, by: Arc<str>) -> Result<(), DeleteError> {
        let digest = match self.resolve(reference).await {
            Ok(digest) => digest,
            Err(ModuleError::NotFound(error)) => return Err(error.into()),
            Err(error) => return Err(DeleteError::Unavailable { reason: error.to_string() }),
        };
        if let ModuleRef::Named(name, tag) = reference {
            let (name, tag, at) = (name.clone(), tag.clone(), Timestamp::now());
            return Ok(self.change(vec![ModuleChange::Tag { name, tag, digest: None, at, by }]).await?);
        }
        self.info(digest).await?;
        // Who uploads the same bytes now is done before, or begins anew after.
        let _alone = self.inner.locks.lock(digest).await;
        self.info(digest).await?;
        // From here on no task is accepted for it, and all that were are on disk.
        let deleted = match self.inner.coordinator.block_module(digest).await {
            Ok(()) => self.delete_unless_named(digest).await,
            Err(error) => Err(error.into()),
        };
        self.inner.coordinator.unblock_module(digest);
        deleted
    }

    async fn delete_unless_named(&self, digest: Digest) -> Result<(), DeleteError> {
        const NAMED: usize = 10;
        let read = move |reader: &crate::store::Reader<'_>| {
            let tags = reader.tags_of(&digest)?;
            Ok((tags, reader.dags_that_name(&digest, NAMED)?, reader.active_tasks_of(&digest, NAMED)?))
        };
        let (tags, dags, tasks) = self.inner.reads.run(read).await?;
        if !tags.is_empty() || !dags.is_empty() || !tasks.is_empty() {
            let tags = tags.iter().map(|(name, tag)| format!("{name}:{tag}"));
            let dags = dags.iter().map(|dag| format!("DAG {dag}"));
            let by = tags.chain(dags).chain(tasks.iter().map(TaskId::to_string)).collect();
            return Err(DeleteError::InUse { by });
        }
        self.inner.coordinator.change_modules(vec![ModuleChange::Delete { digest }]).await?;
        if let Err(error) = self.inner.artifacts.delete_module(digest).await {
            tracing::warn!(%digest, %error, "the bytes of a deleted module could not be removed");
        }
        if let Err(error) = self.inner.cache.remove(digest) {
            tracing::warn!(%digest, %error, "the compiled code of a deleted module could not be removed");
        }
        Ok(())
    }

    fn forget_names(&self) {
        let mut names = self.inner.names.lock();
        names.digests.clear();
        names.generation += 1;
    }
}

impl From<CommitFailed> for DeleteError {
    fn from(error: CommitFailed) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

impl From<ReadError> for DeleteError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

impl From<ModuleError> for DeleteError {
    fn from(error: ModuleError) -> Self {
        match error {
            ModuleError::NotFound(error) => error.into(),
            ModuleError::Unavailable { reason } | ModuleError::Unusable { reason, .. } => Self::Unavailable { reason },
        }
    }
}

impl From<ReadError> for ModuleError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

impl FromStr for ModuleRef {
    type Err = NotAModuleRef;

    fn from_str(text: &str) -> Result<Self, NotAModuleRef> {
        if text.starts_with("sha256:") {
            return text
                .parse()
                .map(Self::Digest)
                .map_err(|error: crate::model::digest::NotADigest| NotAModuleRef(error.to_string()));
        }
        let (name, tag) = text.split_once(':').unwrap_or((text, "latest"));
        let refused = |error: NotAName| NotAModuleRef(error.to_string());
        Ok(Self::Named(name.parse().map_err(refused)?, tag.parse().map_err(refused)?))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAModuleRef(String);

impl fmt::Display for ModuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => write!(f, "{digest}"),
            Self::Named(name, tag) => write!(f, "{name}:{tag}"),
        }
    }
}
