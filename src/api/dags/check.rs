//! Checks DAG files against all that is known: their words, their graph, and the modules that they name.
//!
//! Everything that is wrong is found at once. What takes long is done on threads that may block; the
//! modules are looked up in between, each once, so that all tasks of a request see the same one under a name.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tradewind_json_schema::Schema;

use crate::api::Api;
use crate::api::bounds::{MAX_DAGS, MAX_MISTAKES, TaskBounds};
use crate::api::extract;
use crate::api::problem::{Kind, Problem, internal, load_refused};
use crate::api::tasks::check::{Asked, check as check_keys};
use crate::api::tasks::submit::TaskRequest;
use crate::coordinator::{ModuleRef, NewVersion};
use crate::dag::check::input::input_findings;
use crate::dag::check::outputs::{Function, output_findings};
use crate::dag::definition::ResolvedTask;
use crate::dag::draft::{DraftTask, Outside};
use crate::dag::finding::{Findings, Place};
use crate::dag::{Definition, Draft, Finding, Located, Plan, Source};
use crate::model::{DagId, Digest, ModuleInfo};

use super::findings::{Mistake, of_problem, refusal};

/// What was sent.
pub(super) struct Sent {
    pub(super) files: Vec<File>,
    /// The DAG that the one document has to be.
    pub(super) only: Option<DagId>,
}

pub(super) struct File {
    /// None where there is only one.
    pub(super) path: Option<String>,
    pub(super) bytes: Vec<u8>,
}

/// A document that passed.
pub(super) struct Checked {
    /// In `Sent::files`.
    pub(super) file: usize,
    pub(super) version: Digest,
    pub(super) new: NewVersion,
}

/// All documents of all files in their order, or all that is wrong with any of them. The files come back with them.
pub(super) async fn check(api: &Api, sent: Sent) -> Result<(Vec<Checked>, Sent), Problem> {
    // It goes with the work, which goes on when the caller has hung up.
    let permit = api.checks().clone().acquire_owned().await.map_err(|closed| internal(&closed))?;
    let reading = tokio::task::spawn_blocking(move || (Reading::of(sent), permit));
    let (reading, permit) = reading.await.map_err(|error| internal(&error))?;
    let modules = look_up(api, &reading.documents).await?;
    let bounds = api.bounds.tasks.clone();
    let checking = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        reading.finish(&modules, &bounds)
    });
    checking.await.map_err(|error| internal(&error))?
}

/// Each module that is named, or why there is none.
type Known = HashMap<ModuleRef, Result<Arc<ModuleInfo>, Problem>>;

async fn look_up(api: &Api, documents: &[Document]) -> Result<Known, Problem> {
    let tasks = documents.iter().flat_map(|document| &document.draft.tasks);
    let named: HashSet<ModuleRef> = tasks.filter_map(module_of).collect();
    let mut known = HashMap::with_capacity(named.len());
    for reference in named {
        let info = match api.modules.resolve(&reference).await {
            Ok(digest) => api.modules.info(digest).await,
            Err(error) => Err(error),
        };
        let info = info.map_err(|error| load_refused(&reference, error));
        if let Err(problem) = &info
            && problem.kind() != Kind::ModuleNotFound
        {
            return Err(problem.clone());
        }
        known.insert(reference, info);
    }
    Ok(known)
}

fn module_of(task: &DraftTask) -> Option<ModuleRef> {
    task.keys.get("module")?.value.as_str()?.parse().ok()
}

/// One document of a file, read and checked as far as it goes without modules.
struct Document {
    file: usize,
    source: Source,
    text: Arc<str>,
    draft: Draft,
    findings: Vec<Finding>,
}

struct Reading {
    sent: Sent,
    documents: Vec<Document>,
    /// Why files could not be read, or not to their end.
    unreadable: Vec<(usize, Located)>,
}

impl Reading {
    fn of(sent: Sent) -> Self {
        let (mut documents, mut unreadable) = (Vec::new(), Vec::new());
        for (file, File { bytes, .. }) in sent.files.iter().enumerate() {
            let (sources, stopped) = match sent.only {
                None => Source::read_all(bytes),
                Some(_) => match Source::read(bytes) {
                    Ok(source) => (vec![source], Vec::new()),
                    Err(findings) => (Vec::new(), findings),
                },
            };
            unreadable.extend(stopped.into_iter().map(|located| (file, located)));
            if documents.len() + sources.len() > MAX_DAGS {
                let located = Located {
                    line: 1,
                    column: 1,
                    path: String::new(),
                    code: "too_many_dags".into(),
                    message: format!("these are more than {MAX_DAGS} DAGs in one request"),
                    remedy: Some("send them in several".into()),
                };
                unreadable.push((file, located));
                break;
            }
            for source in sources {
                let (draft, findings) = Draft::read(&source, &OUTSIDE);
                let text = Arc::clone(source.text());
                documents.push(Document { file, source, text, draft, findings });
            }
        }
        Self { sent, documents, unreadable }
    }

    fn finish(self, modules: &Known, bounds: &TaskBounds) -> Result<(Vec<Checked>, Sent), Problem> {
        let Self { sent, documents, unreadable } = self;
        let mut wrong: Vec<(usize, Located)> = unreadable;
        let mut passed = Vec::with_capacity(documents.len());
        let mut checker = Checker { modules, bounds, schemas: Schemas::default(), functions: HashMap::new() };
        let mut places: HashMap<DagId, (usize, Place)> = HashMap::new();
        for mut document in documents {
            let file = document.file;
            name_findings(&mut document, &sent, &mut places);
            match checker.document(document) {
                Ok((definition, source)) => {
                    let version = definition.digest();
                    passed.push(Checked {
                        file,
                        version,
                        new: NewVersion { definition: Arc::new(definition), source },
                    });
                }
                Err(located) => wrong.extend(located.into_iter().map(|located| (file, located))),
            }
            if wrong.len() > MAX_MISTAKES {
                break;
            }
        }
        if wrong.is_empty() {
            return Ok((passed, sent));
        }
        wrong.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let thing = match &sent.only {
            Some(dag) => format!("DAG `{dag}`"),
            None => "what was sent".to_owned(),
        };
        let mistake = |(file, located): (usize, Located)| Mistake { file: sent.files[file].path.as_deref(), located };
        Err(refusal(thing, wrong.into_iter().map(mistake).collect()))
    }
}

/// What is wrong with the name of the DAG, as far as the rest of the request decides it.
fn name_findings(document: &mut Document, sent: &Sent, places: &mut HashMap<DagId, (usize, Place)>) {
    let Some(dag) = &document.draft.dag_id else { return };
    let place = document.source.place("/dag_id");
    let mut add = |code, message: String, remedy: String| {
        document.findings.push(Finding::new("/dag_id", code, message).remedy(remedy));
    };
    if let Some(only) = sent.only.as_ref().filter(|only| *only != dag) {
        let message = format!("the address names the DAG `{only}`, and the file `{dag}`");
        add("other_dag", message, format!("write `dag_id: {only}`, or send it to /api/v1/dags/{dag}"));
    }
    if dag.as_str() == RESERVED {
        let message = format!("`{RESERVED}` cannot be the name of a DAG: /api/v1/dags/{RESERVED} is another address");
        add("bad_id", message, "choose another name".to_owned());
    }
    match places.get(dag) {
        Some((file, other)) => {
            let path = sent.files[*file].path.as_deref().unwrap_or("the file");
            let message = format!("the DAG `{dag}` is in {path} too, at line {}", other.line);
            add("duplicate_dag", message, "rename one of them, or take it away".to_owned());
        }
        None => {
            places.insert(dag.clone(), (document.file, place));
        }
    }
}

const RESERVED: &str = "apply";

const OUTSIDE: Outside<'static> = Outside { schema_problems: &schema_problems, is_timezone: &is_timezone };

/// Told of one value at most.
const MAX_PROBLEMS: usize = 20;

fn schema_problems(schema: &Value, value: &Value) -> Result<Vec<(String, String)>, String> {
    Ok(problems_of(&Schema::compile(schema)?, value))
}

fn problems_of(schema: &Schema, value: &Value) -> Vec<(String, String)> {
    let problems = schema.problems(value, MAX_PROBLEMS).into_iter();
    problems.map(|problem| (problem.path, problem.message)).collect()
}

fn is_timezone(name: &str) -> bool {
    jiff::tz::TimeZone::get(name).is_ok()
}

/// Parts of schemas, compiled once for all tasks that call the function.
#[derive(Default)]
struct Schemas(RefCell<HashMap<String, Option<Schema>>>);

impl Schemas {
    const MOST: usize = 4_096;

    fn problems(&self, schema: &Value, value: &Value) -> Vec<(String, String)> {
        let mut compiled = self.0.borrow_mut();
        if compiled.len() >= Self::MOST {
            compiled.clear();
        }
        // One that does not compile was accepted with its module: nothing is known of the input then.
        let schema = compiled.entry(schema.to_string()).or_insert_with(|| Schema::compile(schema).ok());
        schema.as_ref().map(|schema| problems_of(schema, value)).unwrap_or_default()
    }
}

struct Checker<'a> {
    modules: &'a Known,
    bounds: &'a TaskBounds,
    schemas: Schemas,
    /// That were asked for.
    functions: HashMap<(Digest, Arc<str>), Option<Arc<Function>>>,
}

impl Checker<'_> {
    fn document(&mut self, document: Document) -> Result<(Definition, Arc<str>), Vec<Located>> {
        let Document { source, text, draft, findings: known, .. } = document;
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
            let is_unsure = any_default_is_unsure || task.is_broken || unsure.contains(&task.path);
            let (function, work) = self.task(task, is_unsure, &mut findings).unzip();
            functions.push(function);
            resolved.extend(work.flatten());
        }
        findings.extend(output_findings(&draft, &functions));
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
            Some(Ok(info)) => Some(info),
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
        let asked = check_keys(request, module.map(|info| &**info), self.bounds, &mut problems);
        for problem in &problems {
            if problem.kind() == Kind::FunctionNotFound && is_unsure && !names_function {
                continue;
            }
            of_problem(problem).into_iter().for_each(&mut told);
        }
        let Asked { function, args, terms, queue, priority_weight, labels, .. } = asked;
        let info = module?;
        let function = self.function(info, &function?)?;
        self.input(task, info, &function, findings);
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
    fn function(&mut self, info: &ModuleInfo, name: &Arc<str>) -> Option<Arc<Function>> {
        let read = || {
            let function = info.function(name)?;
            let input_schema = function.input_schema.to_value().unwrap_or_default();
            let output_schema = function.output_schema.to_value().unwrap_or_default();
            Some(Arc::new(Function { name: name.to_string(), input_schema, output_schema }))
        };
        self.functions.entry((info.digest, name.clone())).or_insert_with(read).clone()
    }

    fn input(&mut self, task: &DraftTask, info: &ModuleInfo, function: &Function, findings: &mut Findings) {
        let none = Value::Null;
        let input = task.input.as_ref().map_or(&none, |input| &input.value);
        let problems_of = |schema: &Value, value: &Value| self.schemas.problems(schema, value);
        for finding in input_findings(&function.input_schema, input, task.input_keys().as_deref(), &problems_of) {
            let path = path_of(task, &format!("/input{}", finding.path));
            let message = format!("the input does not fit function `{}`: {}", function.name, finding.message);
            let see = || format!("see `input_schema` of the function at GET /api/v1/modules/{}", info.digest);
            let remedy = finding.remedy.clone().unwrap_or_else(see);
            findings.add(Finding { path, message, ..finding }.remedy(remedy));
        }
    }
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
    keys.retain(|key, value| {
        let alone = Map::from_iter([(key.clone(), value.clone())]);
        read(&alone).map_err(|problem| tell(&problem)).is_ok()
    });
    read(keys).map_err(|problem| tell(&problem)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_cannot_be_read_is_told_of() {
        let mut keys = json!({"module": "a b", "retries": "x", "queue": "c d", "labels": {"a": "b"}});
        let keys = keys.as_object_mut().expect("an object");
        let mut told = Vec::new();
        let request = request(keys, |problem| told.push(problem.places()[0].path.clone()));
        assert!(request.is_some());
        told.sort();
        assert_eq!(told, ["/module", "/queue", "/retries"]);
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["labels"]);
    }
}
