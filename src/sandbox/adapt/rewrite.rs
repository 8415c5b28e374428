//! Changes a program for wasip1 where the adapter alone would break it.

use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, ImportSection, Instruction, MemorySection, MemoryType, Module, TypeSection, ValType,
};
use wasmparser::{
    CodeSectionReader, DataSectionReader, ExportSectionReader, FunctionSectionReader, GlobalSectionReader,
    ImportSectionReader, MemorySectionReader, Parser, TypeRef, TypeSectionReader,
};
use wit_component::StringEncoding;
use wit_parser::Resolve;

use super::WASIP1;
use super::go::Room;

/// The adapter is older than this function of WASI 0.2.12, and knows success and
/// failure only. It has the shape of what it stands for.
const EXIT: (&str, &str) = ("wasi:cli/exit@0.2.12", "exit-with-code");
const EXIT_WIT: &str = "
    package tradewind:program;
    world program { import wasi:cli/exit@0.2.12; }
    package wasi:cli@0.2.12 {
        interface exit { exit-with-code: func(status-code: u8); }
    }
";

/// What the adapter calls for memory, where a program has it.
const REALLOC: &str = "cabi_realloc_adapter";

/// The program with its exit code told, and with room for the adapter where there is to be some.
pub(super) fn rewrite(wasm: &[u8], room: Option<Room>) -> Result<Vec<u8>, String> {
    let mut rewriting = Rewriting { room, functions: 0, globals: 0, types: 0, exits: false };
    let mut module = Module::new();
    rewriting.parse_core_module(&mut module, Parser::new(0), wasm).map_err(|error| error.to_string())?;
    let mut module = module.finish();
    if rewriting.exits {
        describe_exit(&mut module)?;
    }
    Ok(module)
}

/// Tells the encoder of components what the import's type is.
fn describe_exit(module: &mut Vec<u8>) -> Result<(), String> {
    let mut wit = Resolve::default();
    let package = wit.push_source("exit.wit", EXIT_WIT).map_err(|error| format!("{error:#}"))?;
    let world = wit.select_world(&[package], None).map_err(|error| format!("{error:#}"))?;
    wit_component::embed_component_metadata(module, &wit, world, StringEncoding::UTF8, false)
        .map_err(|error| format!("{error:#}"))
}

struct Rewriting {
    room: Option<Room>,
    /// Imported and defined so far, which is the index of the next.
    functions: u32,
    globals: u32,
    types: u32,
    exits: bool,
}

type Rewritten = Result<(), Error<Infallible>>;

impl Reencode for Rewriting {
    type Error = Infallible;

    fn parse_type_section(&mut self, types: &mut TypeSection, section: TypeSectionReader<'_>) -> Rewritten {
        utils::parse_type_section(self, types, section)?;
        if self.room.is_some() {
            self.types = types.len();
            types.ty().function([ValType::I32; 4], [ValType::I32]);
        }
        Ok(())
    }

    fn parse_import_section(&mut self, imports: &mut ImportSection, section: ImportSectionReader<'_>) -> Rewritten {
        // One by one: the library's own way goes by groups.
        section.into_imports().try_for_each(|import| self.parse_import(imports, import?))
    }

    fn parse_import(&mut self, imports: &mut ImportSection, mut import: wasmparser::Import<'_>) -> Rewritten {
        match import.ty {
            TypeRef::Func(_) | TypeRef::FuncExact(_) => self.functions += 1,
            TypeRef::Global(_) => self.globals += 1,
            _ => {}
        }
        if (import.module, import.name) == (WASIP1, "proc_exit") {
            (import.module, import.name) = EXIT;
            self.exits = true;
        }
        utils::parse_import(self, imports, import)
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Rewritten {
        utils::parse_function_section(self, functions, section)?;
        if self.room.is_some() {
            self.functions += functions.len();
            functions.function(self.types);
        }
        Ok(())
    }

    fn parse_memory_section(&mut self, memories: &mut MemorySection, section: MemorySectionReader<'_>) -> Rewritten {
        let Some(room) = &self.room else { return utils::parse_memory_section(self, memories, section) };
        let more_pages = room.more_pages;
        for memory in section {
            let memory: MemoryType = self.memory_type(memory?)?;
            let minimum = memory.minimum + more_pages;
            memories.memory(MemoryType { minimum, maximum: memory.maximum.map(|most| most.max(minimum)), ..memory });
        }
        Ok(())
    }

    fn parse_global_section(&mut self, globals: &mut GlobalSection, section: GlobalSectionReader<'_>) -> Rewritten {
        utils::parse_global_section(self, globals, section)?;
        if let Some(room) = &self.room {
            self.globals += globals.len();
            let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
            globals.global(ty, &ConstExpr::i32_const(room.bytes.start as i32));
        }
        Ok(())
    }

    fn parse_export_section(&mut self, exports: &mut ExportSection, section: ExportSectionReader<'_>) -> Rewritten {
        utils::parse_export_section(self, exports, section)?;
        if self.room.is_some() {
            exports.export(REALLOC, ExportKind::Func, self.functions);
        }
        Ok(())
    }

    fn parse_code_section(&mut self, code: &mut CodeSection, section: CodeSectionReader<'_>) -> Rewritten {
        utils::parse_code_section(self, code, section)?;
        if let Some(room) = &self.room {
            code.function(&hand_out(room, self.globals));
        }
        Ok(())
    }

    /// A segment written later wins.
    fn parse_data_section(&mut self, data: &mut DataSection, section: DataSectionReader<'_>) -> Rewritten {
        utils::parse_data_section(self, data, section)?;
        if let Some(room) = &self.room {
            data.active(0, &ConstExpr::i32_const(room.end_at as i32), room.end.to_le_bytes());
        }
        Ok(())
    }

    fn data_count(&mut self, count: u32) -> Result<u32, Error<Infallible>> {
        Ok(count + u32::from(self.room.is_some()))
    }
}

/// `realloc(0, 0, align, size)`: the next `size` bytes of the room, and a trap where there are fewer left.
fn hand_out(room: &Room, next: u32) -> Function {
    const SIZE: u32 = 3;
    let mut function = Function::new([]);
    for instruction in [
        Instruction::GlobalGet(next),
        Instruction::GlobalGet(next),
        Instruction::LocalGet(SIZE),
        Instruction::I32Const(15),
        Instruction::I32Add,
        Instruction::I32Const(-16),
        Instruction::I32And,
        Instruction::I32Add,
        Instruction::GlobalSet(next),
        Instruction::GlobalGet(next),
        Instruction::I32Const(room.bytes.end as i32),
        Instruction::I32GtU,
        Instruction::If(wasm_encoder::BlockType::Empty),
        Instruction::Unreachable,
        Instruction::End,
        Instruction::End,
    ] {
        function.instruction(&instruction);
    }
    function
}

#[cfg(test)]
mod tests {
    use wasmparser::{Payload, Validator};

    use super::*;

    const PROGRAM: &str = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
        (memory (export "memory") 2)
        (global $sp (mut i32) (i32.const 0))
        (func (export "_start") (drop (call $yield)) (call $exit (i32.const 3)))
        (data (i32.const 16) "abc"))"#;

    fn rewritten(room: Option<Room>) -> Vec<u8> {
        let program = wat::parse_str(PROGRAM).expect("a text");
        let module = rewrite(&program, room).expect("rewritten");
        Validator::new().validate_all(&module).expect("valid");
        module
    }

    #[test]
    fn the_exit_goes_where_its_code_is_told() {
        let module = rewritten(None);
        let imports: Vec<(String, String)> = Parser::new(0)
            .parse_all(&module)
            .filter_map(|payload| match payload.expect("well-formed") {
                Payload::ImportSection(imports) => Some(imports),
                _ => None,
            })
            .flat_map(|imports| imports.into_imports())
            .map(|import| import.map(|import| (import.module.to_owned(), import.name.to_owned())).expect("an import"))
            .collect();
        let own = |(module, name): (&str, &str)| (module.to_owned(), name.to_owned());
        assert_eq!(imports, [own(EXIT), own((WASIP1, "sched_yield"))]);
    }

    #[test]
    fn room_is_made_and_handed_out() {
        let module = rewritten(Some(Room { bytes: 4096..69_632, more_pages: 2, end_at: 16, end: 69_632 }));
        let mut seen = Vec::new();
        for payload in Parser::new(0).parse_all(&module) {
            match payload.expect("well-formed") {
                Payload::MemorySection(memories) => {
                    seen.extend(memories.into_iter().map(|memory| format!("{} pages", memory.expect("one").initial)));
                }
                Payload::ExportSection(exports) => {
                    seen.extend(exports.into_iter().map(|export| export.expect("one").name.to_owned()));
                }
                Payload::DataSection(data) => {
                    seen.extend(data.into_iter().map(|segment| format!("{} bytes", segment.expect("one").data.len())));
                }
                _ => {}
            }
        }
        assert_eq!(seen, ["4 pages", "memory", "_start", REALLOC, "3 bytes", "8 bytes"]);
    }
}
