//! Takes a module in: streamed to disk, compiled, looked through, kept, and only then named.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::sync::OwnedSemaphorePermit;

use crate::model::{Digest, ModuleInfo, ModuleName, Tag, Timestamp};
use crate::sandbox::{self, CompileStage, CompiledFile, Refused};
use crate::store::ModuleChange;

use super::super::CommitFailed;
use super::{ModuleError, ModuleRef, Modules, ModulesSettings};

#[derive(Debug)]
pub struct Uploaded {
    pub info: Arc<ModuleInfo>,
    /// False: the same bytes were here before.
    pub created: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the module is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    /// Too many are under way.
    #[error("{most} uploads are under way")]
    Busy { most: usize },
    /// The caller broke off.
    #[error("the upload was interrupted: {0}")]
    Interrupted(String),
    #[error("{reason}")]
    Unavailable { reason: String },
}

/// How far an upload is whose bytes have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadStage {
    /// Waiting for its turn, or being compiled.
    Compile(CompileStage),
    /// Asked for its functions.
    Inspecting,
    Storing,
}

/// Is told of every change of stage, and about once a second within the first. Must
/// not block. Dropped when nothing more is to be told.
pub type TellUploadStage = Box<dyn Fn(UploadStage) + Send + Sync>;

/// The bytes of an upload, complete on disk. Holds one of the places for uploads;
/// dropped, it leaves nothing behind.
pub struct Received {
    incoming: Incoming,
    place: OwnedSemaphorePermit,
}

/// Whether the same bytes were here before.
enum Found {
    Known(Arc<ModuleInfo>),
    New(CompiledFile),
}

/// Name and tag that an upload is to have, and who uploads.
pub struct Naming {
    pub name: Option<(ModuleName, Tag)>,
    pub by: Arc<str>,
}

impl Modules {
    /// Waits for its turn to receive, and receives the bytes. They then wait for the compiler on disk:
    /// a caller whose bytes are not taken for a minute would give the connection up.
    pub async fn receive<S, E>(&self, body: S) -> Result<Received, UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: fmt::Display,
    {
        let place = self.inner.uploads.clone().try_acquire_owned();
        let place = place.map_err(|_| UploadError::Busy { most: super::MAX_UPLOADS })?;
        let _turn = self.inner.receiving.acquire().await.map_err(unavailable)?;
        Ok(Received { incoming: Incoming::receive(&self.inner.settings, body).await?, place })
    }

    /// Compiles, keeps and names what was received. What is refused leaves nothing behind.
    ///
    /// Dropping the future while it waits or compiles cancels the upload. Afterwards
    /// what is left takes a moment, and goes on: the module is then there whole.
    pub async fn take_in(
        &self,
        received: Received,
        naming: Naming,
        tell: TellUploadStage,
    ) -> Result<Uploaded, UploadError> {
        let alone = self.inner.locks.lock(received.incoming.digest).await;
        let found = match self.info(received.incoming.digest).await {
            Ok(info) => Found::Known(info),
            Err(ModuleError::NotFound(_)) => Found::New(self.compile(&received.incoming, &tell).await?),
            Err(error) => return Err(unavailable(error)),
        };
        let this = self.clone();
        let finish = async move {
            let _alone = alone;
            this.finish(received, found, naming, tell).await
        };
        tokio::spawn(finish).await.map_err(unavailable)?
    }

    async fn compile(&self, incoming: &Incoming, tell: &TellUploadStage) -> Result<CompiledFile, UploadError> {
        let wasm = tokio::fs::File::open(&incoming.path).await.map_err(unavailable)?.into_std().await;
        let tell = |stage| tell(UploadStage::Compile(stage));
        Ok(self.inner.sandbox.compile_into(&self.inner.compiled, incoming.digest, wasm, &tell).await?)
    }

    async fn finish(
        &self,
        received: Received,
        found: Found,
        Naming { name, by }: Naming,
        tell: TellUploadStage,
    ) -> Result<Uploaded, UploadError> {
        let Received { incoming, place: _place } = received;
        let (digest, at) = (incoming.digest, Timestamp::now());
        let mut changes = Vec::new();
        let (info, created) = match found {
            Found::Known(info) => (info, false),
            Found::New(compiled) => {
                let info = self.keep(&incoming, &compiled, &tell).await?;
                changes.push(ModuleChange::Put { info: info.clone(), at, by: by.clone() });
                (info, true)
            }
        };
        if let Some((name, tag)) = name {
            let current = self.resolve(&ModuleRef::Named(name.clone(), tag.clone())).await.ok();
            if current != Some(digest) {
                changes.push(ModuleChange::Tag { name, tag, digest: Some(digest), at, by });
            }
        }
        if !changes.is_empty() {
            tell(UploadStage::Storing);
            self.change(changes).await?;
        }
        // The first task should not pay for loading; if it fails here it is tried again there.
        if let Err(error) = self.module(digest).await {
            tracing::warn!(%digest, %error, "an uploaded module could not be loaded yet");
        }
        Ok(Uploaded { info, created })
    }

    /// Finds out what it can do, and stores its bytes; without a name yet.
    async fn keep(
        &self,
        incoming: &Incoming,
        compiled: &CompiledFile,
        tell: &TellUploadStage,
    ) -> Result<Arc<ModuleInfo>, UploadError> {
        let kept = async {
            tell(UploadStage::Inspecting);
            let wasm: Bytes = tokio::fs::read(&incoming.path).await.map_err(unavailable)?.into();
            let info = Arc::new(self.inner.sandbox.inspect(compiled, wasm.len() as u64).await?);
            tell(UploadStage::Storing);
            self.inner.artifacts.put_module(incoming.digest, wasm).await.map_err(unavailable)?;
            Ok(info)
        };
        kept.await.inspect_err(|_| {
            // A leftover is harmless: the same code again.
            let _ = self.inner.compiled.remove(incoming.digest);
        })
    }
}

/// An upload on disk, complete; removed when dropped.
struct Incoming {
    path: PathBuf,
    digest: Digest,
}

impl Incoming {
    async fn receive<S, E>(settings: &ModulesSettings, mut body: S) -> Result<Self, UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: fmt::Display,
    {
        let mut incoming = Self { path: fresh_path(&settings.incoming)?, digest: Digest::of(b"") };
        let mut file = tokio::fs::File::create_new(&incoming.path).await.map_err(unavailable)?;
        let mut hasher = Sha256::new();
        let mut bytes = 0;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| UploadError::Interrupted(error.to_string()))?;
            bytes += piece.len() as u64;
            if bytes > settings.max_bytes {
                return Err(UploadError::TooLarge { limit: settings.max_bytes });
            }
            hasher.update(&piece);
            file.write_all(&piece).await.map_err(unavailable)?;
        }
        file.flush().await.map_err(unavailable)?;
        incoming.digest = Digest::from_bytes(hasher.finalize().into());
        Ok(incoming)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn fresh_path(directory: &Path) -> Result<PathBuf, UploadError> {
    Ok(directory.join(format!("{:016x}", getrandom::u64().map_err(unavailable)?)))
}

fn unavailable(error: impl fmt::Display) -> UploadError {
    UploadError::Unavailable { reason: error.to_string() }
}

impl From<sandbox::UploadError> for UploadError {
    fn from(error: sandbox::UploadError) -> Self {
        match error {
            sandbox::UploadError::Refused(refused) => Self::Refused(refused),
            sandbox::UploadError::Failed(error) => unavailable(error),
        }
    }
}

impl From<CommitFailed> for UploadError {
    fn from(error: CommitFailed) -> Self {
        unavailable(error)
    }
}
