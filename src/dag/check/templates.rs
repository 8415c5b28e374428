//! Checks the templates of a DAG: that they parse, and that what they name exists by then.
//!
//! The only file here that knows how templates are read.

use std::collections::BTreeSet;

use super::order::Ancestors;
use crate::dag::draft::{OutputRead, Owner, Read, Reader, Spot, Templated};
use crate::dag::finding::{Place, shown};
use crate::dag::source::{Kind, Node};
use crate::dag::template::{OutputPath, References, Template, is_template};

/// Names that every template has. `conf` and `var` hold what is only known in a run.
const NAMES: [&str; 15] = [
    "conf",
    "dag",
    "data_interval_end",
    "data_interval_start",
    "ds",
    "ds_nodash",
    "logical_date",
    "params",
    "run_id",
    "task",
    "task_instance",
    "ti",
    "ts",
    "ts_nodash",
    "var",
];
/// Functions, and names that are checked by what stands after them.
const ALSO_KNOWN: [&str; 3] = ["dict", "range", "tasks"];

/// What they read of outputs comes back: if there is such a part is known by the functions that give these.
pub(super) fn check(reader: &mut Reader, read: &Read<'_>) -> Vec<OutputRead> {
    let mut checker = Checker { read, ancestors: None, reads: Vec::new() };
    for templated in &read.templates {
        let mut texts = Vec::new();
        texts_in(&templated.spot, &mut texts);
        for text in texts {
            checker.text(reader, templated, &text);
        }
    }
    checker.reads
}

/// All texts in a value that are templates.
fn texts_in<'a>(spot: &Spot<'a>, texts: &mut Vec<Spot<'a>>) {
    match &spot.node.kind {
        Kind::Text(text) if is_template(&text.value) => texts.push(spot.clone()),
        Kind::List(nodes) => {
            nodes.iter().enumerate().for_each(|(index, node)| texts_in(&spot.element(index, node), texts));
        }
        Kind::Object(entries) => entries.iter().for_each(|entry| texts_in(&spot.value(entry), texts)),
        _ => {}
    }
}

struct Checker<'r, 'a> {
    read: &'r Read<'a>,
    /// Made when the first template reads an output.
    ancestors: Option<Known>,
    reads: Vec<OutputRead>,
}

struct Known {
    ancestors: Ancestors,
    /// Of which tasks nobody knows all that is upstream.
    unsure: Vec<bool>,
}

impl Checker<'_, '_> {
    fn text(&mut self, reader: &mut Reader, templated: &Templated<'_>, spot: &Spot<'_>) {
        let text = spot.node.as_text().expect("templates are texts");
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(error) => {
                let place = spot.node.place_in_text(error.line, error.column);
                return reader.findings.add(spot.finding("bad_template", error.message).at(place));
            }
        };
        let References { tasks, params, names, .. } = template.references();
        for id in tasks {
            match templated.spot.name {
                "map_index_template" => self.output_in_label(reader, spot, id),
                _ => self.output(reader, templated, spot, id),
            }
        }
        for output in template.outputs().into_iter().filter(|_| templated.spot.name != "map_index_template") {
            self.read_of(templated, spot, output);
        }
        for name in params {
            self.param(reader, spot, name);
        }
        for name in names {
            self.name(reader, templated, spot, name);
        }
    }

    fn output(&mut self, reader: &mut Reader, templated: &Templated<'_>, spot: &Spot<'_>, id: &str) {
        let place = place_of(spot.node, id);
        let target = match self.read.index.get(id) {
            Some(Owner::Task(target)) => *target,
            Some(Owner::Group(_)) => {
                let message = format!("`{}` is a group, and only tasks have an output", shown(id));
                let finding = spot.finding("not_a_task", message).at(place);
                return reader.findings.add(finding.remedy(format!("name a task of it: `tasks.{id}.….output`")));
            }
            None if self.read.names_unsure => return,
            None => {
                let remedy = self.meant_in_group(templated.owner, id).or_else(|| {
                    let guess = reader.guess(id, self.read.draft.tasks.iter().map(|task| &*task.id));
                    guess.or_else(|| Some("name a task of this DAG, with the groups it is in".to_owned()))
                });
                let finding = spot.finding("unknown_task", format!("there is no task `{}`", shown(id))).at(place);
                return reader.findings.add(finding.maybe_remedy(remedy));
            }
        };
        if !self.is_upstream(templated.owner, target) {
            let who = self.read.id(templated.owner);
            let message = match templated.owner == Owner::Task(target) {
                true => format!("`{who}` reads its own output, before it has any"),
                false => format!("`{who}` reads the output of `{id}`, but does not wait for it"),
            };
            let finding = spot.finding("not_upstream", message).at(place);
            reader.findings.add(finding.remedy(match templated.owner == Owner::Task(target) {
                true => "read the output of a task upstream of it".to_owned(),
                false => format!("add `{id}` to the `upstream` of `{who}`"),
            }));
        }
    }

    fn read_of(&mut self, templated: &Templated<'_>, spot: &Spot<'_>, output: OutputPath) {
        let Some(Owner::Task(task)) = self.read.index.get(&output.task).copied() else { return };
        let Spot { name, path: whole, .. } = &templated.spot;
        let pointer = format!("/{name}{}", spot.path.strip_prefix(&**whole).unwrap_or_default());
        let place = spot.node.place_in_text(output.line, output.column);
        let (owner, path) = (templated.owner, spot.path.clone());
        self.reads.push(OutputRead { owner, task, output, pointer, path, place });
    }

    /// Labels are made by the thousand while a list is gone through, long after it was made.
    fn output_in_label(&self, reader: &mut Reader, spot: &Spot<'_>, id: &str) {
        let message =
            format!("`map_index_template` reads the output of `{}`, and labels cannot read outputs", shown(id));
        let finding = spot.finding("output_in_label", message).at(place_of(spot.node, id));
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

    fn param(&self, reader: &mut Reader, spot: &Spot<'_>, name: &str) {
        let params = &self.read.draft.settings.params;
        if params.contains_key(name) {
            return;
        }
        let guess = reader.guess(name, params.keys().map(|name| name.as_str()));
        let remedy = guess.map(|guess| guess.replace("mean `", "mean `params."));
        let remedy = remedy.unwrap_or_else(|| "declare it in the DAG's `params`, or read `conf`".to_owned());
        let finding = spot.finding("unknown_param", format!("the DAG has no parameter `{}`", shown(name)));
        reader.findings.add(finding.remedy(remedy).at(place_of(spot.node, name)));
    }

    fn name(&self, reader: &mut Reader, templated: &Templated<'_>, spot: &Spot<'_>, name: &str) {
        let mapped = self.mapped_keys(templated);
        let Some(mapped) = mapped else { return };
        if NAMES.contains(&name) || ALSO_KNOWN.contains(&name) || mapped.contains(name) {
            return;
        }
        let draft = &self.read.draft;
        let own = match templated.owner {
            Owner::Task(task) => draft.tasks[task].expansion.as_ref(),
            Owner::Group(group) => draft.groups[group].expansion.as_ref(),
        };
        let remedy = if own.is_some_and(|own| own.keys().is_some_and(|keys| keys.contains(name))) {
            let what = templated.spot.name;
            Some(format!("`{what}` is read once, before there are instances; only these know `{name}`"))
        } else if draft.settings.params.contains_key(name) {
            Some(format!("did you mean `params.{name}`?"))
        } else if matches!(self.read.index.get(name), Some(Owner::Task(_))) {
            Some(format!("did you mean `tasks.{name}.output`?"))
        } else {
            reader.guess(name, NAMES.into_iter().chain(["tasks"]).chain(mapped.iter().copied()))
        };
        let all = || Vec::from_iter(mapped.iter().copied().chain(["tasks"]).chain(NAMES)).join(", ");
        let remedy = remedy.unwrap_or_else(|| format!("it knows {}", all()));
        let finding = spot.finding("unknown_name", format!("`{}` is not a name that this template knows", shown(name)));
        reader.findings.add(finding.remedy(remedy).at(place_of(spot.node, name)));
    }

    /// The keys that the owner's instances differ in; `None` where they are known in a run only.
    fn mapped_keys(&self, templated: &Templated<'_>) -> Option<BTreeSet<&str>> {
        let draft = &self.read.draft;
        let (own, around) = match templated.owner {
            Owner::Task(task) => (draft.tasks[task].expansion.as_ref(), draft.tasks[task].group),
            Owner::Group(group) => (draft.groups[group].expansion.as_ref(), draft.groups[group].parent),
        };
        // More than one is not possible, and that has its own finding.
        let around = draft.enclosing(around).filter_map(|group| draft.groups[group].expansion.as_ref());
        let mut keys = BTreeSet::new();
        for expansion in own.filter(|_| templated.knows_mapped_keys).into_iter().chain(around) {
            keys.extend(expansion.keys()?);
        }
        Some(keys)
    }
}

/// Where a name stands within a text; where the text begins, if it is written in another way.
fn place_of(node: &Node, name: &str) -> Place {
    let text = node.as_text().unwrap_or_default();
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let found = text.match_indices(name).map(|(at, _)| at).find(|at| {
        let alone = !text[..*at].ends_with(part_of_word) && !text[at + name.len()..].starts_with(part_of_word);
        alone && text[..*at].contains("{{") | text[..*at].contains("{%")
    });
    match found {
        None => node.place,
        Some(at) => {
            let before = &text[..at];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            node.place_in_text(line as u32, column as u32)
        }
    }
}
