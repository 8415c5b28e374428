//! Reads the tasks and groups of a DAG and flattens the groups.

use std::collections::HashMap;

use super::expansion::{self, EXPANSION_KEYS};
use super::fields::{Fields, Known, Reader, Spot};
use super::graph_keys::{self, Bare, TASK, Templated};
use super::layers::Layer;
use super::upstream::{Link, Named, Reference};
use super::{Draft, DraftGroup, MAX_TASKS, Outside, settings};
use crate::dag::definition::Settings;
use crate::dag::finding::{Finding, Place, pointer_part, shown};
use crate::dag::source::{Key, Kind, Node};
use crate::model::dag_names::{GroupName, MAX_NAME_BYTES, OwnName};

/// Whatever waits, is mapped or holds a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::dag) enum Owner {
    Task(usize),
    Group(usize),
}

/// A document as it is read, with what is resolved and checked later.
pub(in crate::dag) struct Read<'a> {
    pub(in crate::dag) draft: Draft,
    pub(in crate::dag) templates: Vec<Templated<'a>>,
    pub(in crate::dag) references: Vec<Reference<'a>>,
    /// For each task, what it waits for, and by which of `references`.
    pub(in crate::dag) upstream: Vec<Vec<Link>>,
    pub(in crate::dag) index: HashMap<String, Owner>,
    /// There may be tasks that could not be read: nobody can say that a name is unknown.
    pub(in crate::dag) names_unsure: bool,
    /// Of values that stand once in `default_args`, for each task that has them.
    pub(super) inherited_bytes: usize,
}

const GROUP: Known = Known {
    on: "a group",
    lists: &[&EXPANSION_KEYS, &["upstream", "map_index_template", "default_args", "tasks", "groups"]],
    refused: &[("trigger_rule", "tasks have trigger rules; write it on the group's first tasks")],
};

/// As for aliases: one large value for ten thousand tasks would fill the memory.
const MAX_INHERITED_BYTES: usize = 8 << 20;

pub(super) fn read<'a>(reader: &mut Reader, root: &'a Node, outside: &Outside<'_>) -> Read<'a> {
    let (groups, tasks, reads) = (Vec::new(), Vec::new(), Vec::new());
    let draft = Draft { dag_id: None, settings: Settings::default(), groups, tasks, reads };
    let (templates, references, upstream) = (Vec::new(), Vec::new(), Vec::new());
    let index = HashMap::new();
    let mut read = Read { draft, templates, references, upstream, index, names_unsure: false, inherited_bytes: 0 };
    let spot = Spot::root(root);
    if reader.entries(&spot, "an object: `dag_id`, `tasks` and more").is_none() {
        read.names_unsure = true;
        return read;
    }
    let fields = reader.fields(&spot, "an object", &settings::DAG);
    read.draft.dag_id = settings::dag_id(reader, &fields, &spot);
    read.draft.settings = settings::settings(reader, &fields, outside);
    let default_args = fields.get("default_args");
    let layer = Layer::default().with(reader, default_args);
    members(reader, &mut read, &spot, &fields, None, &layer);
    if let (true, Some(default_args)) = (read.inherited_bytes > MAX_INHERITED_BYTES, default_args) {
        let message = format!("`default_args` would be {} bytes, written out for each task", read.inherited_bytes);
        let remedy = format!("at most {MAX_INHERITED_BYTES} are kept; write large values on the tasks that need them");
        reader.findings.add(default_args.finding("default_args_too_large", message).remedy(remedy));
        read.templates.clear();
    }
    if read.draft.tasks.is_empty() && !read.names_unsure && read.draft.groups.is_empty() {
        let finding = Finding::new("", "no_tasks", "the DAG has no tasks").at(root.place);
        reader.findings.add(finding.remedy("write them under `tasks`: `tasks: {extract: {function: extract}}`"));
    }
    read
}

/// The tasks and groups of the DAG, or of a group.
fn members<'a>(
    reader: &mut Reader,
    read: &mut Read<'a>,
    parent: &Spot<'a>,
    fields: &Fields<'a>,
    group: Option<usize>,
    layer: &Layer<'a>,
) {
    if matches!(parent.node.kind, Kind::Broken) {
        read.names_unsure = true;
    }
    for (key, wanted) in [
        ("tasks", "an object of tasks by their ids: `{extract: {…}}`"),
        ("groups", "an object of groups by their ids: `{load: {tasks: {…}}}`"),
    ] {
        let Some(spot) = fields.get(key) else { continue };
        let Some(entries) = reader.entries(spot, wanted) else {
            read.names_unsure = true;
            continue;
        };
        for entry in entries {
            let (Key { name, place }, _) = entry;
            let Some(id) = member_id(reader, read, spot, &entry.0, group) else { continue };
            let spot = spot.value(entry);
            if key == "groups" {
                read_group(reader, read, &spot, id, *place, group, layer);
                continue;
            }
            if read.draft.tasks.len() >= MAX_TASKS {
                read.names_unsure = true;
                let message = format!("the DAG has more than {MAX_TASKS} tasks; `{name}` is the first too many");
                let remedy = "map a task over a list (`expand`), or make several DAGs of it";
                return reader.findings.add(Finding::new(&*spot.path, "too_many_tasks", message).remedy(remedy));
            }
            name_it(reader, read, &spot, &id, Owner::Task(read.draft.tasks.len()));
            // `extract:` alone is a task that has everything from `default_args`.
            let keys = match spot.is_null() {
                true => Fields::none(),
                false => reader.fields(&spot, "an object of the task's keys", &TASK),
            };
            let bare = Bare { id, path: spot.path.clone(), place: *place, group };
            graph_keys::task(reader, read, bare, &keys, layer);
            if matches!(spot.node.kind, Kind::Object(_) | Kind::Null) {
                continue;
            }
            if let Some(task) = read.draft.tasks.last_mut() {
                (task.is_broken, task.upstream_unsure) = (true, true);
            }
        }
    }
}

/// The whole id of a task or group. `None` where nothing of it is read, because its name is too long.
fn member_id(
    reader: &mut Reader,
    read: &mut Read<'_>,
    parent: &Spot<'_>,
    key: &Key,
    group: Option<usize>,
) -> Option<String> {
    let path = format!("{}/{}", parent.path, pointer_part(&key.name));
    let id = match group {
        Some(group) => format!("{}.{}", read.draft.groups[group].id, key.name),
        None => key.name.clone(),
    };
    if let Err(error) = key.name.parse::<OwnName>() {
        let finding = Finding::new(&*path, "bad_id", "").said(&error.to_string());
        let path = key.name.parse::<GroupName>().ok();
        let remedy = path
            .as_ref()
            .and_then(|path| path.as_str().rsplit_once('.'))
            .map(|(group, own)| format!("write `{own}` under `tasks` of group `{group}`"));
        reader.findings.add(finding.maybe_remedy(remedy));
    } else if id.len() > MAX_NAME_BYTES {
        let message = format!("`…{}` is, with its groups, longer than {MAX_NAME_BYTES} characters", shown(&key.name));
        reader.findings.add(Finding::new(&*path, "bad_id", message).remedy("choose shorter names"));
    }
    if id.len() > MAX_NAME_BYTES {
        read.names_unsure = true;
        return None;
    }
    Some(id)
}

/// Tasks and groups share their names: `upstream` may mean either.
fn name_it(reader: &mut Reader, read: &mut Read<'_>, spot: &Spot<'_>, id: &str, owner: Owner) {
    if read.index.contains_key(id) {
        let message = format!("there is a task and a group of the name `{id}`");
        reader.findings.add(Finding::new(&*spot.path, "duplicate_id", message).remedy("rename one of them"));
    } else {
        read.index.insert(id.to_owned(), owner);
    }
}

fn read_group<'a>(
    reader: &mut Reader,
    read: &mut Read<'a>,
    spot: &Spot<'a>,
    id: String,
    place: Place,
    parent: Option<usize>,
    layer: &Layer<'a>,
) {
    let index = read.draft.groups.len();
    let owner = Owner::Group(index);
    name_it(reader, read, spot, &id, owner);
    let fields = reader.fields(spot, "an object of the group's keys", &GROUP);
    let expanded = expansion::read(reader, &fields);
    if let Some(expanded) = &expanded {
        read.templates.push(Templated { owner, spot: expanded.spot.clone(), knows_mapped_keys: false });
    }
    let map_index_template = fields.get("map_index_template").and_then(|spot| {
        read.templates.push(Templated { owner, spot: spot.clone(), knows_mapped_keys: true });
        reader.text(spot).map(str::to_owned)
    });
    let first = read.draft.tasks.len();
    let upstream_unsure = fields
        .get("upstream")
        .is_some_and(|upstream| !graph_keys::references(reader, read, owner, Named::Upstream, upstream));
    read.draft.groups.push(DraftGroup {
        path: spot.path.clone(),
        place,
        parent,
        tasks: first..first,
        expansion: expanded.map(|expanded| expanded.expansion),
        map_index_template,
        upstream_unsure,
        id,
    });
    let layer = layer.with(reader, fields.get("default_args"));
    members(reader, read, spot, &fields, Some(index), &layer);
    let last = read.draft.tasks.len();
    read.draft.groups[index].tasks.end = last;
    if last == first && !read.names_unsure && matches!(spot.node.kind, Kind::Object(_)) {
        let finding = Finding::new(&*spot.path, "empty_group", format!("group `{}` has no tasks", spot.name));
        reader.findings.add(finding.remedy("write them under `tasks`, or remove the group"));
    }
}
