//! Renders templates: one evaluation has one scope, one meter and one account of fuel.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::machinery::{self, make_string_output};
use minijinja::{AutoEscape, Value};

use super::environment;
use super::errors::{RenderError, RenderErrorKind as Kind, kind_of};
use super::json;
use super::operators::Meter;
use super::parse::{Compiled, Template};
use super::program::Program;
use super::references::Path;
use super::scope::{Output, Root, Scope};
use super::{Bounds, NAMES};
use crate::dag::finding::closest;

/// Paths that are looked at again to say which of them is not there: no fuel pays for that.
const MAX_EXPLAINED: usize = 100;

/// What a template came to.
pub(super) enum Rendered {
    Value(serde_json::Value),
    /// A whole output, not yet read or copied.
    Output(Arc<Output>),
}

impl Rendered {
    pub(super) fn into_value(self) -> Result<serde_json::Value, RenderError> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Output(output) => output
                .text()
                .to_value()
                .map_err(|error| RenderError::new(Kind::Failed, format!("an output cannot be read: {error}"))),
        }
    }
}

pub(super) struct Evaluation<'a> {
    scope: &'a Scope,
    bounds: Bounds,
    root: Value,
    meter: Value,
    spent: std::cell::Cell<u64>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(scope: &'a Scope, bounds: Bounds) -> Self {
        let meter = Value::from_object(Meter::new(bounds.output_bytes));
        let root = Value::from_object(Root { scope: scope.clone(), meter: meter.clone() });
        Self { scope, bounds, root, meter, spent: 0.into() }
    }

    pub(super) fn meter(&self) -> &Meter {
        self.meter.downcast_object_ref().expect("the meter is a meter")
    }

    pub(super) fn take(&self, bytes: usize) -> Result<(), RenderError> {
        self.meter().take(bytes).map_err(|_| too_large(self.bounds))
    }

    pub(super) fn render(&self, template: &Template) -> Result<Rendered, RenderError> {
        self.attempt(template).map_err(|error| self.explain(template, error))
    }

    fn attempt(&self, template: &Template) -> Result<Rendered, RenderError> {
        let value = match &template.compiled {
            Compiled::Literal => {
                self.take(template.source().len() + 2)?;
                return Ok(Rendered::Value(template.source().into()));
            }
            Compiled::Path(Path { task: Some(task), steps, .. }) if steps.is_empty() => {
                let output = self.scope.output(task).ok_or_else(undefined)?;
                self.take(output.text().as_str().len())?;
                return Ok(Rendered::Output(Arc::clone(output)));
            }
            Compiled::Path(path) => {
                self.spend(1 + path.steps.len() as u64)?;
                self.walk(path).map_err(|(error, _)| error)?
            }
            Compiled::Value(program) => self.run(program)?.0.ok_or_else(undefined)?,
            Compiled::Text(program) => return Ok(Rendered::Value(self.run(program)?.1.into())),
        };
        json::to_value(&value, self.meter()).map(Rendered::Value)
    }

    /// Pays for what is done without the virtual machine.
    fn spend(&self, fuel: u64) -> Result<(), RenderError> {
        self.spent.set(self.spent.get() + fuel);
        if self.spent.get() > self.bounds.fuel { Err(out_of_fuel(self.bounds)) } else { Ok(()) }
    }

    /// Runs a program: the value it leaves, and the text it writes.
    fn run(&self, program: &Program) -> Result<(Option<Value>, String), RenderError> {
        self.spend(1)?;
        let mut text = String::new();
        environment::with_fuel(self.bounds.fuel, |environment| {
            let mut output = make_string_output(&mut text);
            let blocks = BTreeMap::new();
            let run =
                machinery::eval(environment, &program.0, self.root.clone(), &blocks, &mut output, AutoEscape::None);
            let (value, state) = run.map_err(|error| self.engine_error(&error))?;
            self.spent.set(self.spent.get() + state.fuel_levels().map_or(0, |(consumed, _)| consumed));
            Ok(value)
        })
        .map(|value| (value, text))
    }

    fn engine_error(&self, error: &minijinja::Error) -> RenderError {
        match kind_of(error) {
            Kind::OutOfFuel => out_of_fuel(self.bounds),
            kind => {
                let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
                RenderError::new(kind, message)
            }
        }
    }

    /// Follows a path; on failure also how many of its steps there were.
    fn walk(&self, path: &Path) -> Result<Value, (RenderError, usize)> {
        let engine = |done: usize| move |error: minijinja::Error| (self.engine_error(&error), done);
        let mut at = match &path.task {
            Some(task) => {
                let output = self.scope.output(task).ok_or_else(|| (undefined(), 0))?;
                output.value().map_err(engine(0))?
            }
            None => self.scope.root(&path.root).ok_or_else(|| (undefined(), 0))?,
        };
        for (index, step) in path.steps.iter().enumerate() {
            at = at.get_item(step).map_err(engine(index + 1))?;
            if at.is_undefined() {
                return Err((undefined(), index + 1));
            }
            if let Some(error) = json::error_of(&at) {
                return Err(engine(index + 1)(error));
            }
        }
        Ok(at)
    }

    /// Says which expression, and of what is undefined what it is and what may have been meant.
    fn explain(&self, template: &Template, mut error: RenderError) -> RenderError {
        let missing = || {
            let mut paths = template.paths.iter().take(MAX_EXPLAINED);
            let (path, done) = paths.find_map(|path| Some((path, self.missing(path)?)))?;
            Some(self.missing_message(path, done))
        };
        match error.kind {
            Kind::Undefined => error.message = missing().unwrap_or(error.message),
            // An operator may have met what is not defined; it does not know where that comes from.
            Kind::Failed => error.message.extend(missing().map(|missing| format!("; {missing}"))),
            Kind::OutOfFuel | Kind::TooLarge => {}
        }
        if error.kind == Kind::TooLarge && self.meter().left() < self.bounds.output_bytes / 2 {
            error.message = too_large(self.bounds).message;
        }
        let source = template.source().trim();
        let mut shown = source.chars().take(80).collect::<String>();
        if shown.len() < source.len() {
            shown.push('…');
        }
        error.message = format!("`{shown}`: {}", error.message);
        error
    }

    /// How many steps of the path there are, if not all.
    fn missing(&self, path: &Path) -> Option<usize> {
        match self.walk(path) {
            Err((error, done)) if error.kind == Kind::Undefined => Some(done),
            _ => None,
        }
    }

    fn missing_message(&self, path: &Path, done: usize) -> String {
        let Some(step) = done.checked_sub(1) else {
            return match &path.task {
                Some(task) => format!("task `{task}` has no output; it did not run, or did not succeed"),
                None if NAMES.contains(&path.root.as_str()) && !self.scope.has_dates() => {
                    format!("`{}` is not defined: this run has no logical date", path.root)
                }
                None if path.root.starts_with("data_interval") => {
                    format!("`{}` is not defined: this run has no data interval", path.root)
                }
                None => {
                    let near = closest(&path.root, self.scope.defined());
                    format!("`{}` is not defined{}", path.root, suggestion("", near))
                }
            };
        };
        let before = Path { steps: path.steps[..step].to_vec(), ..path.clone() };
        let parent = shown(&before);
        let missing = shown(&Path { steps: path.steps[..=step].to_vec(), ..path.clone() });
        let parent_value = self.walk(&before).ok();
        if let (Some(task), 0, Some(true)) = (&path.task, step, parent_value.as_ref().map(Value::is_none)) {
            return format!(
                "`{missing}` is not defined: the output of `{task}` is null; it did not succeed, or returned nothing"
            );
        }
        let known = parent_value.filter(|value| value.kind() == minijinja::value::ValueKind::Map);
        let known = known.and_then(|value| value.try_iter().ok());
        let keys = known.into_iter().flatten().filter_map(|key| key.to_str()).take(1_000).collect::<Vec<_>>();
        let near = path.steps[step].as_str().and_then(|name| closest(name, keys.iter().map(|key| &**key)));
        if path.root == "var" && step == 1 {
            let name = path.steps[step].as_str().unwrap_or_default();
            return format!(
                "variable `{name}` does not exist; create it, or give a default: `{parent}.get('{name}', …)`"
            );
        }
        format!("`{missing}` is not defined{}", suggestion(&format!("{parent}."), near))
    }
}

fn suggestion(before: &str, near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean `{before}{near}`?"))
}

/// The path as it is written.
fn shown(path: &Path) -> String {
    let mut text = match &path.task {
        Some(task) => format!("tasks.{task}.output"),
        None => path.root.clone(),
    };
    for step in &path.steps {
        match step.as_str() {
            Some(name) if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
                text.push('.');
                text.push_str(name);
            }
            _ => text.push_str(&format!("[{step:?}]")),
        }
    }
    text
}

fn undefined() -> RenderError {
    RenderError::new(Kind::Undefined, "a value is not defined")
}

fn out_of_fuel(bounds: Bounds) -> RenderError {
    let message = format!("the template needs more than {} steps; move this into the task's code", bounds.fuel);
    RenderError::new(Kind::OutOfFuel, message)
}

fn too_large(bounds: Bounds) -> RenderError {
    RenderError::new(Kind::TooLarge, format!("more than {} bytes come out", bounds.output_bytes))
}
