//! What is durable, and the only SQL.
//!
//! One writer commits whole batches; everyone else reads what is committed.
//! SQLite by rusqlite, called on threads that may block: a driver that hands
//! each statement to a thread of its own costs more than the statement.

mod checkpoints;
mod commit;
pub mod dag_reads;
mod dags;
mod load;
pub mod modules;
mod reads;
mod retention;
mod rows;
pub mod run_reads;
mod runs;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use checkpoints::Checkpoints;
pub use commit::{Batch, CommitError, ModuleChange, NoteChange, Noted, Writer};
pub use dags::DagChange;
pub use load::History;
pub use reads::{AttemptRecord, EventRecord, Happened, Page, ReadError, Reader, Reads, TaskFilter};
pub use retention::Swept;
pub use runs::KeptResult;

/// What brings the schema from each version to the next. An older one is brought up; a newer one is refused.
const MIGRATIONS: [&str; 4] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
];

/// The schema this program writes.
const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the data directory {directory} is in use by another server (process {owner}); stop that one, or give this \
         one a directory of its own with --data-dir"
    )]
    InUse { directory: PathBuf, owner: String },
    #[error(
        "the data directory {directory} was written by a newer Tradewind (schema {found}, this one knows {known}); \
         start that newer version, or restore a backup made before the upgrade"
    )]
    NewerSchema { directory: PathBuf, found: i64, known: i64 },
    #[error(
        "the data directory {directory} cannot be used: {reason}; check that it exists on a local disk and may be written"
    )]
    Unusable { directory: PathBuf, reason: String },
}

/// A data directory that is ours alone while this value lives.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Creates the directory if need be (mode 0700) and locks it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let unusable =
            |error: std::io::Error| OpenError::Unusable { directory: path.into(), reason: error.to_string() };
        crate::files::create_private_directory(path).map_err(unusable)?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(unusable)?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            let owner = std::fs::read_to_string(&lock_path).unwrap_or_default();
            return Err(OpenError::InUse { directory: path.into(), owner: owner.trim().to_owned() });
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(unusable)?;
        Ok(Self { path: path.into(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn database(&self) -> PathBuf {
        self.path.join("tradewind.db")
    }

    fn unusable(&self, error: impl std::fmt::Display) -> OpenError {
        OpenError::Unusable { directory: self.path.clone(), reason: error.to_string() }
    }

    /// Opens the database for writing, brings its schema up, and checks that
    /// what is acknowledged will be durable.
    pub fn writer(&self) -> Result<Writer, OpenError> {
        let mut connection = Connection::open(self.database()).map_err(|e| self.unusable(e))?;
        let found: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|e| self.unusable(e))?;
        if found > SCHEMA_VERSION {
            return Err(OpenError::NewerSchema { directory: self.path.clone(), found, known: SCHEMA_VERSION });
        }
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;
                 -- A larger cache is slower: SQLite walks all of it at the end of most commits.
                 PRAGMA cache_size = -8192;
                 PRAGMA journal_size_limit = 67108864;
                 PRAGMA temp_store = MEMORY;",
            )
            .map_err(|e| self.unusable(e))?;
        let (journal, synchronous): (String, i64) = connection
            .query_row("SELECT journal_mode, synchronous FROM pragma_journal_mode, pragma_synchronous", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .map_err(|e| self.unusable(e))?;
        if (journal.as_str(), synchronous) != ("wal", 2) {
            return Err(self.unusable(format!(
                "SQLite would not make commits durable here (journal_mode {journal}, synchronous {synchronous})"
            )));
        }
        for (version, migration) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
            connection
                .execute_batch(&format!("BEGIN IMMEDIATE; {migration} PRAGMA user_version = {version}; COMMIT;"))
                .map_err(|e| self.unusable(e))?;
        }
        connection.set_prepared_statement_cache_capacity(64);
        let mover = Connection::open(self.database()).map_err(|e| self.unusable(e))?;
        let checkpoints = Checkpoints::start(&mut connection, mover).map_err(|e| self.unusable(e))?;
        Ok(Writer::new(connection, checkpoints))
    }

    /// The coordinator's own eyes on what is committed.
    pub fn history(&self) -> Result<History, OpenError> {
        self.reader_connection().map(History::new)
    }

    /// Everybody else's.
    pub fn reads(&self, readers: usize) -> Result<Reads, OpenError> {
        (0..readers).map(|_| self.reader_connection()).collect::<Result<_, _>>().map(Reads::new)
    }

    fn reader_connection(&self) -> Result<Connection, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.database(), flags).map_err(|e| self.unusable(e))?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(|e| self.unusable(e))?;
        connection.execute_batch("PRAGMA cache_size = -4096; PRAGMA query_only = ON;").map_err(|e| self.unusable(e))?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }
}
