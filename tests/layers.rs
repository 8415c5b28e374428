//! Dependencies point down only: reads the `use crate::` lines and keeps it so.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each part of the crate, and what it may know of the others.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("dag", &["model"]),
    ("engine", &["model", "dag"]),
    ("evaluate", &["model", "dag", "engine"]),
    ("files", &[]),
    ("metrics", &["model", "engine"]),
    ("store", &["model", "dag", "engine", "files"]),
    ("artifacts", &["model", "files"]),
    ("sandbox", &["model", "files"]),
    ("worker", &["model", "dag", "sandbox", "artifacts", "engine", "evaluate", "coordinator", "files"]),
    (
        "coordinator",
        &["model", "dag", "engine", "evaluate", "store", "artifacts", "sandbox", "worker", "metrics", "files"],
    ),
    ("api", &["model", "dag", "engine", "store", "artifacts", "sandbox", "worker", "coordinator", "metrics"]),
    ("config", &["model", "sandbox"]),
    ("telemetry", &["config"]),
    ("client", &["model", "config"]),
];

/// The binary's own parts, which wire the others together and may know all of them.
const TOP: &[&str] = &["cli", "server", "lib", "main"];

#[test]
fn dependencies_point_down_only() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = BTreeSet::new();
    for (part, file) in sources() {
        if TOP.contains(&&*part) {
            continue;
        }
        let may = allowed.get(&*part).unwrap_or_else(|| panic!("{part} is new: say in MAY_USE what it may use"));
        for used in uses(&std::fs::read_to_string(&file).unwrap()) {
            if used != part && !may.contains(&&*used) {
                wrong.insert(format!("{} uses crate::{used}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every source file with the part it belongs to; tests may use what they like.
fn sources() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.file_name().is_some_and(|name| name == "tests");
            // A package of its own, below all of this.
            let is_package = path.join("Cargo.toml").exists();
            if path.is_dir() && !is_test && !is_package {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let part = path.strip_prefix(&root).unwrap().components().next().unwrap();
                let part = part.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
                found.push((part, path));
            }
        }
    }
    assert!(found.len() > 50, "only {} source files were found", found.len());
    found
}

/// What code outside `#[cfg(test)]` names of the crate's parts.
fn uses(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let names = code.match_indices("crate::").filter_map(|(place, word)| {
        let name = code[place + word.len()..].split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        (!name.is_empty() && name != "words").then(|| name.to_owned())
    });
    names.collect()
}
