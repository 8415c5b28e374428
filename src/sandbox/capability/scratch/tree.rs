//! What do names in the directory cost: making, moving and removing them?
//!
//! A path is looked at before and after wasmtime acts on it. That is no race: the guest
//! makes one call at a time, and nobody else knows the directory.

use std::fs::File;
use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, HostDescriptor, OpenFlags, PathFlags};

use super::Files;
use super::ledger::{Ledger, Room};
use super::open::{Open, Seen};
use super::path;

/// A name in a directory; there may be nothing by that name.
struct Place {
    directory: Arc<File>,
    name: String,
}

impl Place {
    fn seen(&self) -> Option<Seen> {
        Seen::entry(&self.directory, &self.name)
    }

    /// An entry came or went: the directory itself may have become larger or smaller.
    fn changed(&self, ledger: &Ledger) {
        if let Ok(seen) = Seen::file(&self.directory) {
            ledger.seen(seen.inode, seen.size);
        }
    }

    fn made(&self, room: Room, ledger: &Ledger) {
        match self.seen() {
            Some(seen) => room.filled(seen.inode, seen.size),
            // It cannot be looked at: it stays charged.
            None => room.keep(),
        }
        self.changed(ledger);
    }
}

/// What `open-at` is asked.
pub(super) struct Opening {
    pub(super) path_flags: PathFlags,
    pub(super) path: String,
    pub(super) open_flags: OpenFlags,
    pub(super) flags: DescriptorFlags,
}

impl Files<'_> {
    /// None of a path that cannot be made, moved or removed: wasmtime says why.
    async fn place(&mut self, descriptor: u32, path: &str) -> FsResult<Option<Place>> {
        path::check(path)?;
        let Some((above, name)) = path::split(path) else { return Ok(None) };
        let directory = if above.is_empty() {
            self.file(descriptor)?
        } else {
            let start = Resource::new_borrow(descriptor);
            let (how, rights) = (OpenFlags::DIRECTORY, DescriptorFlags::READ);
            let opened = self.wasi().open_at(start, PathFlags::empty(), above.to_owned(), how, rights).await?;
            let directory = self.file(opened.rep());
            self.table.delete(opened)?;
            directory?
        };
        Ok(Some(Place { directory, name: name.to_owned() }))
    }

    pub(super) async fn open(
        &mut self,
        descriptor: Resource<Descriptor>,
        opening: Opening,
    ) -> FsResult<Resource<Descriptor>> {
        let Opening { path_flags, path, open_flags, flags } = opening;
        path::check(&path)?;
        let ledger = self.ledger()?;
        ledger.may_open()?;
        let mut making = None;
        if open_flags.contains(OpenFlags::CREATE)
            && let Some(place) = self.place(descriptor.rep(), &path).await?
            && place.seen().is_none()
        {
            making = Some((place, ledger.reserve()?));
        }
        let opened = self.wasi().open_at(descriptor, path_flags, path, open_flags, flags).await?;
        let file = self.file(opened.rep())?;
        if let Some((place, room)) = making {
            place.made(room, &ledger);
        }
        let seen = Seen::file(&file)?;
        // It may have been cut to nothing.
        ledger.seen(seen.inode, seen.size);
        let open = Arc::new(Open::new(file, seen.inode, &ledger));
        self.scratch()?.open.insert(opened.rep(), open);
        Ok(opened)
    }

    pub(super) async fn make_directory(&mut self, descriptor: Resource<Descriptor>, path: String) -> FsResult<()> {
        let ledger = self.ledger()?;
        let place = self.place(descriptor.rep(), &path).await?;
        let room = ledger.reserve()?;
        self.wasi().create_directory_at(descriptor, path).await?;
        match place {
            Some(place) => place.made(room, &ledger),
            None => room.keep(),
        }
        Ok(())
    }

    pub(super) async fn remove(&mut self, descriptor: Resource<Descriptor>, path: String, kind: Kind) -> FsResult<()> {
        let ledger = self.ledger()?;
        let place = self.place(descriptor.rep(), &path).await?;
        let seen = place.as_ref().and_then(Place::seen);
        match kind {
            Kind::File => self.wasi().unlink_file_at(descriptor, path).await?,
            Kind::Directory => self.wasi().remove_directory_at(descriptor, path).await?,
        }
        if let (Some(place), Some(seen)) = (place, seen) {
            ledger.removed(seen.inode);
            place.changed(&ledger);
        }
        Ok(())
    }

    pub(super) async fn rename(
        &mut self,
        (from, old_path): (Resource<Descriptor>, String),
        (to, new_path): (Resource<Descriptor>, String),
    ) -> FsResult<()> {
        let ledger = self.ledger()?;
        ledger.may_move()?;
        let old = self.place(from.rep(), &old_path).await?;
        let new = self.place(to.rep(), &new_path).await?;
        let moved = old.as_ref().and_then(Place::seen);
        let replaced = new.as_ref().and_then(Place::seen);
        self.wasi().rename_at(from, old_path, to, new_path).await?;
        // Where both are one, nothing happens.
        if let Some(replaced) = replaced.filter(|replaced| moved.is_some_and(|moved| moved.inode != replaced.inode)) {
            ledger.removed(replaced.inode);
        }
        for place in [old, new].iter().flatten() {
            place.changed(&ledger);
        }
        Ok(())
    }
}

/// What is removed.
pub(super) enum Kind {
    File,
    Directory,
}
