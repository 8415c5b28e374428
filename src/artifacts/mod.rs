//! Bytes in object storage, named by digest: modules and large results. Durable
//! before the row that names them, verified on the way out.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::model::task::ArtifactRef;
use crate::model::{Digest, TaskId};

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
        self.get(module_path(digest), digest).await
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

    async fn put(&self, path: ObjectPath, bytes: Bytes) -> io::Result<()> {
        self.store.put(&path, bytes.into()).await.map(drop).map_err(io_error)
    }

    async fn get(&self, path: ObjectPath, digest: Digest) -> io::Result<Bytes> {
        let bytes = self.store.get(&path).await.map_err(io_error)?.bytes().await.map_err(io_error)?;
        if Digest::of(&bytes) != digest {
            let what = format!("{path} does not hold {digest}: restore it from a backup, or upload it again");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
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

fn io_error(error: object_store::Error) -> io::Error {
    match error {
        object_store::Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error),
        error => io::Error::other(error),
    }
}
