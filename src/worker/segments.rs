//! Log segments: append-only files shared by many attempts, synced in groups.
//!
//! One thread writes. Everything that arrived during the last sync goes into the
//! next, so a thousand long logs share an fsync and a file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::model::task::SegmentPiece;

/// A segment that has grown beyond this is followed by another.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Cheap to clone.
#[derive(Clone)]
pub struct Segments {
    directory: Arc<Path>,
    current: Arc<AtomicU64>,
    writer: mpsc::Sender<Append>,
}

struct Append {
    text: Arc<[u8]>,
    written: oneshot::Sender<io::Result<SegmentPiece>>,
}

impl Segments {
    /// Starts a segment behind those that exist, and its writing thread, which
    /// ends with the last clone of this value.
    pub fn open(directory: &Path) -> io::Result<Self> {
        crate::files::create_private_directory(directory)?;
        let last = numbers(directory)?.into_iter().max().unwrap_or(0);
        let current = Arc::new(AtomicU64::new(last + 1));
        let (writer, appends) = mpsc::channel();
        let directory: Arc<Path> = directory.into();
        let mut tail = Tail { directory: directory.clone(), current: current.clone(), open: None };
        std::thread::Builder::new().name("log-writer".into()).spawn(move || tail.run(&appends))?;
        Ok(Self { directory, current, writer })
    }

    /// Appends without waiting. The answer arrives when the piece is durable.
    pub fn append(&self, text: Arc<[u8]>) -> oneshot::Receiver<io::Result<SegmentPiece>> {
        let (written, answer) = oneshot::channel();
        // If the thread is gone, the answer's sender is dropped with the message, and the reader is told so.
        let _ = self.writer.send(Append { text, written });
        answer
    }

    /// The pieces, one behind the other.
    pub async fn read(&self, pieces: Vec<SegmentPiece>) -> io::Result<Vec<u8>> {
        if pieces.is_empty() {
            return Ok(Vec::new());
        }
        let directory = self.directory.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut text = Vec::new();
            for piece in pieces {
                let start = text.len();
                text.resize(start + piece.bytes as usize, 0);
                File::open(path(&directory, piece.segment))?.read_exact_at(&mut text[start..], piece.offset)?;
            }
            Ok(text)
        });
        read.await.map_err(io::Error::other)?
    }

    /// Removes segments nothing names, but for the one that is written to.
    pub fn remove(&self, segments: &[u64]) {
        for &segment in segments.iter().filter(|&&segment| segment != self.current.load(Ordering::Acquire)) {
            if let Err(error) = std::fs::remove_file(path(&self.directory, segment))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, segment, "a log segment could not be removed");
            }
        }
    }

    /// The segments there are, without the one that is written to.
    pub fn closed(&self) -> io::Result<Vec<u64>> {
        let current = self.current.load(Ordering::Acquire);
        Ok(numbers(&self.directory)?.into_iter().filter(|&number| number < current).collect())
    }
}

/// The writing end.
struct Tail {
    directory: Arc<Path>,
    current: Arc<AtomicU64>,
    open: Option<(File, u64)>,
}

impl Tail {
    fn run(&mut self, appends: &mpsc::Receiver<Append>) {
        while let Ok(first) = appends.recv() {
            let group: Vec<Append> = std::iter::once(first).chain(appends.try_iter()).collect();
            let result = self.write(&group);
            if result.is_err() {
                // What the file holds behind the last good piece is unknown: go on in another one.
                self.open = None;
                self.current.fetch_add(1, Ordering::AcqRel);
            }
            match result {
                Ok(pieces) => {
                    for (append, piece) in group.into_iter().zip(pieces) {
                        let _ = append.written.send(Ok(piece));
                    }
                }
                Err(error) => {
                    for append in group {
                        let _ = append.written.send(Err(io::Error::new(error.kind(), error.to_string())));
                    }
                }
            }
        }
    }

    fn write(&mut self, group: &[Append]) -> io::Result<Vec<SegmentPiece>> {
        if self.open.as_ref().is_some_and(|(_, end)| *end > SEGMENT_BYTES) {
            self.open = None;
            self.current.fetch_add(1, Ordering::AcqRel);
        }
        let segment = self.current.load(Ordering::Acquire);
        let (file, end) = match &mut self.open {
            Some(open) => open,
            none => none.insert((create(&self.directory, segment)?, 0)),
        };
        let mut pieces = Vec::with_capacity(group.len());
        let mut text = Vec::with_capacity(group.iter().map(|append| append.text.len()).sum());
        for append in group {
            let bytes = append.text.len() as u64;
            pieces.push(SegmentPiece { segment, offset: *end + text.len() as u64, bytes });
            text.extend_from_slice(&append.text);
        }
        file.write_all(&text)?;
        file.sync_data()?;
        *end += text.len() as u64;
        Ok(pieces)
    }
}

fn create(directory: &Path, segment: u64) -> io::Result<File> {
    let file = crate::files::create_private_file(&path(directory, segment))?;
    // The name of a new file is durable when its directory is.
    File::open(directory)?.sync_all()?;
    Ok(file)
}

fn path(directory: &Path, segment: u64) -> PathBuf {
    directory.join(format!("{segment:012}.log"))
}

fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<u64>().ok()));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_of_many_attempts_share_a_segment_and_are_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let segments = Segments::open(directory.path()).expect("segments");
        let answers: Vec<_> = (0..10).map(|n| segments.append(format!("attempt {n}\n").as_bytes().into())).collect();
        let mut pieces = Vec::new();
        for answer in answers {
            pieces.push(answer.await.expect("an answer").expect("a piece"));
        }
        assert_eq!(segments.read(vec![pieces[7], pieces[2]]).await.expect("text"), b"attempt 7\nattempt 2\n");
        assert_eq!(numbers(directory.path()).expect("files"), [1]);
        let again = Segments::open(directory.path()).expect("segments");
        assert_eq!(again.closed().expect("files"), [1]);
        again.remove(&[1]);
        assert!(numbers(directory.path()).expect("files").is_empty());
    }
}
