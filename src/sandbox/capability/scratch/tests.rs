//! A guest's calls without the guest: those that no library makes, but a module may.

use bytes::Bytes;
use tokio::runtime::Handle;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, HostDescriptor, HostDirectoryEntryStream, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynOutputStream, Pollable, StreamError};

use super::ledger::{BLOCK_BYTES, MAX_OPEN};
use super::stream::MAX_STREAMS;
use super::*;
use crate::model::Limits;

fn reading_and_writing() -> DescriptorFlags {
    DescriptorFlags::READ | DescriptorFlags::WRITE
}

/// A directory, and what a guest's calls go through.
struct Guest {
    scratch: Box<Scratch>,
    ctx: WasiCtx,
    table: ResourceTable,
    meter: Arc<Meter>,
    directory: Option<Directory>,
    root: tempfile::TempDir,
}

impl Guest {
    fn with_blocks(blocks: u64) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let made = ScratchRoot::open(root.path(), &Handle::current()).expect("opened");
        let grant = ScratchGrant { bytes: blocks * BLOCK_BYTES };
        let (directory, mut scratch) = Scratch::prepare(&made, grant).expect("prepared");
        let ctx = scratch.take_prepared().build();
        let meter = Arc::new(Meter::new(&Limits::default()));
        Self { scratch, ctx, table: ResourceTable::new(), meter, directory: Some(directory), root }
    }

    fn files(&mut self) -> Files<'_> {
        let scratch = Some(&mut *self.scratch);
        Files { ctx: self.ctx.filesystem(), table: &mut self.table, scratch, meter: &self.meter }
    }

    /// The preopened directory.
    fn top(&mut self) -> u32 {
        use wasmtime_wasi::p2::bindings::filesystem::preopens::Host;
        Host::get_directories(&mut self.files().wasi()).expect("there are some")[0].0.rep()
    }

    async fn open(&mut self, start: u32, path: &str, how: OpenFlags, flags: DescriptorFlags) -> Result<u32, ErrorCode> {
        let opened = self.files().open_at(of(start), PathFlags::SYMLINK_FOLLOW, path.to_owned(), how, flags).await;
        opened.map(|opened| opened.rep()).map_err(code)
    }

    async fn create(&mut self, start: u32, path: &str) -> Result<u32, ErrorCode> {
        self.open(start, path, OpenFlags::CREATE, reading_and_writing()).await
    }

    async fn make(&mut self, start: u32, path: &str) -> Result<(), ErrorCode> {
        self.files().create_directory_at(of(start), path.to_owned()).await.map_err(code)
    }

    async fn unlink(&mut self, start: u32, path: &str) -> Result<(), ErrorCode> {
        self.files().unlink_file_at(of(start), path.to_owned()).await.map_err(code)
    }

    async fn rename(&mut self, start: u32, old: &str, new: &str) -> Result<(), ErrorCode> {
        self.files().rename_at(of(start), old.to_owned(), of(start), new.to_owned()).await.map_err(code)
    }

    async fn write(&mut self, file: u32, bytes: u64, offset: u64) -> Result<u64, ErrorCode> {
        self.files().write(of(file), vec![7; bytes as usize], offset).await.map_err(code)
    }

    fn close(&mut self, file: u32) {
        HostDescriptor::drop(&mut self.files(), Resource::new_own(file)).expect("it is open");
    }

    fn append(&mut self, file: u32) -> Result<DynOutputStream, ErrorCode> {
        let stream = self.files().append_via_stream(of(file)).map_err(code)?;
        Ok(self.table.delete(stream).expect("it was just made"))
    }

    /// What the disk holds below the guest's directory.
    fn disk_bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let mut bytes = 0;
        let mut directories = vec![self.directory.as_ref().expect("not removed").files()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).expect("a directory") {
                let entry = entry.expect("an entry");
                let metadata = entry.metadata().expect("it is there");
                bytes += metadata.blocks() * 512;
                if metadata.is_dir() {
                    directories.push(entry.path());
                }
            }
        }
        bytes
    }

    async fn end(mut self) {
        drop((self.ctx, self.table, self.scratch));
        self.directory.take().expect("not removed").remove().await;
        assert_eq!(std::fs::read_dir(self.root.path()).expect("it is there").count(), 0);
    }
}

fn of<T: 'static>(number: u32) -> Resource<T> {
    Resource::new_borrow(number)
}

fn code(error: FsError) -> ErrorCode {
    error.downcast().expect("an answer, not a trap")
}

fn is_full(error: &StreamError) -> bool {
    let StreamError::LastOperationFailed(error) = error else { return false };
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
}

#[tokio::test]
async fn a_write_gets_what_is_left_and_then_nothing() {
    let mut guest = Guest::with_blocks(4);
    let top = guest.top();
    let file = guest.create(top, "file").await.expect("made");
    assert_eq!(guest.write(file, 3 * BLOCK_BYTES, 0).await, Ok(3 * BLOCK_BYTES));
    assert_eq!(guest.write(file, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES).await, Ok(BLOCK_BYTES));
    assert_eq!(guest.write(file, 1, 4 * BLOCK_BYTES).await, Err(ErrorCode::InsufficientSpace));
    assert_eq!(guest.write(file, 1, u64::MAX).await, Err(ErrorCode::InsufficientSpace));
    assert_eq!(guest.write(file, 0, 4 * BLOCK_BYTES).await, Ok(0));
    for size in [u64::MAX, 1 << 40, 4 * BLOCK_BYTES + 1] {
        assert_eq!(guest.files().set_size(of(file), size).await.map_err(code), Err(ErrorCode::InsufficientSpace));
    }
    assert_eq!(guest.create(top, "other").await.err(), Some(ErrorCode::InsufficientSpace));
    assert_eq!(guest.make(top, "other").await, Err(ErrorCode::InsufficientSpace));
    assert_eq!((guest.disk_bytes(), guest.meter.bytes()), (4 * BLOCK_BYTES, 4 * BLOCK_BYTES));
    // Cut to nothing by opening it.
    let cut = guest.open(top, "file", OpenFlags::TRUNCATE, reading_and_writing()).await.expect("opened");
    assert_eq!(guest.create(top, "other").await.err(), None);
    guest.close(cut);
    guest.end().await;
}

#[tokio::test]
async fn writes_that_nobody_waits_for_are_charged_when_they_begin() {
    let mut guest = Guest::with_blocks(3);
    let top = guest.top();
    let file = guest.create(top, "file").await.expect("made");
    let mut streams = [guest.append(file).expect("a stream"), guest.append(file).expect("a stream")];
    let block = || Bytes::from(vec![7; BLOCK_BYTES as usize]);
    assert_eq!(streams[0].check_write().expect("ready"), 3 * BLOCK_BYTES as usize);
    streams[0].write(block()).expect("begun");
    streams[1].write(block()).expect("begun");
    let unasked = streams[0].write(Bytes::from(vec![7; 1 << 20])).expect_err("more than was permitted");
    assert!(matches!(unasked, StreamError::Trap(_)), "{unasked}");
    let third = guest.create(top, "third").await.expect("the last block");
    for stream in &mut streams {
        stream.ready().await;
        assert_eq!(stream.check_write().expect("one may be tried"), 1);
        assert!(is_full(&stream.write(Bytes::from_static(b"x")).expect_err("nothing is left")));
        stream.flush().expect("what was written is");
    }
    // The third file is empty: it is charged a block and takes none yet.
    assert_eq!(guest.disk_bytes(), 2 * BLOCK_BYTES);
    // A stream that was refused goes on when there is room again.
    guest.close(third);
    guest.unlink(top, "third").await.expect("removed");
    assert!(streams[0].blocking_write_and_flush(block()).await.is_ok());
    assert!(is_full(&streams[0].blocking_write_and_flush(block()).await.expect_err("nothing is left")));
    // A thousand of nothing are nothing.
    for _ in 0..1_000 {
        streams[1].write(Bytes::new()).expect("nothing");
    }
    assert_eq!(guest.disk_bytes(), 3 * BLOCK_BYTES);
}

#[tokio::test]
async fn a_file_is_charged_while_a_stream_alone_holds_it() {
    let mut guest = Guest::with_blocks(2);
    let top = guest.top();
    let file = guest.create(top, "file").await.expect("made");
    guest.write(file, 2 * BLOCK_BYTES, 0).await.expect("room");
    let stream = guest.append(file).expect("a stream");
    guest.close(file);
    guest.unlink(top, "file").await.expect("removed");
    assert_eq!(guest.create(top, "other").await.err(), Some(ErrorCode::InsufficientSpace));
    drop(stream);
    assert_eq!(guest.create(top, "other").await.err(), None);
}

#[tokio::test]
async fn a_rename_over_a_file_gives_its_room_back_once_it_is_closed() {
    let mut guest = Guest::with_blocks(3);
    let top = guest.top();
    let old = guest.create(top, "old").await.expect("made");
    guest.create(top, "new").await.expect("made");
    guest.write(old, 2 * BLOCK_BYTES, 0).await.expect("room");
    guest.rename(top, "new", "new").await.expect("nothing to do");
    guest.rename(top, "new", "old").await.expect("replaced");
    assert_eq!(guest.make(top, "more").await, Err(ErrorCode::InsufficientSpace));
    guest.close(old);
    assert_eq!(guest.make(top, "more").await, Ok(()));
    assert_eq!(guest.rename(top, "missing", "old").await, Err(ErrorCode::NoEntry));
    assert_eq!(guest.disk_bytes(), BLOCK_BYTES);
}

/// A directory keeps the size that many names gave it, empty or not.
#[tokio::test]
async fn directories_cannot_be_blown_up_with_long_names() {
    let blocks = 64;
    let mut guest = Guest::with_blocks(blocks);
    let top = guest.top();
    let name = |number: usize| format!("{number:0>250}");
    let mut grown = 0;
    while grown < 200 {
        let directory = format!("directory-{grown}");
        if guest.make(top, &directory).await.is_err() {
            break;
        }
        grown += 1;
        let mut files = 0;
        while let Ok(file) = guest.create(top, &format!("{directory}/{}", name(files))).await {
            guest.close(file);
            files += 1;
        }
        for number in 0..files {
            guest.unlink(top, &format!("{directory}/{}", name(number))).await.expect("removed");
        }
        // At most what one directory grows by for its last name is too much.
        assert!(guest.disk_bytes() <= (blocks + 3) * BLOCK_BYTES, "{} blocks", guest.disk_bytes() / BLOCK_BYTES);
    }
    assert!(grown < 200, "empty directories keep what they have grown to");
    // Names that only move have directories grow as well.
    let mut guest = Guest::with_blocks(blocks);
    let top = guest.top();
    let mut files = 0;
    while files < 40 {
        guest.create(top, &name(files)).await.map(|file| guest.close(file)).expect("room");
        files += 1;
    }
    for round in 0..40 {
        if guest.make(top, &format!("directory-{round}")).await.is_err() {
            return;
        }
        for number in 0..files {
            let from = if round == 0 { String::new() } else { format!("directory-{}/", round - 1) };
            let (old, new) = (format!("{from}{}", name(number)), format!("directory-{round}/{}", name(number)));
            if guest.rename(top, &old, &new).await == Err(ErrorCode::InsufficientSpace) {
                assert!(guest.disk_bytes() <= (blocks + 3) * BLOCK_BYTES);
                return;
            }
        }
    }
    panic!("{} blocks of {blocks}", guest.disk_bytes() / BLOCK_BYTES);
}

#[tokio::test]
async fn open_files_streams_and_listings_are_bounded() {
    let mut guest = Guest::with_blocks(64);
    let top = guest.top();
    let file = guest.create(top, "file").await.expect("made");
    let mut open = vec![file];
    let refused = loop {
        match guest.open(top, "file", OpenFlags::empty(), DescriptorFlags::READ).await {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!((open.len(), refused), (MAX_OPEN, ErrorCode::Quota));
    // Those are checked before anything is made or cut.
    assert_eq!(guest.create(top, "other").await, Err(ErrorCode::Quota));
    open.into_iter().skip(1).for_each(|file| guest.close(file));

    let streams: Vec<_> = std::iter::from_fn(|| guest.append(file).ok()).collect();
    assert_eq!(streams.len(), MAX_STREAMS);
    assert_eq!(guest.files().read_via_stream(of(file), 0).map(drop).map_err(code), Err(ErrorCode::Quota));
    drop(streams);
    assert!(guest.append(file).is_ok());

    let mut listings = Vec::new();
    while let Ok(listing) = guest.files().read_directory(of(top)).await {
        listings.push(listing);
    }
    assert_eq!(listings.len(), MAX_LISTINGS);
    for listing in listings {
        HostDirectoryEntryStream::drop(&mut guest.files(), listing).expect("it is there");
    }
    assert!(guest.files().read_directory(of(top)).await.is_ok());
}

#[tokio::test]
async fn no_call_leaves_the_directory_and_each_try_is_named() {
    let mut guest = Guest::with_blocks(64);
    let beside = guest.root.path().join("beside");
    std::fs::write(&beside, "kept").expect("written");
    let top = guest.top();
    guest.make(top, "a").await.expect("made");
    let inner = guest.open(top, "a", OpenFlags::DIRECTORY, DescriptorFlags::READ).await.expect("opened");
    for (start, path) in [
        (top, "../../beside"),
        (top, "a/../../../beside"),
        (top, "/etc/passwd"),
        (top, "/"),
        (top, "../../beside/"),
        (top, "../."),
        (top, "a/../.."),
        (inner, ".."),
        (inner, "../../../beside"),
    ] {
        let how = OpenFlags::CREATE | OpenFlags::TRUNCATE;
        assert_eq!(guest.open(start, path, how, reading_and_writing()).await, Err(ErrorCode::NotPermitted), "{path}");
        for call in [guest.make(start, path).await, guest.unlink(start, path).await] {
            assert_eq!(call, Err(ErrorCode::NotPermitted), "{path}");
        }
        for (old, new) in [("a", path), (path, "b")] {
            assert!(guest.rename(start, old, new).await.is_err(), "{old} to {new}");
        }
        for answer in [
            guest.files().stat_at(of(start), PathFlags::SYMLINK_FOLLOW, path.to_owned()).await.map(drop),
            guest.files().metadata_hash_at(of(start), PathFlags::SYMLINK_FOLLOW, path.to_owned()).await.map(drop),
            guest.files().readlink_at(of(start), path.to_owned()).await.map(drop),
            guest.files().remove_directory_at(of(start), path.to_owned()).await,
            guest.files().link_at(of(start), PathFlags::empty(), path.to_owned(), of(start), "b".to_owned()).await,
            guest.files().symlink_at(of(start), path.to_owned(), "b".to_owned()).await,
        ] {
            assert_eq!(answer.map_err(code), Err(ErrorCode::NotPermitted), "{path}");
        }
    }
    assert_eq!(std::fs::read(&beside).expect("it is there"), b"kept");
    assert_eq!(guest.disk_bytes(), BLOCK_BYTES, "nothing was made");
    assert_eq!(guest.meter.denied_calls()[0], "scratch: open \"../../beside\", outside of the directory");
    assert_eq!(guest.create(top, "a").await, Err(ErrorCode::IsDirectory));
    assert_eq!(guest.create(top, "zero\0").await, Err(ErrorCode::Invalid));
    assert_eq!(guest.create(top, &"n".repeat(256)).await, Err(ErrorCode::NameTooLong));
    assert_eq!(guest.make(top, &"a/".repeat(200)).await, Err(ErrorCode::NameTooLong));
}

/// Deeper than any path, stack or number of open files would allow to remove by descending.
#[tokio::test]
async fn a_deep_tree_is_removed() {
    let mut guest = Guest::with_blocks(4_000);
    let top = guest.top();
    let mut here = top;
    for _ in 0..3_000 {
        guest.make(here, "d").await.expect("made");
        let below = guest.open(here, "d", OpenFlags::DIRECTORY, DescriptorFlags::READ).await.expect("opened");
        if here != top {
            guest.close(here);
        }
        here = below;
    }
    guest.create(here, "file").await.expect("made");
    guest.end().await;
}
