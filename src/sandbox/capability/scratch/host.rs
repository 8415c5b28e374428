//! `wasi:filesystem/types` for a guest with a scratch directory.

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode, Filesize,
    Host, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::ledger::{Refused, Start};
use super::stream::{Input, MAX_STREAMS, Output, Stream};
use super::tree::{Kind, Opening};
use super::{Files, MAX_LISTINGS, path};

impl Host for Files<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        self.wasi().convert_error_code(error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        self.wasi().filesystem_error_code(error)
    }
}

impl Files<'_> {
    fn stream(&mut self, descriptor: u32) -> Result<Stream, ErrorCode> {
        let file = self.opened(descriptor)?;
        let count = self.scratch()?.streams.clone();
        // One is the attempt's own, and one just taken.
        if std::sync::Arc::strong_count(&count) > MAX_STREAMS + 1 {
            return Err(ErrorCode::Quota);
        }
        Ok(Stream { file, meter: self.meter.clone(), _count: count })
    }

    fn output(
        &mut self,
        descriptor: u32,
        inner: Resource<DynOutputStream>,
        start: Start,
    ) -> FsResult<Resource<DynOutputStream>> {
        let inner = self.table.delete(inner)?;
        let stream = self.stream(descriptor)?;
        Ok(self.table.push(Output::over(inner, stream, start))?)
    }
}

/// Takes no room, and names no path.
macro_rules! as_wasmtime {
    ($($name:ident($($argument:ident: $Type:ty),*) -> $Answer:ty;)*) => {
        $(
            async fn $name(&mut self, descriptor: Resource<Descriptor>, $($argument: $Type),*) -> $Answer {
                self.wasi().$name(descriptor, $($argument),*).await
            }
        )*
    };
}

impl HostDescriptor for Files<'_> {
    as_wasmtime! {
        advise(offset: Filesize, length: Filesize, advice: Advice) -> FsResult<()>;
        get_flags() -> FsResult<DescriptorFlags>;
        get_type() -> FsResult<DescriptorType>;
        set_times(accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()>;
        stat() -> FsResult<DescriptorStat>;
        is_same_object(other: Resource<Descriptor>) -> wasmtime::Result<bool>;
        metadata_hash() -> FsResult<MetadataHashValue>;
    }

    async fn sync(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        self.file(descriptor.rep()).map(drop)
    }

    async fn sync_data(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        self.file(descriptor.rep()).map(drop)
    }

    async fn read(
        &mut self,
        descriptor: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        let read = self.wasi().read(descriptor, length, offset).await?;
        self.meter.file_bytes(read.0.len() as u64);
        Ok(read)
    }

    /// Writes what there is room for.
    async fn write(
        &mut self,
        descriptor: Resource<Descriptor>,
        mut bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        let file = self.opened(descriptor.rep())?;
        let start = Start::At(offset);
        let room = usize::try_from(file.room(start)).unwrap_or(usize::MAX);
        if room == 0 && !bytes.is_empty() {
            return Err(Refused::Full.into());
        }
        bytes.truncate(room);
        let growth = file.grow(start, bytes.len() as u64)?;
        let written = self.wasi().write(descriptor, bytes, offset).await;
        file.settle(growth);
        let written = written?;
        self.meter.file_bytes(written);
        Ok(written)
    }

    async fn set_size(&mut self, descriptor: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let file = self.opened(descriptor.rep())?;
        let growth = file.grow(Start::At(size), 0)?;
        let set = self.wasi().set_size(descriptor, size).await;
        file.settle(growth);
        set
    }

    fn read_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let number = descriptor.rep();
        let inner = self.wasi().read_via_stream(descriptor, offset)?;
        let inner = self.table.delete(inner)?;
        let stream = self.stream(number)?;
        Ok(self.table.push(Input::over(inner, stream))?)
    }

    fn write_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        let number = descriptor.rep();
        let inner = self.wasi().write_via_stream(descriptor, offset)?;
        self.output(number, inner, Start::At(offset))
    }

    fn append_via_stream(&mut self, descriptor: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let number = descriptor.rep();
        let inner = self.wasi().append_via_stream(descriptor)?;
        self.output(number, inner, Start::End)
    }

    async fn read_directory(&mut self, descriptor: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        if self.scratch()?.listings.len() >= MAX_LISTINGS {
            return Err(ErrorCode::Quota.into());
        }
        let listing = self.wasi().read_directory(descriptor).await?;
        self.scratch()?.listings.insert(listing.rep());
        Ok(listing)
    }

    async fn open_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let opening = Opening { path_flags, path: path.clone(), open_flags, flags };
        let opened = self.open(descriptor, opening).await;
        self.judge("open", &path, opened)
    }

    async fn create_directory_at(&mut self, descriptor: Resource<Descriptor>, path: String) -> FsResult<()> {
        let made = self.make_directory(descriptor, path.clone()).await;
        self.judge("make directory", &path, made)
    }

    async fn unlink_file_at(&mut self, descriptor: Resource<Descriptor>, path: String) -> FsResult<()> {
        let removed = self.remove(descriptor, path.clone(), Kind::File).await;
        self.judge("remove", &path, removed)
    }

    async fn remove_directory_at(&mut self, descriptor: Resource<Descriptor>, path: String) -> FsResult<()> {
        let removed = self.remove(descriptor, path.clone(), Kind::Directory).await;
        self.judge("remove directory", &path, removed)
    }

    async fn rename_at(
        &mut self,
        from: Resource<Descriptor>,
        old_path: String,
        to: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let both = format!("{old_path} to {new_path}");
        let renamed = self.rename((from, old_path), (to, new_path)).await;
        self.judge("rename", &both, renamed)
    }

    async fn link_at(
        &mut self,
        _: Resource<Descriptor>,
        _: PathFlags,
        path: String,
        _: Resource<Descriptor>,
        _: String,
    ) -> FsResult<()> {
        self.no_link("hard", &path)
    }

    async fn symlink_at(&mut self, _: Resource<Descriptor>, target: String, _: String) -> FsResult<()> {
        self.no_link("symbolic", &target)
    }

    async fn readlink_at(&mut self, descriptor: Resource<Descriptor>, path: String) -> FsResult<String> {
        path::check(&path)?;
        let read = self.wasi().readlink_at(descriptor, path.clone()).await;
        self.judge("read link", &path, read)
    }

    async fn stat_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        path::check(&path)?;
        let stat = self.wasi().stat_at(descriptor, path_flags, path.clone()).await;
        self.judge("look at", &path, stat)
    }

    async fn set_times_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        path::check(&path)?;
        let set = self.wasi().set_times_at(descriptor, path_flags, path.clone(), accessed, modified).await;
        self.judge("set times of", &path, set)
    }

    async fn metadata_hash_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        path::check(&path)?;
        let hash = self.wasi().metadata_hash_at(descriptor, path_flags, path.clone()).await;
        self.judge("look at", &path, hash)
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> wasmtime::Result<()> {
        let number = descriptor.rep();
        HostDescriptor::drop(&mut self.wasi(), descriptor)?;
        if let Some(scratch) = self.scratch.as_deref_mut() {
            scratch.open.remove(&number);
        }
        Ok(())
    }
}

impl HostDirectoryEntryStream for Files<'_> {
    async fn read_directory_entry(
        &mut self,
        listing: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.wasi().read_directory_entry(listing).await
    }

    fn drop(&mut self, listing: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        let number = listing.rep();
        HostDirectoryEntryStream::drop(&mut self.wasi(), listing)?;
        if let Some(scratch) = self.scratch.as_deref_mut() {
            scratch.listings.remove(&number);
        }
        Ok(())
    }
}
