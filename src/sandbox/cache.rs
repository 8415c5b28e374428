//! Holds loaded modules: memory, then disk, then compiled anew; each once at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::MemfdFlags;
use tokio::sync::OnceCell;

use super::compile::{UploadError, in_background};
use super::compiled::{CompiledFile, CompiledStore};
use super::module::Module;
use super::{Refused, Sandbox, SandboxError};
use crate::model::{Digest, ModuleInfo};

/// How much the cache may hold. The least recently used module leaves first;
/// attempts that run it keep it until they end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheBounds {
    /// Default 256.
    pub modules: usize,
    /// Compiled code, in bytes; mapped from disk, so mostly page cache. Default 2 GiB.
    pub bytes: u64,
}

impl Default for CacheBounds {
    fn default() -> Self {
        Self { modules: 256, bytes: 2 << 30 }
    }
}

/// Why a module could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError<E> {
    /// The module's bytes could not be fetched.
    #[error("the module could not be fetched: {0}")]
    Fetch(E),
    /// The bytes fetched are other ones: the store is damaged.
    #[error("the bytes kept for module {asked} are those of {found}")]
    WrongBytes { asked: Digest, found: Digest },
    /// It was accepted by another version of the sandbox.
    #[error("the module is no longer accepted: {0}")]
    Refused(Refused),
    #[error("compiled modules cannot be kept: {0}")]
    Store(io::Error),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// Loaded modules by digest.
pub struct ModuleCache {
    sandbox: Sandbox,
    store: Arc<CompiledStore>,
    bounds: CacheBounds,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_digest: HashMap<Digest, Entry>,
    uses: u64,
    bytes: u64,
}

struct Entry {
    /// Filled by the first who asks; whoever else asks meanwhile waits for it.
    cell: Arc<OnceCell<Arc<Module>>>,
    last_use: u64,
    bytes: u64,
}

impl ModuleCache {
    pub fn new(sandbox: Sandbox, store: Arc<CompiledStore>, bounds: CacheBounds) -> Self {
        Self { sandbox, store, bounds, entries: Mutex::default() }
    }

    /// The module, if it is loaded. Costs a lock and a look-up.
    pub fn get(&self, digest: Digest) -> Option<Arc<Module>> {
        let mut entries = self.entries.lock();
        entries.uses += 1;
        let now = entries.uses;
        let entry = entries.by_digest.get_mut(&digest)?;
        entry.last_use = now;
        entry.cell.get().cloned()
    }

    /// The module, loaded from disk, or compiled from what `fetch` brings.
    ///
    /// Of several callers at once only one does the work. Dropping the future lets
    /// the next one take over.
    pub async fn get_or_load<F, E>(&self, info: &Arc<ModuleInfo>, fetch: F) -> Result<Arc<Module>, LoadError<E>>
    where
        F: Future<Output = Result<bytes::Bytes, E>>,
    {
        let digest = info.digest;
        if let Some(module) = self.get(digest) {
            return Ok(module);
        }
        let cell = self.cell(digest);
        let loaded = cell.get_or_try_init(|| self.load(info.clone(), fetch)).await;
        match loaded {
            Ok(module) => {
                let module = module.clone();
                self.loaded(digest, &cell, module.bytes());
                Ok(module)
            }
            Err(error) => {
                self.entries.lock().forget_unless_loaded(digest);
                Err(error)
            }
        }
    }

    /// Forgets a deleted module, here and on disk.
    pub fn remove(&self, digest: Digest) -> io::Result<()> {
        self.entries.lock().remove(digest);
        self.store.remove(digest)
    }

    async fn load<F, E>(&self, info: Arc<ModuleInfo>, fetch: F) -> Result<Arc<Module>, LoadError<E>>
    where
        F: Future<Output = Result<bytes::Bytes, E>>,
    {
        let digest = info.digest;
        let store = self.store.clone();
        let found = in_background("module-store", move || store.get(digest)).await?;
        let file = match found {
            Ok(Some(file)) => file,
            absent => {
                if let Err(error) = absent {
                    tracing::warn!(module = %digest, %error, "the compiled module cannot be read; compiling it anew");
                }
                self.compile(digest, fetch.await.map_err(LoadError::Fetch)?).await?
            }
        };
        let sandbox = self.sandbox.clone();
        Ok(in_background("module-load", move || sandbox.load(&file, info)).await??)
    }

    async fn compile<E>(&self, digest: Digest, wasm: bytes::Bytes) -> Result<CompiledFile, LoadError<E>> {
        let found = Digest::of(&wasm);
        if found != digest {
            return Err(LoadError::WrongBytes { asked: digest, found });
        }
        // A file without a name, as the compiler takes it.
        let wasm = in_background("module-store", move || unnamed_file(&wasm)).await?.map_err(LoadError::Store)?;
        self.sandbox.compile_into(&self.store, digest, wasm, &|_| {}).await.map_err(|error| match error {
            // It cost less once: another try may find the machine less busy, the setting raised.
            UploadError::Refused(refused) if refused.code == "too_costly" => {
                LoadError::Sandbox(SandboxError::Engine { doing: "compile a module anew", reason: refused.to_string() })
            }
            UploadError::Refused(refused) => LoadError::Refused(refused),
            UploadError::Failed(error) => LoadError::Sandbox(error),
        })
    }

    fn cell(&self, digest: Digest) -> Arc<OnceCell<Arc<Module>>> {
        let mut entries = self.entries.lock();
        entries.uses += 1;
        let last_use = entries.uses;
        let entry = entries.by_digest.entry(digest);
        entry.or_insert_with(|| Entry { cell: Arc::default(), last_use, bytes: 0 }).cell.clone()
    }

    /// Counts a module that has just been loaded, and makes room for it.
    fn loaded(&self, digest: Digest, cell: &Arc<OnceCell<Arc<Module>>>, bytes: u64) {
        let mut entries = self.entries.lock();
        let more = match entries.by_digest.get_mut(&digest) {
            Some(entry) if Arc::ptr_eq(&entry.cell, cell) => bytes - std::mem::replace(&mut entry.bytes, bytes),
            // Removed while it was being loaded.
            _ => return,
        };
        entries.bytes += more;
        while entries.by_digest.len() > self.bounds.modules || entries.bytes > self.bounds.bytes {
            let others =
                entries.by_digest.iter().filter(|(other, entry)| **other != digest && entry.cell.initialized());
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.last_use).map(|(digest, _)| *digest) else {
                return;
            };
            entries.remove(oldest);
        }
    }
}

/// In memory, positioned at its beginning.
fn unnamed_file(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("module", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

impl Entries {
    fn remove(&mut self, digest: Digest) {
        if let Some(entry) = self.by_digest.remove(&digest) {
            self.bytes -= entry.bytes;
        }
    }

    fn forget_unless_loaded(&mut self, digest: Digest) {
        if let Some(entry) = self.by_digest.get(&digest)
            && !entry.cell.initialized()
            // Others may be waiting to try themselves.
            && Arc::strong_count(&entry.cell) <= 2
        {
            self.by_digest.remove(&digest);
        }
    }
}
