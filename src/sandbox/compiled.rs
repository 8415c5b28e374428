//! Keeps compiled modules on disk, so that only code we compiled is ever loaded.
//!
//! Machine code is loaded without a check of what it does: whoever can write such
//! a file owns the process. So the directory is ours alone, and every file carries
//! a tag over (compatibility, digest of the module, code), made with a key that
//! only the server has. A file without its right tag is as good as none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::model::Digest;

const TAG_BYTES: usize = 32;

/// A directory of compiled modules: `{compatibility}/{digest}.cwasm` and `….tag`.
pub struct CompiledStore {
    dir: PathBuf,
    compatibility: String,
    key: [u8; 32],
    temporary: AtomicU64,
}

/// Code that is being written, or was, and has no tag yet: nothing loads it. Removed
/// when dropped.
pub(super) struct Written {
    path: PathBuf,
}

impl Written {
    /// To be handed to whoever writes it.
    pub(super) fn file(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(&self.path)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // It has been moved away if all went well.
        let _ = fs::remove_file(&self.path);
    }
}

/// A file whose tag was right a moment ago, in a directory nobody else writes to.
/// [`Sandbox::load`](super::Sandbox::load) takes nothing else.
#[derive(Debug)]
pub struct CompiledFile {
    path: PathBuf,
    digest: Digest,
    bytes: u64,
}

impl CompiledFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The module it was compiled from.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl CompiledStore {
    /// Makes the directory (0700) and removes code of other compatibilities.
    /// `compatibility` is the sandbox's; whoever knows `key` can have code loaded.
    pub fn open(parent: &Path, compatibility: &str, key: [u8; 32]) -> io::Result<Self> {
        let dir = parent.join(compatibility);
        crate::files::create_private_directory(&dir)?;
        for private in [parent, &dir] {
            fs::set_permissions(private, fs::Permissions::from_mode(0o700))?;
        }
        remove_stale(parent, compatibility);
        Ok(Self { dir, compatibility: compatibility.to_owned(), key, temporary: AtomicU64::new(0) })
    }

    /// The compiled module, if it is here and ours. Reads it once to check its tag.
    pub fn get(&self, digest: Digest) -> io::Result<Option<CompiledFile>> {
        let (path, tag_path) = self.paths(digest);
        let (mut file, expected) = match (File::open(&path), fs::read(&tag_path)) {
            (Ok(file), Ok(tag)) => (file, tag),
            (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let (tag, bytes) = self.tag(digest, &mut file)?;
        if bool::from(tag.as_slice().ct_eq(&expected)) {
            Ok(Some(CompiledFile { path, digest, bytes }))
        } else {
            tracing::warn!(module = %digest, "the compiled module is not as it was written; it will be compiled anew");
            Ok(None)
        }
    }

    /// A new file for code, that only its owner may read and write (0600).
    pub(super) fn begin(&self) -> io::Result<Written> {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{}-{number}.tmp", std::process::id()));
        crate::files::create_private_file(&path)?;
        Ok(Written { path })
    }

    /// Keeps a compiled module, durably. Replaces what is there.
    pub fn put(&self, digest: Digest, code: &[u8]) -> io::Result<CompiledFile> {
        self.put_written(digest, self.write(code)?)
    }

    /// The same with code that is in a file of ours already. Whoever wrote it must be gone.
    pub(super) fn put_written(&self, digest: Digest, code: Written) -> io::Result<CompiledFile> {
        let mut file = File::open(&code.path)?;
        let (tag, bytes) = self.tag(digest, &mut file)?;
        let (path, tag_path) = self.paths(digest);
        // Between the two renames the pair does not match, and counts as absent.
        keep(&code, &path)?;
        keep(&self.write(&tag)?, &tag_path)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(CompiledFile { path, digest, bytes })
    }

    /// Forgets a module. Attempts that run it are not disturbed.
    pub fn remove(&self, digest: Digest) -> io::Result<()> {
        let (path, tag_path) = self.paths(digest);
        for path in [path, tag_path] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<Written> {
        let written = self.begin()?;
        written.file()?.write_all(bytes)?;
        Ok(written)
    }

    /// The tag of what is in `file`, and how long that is.
    fn tag(&self, digest: Digest, file: &mut File) -> io::Result<([u8; TAG_BYTES], u64)> {
        let mut mac = self.mac(digest);
        let mut buffer = vec![0; 256 << 10];
        let mut bytes = 0;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((mac.finalize().into_bytes().into(), bytes)),
                read => {
                    mac.update(&buffer[..read]);
                    bytes += read as u64;
                }
            }
        }
    }

    fn paths(&self, digest: Digest) -> (PathBuf, PathBuf) {
        let hex = digest.hex();
        (self.dir.join(format!("{hex}.cwasm")), self.dir.join(format!("{hex}.tag")))
    }

    fn mac(&self, digest: Digest) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        // Lengths first, so that no two different triples read the same.
        mac.update(&(self.compatibility.len() as u64).to_le_bytes());
        mac.update(self.compatibility.as_bytes());
        mac.update(digest.as_bytes());
        mac
    }
}

/// Durably, and from now on for reading only. A new file each time: one that is mapped
/// must never change.
fn keep(written: &Written, path: &Path) -> io::Result<()> {
    let file = File::open(&written.path)?;
    file.set_permissions(fs::Permissions::from_mode(0o400))?;
    file.sync_all()?;
    fs::rename(&written.path, path)
}

/// Code of an older version, and files a crash left half written. A failure only
/// leaves them lying there.
fn remove_stale(parent: &Path, compatibility: &str) {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries(parent) {
        let removed = match path.file_name() {
            Some(name) if name == compatibility => continue,
            _ if path.is_dir() => fs::remove_dir_all(&path),
            _ => continue,
        };
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "modules compiled by another version could not be removed");
        }
    }
    for path in entries(&parent.join(compatibility)) {
        if path.extension().is_some_and(|extension| extension == "tmp") {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn only_what_was_put_with_our_key_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = CompiledStore::open(dir.path(), "x1", KEY).expect("a store");
        let digest = Digest::of(b"wasm");
        assert!(store.get(digest).expect("an answer").is_none());
        let file = store.put(digest, b"code").expect("stored");
        assert_eq!(store.get(digest).expect("an answer").map(|file| file.bytes()), Some(4));
        let mode = fs::metadata(file.path()).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o400);

        let other_key = CompiledStore::open(dir.path(), "x1", [8; 32]).expect("a store");
        assert!(other_key.get(digest).expect("an answer").is_none());
        let other_module = Digest::of(b"other");
        fs::copy(file.path(), store.paths(other_module).0).expect("a copy");
        fs::copy(store.paths(digest).1, store.paths(other_module).1).expect("a copy");
        assert!(store.get(other_module).expect("an answer").is_none(), "the tag is of another module");

        fs::remove_file(file.path()).expect("removed");
        fs::write(file.path(), b"evil").expect("written");
        assert!(store.get(digest).expect("an answer").is_none());
        store.put(digest, b"code").expect("stored again");
        assert!(store.get(digest).expect("an answer").is_some());
        store.remove(digest).expect("removed");
        assert!(store.get(digest).expect("an answer").is_none());
    }

    #[test]
    fn code_that_is_not_kept_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = CompiledStore::open(dir.path(), "x1", KEY).expect("a store");
        let files = || fs::read_dir(dir.path().join("x1")).expect("a directory").count();
        let written = store.begin().expect("a file");
        let mode = fs::metadata(&written.path).expect("a file").permissions().mode();
        assert_eq!((files(), mode & 0o777), (1, 0o600));
        drop(written);
        assert_eq!(files(), 0);
        let written = store.begin().expect("a file");
        written.file().expect("open").write_all(b"code").expect("written");
        let file = store.put_written(Digest::of(b"wasm"), written).expect("kept");
        assert_eq!((files(), file.bytes()), (2, 4), "the code and its tag");
        assert!(store.get(Digest::of(b"wasm")).expect("an answer").is_some());
    }

    #[test]
    fn code_of_another_version_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let digest = Digest::of(b"wasm");
        CompiledStore::open(dir.path(), "old", KEY).expect("a store").put(digest, b"code").expect("stored");
        let new = CompiledStore::open(dir.path(), "new", KEY).expect("a store");
        assert!(new.get(digest).expect("an answer").is_none());
        assert!(!dir.path().join("old").exists());
    }
}
