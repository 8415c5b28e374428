//! Holds what a component imports to what the host offers.

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::Refused;
use crate::sandbox::host::Host;

/// Names every import that is not offered, one by one.
pub(in crate::sandbox) fn check_imports(
    engine: &Engine,
    linker: &Linker<Host>,
    component: &Component,
) -> Result<(), Refused> {
    let unknown: Vec<String> = component
        .component_type()
        .imports(engine)
        .map(|(name, _)| name)
        .filter(|name| !is_offered(name))
        .map(|name| format!("`{name}`"))
        .collect();
    if !unknown.is_empty() {
        return Err(Refused::module(
            "unknown_imports",
            format!("imports what is not offered here: {}", unknown.join(", ")),
            "build it for wasi 0.2 and tradewind:task 1.x only",
        ));
    }
    // What is left: a known interface in a shape we do not have.
    linker.instantiate_pre(component).map(drop).map_err(|error| {
        Refused::module(
            "unknown_imports",
            format!("cannot be linked: {error:#}"),
            "build it against the WIT packages this version offers",
        )
    })
}

/// The interfaces that are linked, without their minor versions. `wasi:*` as of
/// wasmtime-wasi 48; a test holds this list to the linker.
pub(in crate::sandbox) const OFFERED: &[(&str, &str)] = &[
    ("tradewind:task/context", "1."),
    ("tradewind:task/log", "1."),
    ("tradewind:task/types", "1."),
    ("wasi:cli/environment", "0.2."),
    ("wasi:cli/exit", "0.2."),
    ("wasi:cli/stderr", "0.2."),
    ("wasi:cli/stdin", "0.2."),
    ("wasi:cli/stdout", "0.2."),
    ("wasi:cli/terminal-input", "0.2."),
    ("wasi:cli/terminal-output", "0.2."),
    ("wasi:cli/terminal-stderr", "0.2."),
    ("wasi:cli/terminal-stdin", "0.2."),
    ("wasi:cli/terminal-stdout", "0.2."),
    ("wasi:clocks/monotonic-clock", "0.2."),
    ("wasi:clocks/wall-clock", "0.2."),
    ("wasi:filesystem/preopens", "0.2."),
    ("wasi:filesystem/types", "0.2."),
    ("wasi:http/outgoing-handler", "0.2."),
    ("wasi:http/types", "0.2."),
    ("wasi:io/error", "0.2."),
    ("wasi:io/poll", "0.2."),
    ("wasi:io/streams", "0.2."),
    ("wasi:random/insecure", "0.2."),
    ("wasi:random/insecure-seed", "0.2."),
    ("wasi:random/random", "0.2."),
    ("wasi:sockets/instance-network", "0.2."),
    ("wasi:sockets/ip-name-lookup", "0.2."),
    ("wasi:sockets/network", "0.2."),
    ("wasi:sockets/tcp", "0.2."),
    ("wasi:sockets/tcp-create-socket", "0.2."),
    ("wasi:sockets/udp", "0.2."),
    ("wasi:sockets/udp-create-socket", "0.2."),
];

fn is_offered(import: &str) -> bool {
    import.split_once('@').is_some_and(|(interface, version)| {
        OFFERED.iter().any(|(name, major)| *name == interface && version.starts_with(major))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_matched_by_major_version() {
        for offered in
            ["wasi:cli/stdout@0.2.0", "wasi:cli/stdout@0.2.99", "tradewind:task/log@1.0.0", "tradewind:task/log@1.9.0"]
        {
            assert!(is_offered(offered), "{offered}");
        }
        for other in
            ["wasi:cli/stdout@0.3.0", "tradewind:task/log@2.0.0", "wasi:http/types@0.3.0", "log", "tradewind:task/log"]
        {
            assert!(!is_offered(other), "{other}");
        }
    }
}
