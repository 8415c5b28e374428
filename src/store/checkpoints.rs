//! Moves what was committed from the write-ahead log into the database, beside the writer.
//!
//! The log begins anew only when all of it has been moved while nothing is being
//! committed. If the writer did that alone, every commit would wait for it, a
//! tenth of a second each time. So most of it is moved by another connection
//! while commits go on, and the writer moves the rest, which is little.

use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use rusqlite::Connection;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;

/// Pages of the log, 4 KiB each, after which a part is moved beside the writer.
const PART_PAGES: u32 = 2_000;

/// Pages of the log after which the writer moves what is left.
const WHOLE_PAGES: u32 = 8_000;

/// The thread beside the writer. Ends when the connection that it serves is closed.
#[derive(Debug)]
pub(super) struct Checkpoints(Option<JoinHandle<()>>);

impl Checkpoints {
    /// Serves `writer`, by a connection of its own.
    pub(super) fn start(writer: &mut Connection, mover: Connection) -> rusqlite::Result<Self> {
        let (wake, woken) = mpsc::sync_channel(1);
        writer.wal_hook(Some(after_commit(wake)))?;
        let run = move || {
            for () in woken {
                moved(mover.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE));
            }
        };
        let thread = std::thread::Builder::new().name("checkpoints".into()).spawn(run);
        Ok(Self(Some(thread.expect("the system gives a thread at start"))))
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic in there has been reported already.
            let _ = thread.join();
        }
    }
}

/// What the writer's connection does after each commit, by how long the log is then.
fn after_commit(wake: SyncSender<()>) -> impl FnMut(&mut Wal, i32) -> rusqlite::Result<()> {
    let mut woken_at = 0;
    move |log, pages| {
        let pages = pages.unsigned_abs();
        if pages < woken_at {
            woken_at = 0;
        }
        if pages >= WHOLE_PAGES {
            moved(log.checkpoint_v2(CheckpointMode::PASSIVE));
        } else if pages - woken_at >= PART_PAGES {
            woken_at = pages;
            // Full: it is about to look anyway.
            let _ = wake.try_send(());
        }
        // The commit is durable whatever became of this.
        Ok(())
    }
}

/// What could not be moved now (a reader needs the log, or the disk is full) is moved later.
fn moved(result: rusqlite::Result<(i32, i32)>) {
    if let Err(error) = result {
        tracing::debug!(%error, "the write-ahead log stays as it is for now");
    }
}
