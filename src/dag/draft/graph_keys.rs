//! Reads the keys that a task has because it is part of a graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expansion::{self, EXPANSION_KEYS};
use super::fields::{Fields, Known, Reader, Spot};
use super::layers::{self, IDEMPOTENCY_KEY, Layer, NOT_BEFORE, RENDERED_KEYS, WORK_KEYS};
use super::tasks::{Owner, Read};
use super::upstream::{Named, Reference};
use super::{DraftKey, DraftTask, DraftTeardown, Fate};
use crate::dag::definition::{DEFAULT_POOL, Expansion, TaskKind};
use crate::dag::finding::{Finding, Place, pointer_part, shown};
use crate::dag::source::{Kind, Node};
use crate::dag::template::is_template;
use crate::dag::trigger_rule::TriggerRule;

pub(super) const TASK: Known = Known {
    on: "a task",
    lists: &[
        &WORK_KEYS,
        &EXPANSION_KEYS,
        &[
            "upstream",
            "trigger_rule",
            "when",
            "branch",
            "short_circuit",
            "map_index_template",
            "max_active_tis_per_dagrun",
            "setup",
            "teardown",
            "depends_on_past",
            "wait_for_downstream",
            "pool",
        ],
    ],
    refused: &[
        NOT_BEFORE,
        IDEMPOTENCY_KEY,
        ("task_id", "the key it stands under is its id"),
        ("id", "the key it stands under is its id"),
        ("tasks", "tasks with tasks in them are a group; write it under `groups`"),
        ("default_args", "they stand on the DAG or on a group"),
    ],
};

const MAX_INSTANCES: u32 = 100_000;

/// A value with templates in it, and whose it is.
pub(in crate::dag) struct Templated<'a> {
    pub(in crate::dag) owner: Owner,
    pub(in crate::dag) spot: Spot<'a>,
    /// Whether the keys of the owner's own map are known to it: not where it is read once, before there are instances.
    pub(in crate::dag) knows_mapped_keys: bool,
}

/// What is known of a task before its keys are read.
pub(super) struct Bare {
    pub(super) id: String,
    pub(super) path: String,
    pub(super) place: Place,
    pub(super) group: Option<usize>,
}

pub(super) fn task<'a>(reader: &mut Reader, read: &mut Read<'a>, bare: Bare, fields: &Fields<'a>, layer: &Layer<'a>) {
    let owner = Owner::Task(read.draft.tasks.len());
    layers::one_timeout(reader, fields);
    let own_or_default = |key: &str| match fields.with_null(key) {
        Some(spot) => Some(spot).filter(|spot| !spot.is_null()),
        None => layer.get(key).map(|shared| &*shared.spot).filter(|spot| !spot.is_null()),
    };
    let teardown = fields.get("teardown").and_then(|spot| teardown(reader, read, owner, spot));
    // A teardown's rule is fixed, so that of `default_args` is for others.
    let rule = if teardown.is_some() { fields.get("trigger_rule") } else { own_or_default("trigger_rule") };
    let default_rule = if teardown.is_some() { TriggerRule::AllDoneSetupSuccess } else { TriggerRule::AllSuccess };
    let bool =
        |reader: &mut Reader, key: &str| own_or_default(key).and_then(|spot| reader.bool(spot)).unwrap_or_default();
    let wait_for_downstream = bool(reader, "wait_for_downstream");
    let depends_on_past = bool(reader, "depends_on_past") || wait_for_downstream;
    let expanded = expansion::read(reader, fields);
    let (keys, is_broken) = work_keys(reader, read, owner, fields, layer);
    for key in ["when", "map_index_template"] {
        if let Some(spot) = fields.get(key) {
            // A mapped task is asked once whether it runs.
            let knows_mapped_keys = key != "when";
            read.templates.push(Templated { owner, spot: spot.clone(), knows_mapped_keys });
        }
    }
    if let Some(expanded) = &expanded {
        read.templates.push(Templated { owner, spot: expanded.spot.clone(), knows_mapped_keys: false });
        mapped_twice(reader, &expanded.expansion, &expanded.spot, fields.get("input"));
    }
    let Bare { id, path, place, group } = bare;
    let mut task = DraftTask {
        upstream: Vec::new(),
        trigger_rule: rule.and_then(|spot| trigger_rule(reader, spot)).unwrap_or(default_rule),
        kind: kind(reader, fields),
        setup: fields.get("setup").and_then(|spot| reader.bool(spot)).unwrap_or_default(),
        teardown,
        when: fields.get("when").and_then(|spot| when(reader, spot)),
        expansion: expanded.map(|expanded| expanded.expansion),
        map_index_template: fields.get("map_index_template").and_then(|spot| reader.text(spot)).map(str::to_owned),
        max_active_tis_per_dagrun: own_or_default("max_active_tis_per_dagrun")
            .and_then(|spot| reader.count(spot, MAX_INSTANCES)),
        depends_on_past,
        wait_for_downstream,
        pool: DEFAULT_POOL.to_owned(),
        input: None,
        keys,
        is_broken,
        upstream_unsure: false,
        trigger_rule_path: rule.map(|spot| spot.path.clone()),
        id,
        path,
        place,
        group,
    };
    if let Some(spot) = own_or_default("pool") {
        pool(reader, spot);
    }
    task.input = task.keys.remove("input");
    if let Some(spot) = fields.get("upstream") {
        task.upstream_unsure = !references(reader, read, owner, Named::Upstream, spot);
    }
    read.draft.tasks.push(task);
}

/// The names of tasks in a list. Whether all of it could be read.
pub(super) fn references<'a>(
    reader: &mut Reader,
    read: &mut Read<'a>,
    owner: Owner,
    named: Named,
    spot: &Spot<'a>,
) -> bool {
    let (names, complete) = reader.texts(spot, "the id of a task");
    read.references.extend(names.into_iter().map(|(name, spot)| Reference { owner, named, name, spot }));
    complete
}

type Keys = BTreeMap<&'static str, Arc<DraftKey>>;

/// The keys that a single task has too, and whether any of them is broken.
fn work_keys<'a>(
    reader: &mut Reader,
    read: &mut Read<'a>,
    owner: Owner,
    fields: &Fields<'a>,
    layer: &Layer<'a>,
) -> (Keys, bool) {
    let mut keys = BTreeMap::new();
    let mut is_broken = false;
    for key in WORK_KEYS {
        let (spot, value) = match fields.with_null(key) {
            Some(spot) if spot.is_null() => continue,
            Some(spot) => (spot, Arc::new(DraftKey::of(reader, spot))),
            None => {
                let Some(shared) = layer.get(key) else { continue };
                let goes_before = key == "execution_timeout"
                    && fields.get("limits").is_some_and(|limits| layers::has_timeout(limits.node));
                if shared.spot.is_null() || goes_before {
                    continue;
                }
                read.inherited_bytes += shared.key.bytes;
                (&*shared.spot, Arc::clone(&shared.key))
            }
        };
        match value.fate {
            Fate::Broken => is_broken = true,
            // The others are checked without it.
            Fate::Refused => match key {
                "module" | "function" => is_broken = true,
                _ => continue,
            },
            Fate::Kept => {}
        }
        if RENDERED_KEYS.contains(&key) {
            read.templates.push(Templated { owner, spot: spot.clone(), knows_mapped_keys: true });
        }
        keys.insert(key, value);
    }
    (keys, is_broken)
}

fn trigger_rule(reader: &mut Reader, spot: &Spot<'_>) -> Option<TriggerRule> {
    let word = reader.text(spot)?;
    if let Ok(rule) = word.parse() {
        return Some(rule);
    }
    let known = || TriggerRule::ALL.iter().map(|rule| rule.as_str());
    let guess = reader.guess(word, known());
    let remedy = guess.unwrap_or_else(|| format!("the rules are {}", known().collect::<Vec<_>>().join(", ")));
    let message = format!("`{}` is not a trigger rule", shown(word));
    reader.findings.add(spot.finding("unknown_trigger_rule", message).remedy(remedy));
    None
}

fn kind(reader: &mut Reader, fields: &Fields<'_>) -> TaskKind {
    let branch = fields.get("branch").and_then(|spot| reader.bool(spot)).unwrap_or_default();
    let short_circuit = fields.get("short_circuit").and_then(|spot| short_circuit(reader, spot));
    match (branch, short_circuit) {
        (true, Some(_)) => {
            let spot = fields.get("short_circuit").expect("it has been read");
            let message = "a task is a `branch` or a `short_circuit`, not both";
            reader.findings.add(spot.finding("branch_and_short_circuit", message).remedy("keep one of them"));
            TaskKind::Branch
        }
        (true, None) => TaskKind::Branch,
        (false, Some(kind)) => kind,
        (false, None) => TaskKind::Plain,
    }
}

fn short_circuit(reader: &mut Reader, spot: &Spot<'_>) -> Option<TaskKind> {
    const KNOWN: Known = Known { on: "`short_circuit`", lists: &[&["ignore_downstream_trigger_rules"]], refused: &[] };
    let ignore_downstream_trigger_rules = match spot.node.kind {
        Kind::Bool(false) => return None,
        Kind::Bool(true) => true,
        _ => {
            let fields = reader.fields(spot, "true, false or `{ignore_downstream_trigger_rules: false}`", &KNOWN);
            fields.get("ignore_downstream_trigger_rules").and_then(|spot| reader.bool(spot)).unwrap_or(true)
        }
    };
    Some(TaskKind::ShortCircuit { ignore_downstream_trigger_rules })
}

fn teardown<'a>(reader: &mut Reader, read: &mut Read<'a>, owner: Owner, spot: &Spot<'a>) -> Option<DraftTeardown> {
    const KNOWN: Known = Known { on: "`teardown`", lists: &[&["setups", "on_failure_fail_dagrun"]], refused: &[] };
    let mut teardown = DraftTeardown::default();
    match &spot.node.kind {
        Kind::Bool(false) => return None,
        Kind::Bool(true) => {}
        Kind::List(_) | Kind::Text(_) => {
            references(reader, read, owner, Named::Setup, spot);
        }
        _ => {
            let fields = reader.fields(spot, "true, a list of setups, or an object", &KNOWN);
            if let Some(setups) = fields.get("setups") {
                references(reader, read, owner, Named::Setup, setups);
            }
            let fails = fields.get("on_failure_fail_dagrun").and_then(|spot| reader.bool(spot));
            teardown.on_failure_fail_dagrun = fails.unwrap_or_default();
        }
    }
    Some(teardown)
}

fn when(reader: &mut Reader, spot: &Spot<'_>) -> Option<serde_json::Value> {
    match &spot.node.kind {
        Kind::Bool(_) => {}
        Kind::Text(text) if is_template(&text.value) => {}
        Kind::Text(text) => {
            let message = format!("`when` is a template, true or false; `{}` is only a text", shown(&text.value));
            let remedy = format!("write it in braces: \"{{{{ {} }}}}\"", shown(&text.value));
            reader.findings.add(spot.finding("wrong_type", message).remedy(remedy));
            return None;
        }
        _ => {
            reader.wrong_type(spot, "a template, true or false");
            return None;
        }
    }
    Some(spot.node.to_json())
}

fn pool(reader: &mut Reader, spot: &Spot<'_>) {
    if let Some(pool) = reader.text(spot)
        && pool != DEFAULT_POOL
    {
        let message =
            format!("there is no pool `{}`: this version of the server has only `{DEFAULT_POOL}`", shown(pool));
        reader.findings.add(spot.finding("no_pools_yet", message).remedy("leave `pool` out"));
    }
}

/// A key cannot be the same for every instance and different for each.
fn mapped_twice(reader: &mut Reader, expansion: &Expansion, expanded: &Spot<'_>, input: Option<&Spot<'_>>) {
    let Some(Spot { node: Node { kind: Kind::Object(entries), .. }, .. }) = input else { return };
    let Some(mapped) = expansion.keys() else { return };
    for (key, _) in entries.iter().filter(|(key, _)| mapped.contains(key.name.as_str())) {
        let input = input.expect("it has entries");
        let path = format!("{}/{}", input.path, pointer_part(&key.name));
        let message = format!("`{}` stands in `input` and in `{}`", shown(&key.name), expanded.name);
        let finding = Finding::new(path, "mapped_twice", message);
        reader.findings.add(finding.remedy("keep one: `input` is the same for all instances"));
    }
}
