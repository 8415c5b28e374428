//! Bytes in object storage: modules, large results and what tasks are mapped over. Durable
//! before the row that names them, verified on the way out.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::model::task::ArtifactRef;
use crate::model::{Digest, RunId, TaskId};

/// Results longer than this are kept here, shorter ones in their task's row. 64 KiB.
pub const INLINE_RESULT_BYTES: usize = 64 << 10;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Artifacts {
    store: Arc<dyn ObjectStore>,
}

impl Artifacts {
    /// In a local directory. Every object is synced before it counts as written.
    pub fn local(directory: &Path) -> io::Result<Self> {
        crate::files::create_private_directory(directory)?;
        let store = LocalFileSystem::new_with_prefix(directory).map_err(io::Error::other)?.with_fsync(true);
        Ok(Self { store: Arc::new(store) })
    }

    pub async fn put_module(&self, digest: Digest, bytes: Bytes) -> io::Result<()> {
        self.put(module_path(digest), bytes).await
    }

    pub async fn module(&self, digest: Digest) -> io::Result<Bytes> {
        let found = self.get(module_path(digest), digest).await;
        found.map_err(|error| {
            io::Error::new(error.kind(), format!("{error}: restore it from a backup, or upload it again"))
        })
    }

    pub async fn delete_module(&self, digest: Digest) -> io::Result<()> {
        self.delete(module_path(digest)).await
    }

    /// A result belongs to its attempt alone, so that it can be removed with it.
    pub async fn put_result(&self, task: TaskId, fence: u32, bytes: Bytes) -> io::Result<ArtifactRef> {
        let artifact = ArtifactRef { digest: Digest::of(&bytes), bytes: bytes.len() as u64 };
        self.put(result_path(task, fence), bytes).await?;
        Ok(artifact)
    }

    pub async fn result(&self, task: TaskId, fence: u32, artifact: ArtifactRef) -> io::Result<Bytes> {
        self.get(result_path(task, fence), artifact.digest).await
    }

    /// Removes what any attempt of the task left.
    pub async fn delete_results(&self, task: TaskId, last_fence: u32) -> io::Result<()> {
        for fence in 1..=last_fence {
            self.delete(result_path(task, fence)).await?;
        }
        Ok(())
    }

    /// What a task or group of the run is mapped over. Named by its content besides: one that is made anew, or made by
    /// a question that nobody waits for any more, takes no other's place.
    pub async fn put_list(&self, run: RunId, scope: u32, bytes: Bytes) -> io::Result<ArtifactRef> {
        let artifact = ArtifactRef { digest: Digest::of(&bytes), bytes: bytes.len() as u64 };
        self.put(list_path(run, scope, artifact.digest), bytes).await?;
        Ok(artifact)
    }

    pub async fn list(&self, run: RunId, scope: u32, artifact: ArtifactRef) -> io::Result<Bytes> {
        self.get(list_path(run, scope, artifact.digest), artifact.digest).await
    }

    /// Removes every list that was ever made for the run.
    pub async fn delete_lists(&self, run: RunId) -> io::Result<()> {
        let lists: Vec<_> = self.store.list(Some(&lists_path(run))).try_collect().await.map_err(io_error)?;
        let own = format!("{run}.");
        for list in lists {
            if list.location.filename().is_some_and(|name| name.starts_with(&own)) {
                self.delete(list.location).await?;
            }
        }
        Ok(())
    }

    async fn put(&self, path: ObjectPath, bytes: Bytes) -> io::Result<()> {
        self.store.put(&path, bytes.into()).await.map(drop).map_err(io_error)
    }

    async fn get(&self, path: ObjectPath, digest: Digest) -> io::Result<Bytes> {
        let found = self.store.get(&path).await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => {
                io::Error::new(io::ErrorKind::NotFound, format!("{path} is not in object storage"))
            }
            error => io::Error::other(error),
        })?;
        let bytes = found.bytes().await.map_err(io_error)?;
        if Digest::of(&bytes) != digest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{path} does not hold {digest}")));
        }
        Ok(bytes)
    }

    async fn delete(&self, path: ObjectPath) -> io::Result<()> {
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(io_error(error)),
        }
    }
}

fn module_path(digest: Digest) -> ObjectPath {
    let hex = digest.hex();
    ObjectPath::from(format!("modules/{}/{hex}.wasm", &hex[..2]))
}

/// Two levels, by the least regular part of the id, keep directories small.
fn result_path(task: TaskId, fence: u32) -> ObjectPath {
    ObjectPath::from(format!("results/{:03x}/{task}.{fence}", task.as_u64() >> 25 & 0xfff))
}

/// The lists of a run stand in one directory with some others'.
fn lists_path(run: RunId) -> ObjectPath {
    ObjectPath::from(format!("lists/{:03x}", run.as_u64() >> 25 & 0xfff))
}

fn list_path(run: RunId, scope: u32, digest: Digest) -> ObjectPath {
    ObjectPath::from(format!("{}/{run}.{scope}.{}", lists_path(run), digest.hex()))
}

fn io_error(error: object_store::Error) -> io::Error {
    match error {
        object_store::Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error),
        error => io::Error::other(error),
    }
}
