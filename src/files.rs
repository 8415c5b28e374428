//! Files and directories that are the server's alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// A directory nobody else may look into (0700), with those above it.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A new file that only its owner may read and write (0600); an error where there is one.
pub fn create_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Writes a secret durably: whole or not at all, readable by its owner alone.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = create_private_file(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nobody_else_reads_what_is_ours() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("a/b");
        create_private_directory(&directory).expect("created");
        let secret = directory.join("secret");
        write_secret(&secret, b"first").expect("written");
        write_secret(&secret, b"second").expect("replaced");
        let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&root.path().join("a")), mode(&secret)), (0o700, 0o700, 0o600));
        assert_eq!(std::fs::read(&secret).expect("read"), b"second");
        assert!(create_private_file(&secret).is_err(), "it is there already");
    }
}
