//! `tradewind apply`: makes DAGs what files say.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::CliError;
use super::findings::{self, Mistake};
use super::output::stderr_has_colour;
use super::tasks::short_digest;
use super::{Context, connect, text};
use crate::client::{Applied, AppliedAll, ClientError, DagFile, Problem};

const EXAMPLES: &str = "\
Examples:
  tradewind apply etl.yaml
  tradewind apply dags/ --dry-run               check every DAG below dags/
  generate-dag | tradewind apply -

All DAGs are applied at once, or, where one has a mistake, none. A new DAG is not
paused; runs that are under way end with the version they began with. In a directory,
a JSON file with neither dag_id nor tasks is no DAG and is passed over.";

/// What a DAG file is called.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// What stdin is called where mistakes are told.
const STDIN: &str = "stdin";

/// Create DAGs, or change them: all of the files, or none.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ApplyCommand {
    /// DAG files, directories to search for *.yaml, *.yml and *.json, or - for stdin
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// Only check; change nothing
    #[arg(long)]
    dry_run: bool,
}

impl ApplyCommand {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let files = read(&self.files)?;
        let client = connect::client(&context.loaded.settings)?;
        let output = &context.output;
        let answer = match client.apply(&files, self.dry_run).await {
            Ok(answer) => answer,
            Err(ClientError::Refused(problem)) if has_places(&problem) => {
                if output.is_json() {
                    output.line(&text::json(&serde_json::json!({ "errors": problem.errors }).to_string()))?;
                }
                let mistakes: Vec<Mistake> = problem.errors.iter().map(Mistake::from).collect();
                tell(&mistakes, &files, output.width());
                eprintln!("nothing was changed");
                return Err(CliError::Mistakes);
            }
            Err(error) => return Err(error.into()),
        };
        if output.is_json() {
            return output.json(&answer.json()?);
        }
        for dag in answer.read::<AppliedAll>()?.dags {
            let became = became(&dag, self.dry_run);
            let paused = if dag.is_paused { ", paused" } else { "" };
            let tasks = text::plural(dag.tasks.into(), "task");
            let version = short_digest(&dag.version.to_string());
            output.line(&format!("{} {became} {version}, {tasks}{paused}", text::line(&dag.dag_id)))?;
        }
        Ok(())
    }
}

/// What became of a DAG, or would.
fn became(dag: &Applied, dry_run: bool) -> &'static str {
    match (dag.created, dag.existed, dry_run) {
        (true, false, false) => "created",
        (true, false, true) => "would be created",
        (true, true, false) => "changed",
        (true, true, true) => "would be changed",
        (false, ..) => "unchanged",
    }
}

/// Whether the refusal is about the content of files.
fn has_places(problem: &Problem) -> bool {
    problem.errors.iter().any(|place| place.line.is_some())
}

/// Mistakes on stderr.
pub(super) fn tell(mistakes: &[Mistake], files: &[DagFile], width: usize) {
    eprint!("{}", findings::shown(mistakes, files, width, stderr_has_colour()));
}

/// All files that are meant, each once, in the order of the arguments and sorted within a directory.
fn read(arguments: &[PathBuf]) -> Result<Vec<DagFile>, CliError> {
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            if seen.insert(argument.clone()) {
                files.push(read_stdin()?);
            }
            continue;
        }
        // One that cannot be resolved cannot be read either, and that is told next.
        let mut is_new = |path: &Path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.to_owned()));
        if !argument.is_dir() {
            if is_new(argument) {
                files.push(read_file(argument)?);
            }
            continue;
        }
        let found = below(argument)?;
        let count = found.len();
        let found = found.into_iter().filter(|path| is_new(path)).map(|path| read_file(&path));
        let (dags, others): (Vec<_>, Vec<_>) = found.collect::<Result<Vec<_>, _>>()?.into_iter().partition(may_be_dag);
        if others.len() == count {
            return Err(CliError::Usage(format!(
                "there is no DAG file in {}: {}",
                argument.display(),
                passed_over(&others)
            )));
        }
        if !others.is_empty() {
            eprintln!("{}", passed_over(&others));
        }
        files.extend(dags);
    }
    Ok(files)
}

/// JSON files lie about for many reasons. What has neither of the keys that every DAG has is not meant as one.
fn may_be_dag(file: &DagFile) -> bool {
    if !file.path.ends_with(".json") {
        return true;
    }
    match serde_json::from_str(&file.content) {
        Ok(serde_json::Value::Object(keys)) => keys.contains_key("dag_id") || keys.contains_key("tasks"),
        Ok(_) => false,
        // Where it is torn the server says.
        Err(_) => true,
    }
}

/// `dags/a.json is no DAG and was passed over: it has neither dag_id nor tasks`
fn passed_over(others: &[DagFile]) -> String {
    const MOST: usize = 3;
    let mut names: Vec<String> = others.iter().take(MOST).map(|file| text::line(&file.path)).collect();
    if others.len() > MOST {
        names.push(format!("{} more", others.len() - MOST));
    }
    let last = names.pop().unwrap_or_default();
    match names.as_slice() {
        [] => format!("{last} is no DAG and was passed over: it has neither dag_id nor tasks"),
        names => format!(
            "{} and {last} are no DAGs and were passed over: they have neither dag_id nor tasks",
            names.join(", ")
        ),
    }
}

fn read_stdin() -> Result<DagFile, CliError> {
    let mut content = String::new();
    std::io::stdin()
        .read_to_string(&mut content)
        .map_err(|error| CliError::Usage(format!("stdin cannot be read: {error}")))?;
    Ok(DagFile { path: STDIN.to_owned(), content })
}

pub(super) fn read_file(path: &Path) -> Result<DagFile, CliError> {
    let shown = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(content) => Ok(DagFile { path: shown, content }),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(CliError::Usage(format!("{shown} is not text; a DAG is a file in YAML or JSON")))
        }
        Err(error) => Err(CliError::Usage(format!("{shown} cannot be read: {error}"))),
    }
}

/// The DAG files in a directory and in those below it, but for hidden ones. Links to directories are not followed: they
/// may lead round in a circle.
fn below(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let unreadable =
        |directory: &Path, error: std::io::Error| CliError::Usage(format!("{}: {error}", directory.display()));
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).map_err(|error| unreadable(&directory, error))? {
            let entry = entry.map_err(|error| unreadable(&directory, error))?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type().map_err(|error| unreadable(&path, error))?.is_dir() {
                directories.push(path);
            } else if is_dag_file(&path) && path.is_file() {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        let wanted = EXTENSIONS.map(|extension| format!("*.{extension}")).join(", ");
        return Err(CliError::Usage(format!("there is no DAG file in {}: none of {wanted}", directory.display())));
    }
    found.sort();
    Ok(found)
}

/// By its name.
pub(super) fn is_dag_file(path: &Path) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| EXTENSIONS.contains(&extension))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::extract::{RawQuery, State};
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use parking_lot::Mutex;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::Client;
    use crate::client::stub;

    #[test]
    fn directories_are_searched_in_order_and_files_are_taken_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        for directory in ["dags/deep", "dags/.git", "empty"] {
            std::fs::create_dir_all(at(directory)).expect("made");
        }
        for name in ["b.yaml", "a.yml", "deep/c.json", "notes.md", ".hidden.yaml", ".git/d.yaml"] {
            std::fs::write(at("dags").join(name), name).expect("written");
        }
        std::os::unix::fs::symlink(at("dags"), at("dags/deep/again")).expect("linked");
        let files = read(&[at("dags/b.yaml"), at("dags"), at("dags/deep/../a.yml")]).expect("files");
        let contents: Vec<_> = files.iter().map(|file| file.content.as_str()).collect();
        assert_eq!(contents, ["b.yaml", "a.yml", "deep/c.json"]);

        std::fs::write(at("a.wasm"), b"\0asm\xff").expect("written");
        for (missing, said) in
            [("empty", "no DAG file in"), ("gone.yaml", "gone.yaml cannot be read"), ("a.wasm", "a.wasm is not text")]
        {
            let error = read(&[at(missing)]).expect_err(missing).said().expect("a reason");
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn json_that_is_no_dag_is_passed_over_in_a_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("other")).expect("made");
        let files = [
            ("dag.json", r#"{"dag_id": "a"}"#),
            ("expected.json", "[1]"),
            ("torn.json", "{"),
            ("other/package.json", r#"{"name": "x"}"#),
        ];
        for (name, content) in files {
            std::fs::write(at(name), content).expect("written");
        }
        let names = |arguments: &[PathBuf]| {
            let files = read(arguments).expect("files");
            files.iter().map(|file| file.path.rsplit('/').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[dir.path().to_owned()]), ["dag.json", "torn.json"]);
        assert_eq!(names(&[at("expected.json")]), ["expected.json"]);
        let error = read(&[at("other")]).expect_err("nothing").said().expect("a reason");
        assert!(error.contains("no DAG file in") && error.contains("package.json is no DAG"), "{error}");

        let file = |name: &str| DagFile { path: name.to_owned(), content: String::new() };
        assert_eq!(
            passed_over(&["a", "b", "c", "d", "e"].map(file)),
            "a, b, c and 2 more are no DAGs and were passed over: they have neither dag_id nor tasks"
        );
    }

    #[test]
    fn what_was_there_before_is_changed() {
        let applied = |more: Value| {
            let mut dag = json!({"dag_id": "etl", "version": crate::model::Digest::of(b""), "created": true});
            dag.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
            serde_json::from_value::<Applied>(dag).expect("a DAG")
        };
        for (more, now, dry) in [
            (json!({}), "created", "would be created"),
            (json!({"existed": false}), "created", "would be created"),
            (json!({"existed": true}), "changed", "would be changed"),
            (json!({"existed": true, "created": false}), "unchanged", "unchanged"),
        ] {
            let dag = applied(more);
            assert_eq!((became(&dag, false), became(&dag, true)), (now, dry));
        }
    }

    /// What was sent, and what to answer with.
    type Sent = Arc<Mutex<Vec<(String, Value)>>>;

    async fn apply(
        State(sent): State<Sent>,
        RawQuery(query): RawQuery,
        body: axum::Json<Value>,
    ) -> axum::response::Response {
        let wrong = body.0["files"][0]["content"] == "wrong";
        sent.lock().push((query.unwrap_or_default(), body.0));
        if !wrong {
            return axum::Json(json!({"dags": []})).into_response();
        }
        let problem = json!({"status": 422, "code": "invalid_dag", "title": "", "thing": "the DAGs", "reason": "", "errors":
            [{"file": "a.yaml", "path": "a.yaml#/", "line": 1, "column": 1, "code": "x", "message": "wrong"}]});
        (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(problem)).into_response()
    }

    #[tokio::test]
    async fn all_files_are_sent_as_one_and_mistakes_come_back_with_their_places() {
        let sent = Sent::default();
        let route = axum::routing::post(apply);
        let app = axum::Router::new().route("/api/v1/dags/apply", route).with_state(sent.clone());
        let client = Client::new(&stub::serve(app).await, None).expect("a client");
        let file = |path: &str, content: &str| DagFile { path: path.to_owned(), content: content.to_owned() };
        client.apply(&[file("a.yaml", "one"), file("b.yaml", "two")], true).await.expect("applied");
        let files = json!([{"path": "a.yaml", "content": "one"}, {"path": "b.yaml", "content": "two"}]);
        assert_eq!(*sent.lock(), [("dry_run=true".to_owned(), json!({ "files": files }))]);

        let refused = client.apply(&[file("a.yaml", "wrong")], false).await.err().expect("refused");
        let ClientError::Refused(problem) = refused else { panic!("{refused}") };
        assert!(has_places(&problem));
        let mistakes: Vec<Mistake> = problem.errors.iter().map(Mistake::from).collect();
        let shown = findings::shown(&mistakes, &[file("a.yaml", "wrong")], 80, false);
        assert_eq!(shown, "a.yaml:1:1: wrong [x]\n   1 | wrong\n     | ^^^^^\n1 mistake\n");
    }
}
