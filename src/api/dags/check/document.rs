//! Checks one document against the modules that its tasks name.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Document;
use crate::api::bounds::TaskBounds;
use crate::api::dags::findings::of_problem;
use crate::api::extract;
use crate::api::problem::{Kind, Problem};
use crate::api::tasks::check::{Asked, check as check_keys};
use crate::api::tasks::submit::TaskRequest;
use crate::coordinator::ModuleRef;
use crate::dag::check::input::{InputSchema, has_template};
use crate::dag::check::outputs::{Function, output_findings};
use crate::dag::definition::ResolvedTask;
use crate::dag::draft::{DraftKey, DraftTask};
use crate::dag::finding::{Findings, shown};
use crate::dag::template::is_template;
use crate::dag::{Definition, Finding, Located, Plan};
use crate::model::{Digest, Json, ModuleInfo};
use crate::sandbox::{InputProblem, Module};

/// Each module that is named, or why there is none.
pub(super) type Known = HashMap<ModuleRef, Result<Named, Problem>>;

pub(super) struct Named {
    pub(super) info: Arc<ModuleInfo>,
    /// Where some task gives it an input without templates.
    pub(super) module: Option<Arc<Module>>,
}

pub(super) fn module_of(task: &DraftTask) -> Option<ModuleRef> {
    task.keys.get("module")?.value.as_str()?.parse().ok()
}

/// Checks the documents of a file.
pub(super) struct Checker<'a> {
    modules: &'a Known,
    bounds: &'a TaskBounds,
    /// That are left.
    steps: &'a mut usize,
    /// That were asked for.
    functions: HashMap<(Digest, Arc<str>), Option<Rc<InputSchema>>>,
}

/// Mistakes of a size at which the rest is not looked at: it would take long, and is to be written anew.
const TOO_MUCH: [&str; 4] = ["default_args_too_large", "too_many_tasks", "too_many_edges", "too_many_findings"];

impl<'a> Checker<'a> {
    pub(super) fn new(modules: &'a Known, bounds: &'a TaskBounds, steps: &'a mut usize) -> Self {
        Self { modules, bounds, steps, functions: HashMap::new() }
    }

    pub(super) fn document(&mut self, document: Document) -> Result<(Definition, Arc<str>), Vec<Located>> {
        let Document { source, text, draft, findings: known, .. } = document;
        if known.iter().any(|finding| TOO_MUCH.contains(&finding.code)) {
            return Err(source.locate(known));
        }
        // What a key was meant to be that is not known, nobody can say: nothing is missing there.
        let unsure: BTreeSet<String> = known
            .iter()
            .filter(|finding| matches!(finding.code, "unknown_key" | "key_not_allowed" | "duplicate_key"))
            .filter_map(|finding| finding.path.rsplit_once('/'))
            .map(|(owner, _)| owner.to_owned())
            .collect();
        let any_default_is_unsure = unsure.iter().any(|owner| owner.ends_with("/default_args"));
        let mut findings = Findings::default();
        findings.extend(known);
        let mut resolved = Vec::with_capacity(draft.tasks.len());
        let mut functions = Vec::with_capacity(draft.tasks.len());
        for task in &draft.tasks {
            if findings.is_full() {
                findings.add(Finding::new("", "too_many_findings", "the tasks from here on are not looked at"));
                return Err(source.locate(findings.into_vec()));
            }
            let is_unsure = any_default_is_unsure || task.is_broken || unsure.contains(&task.path);
            let (function, work) = self.task(task, is_unsure, &mut findings).unzip();
            functions.push(function);
            resolved.extend(work.flatten());
        }
        findings.extend(output_findings(&draft, &functions, self.steps));
        if findings.is_empty() {
            let definition = draft.finish(resolved);
            match Plan::of(&definition) {
                Ok(_) => return Ok((definition, text)),
                Err(error) => findings.add(Finding::new("", "cannot_be_run", error.to_string())),
            }
        }
        Err(source.locate(findings.into_vec()))
    }

    /// The function that the task calls, if that is certain, and all that it runs, if nothing is wrong with that.
    fn task(
        &mut self,
        task: &DraftTask,
        is_unsure: bool,
        findings: &mut Findings,
    ) -> Option<(Arc<Function>, Option<ResolvedTask>)> {
        let before = findings.len();
        let mut told = |finding: Finding| {
            let pointer = finding.path.clone();
            findings.add(Finding { path: path_of(task, &pointer), ..finding });
        };
        let mut keys = with_timeout_in_limits(task);
        let module = match module_of(task).and_then(|reference| self.modules.get(&reference)) {
            Some(Ok(named)) => Some(named),
            Some(Err(problem)) => {
                of_problem(problem).into_iter().for_each(&mut told);
                None
            }
            None => None,
        };
        if task.is_broken {
            return None;
        }
        let request = request(&mut keys, |problem| of_problem(problem).into_iter().for_each(&mut told))?;
        let names_function = keys.contains_key("function");
        let mut problems = Vec::new();
        let asked = check_keys(request, module.map(|named| &*named.info), self.bounds, &mut problems);
        for problem in &problems {
            if problem.kind() == Kind::FunctionNotFound && is_unsure && !names_function {
                continue;
            }
            of_problem(problem).into_iter().for_each(&mut told);
        }
        let Asked { function, args, terms, queue, priority_weight, labels, .. } = asked;
        let named = module?;
        let info = &named.info;
        let schema = self.function(info, &function?)?;
        let function = schema.function().clone();
        self.input(task, named, &schema, findings);
        if is_unsure && !names_function {
            return None;
        }
        let work = || {
            let (module, function, args) = (info.digest, function.name.clone(), args.to_vec());
            ResolvedTask { module, function, args, terms, queue, priority_weight, labels }
        };
        let work = (findings.len() == before).then(work);
        Some((function, work))
    }

    /// With its schemas; one that cannot be read says nothing.
    fn function(&mut self, info: &ModuleInfo, name: &Arc<str>) -> Option<Rc<InputSchema>> {
        let read = || {
            let function = info.function(name)?;
            let input_schema = function.input_schema.to_value().unwrap_or_default();
            let output_schema = function.output_schema.to_value().unwrap_or_default();
            let function = Function { name: name.to_string(), input_schema, output_schema };
            Some(Rc::new(InputSchema::new(Arc::new(function))))
        };
        self.functions.entry((info.digest, name.clone())).or_insert_with(read).clone()
    }

    fn input(&mut self, task: &DraftTask, named: &Named, schema: &InputSchema, findings: &mut Findings) {
        // Of what is mapped, the keys are added to nothing.
        let none = if task.expansion.is_some() { json!({}) } else { Value::Null };
        let input = task.input.as_ref().map_or(&none, |input| &input.value);
        let name = &schema.function().name;
        if let Some(expansion) = &task.expansion
            && !matches!(input, Value::Null | Value::Object(_))
            && !input.as_str().is_some_and(is_template)
        {
            let message =
                format!("`{}` is mapped, and the keys it is mapped over cannot be added to this input", task.id);
            let remedy = format!("make an object of it, for what is beside the keys of `{}`", expansion.key());
            findings.add(Finding::new(path_of(task, "/input"), "wrong_type", message).remedy(remedy));
            return;
        }
        let mut found = schema.findings(input, task.input_keys().as_deref(), self.steps);
        if let (true, true, Some(module)) = (found.is_empty(), needs_module(task), &named.module) {
            found = by_types(module, name, input);
        }
        let found = found.into_iter().map(|finding| finding.below("/input"));
        let elements =
            task.expansion.iter().flat_map(|expansion| schema.element_findings(input, expansion, self.steps));
        for finding in found.chain(elements) {
            let path = match finding.path.strip_prefix("/input") {
                Some(_) => path_of(task, &finding.path),
                // What a task is mapped over stands on itself.
                None => format!("{}{}", task.path, finding.path),
            };
            let message = format!("the input does not fit function `{name}`: {}", finding.message);
            let see = || format!("see `input_schema` of the function at GET /api/v1/modules/{}", named.info.digest);
            let remedy = finding.remedy.clone().unwrap_or_else(see);
            findings.add(Finding { path, message, ..finding }.remedy(remedy));
        }
    }
}

/// Whether its input is known, so that it is not looked at again when the task starts.
pub(super) fn needs_module(task: &DraftTask) -> bool {
    let is_literal = |input: &DraftKey| !input.value.is_null() && !has_template(&input.value);
    task.expansion.is_none() && task.input.as_ref().is_some_and(|input| is_literal(input))
}

/// What only the types of the function say, and no schema: whether a text is base64, or a number too large for it.
fn by_types(module: &Module, function: &str, input: &Value) -> Vec<Finding> {
    let input = Json::of(input).expect("JSON values are JSON");
    let problems = module.check_input(function, &input).err().unwrap_or_default().into_iter();
    let finding = |problem: InputProblem| match &*problem.path {
        "" => Finding::new("", "invalid_input", problem.message),
        path => Finding::new(path, "invalid_input", format!("`{}`: {}", shown(path), problem.message)),
    };
    problems.map(finding).collect()
}

/// Where the value at a pointer into the task's object stands in the file.
fn path_of(task: &DraftTask, pointer: &str) -> String {
    let is_short = task.keys.contains_key("execution_timeout");
    match pointer {
        "" => task.path.clone(),
        "/limits/execution_timeout" if is_short => task.path_of("/execution_timeout"),
        pointer => task.path_of(pointer),
    }
}

/// The task's keys as those of a single task, where `execution_timeout` stands in `limits`.
fn with_timeout_in_limits(task: &DraftTask) -> Map<String, Value> {
    let mut keys = task.task_keys();
    keys.retain(|_, value| !value.is_null());
    if let Some(timeout) = keys.remove("execution_timeout")
        && let Value::Object(limits) = keys.entry("limits").or_insert_with(|| json!({}))
    {
        limits.insert("execution_timeout".to_owned(), timeout);
    }
    keys
}

/// The keys as what is asked for. Those that cannot be are told of and taken away.
fn request(keys: &mut Map<String, Value>, mut tell: impl FnMut(&Problem)) -> Option<TaskRequest> {
    // Something has to stand for the module; what does not depend on it is checked all the same.
    let read = |keys: &Map<String, Value>| {
        let mut object = keys.clone();
        object.entry("module").or_insert_with(|| json!("unknown"));
        extract::json::<TaskRequest>(Value::Object(object).to_string().as_bytes())
    };
    if let Ok(request) = read(keys) {
        return Some(request);
    }
    let mut is_read = |alone: Value| {
        let alone = alone.as_object().expect("an object was made");
        read(alone).map_err(|problem| tell(&problem)).is_ok()
    };
    keys.retain(|key, value| match value {
        Value::Object(limits) if key == "limits" => {
            limits.retain(|name, limit| is_read(json!({"limits": {name: limit}})));
            true
        }
        value => is_read(json!({key: value})),
    });
    read(keys).map_err(|problem| tell(&problem)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_cannot_be_read_is_told_of() {
        let mut keys = json!({"module": "a b", "retries": "x", "queue": "c d", "labels": {"a": "b"},
            "limits": {"memory_bytes": "x", "fuel": 1, "cpu_time": "5s"}});
        let keys = keys.as_object_mut().expect("an object");
        let mut told = Vec::new();
        let request = request(keys, |problem| told.push(problem.places()[0].path.clone()));
        assert!(request.is_some());
        told.sort();
        assert_eq!(told, ["/limits/fuel", "/limits/memory_bytes", "/module", "/queue", "/retries"]);
        assert_eq!(*keys, *json!({"labels": {"a": "b"}, "limits": {"cpu_time": "5s"}}).as_object().expect("an object"));
    }
}
