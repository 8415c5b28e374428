//! Bounds on what a component consists of, counted before anything is compiled.
//!
//! The counts are those the binary declares, summed over all modules and components
//! nested in it. They keep the compiler's work and its tables in proportion; what a
//! module then really costs is bounded by the limits of the [`child`](super::child).

use wasmparser::{ElementItems, ElementKind, Encoding, Instance, Parser, Payload};
use wasmtime::ResourcesRequired;

use super::{Refused, SMALLER};
use crate::sandbox::pool::{CORE_INSTANCES_EACH, MOST_MEMORIES, MOST_TABLES, TABLE_ELEMENTS};

/// What depends on the settings.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox) struct Bounds {
    /// The setting `sandbox.max_memory_bytes`: no memory may begin larger.
    pub(in crate::sandbox) max_memory_bytes: u64,
}

macro_rules! bounds {
    ($($field:ident $what:literal $name:literal $CONST:ident = $most:expr;)+) => {
        $(const $CONST: u64 = $most;)+

        /// What a component has of each.
        #[derive(Debug, Default)]
        struct Counts { $($field: u64,)+ }

        impl Counts {
            fn check(&self) -> Result<(), Refused> {
                $(within(self.$field, $what, $name, $CONST)?;)+
                Ok(())
            }
        }
    };
}

// A Python component has 14 core modules, 64 core instances and some 30 000 functions,
// the largest of other kinds fewer. The pool has room for so many memories, tables
// and core instances of a component, and no more.
bounds! {
    depth "levels of nesting" "max_depth" MAX_DEPTH = 32;
    components "components" "max_components" MAX_COMPONENTS = 500;
    core_modules "core modules" "max_core_modules" MAX_CORE_MODULES = 200;
    core_instances "core instances" "max_core_instances" MAX_CORE_INSTANCES = CORE_INSTANCES_EACH as u64;
    instances "component instances" "max_instances" MAX_INSTANCES = 2_000;
    memories "memories" "max_memories" MAX_MEMORIES = MOST_MEMORIES as u64;
    tables "tables" "max_tables" MAX_TABLES = MOST_TABLES as u64;
    functions "functions" "max_functions" MAX_FUNCTIONS = 500_000;
    canonicals "lifted and lowered functions" "max_canonicals" MAX_CANONICALS = 50_000;
    globals "globals" "max_globals" MAX_GLOBALS = 200_000;
    types "types" "max_types" MAX_TYPES = 200_000;
    aliases "aliases" "max_aliases" MAX_ALIASES = 200_000;
    imports "imports" "max_imports" MAX_IMPORTS = 200_000;
    exports "exports" "max_exports" MAX_EXPORTS = 200_000;
    data_segments "data segments" "max_data_segments" MAX_DATA_SEGMENTS = 200_000;
    element_segments "element segments" "max_element_segments" MAX_ELEMENT_SEGMENTS = 100_000;
    // Each instance has a copy of them in the host's memory, 16 bytes an element.
    passive_elements "passive elements" "max_passive_elements" MAX_PASSIVE_ELEMENTS = 50_000;
}

/// Bytes of a page of memory as instructions and `ResourcesRequired` count them.
const PAGE_BYTES: u64 = 64 << 10;

impl Bounds {
    /// Refuses a component that has more of something than the bound, or that cannot be read.
    pub(super) fn check(self, wasm: &[u8]) -> Result<(), Refused> {
        let mut counts = Counts::default();
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload.map_err(|error| self.unreadable(&error))?;
            match &payload {
                Payload::Version { encoding, .. } => {
                    depth += 1;
                    counts.depth = counts.depth.max(depth);
                    match encoding {
                        Encoding::Module => counts.core_modules += 1,
                        Encoding::Component => counts.components += 1,
                    }
                }
                Payload::End(_) => depth -= 1,
                payload => self.count(payload, &mut counts).map_err(|error| self.unreadable(&error))??,
            }
            counts.check()?;
        }
        Ok(())
    }

    /// Refuses what instances of it need in sum: a module counts as often as it is instantiated.
    pub(super) fn check_needed(self, needed: &ResourcesRequired) -> Result<(), Refused> {
        within(needed.num_memories.into(), "memories", "max_memories", MAX_MEMORIES)?;
        within(needed.num_tables.into(), "tables", "max_tables", MAX_TABLES)?;
        self.check_memory(needed.max_initial_memory_size.unwrap_or(0).saturating_mul(PAGE_BYTES))?;
        check_table(needed.max_initial_table_size.unwrap_or(0))
    }

    /// Errors of the outer result are the parser's.
    fn count(self, payload: &Payload<'_>, counts: &mut Counts) -> wasmparser::Result<Result<(), Refused>> {
        let more = |count: &mut u64, by: u32| *count += u64::from(by);
        match payload {
            Payload::FunctionSection(section) => more(&mut counts.functions, section.count()),
            Payload::GlobalSection(section) => more(&mut counts.globals, section.count()),
            Payload::TypeSection(section) => more(&mut counts.types, section.count()),
            Payload::CoreTypeSection(section) => more(&mut counts.types, section.count()),
            Payload::ComponentTypeSection(section) => more(&mut counts.types, section.count()),
            Payload::ImportSection(section) => more(&mut counts.imports, section.count()),
            Payload::ComponentImportSection(section) => more(&mut counts.imports, section.count()),
            Payload::ExportSection(section) => more(&mut counts.exports, section.count()),
            Payload::ComponentExportSection(section) => more(&mut counts.exports, section.count()),
            Payload::DataSection(section) => more(&mut counts.data_segments, section.count()),
            Payload::ElementSection(section) => {
                more(&mut counts.element_segments, section.count());
                if counts.element_segments > MAX_ELEMENT_SEGMENTS {
                    return Ok(Ok(()));
                }
                for segment in section.clone() {
                    let segment = segment?;
                    if let ElementKind::Passive = segment.kind {
                        more(&mut counts.passive_elements, elements(&segment.items));
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => more(&mut counts.instances, section.count()),
            Payload::ComponentAliasSection(section) => more(&mut counts.aliases, section.count()),
            Payload::ComponentCanonicalSection(section) => more(&mut counts.canonicals, section.count()),
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    // The other kind only gives things names.
                    if let Instance::Instantiate { .. } = instance? {
                        counts.core_instances += 1;
                    }
                }
            }
            Payload::MemorySection(section) => {
                more(&mut counts.memories, section.count());
                for memory in section.clone() {
                    let memory = memory?;
                    let page_bytes = memory.page_size_log2.map_or(PAGE_BYTES, |log2| 1 << log2.min(16));
                    if let Err(refused) = self.check_memory(memory.initial.saturating_mul(page_bytes)) {
                        return Ok(Err(refused));
                    }
                }
            }
            Payload::TableSection(section) => {
                more(&mut counts.tables, section.count());
                for table in section.clone() {
                    if let Err(refused) = check_table(table?.ty.initial) {
                        return Ok(Err(refused));
                    }
                }
            }
            // Code is counted by the functions; names and the like cost their bytes.
            _ => {}
        }
        Ok(Ok(()))
    }

    fn check_memory(self, bytes: u64) -> Result<(), Refused> {
        within(bytes, "bytes in a memory at its beginning", "max_memory_bytes", self.max_memory_bytes)
    }

    fn unreadable(self, error: &wasmparser::BinaryReaderError) -> Refused {
        Refused::module("invalid_component", format!("is damaged: {error}"), self.remedy())
    }

    /// What to do about a component that does not compile.
    pub(super) fn remedy(self) -> String {
        format!(
            "upload a complete component without threads, GC, exceptions or 64-bit memories, whose memory begins with \
             at most {} bytes",
            self.max_memory_bytes
        )
    }
}

fn elements(items: &ElementItems<'_>) -> u32 {
    match items {
        ElementItems::Functions(functions) => functions.count(),
        ElementItems::Expressions(_, expressions) => expressions.count(),
    }
}

fn check_table(elements: u64) -> Result<(), Refused> {
    within(elements, "elements in a table at its beginning", "max_table_elements", TABLE_ELEMENTS as u64)
}

fn within(found: u64, what: &str, name: &str, most: u64) -> Result<(), Refused> {
    if found <= most {
        return Ok(());
    }
    let reason = format!("has {found} {what}, more than {name} of {most}");
    let remedy = match name {
        "max_memory_bytes" => "have it begin with less, or raise `sandbox.max_memory_bytes`",
        _ => SMALLER,
    };
    Err(Refused::module("too_large", reason, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { max_memory_bytes: 64 << 20 };

    /// A component, by what follows its header.
    fn component(rest: &[u8]) -> Vec<u8> {
        [b"\0asm\x0d\0\x01\0", rest].concat()
    }

    /// A component with one core module.
    fn core(rest: &[u8]) -> Vec<u8> {
        let module = [b"\0asm\x01\0\0\0", rest].concat();
        component(&section(1, &module))
    }

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        [&[id], leb(content.len() as u64).as_slice(), content].concat()
    }

    /// A section that declares so many entries and has none: it is refused before they are looked at.
    fn declaring(id: u8, entries: u64) -> Vec<u8> {
        section(id, &leb(entries))
    }

    fn leb(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number > 0x7f {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    fn text(wat: &str) -> Vec<u8> {
        wat::parse_str(wat).expect("a well-formed text")
    }

    #[test]
    fn each_bound_refuses_by_its_name() {
        let nested = |levels: usize| text(&format!("{}{}", "(component ".repeat(levels), ")".repeat(levels)));
        let in_one_module =
            |what: &str, times: usize| text(&format!("(component (core module {}))", what.repeat(times)));
        let cases = [
            (nested(33), "has 33 levels of nesting, more than max_depth of 32"),
            (
                text(&format!("(component {})", "(component)".repeat(500))),
                "has 501 components, more than max_components of 500",
            ),
            (
                text(&format!("(component {})", "(core module)".repeat(201))),
                "has 201 core modules, more than max_core_modules of 200",
            ),
            (
                text(&format!(
                    "(component (core module $m) {})",
                    "(core instance (instantiate $m))".repeat(MAX_CORE_INSTANCES as usize + 1)
                )),
                "core instances, more than max_core_instances of",
            ),
            (in_one_module("(memory 0)", MAX_MEMORIES as usize + 1), "memories, more than max_memories of"),
            (in_one_module("(table 0 funcref)", MAX_TABLES as usize + 1), "tables, more than max_tables of"),
            (
                in_one_module("(memory 1025)", 1),
                "has 67174400 bytes in a memory at its beginning, more than max_memory_bytes of 67108864",
            ),
            (
                in_one_module("(table 1000000000 funcref)", 1),
                "has 1000000000 elements in a table at its beginning, more than max_table_elements of",
            ),
            (core(&declaring(1, 200_001)), "has 200001 types, more than max_types of 200000"),
            (core(&declaring(2, 200_001)), "has 200001 imports, more than max_imports of 200000"),
            (core(&declaring(3, 500_001)), "has 500001 functions, more than max_functions of 500000"),
            (core(&declaring(6, 200_001)), "has 200001 globals, more than max_globals of 200000"),
            (core(&declaring(7, 200_001)), "has 200001 exports, more than max_exports of 200000"),
            (core(&declaring(9, 100_001)), "has 100001 element segments, more than max_element_segments of 100000"),
            (core(&declaring(11, 200_001)), "has 200001 data segments, more than max_data_segments of 200000"),
            (component(&declaring(5, 2_001)), "has 2001 component instances, more than max_instances of 2000"),
            (component(&declaring(6, 200_001)), "has 200001 aliases, more than max_aliases of 200000"),
            (
                component(&declaring(8, 50_001)),
                "has 50001 lifted and lowered functions, more than max_canonicals of 50000",
            ),
            // Summed over kinds of types, and over modules.
            (component(&declaring(7, 200_001)), "has 200001 types, more than max_types of 200000"),
        ];
        for (wasm, said) in cases {
            let refused = BOUNDS.check(&wasm).expect_err(said);
            assert_eq!(refused.code, "too_large", "{refused}");
            assert!(refused.reason.contains(said), "{refused}");
        }
    }

    #[test]
    fn counts_are_summed_over_what_is_nested() {
        let functions = section(3, &[leb(300_000), vec![0; 300_000]].concat());
        // Without locals, and ended at once.
        let bodies = section(10, &[leb(300_000), [2, 0, 0x0b].repeat(300_000)].concat());
        let module = [b"\0asm\x01\0\0\0".as_slice(), &functions, &bodies].concat();
        let inner = component(&section(1, &module));
        let one = component(&section(4, &inner));
        assert_eq!(BOUNDS.check(&one), Ok(()));
        let refused = BOUNDS.check(&component(&[section(4, &inner), section(1, &module)].concat())).expect_err("two");
        assert!(refused.reason.contains("has 600000 functions"), "{refused}");
    }

    #[test]
    fn what_fits_or_cannot_be_read_is_told_apart() {
        let fits = "(component (core module (memory 1024) (table 10 funcref) (func) (global i32 (i32.const 0))))";
        assert_eq!(BOUNDS.check(&text(fits)), Ok(()));
        let whole = text(fits);
        let refused = BOUNDS.check(&whole[..whole.len() - 3]).expect_err("torn");
        assert_eq!(refused.code, "invalid_component", "{refused}");
    }
}
