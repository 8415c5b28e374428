//! Where is an attempt's directory made, and how does it go?
//!
//! It is removed before the attempt is reported closed, not afterwards: so the files on
//! disk are never more than those of the attempts under way, however fast they follow
//! each other. Who removes is a thread that may block, not a guest's. An attempt that
//! is dropped half-way has its directory removed all the same, with nobody waiting;
//! what a killed server left goes when the next one starts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::files::create_private_directory;

/// Tries to remove a directory in which a dropped guest's last call may still be making a
/// file, and the pause between them.
const MAX_TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The directory that those of attempts are made in.
pub(in crate::sandbox) struct ScratchRoot {
    path: PathBuf,
    /// Tells the names of this life from those of former ones.
    life: String,
    made: AtomicU64,
    /// Files that all attempts have open.
    open: Arc<AtomicUsize>,
    runtime: Handle,
}

/// One attempt's, removed when dropped.
pub(in crate::sandbox) struct Directory {
    path: Option<PathBuf>,
    runtime: Handle,
}

impl ScratchRoot {
    /// Makes the directory if there is none, and has everything in it removed in the background.
    pub(in crate::sandbox) fn open(path: &Path, runtime: &Handle) -> io::Result<Self> {
        create_private_directory(path)?;
        for left in fs::read_dir(path)? {
            let left = left?.path();
            runtime.spawn_blocking(move || remove(&left));
        }
        let mut life = [0; 8];
        getrandom::fill(&mut life).map_err(io::Error::other)?;
        Ok(Self {
            path: path.to_owned(),
            life: hex::encode(life),
            made: AtomicU64::new(0),
            open: Arc::default(),
            runtime: runtime.clone(),
        })
    }

    pub(super) fn open_everywhere(&self) -> Arc<AtomicUsize> {
        self.open.clone()
    }

    pub(super) fn make(&self) -> io::Result<Directory> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("{}-{number}", self.life));
        let directory = Directory { path: Some(path), runtime: self.runtime.clone() };
        create_private_directory(&directory.files())?;
        Ok(directory)
    }
}

impl Directory {
    /// What the guest sees. Beside it is room for taking it apart.
    pub(super) fn files(&self) -> PathBuf {
        self.path.as_deref().unwrap_or(Path::new("")).join("files")
    }

    /// Waits until it is gone.
    pub(in crate::sandbox) async fn remove(mut self) {
        if let Some(path) = self.path.take() {
            // An error says that the runtime ends; the next start removes what is left.
            let _ = self.runtime.spawn_blocking(move || remove(&path)).await;
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            self.runtime.spawn_blocking(move || remove(&path));
        }
    }
}

fn remove(path: &Path) {
    for _ in 0..MAX_TRIES {
        match take_apart(path) {
            Ok(()) => return,
            Err(_) if !path.exists() => return,
            // A dropped guest's last call may still be under way.
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "scratch files are not removed yet");
                std::thread::sleep(PAUSE);
            }
        }
    }
    tracing::warn!(path = %path.display(), "scratch files cannot be removed before the next start");
}

/// Brings each directory up before it is looked into: a guest can nest them deeper
/// than a path can be long, a stack deep, or files opened.
fn take_apart(root: &Path) -> io::Result<()> {
    let mut directories = vec![root.to_owned()];
    let mut number = 0_usize;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
            } else if directory == root {
                directories.push(entry.path());
            } else {
                let above = free_name(root, &mut number);
                fs::rename(entry.path(), &above)?;
                directories.push(above);
            }
        }
        if directory != root {
            fs::remove_dir(&directory)?;
        }
    }
    fs::remove_dir(root)
}

/// An earlier try, or an earlier life, may have left some.
fn free_name(root: &Path, number: &mut usize) -> PathBuf {
    loop {
        *number += 1;
        let path = root.join(number.to_string());
        if fs::symlink_metadata(&path).is_err() {
            return path;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_is_nested_beyond_any_path_goes() {
        let outside = tempfile::tempdir().expect("a directory");
        fs::write(outside.path().join("kept"), "kept").expect("written");
        let root = tempfile::tempdir().expect("a directory");
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("files/a/b")).expect("made");
        fs::create_dir(tree.join("1")).expect("made");
        fs::write(tree.join("files/a/b/file"), "text").expect("written");
        symlink(outside.path(), tree.join("files/a/link")).expect("linked");
        // From the inside out: no path to the innermost would be short enough.
        for _ in 0..3_000 {
            fs::create_dir(root.path().join("outer")).expect("made");
            fs::rename(tree.join("files"), root.path().join("outer/files")).expect("moved");
            fs::rename(root.path().join("outer"), tree.join("files")).expect("moved");
        }
        take_apart(&tree).expect("removed");
        assert!(!tree.exists());
        assert_eq!(fs::read(outside.path().join("kept")).expect("a link is not followed"), b"kept");
    }

    #[tokio::test]
    async fn a_directory_is_private_and_goes_with_its_attempt_or_at_the_next_start() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("scratch");
        let count = || fs::read_dir(&path).expect("it is there").count();
        let scratch = ScratchRoot::open(&path, &Handle::current()).expect("opened");
        let (one, other) = (scratch.make().expect("made"), scratch.make().expect("made"));
        for directory in [&path, &one.files(), &other.files()] {
            assert_eq!(fs::metadata(directory).expect("it is there").permissions().mode() & 0o777, 0o700);
        }
        fs::write(one.files().join("file"), "text").expect("written");
        one.remove().await;
        assert_eq!(count(), 1);
        drop(other);
        while count() > 0 {
            tokio::task::yield_now().await;
        }
        fs::create_dir_all(path.join("left/files/deep")).expect("made");
        let scratch = ScratchRoot::open(&path, &Handle::current()).expect("opened");
        let new = scratch.make().expect("made");
        while count() > 1 {
            tokio::task::yield_now().await;
        }
        assert!(new.files().exists());
    }
}
