//! What does a guest have open?

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::ledger::{Growth, Ledger, Opened, Refused, Start};

/// A file or directory, held by its descriptor and its streams.
pub(super) struct Open {
    /// Closed before it is no longer counted as open: fields are dropped in order.
    file: Arc<File>,
    inode: u64,
    ledger: Arc<Ledger>,
    _opened: Opened,
}

impl Open {
    pub(super) fn new(file: Arc<File>, inode: u64, ledger: &Arc<Ledger>) -> Self {
        Self { file, inode, ledger: ledger.clone(), _opened: ledger.open(inode) }
    }

    pub(super) fn room(&self, start: Start) -> u64 {
        self.ledger.room(self.inode, start)
    }

    pub(super) fn grow(&self, start: Start, bytes: u64) -> Result<Growth, Refused> {
        self.ledger.grow(self.inode, start, bytes)
    }

    /// Looks how large the file has become. Where that fails it stays charged as before.
    pub(super) fn settle(&self, growth: Growth) {
        if let Ok(seen) = Seen::file(&self.file) {
            growth.settled(seen.size);
        }
    }
}

/// What a file or directory is, as the ledger knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) inode: u64,
    /// Of a directory, what it takes itself.
    pub(super) size: u64,
}

impl Seen {
    pub(super) fn file(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { inode: metadata.ino(), size: metadata.size() })
    }

    /// `name` without a slash: nothing but an entry of this very directory.
    pub(super) fn entry(directory: &File, name: &str) -> Option<Self> {
        let seen = rustix::fs::statat(directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Self { inode: seen.st_ino, size: u64::try_from(seen.st_size).unwrap_or(u64::MAX) })
    }
}
