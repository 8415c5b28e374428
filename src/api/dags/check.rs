//! Checks DAG files against all that is known: their words, their graph, and the modules that they name.
//!
//! Everything that is wrong is found at once. One file is done before the next is read, so that what is kept of many
//! is their definitions. What takes long is done on threads that may block; the modules are looked up in between. What
//! a name means is asked once, so that all tasks of a request see the same module under it.

mod document;

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::Api;
use crate::api::bounds::{
    MAX_CHECK_STEPS, MAX_DAGS, MAX_DEFINITIONS_BYTES, MAX_MISTAKES, MAX_POINTER_BYTES, TaskBounds,
};
use crate::api::problem::{Kind, Problem, internal, load_refused};
use crate::coordinator::{ModuleRef, NewVersion};
use crate::dag::finding::Place;
use crate::dag::{Draft, Finding, Located, MAX_LOOKS, Source, with_outside};
use crate::model::{DagId, Digest, ModuleInfo, ModuleKind};
use crate::sandbox::Module;

use super::findings::{Mistake, refusal};
use document::{Checker, Known, Named, module_of, needs_module};

/// What was sent.
pub(super) struct Sent {
    pub(super) files: Vec<File>,
    /// The DAG that the one document has to be.
    pub(super) only: Option<DagId>,
}

pub(super) struct File {
    /// None where there is only one.
    pub(super) path: Option<String>,
    /// Taken away when they are read.
    pub(super) bytes: Vec<u8>,
}

/// A document that passed.
pub(super) struct Checked {
    /// In `Sent::files`.
    pub(super) file: usize,
    pub(super) version: Digest,
    pub(super) new: NewVersion,
}

/// All documents of all files in their order, or all that is wrong with any of them. The files come back with them,
/// but for their content.
pub(super) async fn check(api: &Api, sent: Sent) -> Result<(Vec<Checked>, Sent), Problem> {
    // It goes with the work, which goes on when the caller has hung up.
    let permit = Arc::new(api.checks().clone().acquire_owned().await.map_err(|closed| internal(&closed))?);
    let blocking = |work: Box<dyn FnOnce() -> Progress + Send>| {
        let permit = permit.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        })
    };
    let mut progress = Progress::new(sent);
    let mut names = HashMap::new();
    for file in 0..progress.sent.files.len() {
        let reading = blocking(Box::new(move || {
            progress.read(file);
            progress
        }));
        progress = reading.await.map_err(|error| internal(&error))?;
        let modules = look_up(api, &mut names, &progress.named).await?;
        let bounds = api.bounds.tasks.clone();
        let checking = blocking(Box::new(move || {
            progress.check(&modules, &bounds);
            progress
        }));
        progress = checking.await.map_err(|error| internal(&error))?;
        if progress.is_over {
            break;
        }
    }
    progress.finish()
}

/// What names of modules mean in this request, or why they mean nothing.
type Names = HashMap<ModuleRef, Result<Digest, Problem>>;

async fn look_up(api: &Api, names: &mut Names, named: &HashMap<ModuleRef, bool>) -> Result<Known, Problem> {
    let mut known = HashMap::with_capacity(named.len());
    for (reference, with_literals) in named {
        let refused = |error| load_refused(reference, error);
        let digest = match names.get(reference) {
            Some(digest) => digest.clone(),
            None => {
                let digest = api.modules.resolve(reference).await.map_err(refused);
                names.insert(reference.clone(), digest.clone());
                digest
            }
        };
        let found = match digest {
            Ok(digest) => module(api, digest, *with_literals).await.map_err(refused),
            Err(problem) => Err(problem),
        };
        if let Err(problem) = &found
            && problem.kind() != Kind::ModuleNotFound
        {
            return Err(problem.clone());
        }
        known.insert(reference.clone(), found);
    }
    Ok(known)
}

/// With the module itself where its functions' types say more of an input than a schema can.
async fn module(api: &Api, digest: Digest, with_literals: bool) -> Result<Named, crate::coordinator::ModuleError> {
    let info: Arc<ModuleInfo> = api.modules.info(digest).await?;
    let module: Option<Arc<Module>> = match with_literals && info.kind != ModuleKind::Sdk {
        true => Some(api.modules.module(digest).await?),
        false => None,
    };
    Ok(Named { info, module })
}

/// One document of a file, read and checked as far as it goes without modules.
struct Document {
    file: usize,
    source: Source,
    text: Arc<str>,
    draft: Draft,
    findings: Vec<Finding>,
}

/// What is known of a request so far.
struct Progress {
    sent: Sent,
    /// Of the file that is being checked.
    documents: Vec<Document>,
    /// The modules that these name, and whether the types of their functions are needed too.
    named: HashMap<ModuleRef, bool>,
    passed: Vec<Checked>,
    /// Of all definitions that passed, as text.
    bytes: usize,
    wrong: Vec<(usize, Located)>,
    /// Where each DAG was met first.
    places: HashMap<DagId, (usize, Place)>,
    dags: usize,
    /// Of checks of inputs, that are left.
    steps: usize,
    /// Of checks of the defaults of params, that are left.
    looks: u64,
    /// What is still to come is not looked at.
    is_over: bool,
}

impl Progress {
    fn new(sent: Sent) -> Self {
        Self {
            sent,
            documents: Vec::new(),
            named: HashMap::new(),
            passed: Vec::new(),
            bytes: 0,
            wrong: Vec::new(),
            places: HashMap::new(),
            dags: 0,
            steps: MAX_CHECK_STEPS,
            looks: MAX_LOOKS,
            is_over: false,
        }
    }

    fn read(&mut self, file: usize) {
        let bytes = std::mem::take(&mut self.sent.files[file].bytes);
        let (sources, stopped) = match self.sent.only {
            None => Source::read_all(&bytes),
            Some(_) => match Source::read(&bytes) {
                Ok(source) => (vec![source], Vec::new()),
                Err(findings) => (Vec::new(), findings),
            },
        };
        self.wrong.extend(stopped.into_iter().map(|located| (file, short(located))));
        self.dags += sources.len();
        if self.dags > MAX_DAGS {
            let message = format!("these are more than {MAX_DAGS} DAGs in one request");
            return self.end(file, "too_many_dags", message);
        }
        for source in sources {
            let text = Arc::clone(source.text());
            let (draft, findings) = with_outside(&mut self.looks, |outside| Draft::read(&source, outside));
            self.documents.push(Document { file, source, text, draft, findings });
        }
        self.named.clear();
        for task in self.documents.iter().flat_map(|document| &document.draft.tasks) {
            if let Some(reference) = module_of(task) {
                *self.named.entry(reference).or_default() |= needs_module(task);
            }
        }
    }

    fn check(&mut self, modules: &Known, bounds: &TaskBounds) {
        let mut steps = self.steps;
        let mut checker = Checker::new(modules, bounds, &mut steps);
        for mut document in std::mem::take(&mut self.documents) {
            if self.is_over {
                break;
            }
            let file = document.file;
            self.name_findings(&mut document);
            match checker.document(document) {
                Ok((definition, source)) => {
                    let text = definition.canonical_json();
                    let version = Digest::of(text.as_bytes());
                    let new = NewVersion { definition: Arc::new(definition), source };
                    self.passed.push(Checked { file, version, new });
                    self.count(file, text.len());
                }
                Err(located) => self.wrong.extend(located.into_iter().map(|located| (file, short(located)))),
            }
            self.is_over |= self.wrong.len() > MAX_MISTAKES;
        }
        self.steps = steps;
    }

    /// What `default_args` say is written out for each task, so that small files may make large definitions.
    fn count(&mut self, file: usize, bytes: usize) {
        self.bytes += bytes;
        if self.bytes > MAX_DEFINITIONS_BYTES {
            let most = MAX_DEFINITIONS_BYTES;
            let message =
                format!("the DAGs up to here come to more than {most} bytes, defaults written out for each task");
            self.end(file, "too_large_together", message);
        }
    }

    /// No more is looked at.
    fn end(&mut self, file: usize, code: &'static str, message: String) {
        let finding = Finding::new("", code, message).remedy("send them in several requests");
        self.wrong.push((file, finding.located(Place::START)));
        self.is_over = true;
    }

    fn finish(self) -> Result<(Vec<Checked>, Sent), Problem> {
        let Self { sent, passed, mut wrong, .. } = self;
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

    /// What is wrong with the name of the DAG, as far as the rest of the request decides it.
    fn name_findings(&mut self, document: &mut Document) {
        let Self { sent, places, .. } = self;
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
            let message =
                format!("`{RESERVED}` cannot be the name of a DAG: /api/v1/dags/{RESERVED} is another address");
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
}

const RESERVED: &str = "apply";

/// With a path that is not as long as all the keys on it: there may be thousands of these.
fn short(mut located: Located) -> Located {
    if located.path.len() > MAX_POINTER_BYTES {
        located.path.truncate(located.path.floor_char_boundary(MAX_POINTER_BYTES));
        located.path.push('…');
    }
    located
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_that_are_too_large_together_are_refused() {
        let file = || File { path: Some("a.yaml".to_owned()), bytes: Vec::new() };
        let mut progress = Progress::new(Sent { files: vec![file(), file()], only: None });
        progress.count(0, MAX_DEFINITIONS_BYTES);
        assert!(!progress.is_over && progress.wrong.is_empty());
        progress.count(1, 1);
        assert!(progress.is_over);
        let problem = progress.finish().err().expect("a refusal");
        assert_eq!((problem.places().len(), &*problem.places()[0].code), (1, "too_large_together"));
    }

    #[test]
    fn a_path_is_cut_where_it_is_very_long() {
        let finding = |path: String| Finding::new(path, "x", "wrong").located(Place::START);
        let long = short(finding("/ä".repeat(1_000)));
        assert!(long.path.len() <= MAX_POINTER_BYTES + 3 && long.path.ends_with("/ä/…"), "{}", long.path);
        assert_eq!(short(finding("/a".repeat(9))).path, "/a".repeat(9));
    }
}
