//! `scratch`: a directory of the attempt's own, empty at its start and gone after its end.
//!
//! The guest sees it as `/scratch`, `/tmp` and `.`. wasmtime resolves paths and keeps
//! them inside; what it lacks is here:
//!
//! - a quota: the [`ledger`] is asked before anything grows ([`tree`] for names, [`stream`]
//!   and [`host`] for contents);
//! - bounds on what costs the server something else than disk: open files, streams,
//!   listings, names in a path, entries;
//! - no links. Hard ones would give an inode two names, and symbolic ones have been
//!   at the bottom of every escape from such a directory so far;
//! - no fsync: nothing outlives the attempt, and a loop of them would slow down the
//!   server's own commits on the same disk.
//!
//! [`directory`] makes and removes it. Without the grant a guest has no directory at all,
//! and so nothing to call these functions with.

mod directory;
mod host;
mod ledger;
mod open;
mod path;
mod stream;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::types::{self, ErrorCode};
use wasmtime_wasi::p2::{FsError, FsResult};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

pub(in crate::sandbox) use self::directory::{Directory, ScratchRoot};
use self::ledger::{Ledger, Refused};
use self::open::{Open, Seen};
use crate::model::grants::ScratchGrant;
use crate::sandbox::SandboxError;
use crate::sandbox::host::Host;
use crate::sandbox::meter::Meter;

/// Where the guest finds its directory. The last stands for relative paths.
const NAMES: [&str; 3] = ["/scratch", "/tmp", "."];

/// Directories one attempt lists at once. Each listing is read whole.
const MAX_LISTINGS: usize = 16;

/// One attempt's files, while it runs.
pub(in crate::sandbox) struct Scratch {
    ledger: Arc<Ledger>,
    /// By the guest's descriptors; those of `NAMES` are not among them.
    open: HashMap<u32, Arc<Open>>,
    listings: HashSet<u32>,
    /// Held once more by each stream.
    streams: Arc<()>,
    prepared: Option<WasiCtxBuilder>,
}

impl Scratch {
    /// Makes the directory. Everything that can fail does so here, before the guest starts.
    pub(in crate::sandbox) fn prepare(
        root: &ScratchRoot,
        grant: ScratchGrant,
    ) -> Result<(Directory, Box<Self>), SandboxError> {
        let directory = root.make().map_err(SandboxError::Scratch)?;
        let files = directory.files();
        let inode = File::open(&files).and_then(|file| Seen::file(&file)).map_err(SandboxError::Scratch)?.inode;
        let mut ctx = WasiCtxBuilder::new();
        for name in NAMES {
            ctx.preopened_dir(&files, name, FsPerms::ReadWrite)
                .map_err(SandboxError::engine("open a scratch directory"))?;
        }
        let scratch = Self {
            ledger: Ledger::new(grant.bytes, inode, root.open_everywhere()),
            open: HashMap::new(),
            listings: HashSet::new(),
            streams: Arc::default(),
            prepared: Some(ctx),
        };
        Ok((directory, Box::new(scratch)))
    }

    /// To build the guest's WASI from.
    pub(in crate::sandbox) fn take_prepared(&mut self) -> WasiCtxBuilder {
        self.prepared.take().unwrap_or_default()
    }
}

/// Puts these functions in the place of wasmtime's own.
pub(in crate::sandbox) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    types::add_to_linker::<Host, Linked>(linker, Host::files)?;
    linker.allow_shadowing(false);
    Ok(())
}

struct Linked;

impl HasData for Linked {
    type Data<'a> = Files<'a>;
}

/// What a call has to do with.
pub(in crate::sandbox) struct Files<'a> {
    pub(in crate::sandbox) ctx: &'a mut WasiFilesystemCtx,
    pub(in crate::sandbox) table: &'a mut ResourceTable,
    pub(in crate::sandbox) scratch: Option<&'a mut Scratch>,
    pub(in crate::sandbox) meter: &'a Arc<Meter>,
}

impl Files<'_> {
    /// How wasmtime does it.
    fn wasi(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: &mut *self.ctx, table: &mut *self.table }
    }

    /// A guest without a scratch directory has no descriptor to call with.
    fn scratch(&mut self) -> Result<&mut Scratch, ErrorCode> {
        self.scratch.as_deref_mut().ok_or(ErrorCode::BadDescriptor)
    }

    fn ledger(&mut self) -> Result<Arc<Ledger>, ErrorCode> {
        Ok(self.scratch()?.ledger.clone())
    }

    /// What the guest opened itself.
    fn opened(&mut self, descriptor: u32) -> Result<Arc<Open>, ErrorCode> {
        self.scratch()?.open.get(&descriptor).cloned().ok_or(ErrorCode::BadDescriptor)
    }

    /// The file or directory behind a descriptor.
    fn file(&self, descriptor: u32) -> FsResult<Arc<File>> {
        Ok(match self.table.get(&Resource::<Descriptor>::new_borrow(descriptor))? {
            Descriptor::File(file) => file.file.clone(),
            Descriptor::Dir(directory) => directory.dir.clone(),
        })
    }

    /// Names a refused path among the denied calls, if it was refused for leading outside.
    fn judge<T>(&self, call: &str, path: &str, answer: FsResult<T>) -> FsResult<T> {
        if let Err(error) = &answer
            && let Some(ErrorCode::NotPermitted | ErrorCode::Access) = error.downcast_ref()
        {
            self.meter.deny(|| format!("scratch: {call} {}, outside of the directory", path::shown(path)));
        }
        answer
    }

    /// Refuses a link.
    fn no_link<T>(&self, kind: &str, path: &str) -> FsResult<T> {
        self.meter.deny(|| format!("scratch: {kind} link {}; there are none", path::shown(path)));
        Err(ErrorCode::NotPermitted.into())
    }
}

impl From<Refused> for ErrorCode {
    fn from(refused: Refused) -> Self {
        match refused {
            // What programs know as a full disk.
            Refused::Full => Self::InsufficientSpace,
            // WASI has no word of its own for these.
            Refused::TooManyEntries | Refused::TooManyOpen => Self::Quota,
        }
    }
}

impl From<Refused> for FsError {
    fn from(refused: Refused) -> Self {
        ErrorCode::from(refused).into()
    }
}
