//! The log of one attempt: short ones in memory until the row that closes the
//! attempt, long ones spilled to segments as they grow.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::model::Timestamp;
use crate::model::task::{AttemptLog, SegmentPiece};
use crate::sandbox::{LogLevel, LogLine, LogSink, LogStream};

use super::segments::Segments;

/// Up to this size a log is stored with the row that closes its attempt.
const INLINE_BYTES: usize = 16 << 10;

/// What a line counts at least against the limit, so that empty ones, which are
/// stored with their time and level too, cannot go on for ever.
const LEAST_LINE_BYTES: u64 = 32;

/// What is spilled at once.
const SPILL_BYTES: usize = 64 << 10;

/// Bounded by `limit`; what does not fit is dropped, and the last line says so.
pub(super) struct LogBuffer {
    limit: u64,
    segments: Segments,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    text: Vec<u8>,
    spilled: Vec<Spilled>,
    lines: u64,
    bytes: u64,
    /// What counts against the limit.
    charged: u64,
    dropped: u64,
}

enum Spilled {
    Written(SegmentPiece),
    Failed(io::Error),
    OnItsWay { text: Arc<[u8]>, written: oneshot::Receiver<io::Result<SegmentPiece>> },
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    at: Timestamp,
    stream: LogStream,
    level: LogLevel,
    message: &'a str,
}

impl LogBuffer {
    pub(super) fn new(limit: u64, segments: Segments) -> Self {
        Self { limit, segments, state: Mutex::default() }
    }

    /// Completes the log: everything is durable, or small enough to be stored with the closing row.
    pub(super) async fn close(&self, at: Timestamp) -> io::Result<AttemptLog> {
        let on_its_way = {
            let mut state = self.state.lock();
            if state.dropped > 0 {
                let message = format!(
                    "{} lines were dropped: the log had reached its limit of {} bytes; raise limits.log_bytes",
                    state.dropped, self.limit
                );
                let line = LogLine { at, stream: LogStream::Log, level: LogLevel::Warn, message: &message };
                state.push(line);
            }
            if state.spilled.is_empty() && state.text.len() <= INLINE_BYTES {
                let text = std::mem::take(&mut state.text);
                return Ok(if text.is_empty() { AttemptLog::Empty } else { AttemptLog::Inline(text.into()) });
            }
            state.spill(&self.segments);
            std::mem::take(&mut state.spilled)
        };
        let mut pieces = Vec::with_capacity(on_its_way.len());
        for spilled in on_its_way {
            pieces.push(match spilled {
                Spilled::Written(piece) => piece,
                Spilled::Failed(error) => return Err(error),
                Spilled::OnItsWay { written, .. } => written.await.map_err(io::Error::other)??,
            });
        }
        Ok(AttemptLog::Segments(pieces))
    }

    pub(super) async fn read_so_far(&self) -> io::Result<Vec<u8>> {
        let (pieces, mut tail) = {
            let mut state = self.state.lock();
            state.settle();
            let mut pieces = Vec::new();
            let mut tail = Vec::new();
            for spilled in &state.spilled {
                match spilled {
                    Spilled::Written(piece) if tail.is_empty() => pieces.push(*piece),
                    // Cannot be before one that is on its way: they are written in order.
                    Spilled::Written(_) => {}
                    Spilled::Failed(error) => return Err(io::Error::new(error.kind(), error.to_string())),
                    Spilled::OnItsWay { text, .. } => tail.extend_from_slice(text),
                }
            }
            tail.extend_from_slice(&state.text);
            (pieces, tail)
        };
        let mut text = self.segments.read(pieces).await?;
        text.append(&mut tail);
        Ok(text)
    }
}

impl LogSink for LogBuffer {
    fn write(&self, line: LogLine<'_>) {
        let mut state = self.state.lock();
        let charge = (line.message.len() as u64).max(LEAST_LINE_BYTES);
        if state.charged + charge > self.limit {
            state.dropped += 1;
            return;
        }
        state.charged += charge;
        state.push(line);
        if state.text.len() > SPILL_BYTES {
            state.spill(&self.segments);
        }
    }

    fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }
}

impl State {
    fn push(&mut self, line: LogLine<'_>) {
        self.lines += 1;
        let LogLine { at, stream, level, message } = line;
        self.bytes += message.len() as u64;
        serde_json::to_writer(&mut self.text, &Line { seq: self.lines, at, stream, level, message })
            .expect("a line has a JSON form, and memory takes it");
        self.text.push(b'\n');
    }

    fn spill(&mut self, segments: &Segments) {
        if self.text.is_empty() {
            return;
        }
        let text: Arc<[u8]> = std::mem::take(&mut self.text).into();
        self.spilled.push(Spilled::OnItsWay { written: segments.append(text.clone()), text });
        self.settle();
    }

    /// Lets go of the text of pieces that are durable by now.
    fn settle(&mut self) {
        for spilled in &mut self.spilled {
            if let Spilled::OnItsWay { written, .. } = spilled {
                *spilled = match written.try_recv() {
                    Ok(Ok(piece)) => Spilled::Written(piece),
                    Ok(Err(error)) => Spilled::Failed(error),
                    Err(oneshot::error::TryRecvError::Empty) => return,
                    Err(gone @ oneshot::error::TryRecvError::Closed) => Spilled::Failed(io::Error::other(gone)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> LogLine<'_> {
        LogLine { at: Timestamp::from_millis(0), stream: LogStream::Stdout, level: LogLevel::Info, message }
    }

    fn segments() -> (tempfile::TempDir, Segments) {
        let directory = tempfile::tempdir().expect("a directory");
        let segments = Segments::open(directory.path()).expect("segments");
        (directory, segments)
    }

    #[tokio::test]
    async fn empty_lines_come_to_an_end_too() {
        let (_directory, segments) = segments();
        let log = LogBuffer::new(1_000, segments);
        (0..100_000).for_each(|_| log.write(line("")));
        let AttemptLog::Inline(text) = log.close(Timestamp::from_millis(0)).await.expect("a log") else {
            panic!("a short log stays in memory")
        };
        let text = String::from_utf8(text.to_vec()).expect("UTF-8");
        assert_eq!(text.lines().count(), 1_000 / 32 + 1);
        assert!(text.contains("lines were dropped"), "{text}");
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_written_is_an_error_each_time_it_is_asked_for() {
        let (directory, segments) = segments();
        let log = LogBuffer::new(1 << 20, segments);
        // No file can be created in a directory that is gone.
        drop(directory);
        let message = "x".repeat(1_000);
        (0..200).for_each(|_| log.write(line(&message)));
        while log.read_so_far().await.is_ok() {
            tokio::task::yield_now().await;
        }
        log.close(Timestamp::from_millis(0)).await.expect_err("it is not complete");
    }
}
