//! What a template names below names that are known, and where nothing can be whatever the run.

use super::errors::place;
use super::parse::Template;
use super::references::Path;
use crate::dag::finding::{did_you_mean, shown};

/// Of a task instance. Its `id` is known when there is one: to its input and its arguments.
pub(super) const INSTANCE_KEYS: &[&str] = &["dag_id", "id", "map_index", "run_id", "task_id", "try_number"];
/// Of `dag`.
const DAG_KEYS: &[&str] = &["dag_id"];

/// A mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    pub message: String,
    pub remedy: String,
    /// In the text, from 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

/// Of one template; more are not told.
const MAX_TOLD: usize = 20;

impl Template {
    /// Where it stands under `key` of a task or a group. Without what it provides for being not there,
    /// by `default` or `is defined`.
    pub fn unresolved(&self, key: &str) -> Vec<Unresolved> {
        let one = |path: &Path| {
            let (message, remedy) = in_path(path, key)?;
            let (line, column) = place(self.source(), path.offset);
            Some(Unresolved { message, remedy, line, column })
        };
        self.paths.iter().filter(|path| !path.is_optional).filter_map(one).take(MAX_TOLD).collect()
    }
}

fn in_path(path: &Path, key: &str) -> Option<(String, String)> {
    let mut steps = path.steps.iter().map_while(|step| step.as_str());
    let (root, first) = (&*path.root, steps.next()?);
    match root {
        "task_instance" | "ti" | "task" if first == "id" && !matches!(key, "input" | "args") => {
            let message = format!("`{root}.id` is not known to `{key}`: there is no task instance yet");
            Some((message, "name the task by `task.task_id`, and the run by `run_id`".to_owned()))
        }
        "task_instance" | "ti" | "task" => none_of(INSTANCE_KEYS, root, first),
        "dag" => none_of(DAG_KEYS, root, first),
        "var" if first == "value" => {
            let (name, below) = (steps.next()?, steps.next()?);
            let message = format!("variable `{}` is a text, and there is no `{}` in it", shown(name), shown(below));
            let (name, below) = (shown(name), shown(below));
            let remedy = format!(
                "write `var.value['{name}.{below}']` for the variable `{name}.{below}`, or `var.json.{name}.{below}` \
                 to look into the JSON of `{name}`"
            );
            Some((message, remedy))
        }
        _ => None,
    }
}

fn none_of(known: &[&str], root: &str, wrong: &str) -> Option<(String, String)> {
    if known.contains(&wrong) {
        return None;
    }
    let remedy = did_you_mean(wrong, known.iter().copied());
    let remedy = remedy.unwrap_or_else(|| format!("it has {}", known.join(", ")));
    Some((format!("`{root}` has no `{}`", shown(wrong)), remedy))
}
