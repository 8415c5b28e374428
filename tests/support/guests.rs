//! Modules to run: built once for all tests of a process, by the cargo that runs the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The tasks of `tests/guests`, each of which ends in its own way.
pub fn tasks() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| std::fs::read(build("tests/guests", "test_guests")).expect("what was just built"))
}

/// The tasks of `tests/guests/http`, which send requests.
pub fn http() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| std::fs::read(build("tests/guests/http", "test_guests_http")).expect("what was just built"))
}

/// The guests of `tests/guests/abuse`, which try everything they should not.
pub fn abuse() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| std::fs::read(build("tests/guests/abuse", "abuse_guests")).expect("what was just built"))
}

/// The modules of an example that says itself how it is built, by its script `build`, which installs what it
/// needs. They stay below the target directory, where the script finds what is unchanged.
pub fn built_example(name: &str) -> PathBuf {
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples").join(name);
    let built = Command::new(example_directory(name).join("build"))
        .env("BUILD_DIR", &output)
        .output()
        .expect("the script can be started");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "examples/{name}/build ended with {}:\n{said}", built.status);
    output
}

/// The module of an example with our SDK.
pub fn example(name: &str) -> PathBuf {
    build(&format!("examples/{name}"), &name.replace('-', "_"))
}

/// Its directory in the source tree.
pub fn example_directory(name: &str) -> PathBuf {
    root().join("examples").join(name)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn build(package: &str, artifact: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let cargo_build = |offline: &[&str]| {
        Command::new(&cargo)
            .current_dir(root().join(package))
            .args(["build", "--quiet", "--release", "--locked", "--target", "wasm32-wasip2", "--target-dir"])
            .arg(&target)
            .args(offline)
            .output()
            .expect("cargo can be started")
    };
    let mut built = cargo_build(&[]);
    if !built.status.success() {
        // The registry may be out of reach, and everything needed here already.
        built = cargo_build(&["--offline"]);
    }
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{package} cannot be built; `rustup target add wasm32-wasip2`?\n{said}");
    target.join("wasm32-wasip2/release").join(artifact).with_extension("wasm")
}
