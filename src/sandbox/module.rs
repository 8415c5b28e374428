//! A loaded module: mapped, linked and looked through once, for all its attempts.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use tradewind_json_schema::Schema;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use super::compiled::CompiledFile;
use super::host::{Host, TASKS_INTERFACE};
use super::values::{InputProblem, Signature};
use super::{Sandbox, SandboxError, pool, schema};
use crate::model::{Digest, Json, ModuleInfo, ModuleKind};

/// A module ready to run. Shared by all attempts that run it.
pub struct Module {
    info: Arc<ModuleInfo>,
    instance: InstancePre<Host>,
    functions: HashMap<Box<str>, Function>,
    bytes: u64,
    room_needed: u32,
}

/// A callable function of a module.
pub(super) enum Function {
    /// An export with value types.
    Typed { export: ComponentExportIndex, signature: Signature },
    /// A task of the SDK world. Its schema is compiled when first needed.
    Task { run: ComponentExportIndex, input_schema: Json, validator: OnceLock<Option<Schema>> },
    /// A command-line program: any JSON is its input.
    Program { run: ComponentExportIndex },
}

/// The name of a program among the functions of its module.
pub(super) const PROGRAM: &str = "wasi:cli/run";

/// As a component exports it. Looked up by its major version: any 0.2 is found.
const PROGRAM_INTERFACE: &str = "wasi:cli/run@0.2.0";

/// A function as the component exports it.
pub(super) struct Exported {
    pub(super) name: String,
    pub(super) export: ComponentExportIndex,
    pub(super) ty: ComponentFunc,
}

impl Sandbox {
    /// Loads a compiled module. Blocks for the reading of a few pages, and for the
    /// copy of the guest's initial memory.
    pub fn load(&self, file: &CompiledFile, info: Arc<ModuleInfo>) -> Result<Arc<Module>, SandboxError> {
        let component = self.map(file)?;
        component.initialize_copy_on_write_image().map_err(SandboxError::engine("prepare the memory of a module"))?;
        let instance =
            self.machine().linker.instantiate_pre(&component).map_err(SandboxError::engine("link a module"))?;
        let functions = match info.kind {
            ModuleKind::Functions => typed_functions(&component),
            ModuleKind::Sdk => tasks(&component, &info)?,
            ModuleKind::Command => {
                let program = program_export(&component).map(|run| (PROGRAM.into(), Function::Program { run }));
                typed_functions(&component).into_iter().chain(program).collect()
            }
        };
        let room_needed = pool::room_needed(&component);
        Ok(Arc::new(Module { info, instance, functions, bytes: file.bytes(), room_needed }))
    }

    /// Maps compiled code into memory, shared by all that run it.
    pub(super) fn map(&self, file: &CompiledFile) -> Result<Component, SandboxError> {
        self.try_map(file).map_err(SandboxError::engine("load a compiled module"))
    }

    /// The same with wasmtime's own error, for whom it matters what it was.
    pub(super) fn try_map(&self, file: &CompiledFile) -> wasmtime::Result<Component> {
        #[expect(unsafe_code, reason = "the only way to load code that was compiled before")]
        // SAFETY: the file must hold what wasmtime compiled, and must not change while
        // it is mapped. A `CompiledFile` is made by `CompiledStore` alone: from code it
        // was handed, or after its tag, made with a key only this server has, was found
        // right. The directory is private (0700), and its files are never written in
        // place, only replaced or unlinked, which leaves the mapped one as it is.
        unsafe {
            Component::deserialize_file(&self.machine().engine, file.path())
        }
    }
}

impl Module {
    pub fn info(&self) -> &Arc<ModuleInfo> {
        &self.info
    }

    pub fn digest(&self) -> Digest {
        self.info.digest
    }

    /// Size of the compiled code.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether `input` fits the function; every problem with its place otherwise.
    pub fn check_input(&self, function: &str, input: &Json) -> Result<(), Vec<InputProblem>> {
        match self.functions.get(function) {
            Some(Function::Typed { signature, .. }) => signature.check(input.as_str()),
            Some(Function::Task { input_schema, validator, .. }) => {
                match validator.get_or_init(|| schema::compile(input_schema).ok()) {
                    Some(validator) => schema::check(validator, input),
                    // It compiled at upload: this is another version's reading of it.
                    None => Ok(()),
                }
            }
            Some(Function::Program { .. }) => Ok(()),
            None => Err(vec![InputProblem {
                path: String::new(),
                code: "no_such_function",
                message: format!("module {} has no callable function `{function}`", self.info.digest),
            }]),
        }
    }

    /// How much of the pool a guest of it takes.
    pub(super) fn room_needed(&self) -> u32 {
        self.room_needed
    }

    pub(super) fn function(&self, name: &str) -> Option<&Function> {
        self.functions.get(name)
    }

    pub(super) fn instance(&self) -> &InstancePre<Host> {
        &self.instance
    }
}

fn typed_functions(component: &Component) -> HashMap<Box<str>, Function> {
    exported(component)
        .into_iter()
        .filter_map(|Exported { name, export, ty }| {
            let signature = Signature::of(&ty).ok()?;
            Some((name.into(), Function::Typed { export, signature }))
        })
        .collect()
}

fn tasks(component: &Component, info: &ModuleInfo) -> Result<HashMap<Box<str>, Function>, SandboxError> {
    let run = tasks_export(component, "run").ok_or_else(|| SandboxError::Engine {
        doing: "load a module of the SDK world",
        reason: format!("it does not export {TASKS_INTERFACE}"),
    })?;
    let tasks = info.functions.iter().map(|task| {
        let input_schema = task.input_schema.clone();
        (task.name.as_str().into(), Function::Task { run, input_schema, validator: OnceLock::new() })
    });
    Ok(tasks.collect())
}

/// A function of the SDK's interface, whichever 1.x the module was built for.
pub(super) fn tasks_export(component: &Component, function: &str) -> Option<ComponentExportIndex> {
    let interface = component.get_export_index(None, TASKS_INTERFACE)?;
    component.get_export_index(Some(&interface), function)
}

pub(super) fn program_export(component: &Component) -> Option<ComponentExportIndex> {
    let interface = component.get_export_index(None, PROGRAM_INTERFACE)?;
    component.get_export_index(Some(&interface), "run")
}

/// Whether this is what [`program_export`] finds, by its full name.
pub(super) fn is_program_export(function: &str) -> bool {
    function.strip_prefix(PROGRAM).is_some_and(|rest| rest.starts_with("@0.2."))
}

/// All exported functions, those of interfaces as `ns:pkg/iface@1.0.0#run`.
pub(super) fn exported(component: &Component) -> Vec<Exported> {
    let engine = component.engine();
    let mut functions = Vec::new();
    for (name, export) in component.component_type().exports(engine) {
        let Some(index) = component.get_export_index(None, name) else { continue };
        match export.ty {
            ComponentItem::ComponentFunc(ty) => {
                functions.push(Exported { name: name.to_owned(), export: index, ty });
            }
            ComponentItem::ComponentInstance(interface) => {
                for (function, export) in interface.exports(engine) {
                    if let ComponentItem::ComponentFunc(ty) = export.ty
                        && let Some(export) = component.get_export_index(Some(&index), function)
                    {
                        functions.push(Exported { name: format!("{name}#{function}"), export, ty });
                    }
                }
            }
            _ => {}
        }
    }
    functions
}
