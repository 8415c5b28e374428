//! Checks what templates read of outputs against the schemas of the functions that give these.
//!
//! A schema has to say definitely that there is no such part, or that it is of another type than what gets it.

use std::cell::Cell;
use std::sync::Arc;

use serde_json::Value;

use super::input::shown_list;
use super::schema::{Form, Forms, Part, Schema, Types, keys, types};
use crate::dag::draft::{Draft, OutputRead, Owner};
use crate::dag::finding::{Finding, Findings, did_you_mean, shown};
use crate::dag::template::{OutputPath, OutputStep as Step, written};

/// What a task calls.
#[derive(Debug)]
pub struct Function {
    pub name: String,
    pub input_schema: Value,
    pub output_schema: Value,
}

/// What is wrong, with the function of each task of the draft where it is known. Takes at most `steps`, and subtracts
/// what it took.
pub fn output_findings(draft: &Draft, functions: &[Option<Arc<Function>>], steps: &mut usize) -> Vec<Finding> {
    let most = (*steps).min(MOST_PARTS);
    let budget = Cell::new(most);
    let findings = Findings::default();
    let mut check = Check { draft, functions, budget: &budget, guesses: MAX_GUESSES, findings };
    for read in &draft.reads {
        if check.findings.is_full() || budget.get() == 0 {
            break;
        }
        check.read(read);
    }
    *steps -= most - budget.get();
    check.findings.into_vec()
}

/// Parts of schemas that are looked at for one DAG: one with very many templates over very large schemas is not
/// checked to its end.
const MOST_PARTS: usize = 2_000_000;
const MAX_GUESSES: usize = 200;

struct Check<'a> {
    draft: &'a Draft,
    functions: &'a [Option<Arc<Function>>],
    budget: &'a Cell<usize>,
    guesses: usize,
    findings: Findings,
}

/// What stands where a template reads.
enum Found<'a> {
    /// The outputs of all instances of a mapped task, with what is known of one.
    Outputs(Part<'a>),
    Value(Schema<'a>, Forms<'a>),
}

impl Found<'_> {
    fn types(&self) -> Option<Types> {
        match self {
            Self::Outputs(_) => Some(Types::ARRAY),
            Self::Value(_, forms) => types(forms),
        }
    }

    /// Of what is a list.
    fn element_types(&self) -> Option<Types> {
        match self {
            Self::Outputs(one) => one.types(),
            Self::Value(schema, forms) => schema.elements(forms).types(),
        }
    }

    /// The one property that is a list.
    fn only_list(&self) -> Option<&str> {
        let Self::Value(schema, forms) = self else { return None };
        let is_list = |key: &&str| schema.part(forms, &Step::Key((*key).to_owned())).types() == Some(Types::ARRAY);
        let mut lists = keys(forms).into_iter().filter(is_list);
        lists.next().filter(|_| lists.next().is_none())
    }
}

impl<'a> Check<'a> {
    fn read(&mut self, read: &OutputRead) {
        let Some(found) = self.follow(read).filter(|_| read.output.is_all) else { return };
        let pointer = read.pointer.replace("~1", "\0").replace("~0", "~");
        let parts: Vec<String> = pointer.split('/').skip(1).map(|part| part.replace('\0', "/")).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match *parts {
            ["input", ref at @ ..] => self.becomes_input(read, &found, at),
            ["expand" | "zip", key, _, ref at @ ..] => self.becomes_input(read, &found, &[&[key], at].concat()),
            ["expand" | "zip", key] => {
                let is_list = self.becomes_list(read, &found, &format!("`{}` is mapped over", shown(key)));
                is_list.then(|| self.elements_become_input(read, &found, key));
            }
            ["expand_kwargs"] => {
                let is_list = self.becomes_list(read, &found, "`expand_kwargs` takes");
                is_list.then(|| self.becomes_object(read, "each element of ", found.element_types()));
            }
            ["expand_kwargs", _] => self.becomes_object(read, "", found.types()),
            ["expand_kwargs", _, ref at @ ..] => self.becomes_input(read, &found, at),
            _ => {}
        }
    }

    fn add(&mut self, read: &OutputRead, code: &'static str, message: String, remedy: String) {
        self.findings.add(Finding::new(&*read.path, code, message).remedy(remedy).at(read.place));
    }

    fn function(&self, task: usize) -> Option<&'a Function> {
        self.functions.get(task)?.as_deref()
    }

    /// What the path leads to; `None` where that is not known, or has its finding.
    fn follow(&mut self, read: &OutputRead) -> Option<Found<'a>> {
        let function = self.function(read.task);
        let schema = function.map(|function| Schema::new(&function.output_schema, self.budget));
        let whole = schema.map_or(Part::Unknown, Schema::whole);
        let mut steps = read.output.steps.iter().enumerate();
        if self.is_list(read) {
            match steps.next() {
                None => return Some(Found::Outputs(whole)),
                Some((_, Step::Index(_))) => {}
                Some((_, Step::Key(key))) => {
                    self.not_of_a_list(read, key);
                    return None;
                }
            }
        }
        let (schema, Part::May(mut forms)) = (schema?, whole) else { return None };
        for (done, step) in steps {
            match schema.part(&forms, step) {
                Part::May(next) => forms = next,
                Part::Unknown => return None,
                Part::No => {
                    self.no_such_part(read, done, schema, &forms);
                    return None;
                }
            }
        }
        Some(Found::Value(schema, forms))
    }

    /// Whether it is given the outputs of all instances: not where it is itself in the group that is mapped.
    fn is_list(&self, read: &OutputRead) -> bool {
        let task = &self.draft.tasks[read.task];
        match self.draft.mapped_group(task.group) {
            Some(group) => match read.owner {
                Owner::Task(reader) => !self.draft.groups[group].tasks.contains(&reader),
                Owner::Group(_) => true,
            },
            None => task.expansion.is_some(),
        }
    }

    fn not_of_a_list(&mut self, read: &OutputRead, key: &str) {
        let task = &self.draft.tasks[read.task];
        let whole = written(&task.id, &[]);
        let mapped = if task.expansion.is_some() { "mapped" } else { "in a mapped group" };
        let key = shown(key);
        let message = format!("`{}` is {mapped}, so `{whole}` is a list and has no `{key}`", task.id);
        let one = written(&task.id, &[&[Step::Index(0)], &*read.output.steps].concat());
        let remedy = format!("read one as `{one}`, or all as `{whole} | map(attribute='{key}') | list`");
        self.add(read, "unknown_output", message, remedy);
    }

    fn no_such_part(&mut self, read: &OutputRead, done: usize, schema: Schema<'a>, forms: &[Form<'a>]) {
        let (task, steps) = (&read.output.task, &read.output.steps);
        let (before, step) = (&steps[..done], &steps[done]);
        let parent = written(task, before);
        let name = match step {
            Step::Key(key) => shown(key),
            Step::Index(index) => format!("[{index}]"),
        };
        let is = match types(forms).filter(|types| *types != Types::OBJECT) {
            Some(types) => format!("is {types} and "),
            None => String::new(),
        };
        let function = self.function(read.task).map_or("", |function| &function.name);
        let message = format!("`{parent}` {is}has no `{name}`, by the output schema of function `{function}`");
        let known = keys(forms);
        let is_in_elements = || match schema.elements(forms) {
            Part::May(elements) => matches!(schema.part(&elements, step), Part::May(_)),
            _ => false,
        };
        let remedy = match step {
            Step::Key(key) if self.guesses > 0 && !known.is_empty() => {
                self.guesses -= 1;
                did_you_mean(key, known.iter().copied())
            }
            Step::Key(_) if is_in_elements() => {
                let element = [before, &[Step::Index(0), step.clone()]].concat();
                Some(format!("did you mean `{}`?", written(task, &element)))
            }
            _ => None,
        };
        let known = Vec::from_iter(known);
        let all = || match known.is_empty() {
            true => format!("read `{parent}` itself"),
            false => format!("it has {}", shown_list(&known)),
        };
        self.add(read, "unknown_output", message, remedy.unwrap_or_else(all));
    }

    /// Whether it may be a list.
    fn becomes_list(&mut self, read: &OutputRead, found: &Found<'_>, what: &str) -> bool {
        let Some(types) = found.types().filter(|types| !types.has(Types::ARRAY)) else { return true };
        let OutputPath { task, steps, .. } = &read.output;
        let message = format!("{what} a list, and `{}` is {types}", written(task, steps));
        let meant = found.only_list().map(|key| {
            let list = [&steps[..], &[Step::Key(key.to_owned())]].concat();
            format!("did you mean `{}`?", written(task, &list))
        });
        let remedy = meant.unwrap_or_else(|| "read a list, or make one in the template".to_owned());
        self.add(read, "wrong_type", message, remedy);
        false
    }

    fn becomes_object(&mut self, read: &OutputRead, each: &str, types: Option<Types>) {
        let Some(types) = types.filter(|types| !types.has(Types::OBJECT)) else { return };
        let path = written(&read.output.task, &read.output.steps);
        let message = format!("`expand_kwargs` takes a list of objects, and {each}`{path}` is {types}");
        let remedy = "map over plain values with `expand`, under the key that they are given as";
        self.add(read, "wrong_type", message, remedy.to_owned());
    }

    /// The value becomes a part of the input.
    fn becomes_input(&mut self, read: &OutputRead, found: &Found<'_>, at: &[&str]) {
        let Some((is, wanted)) = self.misfit(read, found.types(), at) else { return };
        let path = written(&read.output.task, &read.output.steps);
        let remedy = match (found, is) {
            (Found::Outputs(_), _) if found.element_types().is_some_and(|types| wanted.has(types)) => {
                let task = &read.output.task;
                Some(format!("`{task}` is mapped: read one output as `{path}[0]`, or map over them with `expand`"))
            }
            (_, Types::STRING) if wanted == Types::INTEGER => Some(format!("write `{{{{ {path} | int }}}}`")),
            (_, Types::STRING) if wanted == Types::NUMBER => Some(format!("write `{{{{ {path} | float }}}}`")),
            (_, Types::INTEGER | Types::NUMBER) if wanted == Types::STRING => {
                Some(format!("write `{{{{ {path} | string }}}}`"))
            }
            _ => None,
        };
        let remedy = remedy.unwrap_or_else(|| other_value(wanted));
        self.add(read, "wrong_type", self.does_not_fit(read, &format!("`{path}` is {is}"), wanted, at), remedy);
    }

    /// Each instance gets one of them.
    fn elements_become_input(&mut self, read: &OutputRead, found: &Found<'_>, key: &str) {
        let Some((is, wanted)) = self.misfit(read, found.element_types(), &[key]) else { return };
        let each = format!("each element of `{}` is {is}", written(&read.output.task, &read.output.steps));
        self.add(read, "wrong_type", self.does_not_fit(read, &each, wanted, &[key]), other_value(wanted));
    }

    /// The types that something has and that the reader wants for it, if these exclude each other.
    fn misfit(&self, read: &OutputRead, types: Option<Types>, at: &[&str]) -> Option<(Types, Types)> {
        let Owner::Task(reader) = read.owner else { return None };
        let schema = Schema::new(&self.function(reader)?.input_schema, self.budget);
        let (is, wanted) = (types?, types_at(schema, at)?);
        // What is null adds nothing to the keys that a task is mapped over.
        let is_nothing = at.is_empty() && is.has(Types::NULL) && self.draft.tasks[reader].expansion.is_some();
        (!wanted.has(is) && !is_nothing).then_some((is, wanted))
    }

    fn does_not_fit(&self, read: &OutputRead, what: &str, wanted: Types, at: &[&str]) -> String {
        let function = match read.owner {
            Owner::Task(reader) => self.function(reader).map_or("", |function| &function.name),
            Owner::Group(_) => "",
        };
        let place = match at {
            [] => "as its input".to_owned(),
            at => format!("at `/{}`", shown(&at.join("/"))),
        };
        format!("{what}, and function `{function}` wants {wanted} {place}")
    }
}

fn other_value(wanted: Types) -> String {
    format!("give it {wanted}, or make one of it in the template")
}

/// What a schema wants at a place in the input, as far as it says.
fn types_at(schema: Schema<'_>, at: &[&str]) -> Option<Types> {
    let mut part = schema.whole();
    for name in at {
        let Part::May(forms) = part else { return None };
        // A number may be a key or an index; without a type nobody knows.
        let is = types(&forms)?;
        let step = match name.parse() {
            Ok(index) if !is.has(Types::OBJECT) => Step::Index(index),
            Ok(_) if is.has(Types::ARRAY) => return None,
            _ => Step::Key((*name).to_owned()),
        };
        part = schema.part(&forms, &step);
    }
    part.types()
}

#[cfg(test)]
mod tests;
