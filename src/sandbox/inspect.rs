//! Finds out what an uploaded module can do: its kind, functions and schemas.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Component;

use super::attempt::{Answer, Bounds, Call, End, Outside, attempt};
use super::compile::{SMALLER, UploadError, check_imports, in_background, system_error};
use super::compiled::CompiledFile;
use super::host::{Descriptor, Host, TASKS_INTERFACE};
use super::limits::MemoryMeter;
use super::log::NoLog;
use super::meter::Meter;
use super::module::{Exported, PROGRAM, exported, is_program_export, program_export, tasks_export};
use super::run::TaskContext;
use super::stdio::Stdio;
use super::stop::StopSignal;
use super::values::Signature;
use super::{Refused, Sandbox, SandboxError, pool, schema};
use crate::model::{FunctionInfo, Json, Limits, ModuleInfo, ModuleKind, TaskId, Timestamp};

/// Bounds on asking a module for its tasks. It has no grant and no log.
const LIST_TASKS_TIME: Duration = Duration::from_secs(1);
const LIST_TASKS_MEMORY_BYTES: u64 = 64 << 20;
const MAX_DESCRIPTORS_BYTES: usize = 8 << 20;
const MAX_TASKS: usize = 1_000;
const MAX_SCHEMA_BYTES: usize = 256 << 10;
const MAX_DOCS_BYTES: usize = 64 << 10;
const MAX_TASK_NAME_BYTES: usize = 200;

const PROGRAM_DOCS: &str = "A command-line program. The input is its stdin, as JSON (nothing where it is null), `args` are its \
     arguments, what it prints to stdout is the output (as JSON if it is JSON, else as text), stderr is its log. Any exit code but 0 is a failure.";

impl Sandbox {
    /// Describes a compiled module of `size_bytes` as uploaded. A module of the SDK
    /// world is asked for its tasks, in a sandbox, within a second and 64 MiB.
    pub async fn inspect(&self, file: &CompiledFile, size_bytes: u64) -> Result<ModuleInfo, UploadError> {
        let component = self.map_new(file)?;
        check_imports(&self.machine().engine, &self.machine().linker, &component)?;
        let (kind, functions) = match tasks_export(&component, "list-tasks") {
            Some(_) => (ModuleKind::Sdk, self.tasks(component.clone()).await?),
            None if program_export(&component).is_some() => (ModuleKind::Command, self.program(&component)),
            None => (ModuleKind::Functions, self.functions(&component)),
        };
        if !functions.iter().any(|function| function.not_callable.is_none()) {
            return Err(no_functions(&functions).into());
        }
        let imports: Vec<String> =
            component.component_type().imports(component.engine()).map(|(name, _)| name.to_owned()).collect();
        let grants_needed = grants_needed(&imports);
        Ok(ModuleInfo { digest: file.digest(), size_bytes, kind, functions, imports, grants_needed })
    }

    /// The program, before what the component may export besides.
    fn program(&self, component: &Component) -> Vec<FunctionInfo> {
        let program = FunctionInfo {
            name: PROGRAM.to_owned(),
            input_schema: anything(),
            output_schema: anything(),
            docs: PROGRAM_DOCS.to_owned(),
            not_callable: None,
        };
        let others = self.functions(component).into_iter().filter(|function| !is_program_export(&function.name));
        std::iter::once(program).chain(others).collect()
    }

    /// Maps code that has just been compiled. The child that compiled it has no pool, so
    /// it is here that a component turns out not to fit: a module nested twice, or
    /// adapters the compiler has made, count in no binary.
    fn map_new(&self, file: &CompiledFile) -> Result<Component, UploadError> {
        self.try_map(file).map_err(|error| match system_error(&error) {
            Some(_) => SandboxError::engine("load a compiled module")(error).into(),
            None => Refused::module("too_large", format!("{error:#}"), SMALLER).into(),
        })
    }

    fn functions(&self, component: &Component) -> Vec<FunctionInfo> {
        let functions = exported(component).into_iter();
        functions
            .map(|Exported { name, ty, .. }| match Signature::of(&ty) {
                Ok(signature) => FunctionInfo {
                    name,
                    input_schema: signature.input_schema(),
                    output_schema: signature.output_schema(),
                    docs: String::new(),
                    not_callable: None,
                },
                Err(reason) => FunctionInfo {
                    name,
                    input_schema: Json::null(),
                    output_schema: Json::null(),
                    docs: String::new(),
                    not_callable: Some(reason),
                },
            })
            .collect()
    }

    async fn tasks(&self, component: Component) -> Result<Vec<FunctionInfo>, UploadError> {
        let sandbox = self.clone();
        let asked = self.threads().spawn(async move { sandbox.list_tasks(&component).await });
        let descriptors = asked.await.ok_or(SandboxError::Closed)??;
        // Compiling a schema is work on a stranger's text.
        let described = in_background("schemas", move || describe(descriptors)).await?;
        Ok(described?)
    }

    async fn list_tasks(&self, component: &Component) -> Result<Vec<Descriptor>, UploadError> {
        let _room = self.room(pool::room_needed(component)).await;
        let instance =
            self.machine().linker.instantiate_pre(component).map_err(SandboxError::engine("link a module"))?;
        let list_tasks = tasks_export(component, "list-tasks")
            .ok_or_else(|| invalid(format!("exports {TASKS_INTERFACE} without list-tasks")))?;
        let context = TaskContext {
            task_id: TaskId::from_u64(0),
            try_number: 0,
            deadline: Timestamp::now() + LIST_TASKS_TIME,
            run: None,
        };
        let host = Host {
            memory: MemoryMeter::new(LIST_TASKS_MEMORY_BYTES),
            meter: Arc::new(Meter::new(&Limits::default())),
            context,
            log: Arc::new(NoLog),
            stdio: Stdio::Log,
            args: Arc::default(),
            grants: Arc::default(),
            scratch: None,
            http_clients: self.0.http_clients.clone(),
            http: None,
            wasi: None,
        };
        let bounds = Bounds { wall: LIST_TASKS_TIME, cpu: LIST_TASKS_TIME, answer_bytes: MAX_DESCRIPTORS_BYTES };
        let call = Call::ListTasks { list_tasks: &list_tasks };
        let outside = Outside { stop: &StopSignal::new(), on_wait: None };
        let asked = attempt(&instance, host, call, &bounds, outside).await?;
        match asked.end {
            End::Answered(Answer::Descriptors(descriptors)) => Ok(descriptors),
            End::Answered(_) => Err(invalid("answered list-tasks with something else").into()),
            End::Broke(error) => {
                Err(invalid(format!("failed when asked for its tasks: {}", error.root_cause())).into())
            }
            End::Stopped(_) => Err(invalid("took longer than a second to list its tasks").into()),
        }
    }
}

/// Capabilities without which a module's imports would be of no use. Only what reaches
/// out is asked for: ordinary components import all of WASI, and find it empty.
fn grants_needed(imports: &[String]) -> Vec<String> {
    let reaches_out = imports.iter().any(|import| import.starts_with("wasi:http/outgoing-handler@"));
    if reaches_out { vec!["http".to_owned()] } else { Vec::new() }
}

fn anything() -> Json {
    Json::parse("{}".to_owned()).expect("a schema that takes everything")
}

fn describe(descriptors: Vec<Descriptor>) -> Result<Vec<FunctionInfo>, Refused> {
    if descriptors.len() > MAX_TASKS {
        return Err(invalid(format!("lists {} tasks, more than {MAX_TASKS}", descriptors.len())));
    }
    let mut names = HashSet::new();
    let mut functions = Vec::with_capacity(descriptors.len());
    for Descriptor { name, input_schema, output_schema, docs } in descriptors {
        if name.is_empty() || name.len() > MAX_TASK_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(invalid(format!("lists a task whose name is empty, too long or not printable: {name:.50?}")));
        }
        if !names.insert(name.clone()) {
            return Err(invalid(format!("lists the task `{name}` twice")));
        }
        if docs.len() > MAX_DOCS_BYTES {
            return Err(invalid(format!("has more than {MAX_DOCS_BYTES} bytes of docs for the task `{name}`")));
        }
        let input_schema = check_schema(&name, "input", input_schema)?;
        let output_schema = check_schema(&name, "output", output_schema)?;
        functions.push(FunctionInfo { name, input_schema, output_schema, docs, not_callable: None });
    }
    Ok(functions)
}

fn check_schema(task: &str, which: &str, text: String) -> Result<Json, Refused> {
    let refuse = |reason: String| invalid(format!("has an {which} schema for the task `{task}` that {reason}"));
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(refuse(format!("is larger than {MAX_SCHEMA_BYTES} bytes")));
    }
    let schema = Json::parse(text).map_err(|error| refuse(format!("is not JSON: {error}")))?;
    schema::compile(&schema).map_err(|error| refuse(format!("is not a JSON Schema by itself: {error}")))?;
    Ok(schema)
}

fn invalid(reason: impl Into<String>) -> Refused {
    Refused::module("invalid_descriptors", reason, "build it with a current version of the SDK")
}

fn no_functions(functions: &[FunctionInfo]) -> Refused {
    let reasons: Vec<String> = functions
        .iter()
        .filter_map(|function| function.not_callable.as_ref().map(|reason| format!("`{}` {reason}", function.name)))
        .take(10)
        .collect();
    let reason = if reasons.is_empty() {
        "exports no function".to_owned()
    } else {
        format!("exports no function that can be called: {}", reasons.join("; "))
    };
    Refused::module("no_functions", reason, "export a function with value types, or the world tradewind:task")
}
