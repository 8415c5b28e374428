//! Checks the templates of a DAG: that they parse, and that what they name exists by then.
//!
//! The only file here that knows how templates are read.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use super::order::Ancestors;
use crate::dag::draft::{OutputRead, Owner, Read, Reader, Spot, Templated};
use crate::dag::finding::{Finding, Place, pointer_part, shown};
use crate::dag::source::{Kind, Node};
use crate::dag::template::{self, NAMES, OutputPath, References, Template, Unresolved, instead_of, is_template};

/// Templates of one DAG, those of `default_args` once for each task that has them.
pub const MAX_TEMPLATES: usize = 20_000;
/// Of the pointers that are kept of what reads outputs. What comes after is not checked against the functions that give
/// these outputs: keys may be long, and nested deep.
const MAX_POINTER_BYTES: usize = 8 << 20;
/// Names in a sentence.
const MAX_TOLD: usize = 20;

/// What they read of outputs comes back: if there is such a part is known by the functions that give these.
pub(super) fn check(reader: &mut Reader, read: &Read<'_>) -> Vec<OutputRead> {
    let mut checker = Checker {
        read,
        path: String::new(),
        count: 0,
        pointer_bytes: 0,
        keys: HashMap::new(),
        ancestors: None,
        reads: Vec::new(),
    };
    for templated in &read.templates {
        checker.path.clone_from(&templated.spot.path);
        if checker.value(reader, templated, templated.spot.node).is_break() {
            break;
        }
    }
    checker.free_texts(reader);
    checker.reads
}

struct Checker<'r, 'a> {
    read: &'r Read<'a>,
    /// Of the value that is looked at. One for all: a path for each template would be far more than the document.
    path: String,
    /// Templates so far.
    count: usize,
    pointer_bytes: usize,
    /// What instances differ in, of the tasks and groups that were asked for; `None` where only a run knows.
    keys: HashMap<Owner, Option<BTreeSet<&'r str>>>,
    /// Made when the first template reads an output.
    ancestors: Option<Known>,
    reads: Vec<OutputRead>,
}

struct Known {
    ancestors: Ancestors,
    /// Of which tasks nobody knows all that is upstream.
    unsure: Vec<bool>,
}

/// A template of the document.
struct At<'t, 'a> {
    templated: &'t Templated<'a>,
    node: &'a Node,
}

impl At<'_, '_> {
    /// The key of its task or group.
    fn key(&self) -> &str {
        self.templated.spot.name
    }

    fn is_label(&self) -> bool {
        self.key() == "map_index_template"
    }
}

impl<'a> Checker<'_, 'a> {
    /// All templates in a value. Ends early where there are too many of them, or more findings than are told.
    fn value(&mut self, reader: &mut Reader, templated: &Templated<'a>, node: &'a Node) -> ControlFlow<()> {
        let parent = self.path.len();
        match &node.kind {
            Kind::Text(text) if is_template(&text.value) => {
                self.count += 1;
                if self.count > MAX_TEMPLATES {
                    let message = format!("the DAG has more than {MAX_TEMPLATES} templates");
                    let remedy = "map a task over a list (`expand`), or make several DAGs of it";
                    reader.findings.add(self.finding(node, "too_many_templates", message).remedy(remedy));
                    return ControlFlow::Break(());
                }
                self.text(reader, &At { templated, node }, &text.value);
                if reader.findings.has_more() {
                    return ControlFlow::Break(());
                }
            }
            Kind::List(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    self.path.push_str(&format!("/{index}"));
                    self.value(reader, templated, node)?;
                    self.path.truncate(parent);
                }
            }
            Kind::Object(entries) => {
                for (key, node) in entries {
                    self.path.push('/');
                    self.path.push_str(&pointer_part(&key.name));
                    self.value(reader, templated, node)?;
                    self.path.truncate(parent);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn finding(&self, node: &Node, code: &'static str, message: impl Into<String>) -> Finding {
        Finding::new(self.path.as_str(), code, message).at(node.place)
    }

    fn text(&mut self, reader: &mut Reader, at: &At<'_, 'a>, text: &str) {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(error) => {
                let place = at.node.place_in_text(error.line, error.column);
                let finding = self.finding(at.node, "bad_template", error.message).at(place);
                return reader.findings.add(finding.remedy(error.remedy));
            }
        };
        let References { tasks, params, names, .. } = template.references();
        for id in tasks {
            match at.is_label() {
                true => self.output_in_label(reader, at, id),
                false => self.output(reader, at, id),
            }
        }
        if !at.is_label() {
            template.outputs().into_iter().for_each(|output| self.read_of(at, output));
        }
        params.iter().for_each(|name| self.param(reader, at, name));
        for name in names {
            self.name(reader, at, name);
            if reader.findings.has_more() {
                return;
            }
        }
        template.unresolved(at.key()).into_iter().for_each(|unresolved| self.unresolved(reader, at, unresolved));
    }

    fn output(&mut self, reader: &mut Reader, at: &At<'_, '_>, id: &str) {
        let owner = at.templated.owner;
        let target = match self.read.index.get(id) {
            Some(Owner::Task(target)) => *target,
            Some(Owner::Group(_)) => {
                let message = format!("`{}` is a group, and only tasks have an output", shown(id));
                let finding = self.finding(at.node, "not_a_task", message).at(place_of(at.node, id));
                return reader.findings.add(finding.remedy(format!("name a task of it: `tasks.{id}.….output`")));
            }
            None if self.read.names_unsure => return,
            None => {
                let remedy = self.meant_in_group(owner, id).or_else(|| {
                    let guess = reader.guess(id, self.read.draft.tasks.iter().map(|task| &*task.id));
                    guess.or_else(|| Some("name a task of this DAG, with the groups it is in".to_owned()))
                });
                let message = format!("there is no task `{}`", shown(id));
                let finding = self.finding(at.node, "unknown_task", message).at(place_of(at.node, id));
                return reader.findings.add(finding.maybe_remedy(remedy));
            }
        };
        if !self.is_upstream(owner, target) {
            let who = self.read.id(owner);
            let (message, remedy) = match owner == Owner::Task(target) {
                true => (
                    format!("`{who}` reads its own output, before it has any"),
                    "read the output of a task upstream of it".to_owned(),
                ),
                false => (
                    format!("`{who}` reads the output of `{id}`, but does not wait for it"),
                    format!("add `{id}` to the `upstream` of `{who}`"),
                ),
            };
            let finding = self.finding(at.node, "not_upstream", message).at(place_of(at.node, id));
            reader.findings.add(finding.remedy(remedy));
        }
    }

    fn read_of(&mut self, at: &At<'_, '_>, output: OutputPath) {
        let Some(Owner::Task(task)) = self.read.index.get(&output.task).copied() else { return };
        let Spot { name, path: whole, .. } = &at.templated.spot;
        self.pointer_bytes += 2 * self.path.len();
        if self.pointer_bytes > MAX_POINTER_BYTES {
            return;
        }
        let pointer = format!("/{name}{}", self.path.strip_prefix(&**whole).unwrap_or_default());
        let place = at.node.place_in_text(output.line, output.column);
        let (owner, path) = (at.templated.owner, self.path.clone());
        self.reads.push(OutputRead { owner, task, output, pointer, path, place });
    }

    /// Labels are made by the thousand while a list is gone through, long after it was made.
    fn output_in_label(&self, reader: &mut Reader, at: &At<'_, '_>, id: &str) {
        let message =
            format!("`map_index_template` reads the output of `{}`, and labels cannot read outputs", shown(id));
        let finding = self.finding(at.node, "output_in_label", message).at(place_of(at.node, id));
        reader.findings.add(finding.remedy("name instances by the keys that are mapped over, by params or dates"));
    }

    /// A name that would be right in `upstream`: there, names are looked up from the inside out.
    fn meant_in_group(&self, owner: Owner, id: &str) -> Option<String> {
        let groups = self.read.draft.enclosing(self.read.scope(owner));
        let mut whole = groups.map(|group| format!("{}.{id}", self.read.draft.groups[group].id));
        let meant = whole.find(|id| self.read.index.contains_key(id))?;
        Some(format!("templates name tasks with their groups: `tasks.{meant}.output`"))
    }

    /// Whether an output is there when the owner's templates are rendered; yes where it cannot be known.
    fn is_upstream(&mut self, owner: Owner, target: usize) -> bool {
        let read = self.read;
        let Known { ancestors, unsure } = self.ancestors.get_or_insert_with(|| {
            let ancestors = Ancestors::of(&read.upstream);
            let mut unsure: Vec<bool> = read.draft.tasks.iter().map(|task| task.upstream_unsure).collect();
            for task in ancestors.order() {
                unsure[*task] |= read.upstream[*task].iter().any(|link| unsure[link.task]);
            }
            Known { ancestors, unsure }
        });
        let sees = |task: usize| unsure[task] || ancestors.contains(target, task);
        match owner {
            Owner::Task(task) => sees(task),
            // A group is expanded before any of its tasks: its first ones decide.
            Owner::Group(group) => {
                let inside = &read.draft.groups[group].tasks;
                let is_root = |task: &usize| !read.upstream[*task].iter().any(|link| inside.contains(&link.task));
                !inside.contains(&target) && inside.clone().filter(is_root).all(sees)
            }
        }
    }

    fn param(&self, reader: &mut Reader, at: &At<'_, '_>, name: &str) {
        let params = &self.read.draft.settings.params;
        if params.contains_key(name) {
            return;
        }
        let guess = reader.guess(name, params.keys().map(|name| name.as_str()));
        let remedy = guess.map(|guess| guess.replace("mean `", "mean `params."));
        let remedy = remedy.unwrap_or_else(|| "declare it in the DAG's `params`, or read `conf`".to_owned());
        let message = format!("the DAG has no parameter `{}`", shown(name));
        let finding = self.finding(at.node, "unknown_param", message).at(place_of(at.node, name));
        reader.findings.add(finding.remedy(remedy));
    }

    fn name(&mut self, reader: &mut Reader, at: &At<'_, '_>, name: &str) {
        if NAMES.contains(&name) || self.is_mapped_key(at.templated, name) {
            return;
        }
        let draft = &self.read.draft;
        let remedy = if self.keys_of(at.templated.owner).is_some_and(|own| own.contains(name)) {
            Some(format!("`{}` is read once, before there are instances; only these know `{}`", at.key(), shown(name)))
        } else if draft.settings.params.contains_key(name) {
            Some(format!("did you mean `params.{name}`?"))
        } else if matches!(self.read.index.get(name), Some(Owner::Task(_))) {
            Some(format!("did you mean `tasks.{name}.output`?"))
        } else if let Some(instead) = instead_of(name) {
            Some(instead.to_owned())
        } else {
            let mapped = self.owners(at.templated).filter_map(|owner| self.keys.get(&owner)?.as_ref()).flatten();
            reader.guess(name, NAMES.iter().chain(mapped).copied())
        };
        let remedy = remedy.unwrap_or_else(|| {
            let mapped = self.owners(at.templated).filter_map(|owner| self.keys.get(&owner)?.as_ref()).flatten();
            let mapped = mapped.take(MAX_TOLD).map(|key| shown(key));
            let all: Vec<String> = mapped.chain(NAMES.iter().map(|name| (*name).to_owned())).collect();
            format!("it knows {}", all.join(", "))
        });
        let message = format!("`{}` is not a name that this template knows", shown(name));
        let finding = self.finding(at.node, "unknown_name", message).at(place_of(at.node, name));
        reader.findings.add(finding.remedy(remedy));
    }

    /// Those whose keys a template may name: its own task or group, and the groups around it. (No more than one of them
    /// is mapped, and more has its own finding.)
    fn owners(&self, templated: &Templated<'_>) -> impl Iterator<Item = Owner> {
        let own = Some(templated.owner).filter(|_| templated.knows_mapped_keys);
        own.into_iter().chain(self.read.draft.enclosing(self.read.scope(templated.owner)).map(Owner::Group))
    }

    /// Whether instances differ in it; yes where only a run knows.
    fn is_mapped_key(&mut self, templated: &Templated<'_>, name: &str) -> bool {
        let owners: Vec<Owner> = self.owners(templated).collect();
        owners.into_iter().any(|owner| self.keys_of(owner).is_none_or(|keys| keys.contains(name)))
    }

    /// `None` where only a run knows. What is not mapped has none.
    fn keys_of(&mut self, owner: Owner) -> Option<&BTreeSet<&str>> {
        let keys = || self.read.expansion(owner).map_or_else(|| Some(BTreeSet::new()), |expansion| expansion.keys());
        self.keys.entry(owner).or_insert_with(keys).as_ref()
    }

    /// Templates of mapped keys in texts that are not rendered. Those of other names were found when these were read.
    fn free_texts(&mut self, reader: &mut Reader) {
        let read = self.read;
        // What is mapped has a template here, unless the defaults are too large to be gone through for each task.
        if read.templates.is_empty() {
            return;
        }
        // One in `default_args` is told once.
        let mut told = HashSet::new();
        for (index, task) in read.draft.tasks.iter().enumerate() {
            let groups = read.draft.enclosing(task.group).map(Owner::Group);
            let mut mapped: Vec<Owner> = [Owner::Task(index)].into_iter().chain(groups).collect();
            // Where only a run knows the keys, the text may be meant as it is.
            mapped.retain(|owner| self.keys_of(*owner).is_some_and(|keys| !keys.is_empty()));
            if mapped.is_empty() {
                continue;
            }
            let is_mapped = |name: &str| {
                mapped.iter().any(|owner| self.keys[owner].as_ref().is_some_and(|keys| keys.contains(name)))
            };
            for (key, value) in &task.keys {
                for finding in value.free_texts_reading(key, is_mapped) {
                    if told.insert(finding.path.clone()) {
                        reader.findings.add(finding);
                    }
                }
            }
            if reader.findings.has_more() {
                return;
            }
        }
    }

    /// What nothing can be found under, whatever the run.
    fn unresolved(&self, reader: &mut Reader, at: &At<'_, '_>, unresolved: Unresolved) {
        let Unresolved { message, remedy, line, column } = unresolved;
        let place = at.node.place_in_text(line, column);
        reader.findings.add(self.finding(at.node, "unknown_name", message).remedy(remedy).at(place));
    }
}

/// Where a name stands within a text; where the text begins, if it is written in another way.
fn place_of(node: &Node, name: &str) -> Place {
    let text = node.as_text().unwrap_or_default();
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let begin = ["{{", "{%"].into_iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
    let found = text[begin..]
        .match_indices(name)
        .map(|(at, _)| begin + at)
        .find(|at| !text[..*at].ends_with(part_of_word) && !text[at + name.len()..].starts_with(part_of_word));
    match found {
        None => node.place,
        Some(at) => {
            let (line, column) = template::place(text, at);
            node.place_in_text(line, column)
        }
    }
}
