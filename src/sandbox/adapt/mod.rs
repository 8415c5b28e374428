//! Makes components of programs that were built for wasip1, as core modules.

mod go;
mod rewrite;

use std::borrow::Cow;
use std::collections::BTreeSet;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as WASIP1, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::ComponentEncoder;

use self::rewrite::rewrite;
use super::Refused;

/// What a program calls its entry.
const ENTRY: &str = "_start";

/// Modules named in a refusal.
const MAX_NAMES: usize = 20;

/// The component as it is; a core module with wasmtime's own adapter around it,
/// which turns what it calls of wasip1 into calls of WASI 0.2.
pub(super) fn component_of(wasm: &[u8]) -> Result<Cow<'_, [u8]>, Refused> {
    let core = match look(wasm).map_err(|error| malformed(&error))? {
        Layer::Component => return Ok(Cow::Borrowed(wasm)),
        Layer::Core(core) => core,
    };
    if !core.has_entry {
        return Err(Refused::module(
            "core_module",
            format!("is a core module without `{ENTRY}`: neither a component nor a program"),
            "build it for the target wasm32-wasip2 (or a program for wasip1), or wrap it with `wasm-tools component new`",
        ));
    }
    if !core.foreign_imports.is_empty() {
        let named = core.foreign_imports.into_iter().take(MAX_NAMES).collect::<Vec<_>>().join(", ");
        return Err(Refused::module(
            "unknown_imports",
            format!("is a core module that imports what is not offered here: {named}"),
            "build it for wasip1 only, or as a component",
        ));
    }
    let room = if core.is_gos { Some(go::room(wasm)?) } else { None };
    let program = rewrite(wasm, room).map_err(cannot_wrap)?;
    let wrapped = ComponentEncoder::default()
        .module(&program)
        .and_then(|encoder| encoder.adapter(WASIP1, ADAPTER))
        .and_then(|encoder| encoder.encode());
    wrapped.map(Cow::Owned).map_err(|error| cannot_wrap(format!("{error:#}")))
}

fn cannot_wrap(reason: String) -> Refused {
    Refused::module(
        "core_module",
        format!("is a core module that cannot be made a component: {reason}"),
        "build it for wasip1 with a current toolchain, exporting its memory as `memory`",
    )
}

enum Layer {
    Component,
    Core(CoreModule),
}

#[derive(Default)]
struct CoreModule {
    has_entry: bool,
    is_gos: bool,
    /// Modules it imports from, other than wasip1's.
    foreign_imports: BTreeSet<String>,
}

/// Reads the sections that matter, and nothing in them twice.
fn look(wasm: &[u8]) -> wasmparser::Result<Layer> {
    let mut core = CoreModule::default();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding: Encoding::Component, .. } => return Ok(Layer::Component),
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let module = import?.module;
                    if module != WASIP1 && core.foreign_imports.len() < MAX_NAMES {
                        core.foreign_imports.insert(format!("`{module:.100}`"));
                    }
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    core.has_entry |= export?.name == ENTRY;
                }
            }
            Payload::CustomSection(section) => core.is_gos |= section.name() == go::BUILD_ID_SECTION,
            _ => {}
        }
    }
    Ok(Layer::Core(core))
}

fn malformed(error: &wasmparser::BinaryReaderError) -> Refused {
    Refused::module(
        "invalid_component",
        format!("does not parse: {error}"),
        "upload the complete .wasm file as the build made it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(wat: &str) -> Refused {
        component_of(&wat::parse_str(wat).expect("a text")).expect_err("refused")
    }

    #[test]
    fn a_core_module_is_a_program_or_refused_by_name() {
        let library = refusal(r#"(module (memory (export "memory") 1))"#);
        assert_eq!(library.code, "core_module");
        assert!(library.reason.contains("without `_start`"), "{library}");
        let foreign = refusal(r#"(module (import "env" "emscripten" (func)) (func (export "_start")))"#);
        assert_eq!(foreign.code, "unknown_imports");
        assert!(foreign.reason.contains("`env`"), "{foreign}");
        let wrong = refusal(
            r#"(module (import "wasi_snapshot_preview1" "no_such_call" (func)) (memory (export "memory") 1)
                (func (export "_start")))"#,
        );
        assert_eq!(wrong.code, "core_module");
    }

    #[test]
    fn a_program_for_wasip1_becomes_a_component() {
        let program =
            wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#).expect("a text");
        let component = component_of(&program).expect("wrapped");
        assert!(matches!(component, Cow::Owned(_)));
        assert!(matches!(component_of(&component).expect("as it is"), Cow::Borrowed(_)));
    }
}
