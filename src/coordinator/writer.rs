//! The thread that writes: one job after the other, each durable before the next begins.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::model::{TaskId, Timestamp};
use crate::store::{Batch, CommitError, Swept, Writer};

use super::{Message, Shared};

pub(super) enum Job {
    Commit(Box<Batch>),
    /// Retention: one bounded step.
    Sweep {
        cutoff: Timestamp,
        after: TaskId,
        step: usize,
        keys_cutoff: Timestamp,
    },
    /// Learn whether the store works again.
    Probe,
    /// Note that nothing is left undone, and fold the write-ahead log into the database.
    Close,
}

/// What became of a job.
pub(crate) enum Written {
    Committed(Box<Batch>),
    CommitFailed(CommitError),
    Swept(Result<Swept, CommitError>),
    Probed(Result<(), CommitError>),
    Closed,
}

/// Set while a server runs; found at start, it tells that the last one died.
pub(super) const UNCLEAN: (&str, &str) = ("last_stop", "running");
const CLEAN: (&str, &str) = ("last_stop", "clean");

/// Ends when the returned sender is dropped or after `Job::Close`.
pub(super) fn start(mut writer: Writer, shared: Arc<Shared>) -> (mpsc::Sender<Job>, JoinHandle<()>) {
    let (sender, jobs) = mpsc::channel::<Job>();
    let run = move || {
        for job in jobs {
            let written = match job {
                Job::Commit(batch) => match writer.commit(&batch) {
                    Ok(()) => Written::Committed(batch),
                    Err(error) => Written::CommitFailed(error),
                },
                Job::Sweep { cutoff, after, step, keys_cutoff } => {
                    let keys = writer.sweep_keys(keys_cutoff, step);
                    let tasks = |keys| Ok(Swept { more_keys: keys == step, ..writer.sweep(cutoff, after, step)? });
                    Written::Swept(keys.and_then(tasks))
                }
                Job::Probe => Written::Probed(writer.probe(Timestamp::now())),
                Job::Close => {
                    if let Err(error) = writer.set_meta(CLEAN.0, CLEAN.1).and_then(|()| writer.checkpoint()) {
                        tracing::warn!(%error, "the store could not be closed cleanly; nothing is lost");
                    }
                    shared.mailbox.push(Message::Written(Written::Closed));
                    return;
                }
            };
            shared.mailbox.push(Message::Written(written));
        }
    };
    let thread = std::thread::Builder::new().name("store-writer".into()).spawn(|| super::or_abort(run));
    (sender, thread.expect("the system gives a thread at start"))
}
