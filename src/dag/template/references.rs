//! What a template reads: tasks, params, variables and names, found in its syntax tree.

use std::collections::{BTreeSet, HashSet};

use minijinja::Value;
use minijinja::machinery::Span;
use minijinja::machinery::ast::{Expr, Stmt};

use super::errors::{TemplateError, Words, words};
use super::program::MAX_LOCALS;
use super::scope::NAMES;
use super::syntax::{Step, argument, each_part, path, start_of};

/// What a template reads. Only what is named literally can be known: `params[x]` counts as the name `params`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Ids of the tasks whose output is read; with groups, `load.x`.
    pub tasks: BTreeSet<String>,
    /// Params that must exist. What stands before `default` or `is defined`, there or elsewhere in the text, need not,
    /// and is not here.
    pub params: BTreeSet<String>,
    /// Keys of the variables read, `.get('KEY', default)` included: what must be loaded before rendering.
    pub variables: BTreeSet<String>,
    /// All root names: `ds`, `run_id`, `params`, `tasks`, and the keys of mapped tasks (`file`).
    pub names: BTreeSet<String>,
}

impl References {
    pub fn add(&mut self, other: &Self) {
        self.tasks.extend(other.tasks.iter().cloned());
        self.params.extend(other.params.iter().cloned());
        self.variables.extend(other.variables.iter().cloned());
        self.names.extend(other.names.iter().cloned());
    }
}

/// A name with constant steps after it. For `tasks.<id>.output` the id is found and only what follows is in `steps`.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) root: String,
    pub(super) task: Option<String>,
    pub(super) steps: Vec<Value>,
    /// Where it begins in the text, in bytes.
    pub(super) offset: usize,
    /// Whether the template asks elsewhere if it, or something on the way to it, is there.
    pub(super) is_optional: bool,
}

pub(super) struct Found {
    pub(super) references: References,
    /// Paths that must exist, in the order of the text: where an undefined value comes from. Of those with
    /// something computed in them, what stands before it.
    pub(super) paths: Vec<Path>,
}

pub(super) fn find(source: &str, template: &Stmt<'_>) -> Result<Found, TemplateError> {
    let found = Found { references: References::default(), paths: Vec::new() };
    let mut find = Find { source, found, optional: HashSet::new(), locals: Vec::new(), every_local: BTreeSet::new() };
    find.statement(template)?;
    if let Some(name) = find.every_local.iter().find(|name| find.found.references.names.contains(**name)) {
        let message = format!("`{name}` is the variable of a loop and a name outside of it");
        return Err(TemplateError::at(source, 0, words(message, "rename the variable")));
    }
    let Find { mut found, optional, .. } = find;
    if !optional.is_empty() {
        found.paths.iter_mut().for_each(|path| path.is_optional = is_optional(path, &optional));
    }
    // Only now: the question whether a param is there may stand after where it is read.
    let params = found.paths.iter().filter(|path| path.root == "params" && !path.is_optional);
    found.references.params = params.filter_map(|path| Some(path.steps.first()?.as_str()?.to_owned())).collect();
    Ok(found)
}

fn is_optional(path: &Path, optional: &HashSet<Optional>) -> bool {
    // An output may be not there; `ti` and `params` always are, and to ask for them guards nothing below.
    let first = usize::from(path.task.is_none());
    let mut ends = first..=path.steps.len().min(MAX_OPTIONAL_STEPS);
    ends.any(|end| {
        let steps = path.steps[..end].to_vec();
        optional.contains(&Optional { root: path.root.clone(), task: path.task.clone(), steps })
    })
}

/// The path that the whole expression is, if it is one.
pub(super) fn as_path(expr: &Expr<'_>) -> Option<Path> {
    let (root, steps) = path(expr)?;
    let is_constant = steps.iter().all(|step| matches!(step, Step::Constant(_)));
    if is_constant { beginning(expr, root, &steps) } else { None }
}

/// The path up to what is computed in it.
fn beginning(expr: &Expr<'_>, root: &str, steps: &[Step<'_, '_>]) -> Option<Path> {
    let end = match root {
        "tasks" => output_step(steps)?,
        _ => 0,
    };
    let task = (root == "tasks").then(|| task_id(&steps[..end - 1])).flatten();
    let constant = |step: &Step<'_, '_>| match step {
        Step::Constant(value) => Some(value.clone()),
        Step::Computed(_) => None,
    };
    let steps = steps[end..].iter().map_while(constant).collect();
    Some(Path { root: root.to_owned(), task, steps, offset: start_of(expr), is_optional: false })
}

/// Where `.output` ends, which stands after at least one step of the task's id.
fn output_step(steps: &[Step<'_, '_>]) -> Option<usize> {
    let after_id = steps.get(1..)?;
    after_id.iter().position(|step| step.text() == Some("output")).map(|position| position + 2)
}

fn task_id(steps: &[Step<'_, '_>]) -> Option<String> {
    Some(steps.iter().map(Step::text).collect::<Option<Vec<_>>>()?.join("."))
}

/// A path, wherever it stands.
#[derive(PartialEq, Eq, Hash)]
struct Optional {
    root: String,
    task: Option<String>,
    steps: Vec<Value>,
}

/// Looked for on the way to a path: a template of 64 KiB may be one path of 30 000 steps.
const MAX_OPTIONAL_STEPS: usize = 64;

struct Find<'t, 's> {
    source: &'t str,
    found: Found,
    /// What stands before `default` or `is defined`.
    optional: HashSet<Optional>,
    locals: Vec<&'s str>,
    every_local: BTreeSet<&'s str>,
}

impl<'s> Find<'_, 's> {
    fn refuse<T>(&self, span: Span, words: Words) -> Result<T, TemplateError> {
        Err(TemplateError::at(self.source, span.start_offset as usize, words))
    }

    fn statement(&mut self, statement: &Stmt<'s>) -> Result<(), TemplateError> {
        match statement {
            Stmt::Template(template) => self.body(&template.children),
            Stmt::EmitExpr(emit) => self.expression(&emit.expr, true),
            Stmt::IfCond(branch) => {
                self.expression(&branch.expr, true)?;
                self.body(&branch.true_body)?;
                self.body(&branch.false_body)
            }
            Stmt::ForLoop(repeat) => {
                self.expression(&repeat.iter, true)?;
                let outside = self.locals.len();
                self.target(&repeat.target)?;
                repeat.filter_expr.iter().try_for_each(|expr| self.expression(expr, true))?;
                self.locals.push("loop");
                self.body(&repeat.body)?;
                self.locals.truncate(outside);
                self.body(&repeat.else_body)
            }
            // The others are refused by `restrictions`, before.
            _ => Ok(()),
        }
    }

    fn body(&mut self, statements: &[Stmt<'s>]) -> Result<(), TemplateError> {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    /// The variables of a loop.
    fn target(&mut self, target: &Expr<'s>) -> Result<(), TemplateError> {
        match target {
            Expr::Var(name) if NAMES.contains(&name.id) || name.id == "loop" => {
                let message = format!("`{}` has a meaning of its own", name.id);
                self.refuse(name.span(), words(message, "rename the variable"))
            }
            Expr::Var(name) => {
                self.every_local.insert(name.id);
                if self.every_local.len() > MAX_LOCALS {
                    let message = format!("more than {MAX_LOCALS} different loop variables in one template");
                    return self.refuse(name.span(), words(message, super::restrictions::MOVE));
                }
                if !self.locals.contains(&name.id) {
                    self.locals.push(name.id);
                }
                Ok(())
            }
            Expr::List(list) => list.items.iter().try_for_each(|item| self.target(item)),
            other => {
                let message = "the variable of a loop is a name, or names with commas between";
                self.refuse(other.span(), words(message, "write `{% for x in … %}` or `{% for key, value in … %}`"))
            }
        }
    }

    /// `required`: its being undefined is an error.
    fn expression(&mut self, expr: &Expr<'s>, required: bool) -> Result<(), TemplateError> {
        match expr {
            Expr::Filter(filter) if matches!(filter.name, "default" | "d") => {
                filter.expr.iter().try_for_each(|expr| self.expression(expr, false))?;
                return filter.args.iter().try_for_each(|value| self.expression(argument(value), true));
            }
            Expr::Test(test) if matches!(test.name, "defined" | "undefined") => {
                return self.expression(&test.expr, false);
            }
            Expr::Call(call) => {
                if let Expr::GetAttr(get) = &call.expr {
                    self.method(&get.expr, get.name, call.args.first().map(argument))?;
                }
                return call.args.iter().try_for_each(|value| self.expression(argument(value), true));
            }
            _ => {}
        }
        if let Some((root, steps)) = path(expr) {
            self.path(expr, root, &steps, required)?;
            for step in steps {
                if let Step::Computed(computed) = step {
                    self.expression(computed, true)?;
                }
            }
            return Ok(());
        }
        let mut parts = Vec::new();
        each_part(expr, &mut |part| parts.push(part));
        parts.into_iter().try_for_each(|part| self.expression(part, required))
    }

    /// `var.value.get('KEY', default)`; of other methods what they are called on.
    fn method(&mut self, on: &Expr<'s>, name: &str, first: Option<&Expr<'s>>) -> Result<(), TemplateError> {
        let Some(("var", steps)) = path(on).filter(|(root, _)| !self.locals.contains(root)) else {
            return self.expression(on, true);
        };
        match (steps.as_slice(), first) {
            ([kind], Some(Expr::Const(key)))
                if name == "get" && is_variable_kind(kind) && key.value.as_str().is_some() =>
            {
                self.found.references.names.insert("var".to_owned());
                self.found.references.variables.extend(key.value.as_str().map(str::to_owned));
                Ok(())
            }
            ([_], _) => self.unclear_variable(on.span()),
            _ => self.expression(on, true),
        }
    }

    fn unclear_variable<T>(&self, span: Span) -> Result<T, TemplateError> {
        self.refuse(
            span,
            words(
                "it is not known before the run which variable this reads",
                "name the variable literally, as `var.value.KEY`, `var.json.KEY` or `var.value.get('KEY', default)`",
            ),
        )
    }

    fn path(
        &mut self,
        expr: &Expr<'s>,
        root: &'s str,
        steps: &[Step<'_, 's>],
        required: bool,
    ) -> Result<(), TemplateError> {
        if self.locals.contains(&root) {
            return Ok(());
        }
        let references = &mut self.found.references;
        references.names.insert(root.to_owned());
        match root {
            "tasks" => {
                let id = self.task(expr, steps)?;
                self.found.references.tasks.insert(id);
            }
            "var" => match steps {
                [kind, key, ..] if is_variable_kind(kind) && key.text().is_some() => {
                    references.variables.extend(key.text().map(str::to_owned));
                }
                _ => return self.unclear_variable(expr.span()),
            },
            _ => {}
        }
        match beginning(expr, root, steps) {
            Some(path) if required => self.found.paths.push(path),
            Some(Path { root, task, steps, .. }) => drop(self.optional.insert(Optional { root, task, steps })),
            None => {}
        }
        Ok(())
    }

    fn task(&self, expr: &Expr<'_>, steps: &[Step<'_, '_>]) -> Result<String, TemplateError> {
        let unclear = || {
            words(
                "it is not known before the run which task's output this reads",
                "name the task literally, as `tasks.extract.output`",
            )
        };
        let constant = steps.iter().take_while(|step| step.text().is_some()).count();
        match output_step(steps).map(|end| &steps[..end - 1]) {
            Some(id) => match task_id(id) {
                Some(id) => Ok(id),
                None => self.refuse(expr.span(), unclear()),
            },
            None if constant < steps.len() || steps.is_empty() => self.refuse(expr.span(), unclear()),
            None => {
                let id = task_id(steps).unwrap_or_default();
                let message = format!("`tasks.{id}` is the task, and of a task only the output can be read");
                self.refuse(expr.span(), words(message, format!("write `tasks.{id}.output`")))
            }
        }
    }
}

fn is_variable_kind(step: &Step<'_, '_>) -> bool {
    matches!(step.text(), Some("value" | "json"))
}
