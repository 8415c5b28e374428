//! Keys that tasks get from `default_args`, and which keys those may be.
//!
//! A task's own key wins, then the innermost group's, then the DAG's. Values replace each
//! other as a whole: of two `labels`, one counts. Null on a task undoes a default.

use std::collections::HashMap;
use std::sync::Arc;

use super::fields::{Fields, Known, Reader, Spot};
use super::{DraftKey, Fate};
use crate::dag::finding::{Finding, pointer_part, shown};
use crate::dag::source::{Kind, Node};
use crate::dag::template::{NAMES, Template};

/// Keys that a single task has too. Others check their values.
pub const WORK_KEYS: [&str; 15] = [
    "module",
    "function",
    "input",
    "args",
    "grants",
    "limits",
    "execution_timeout",
    "retries",
    "retry_delay",
    "retry_exponential_backoff",
    "max_retry_delay",
    "retry_on",
    "priority_weight",
    "queue",
    "labels",
];

/// Of these, those whose texts may be templates.
pub(super) const RENDERED_KEYS: [&str; 2] = ["input", "args"];

/// Keys of the graph that may be defaults.
const INHERITED_KEYS: [&str; 5] =
    ["trigger_rule", "depends_on_past", "wait_for_downstream", "max_active_tis_per_dagrun", "pool"];

const EACH_ITS_OWN: &str = "each task has its own; write it on the task";

const DEFAULT_ARGS: Known = Known {
    on: "`default_args`",
    lists: &[&WORK_KEYS, &INHERITED_KEYS],
    refused: &[
        ("upstream", EACH_ITS_OWN),
        ("when", EACH_ITS_OWN),
        ("branch", EACH_ITS_OWN),
        ("short_circuit", EACH_ITS_OWN),
        ("expand", EACH_ITS_OWN),
        ("zip", EACH_ITS_OWN),
        ("expand_kwargs", EACH_ITS_OWN),
        ("map_index_template", EACH_ITS_OWN),
        ("setup", EACH_ITS_OWN),
        ("teardown", EACH_ITS_OWN),
        NOT_BEFORE,
        IDEMPOTENCY_KEY,
    ],
};

pub(super) const NOT_BEFORE: (&str, &str) = ("not_before", "a task of a DAG starts when its upstream allows");
pub(super) const IDEMPOTENCY_KEY: (&str, &str) = ("idempotency_key", "a run is idempotent by its run_id");

/// A default, with its value read once for all tasks that share it.
#[derive(Clone)]
pub(super) struct Shared<'a> {
    pub(super) spot: Arc<Spot<'a>>,
    pub(super) key: Arc<DraftKey>,
}

/// What holds within a DAG or a group.
#[derive(Clone, Default)]
pub(super) struct Layer<'a>(HashMap<&'static str, Shared<'a>>);

impl<'a> Layer<'a> {
    /// This layer with what `default_args` add to it.
    pub(super) fn with(&self, reader: &mut Reader, default_args: Option<&Spot<'a>>) -> Self {
        let mut layer = self.clone();
        let Some(spot) = default_args else { return layer };
        let fields = reader.fields(spot, "an object of keys of tasks", &DEFAULT_ARGS);
        one_timeout(reader, &fields);
        for (key, spot) in fields.iter() {
            let shared = Shared { key: Arc::new(DraftKey::of(reader, spot)), spot: Arc::new(spot.clone()) };
            layer.0.insert(key, shared);
            // The short form of an outer layer does not win over the long one of this.
            if key == "limits" && fields.get("execution_timeout").is_none() && has_timeout(spot.node) {
                layer.0.remove("execution_timeout");
            }
        }
        layer
    }

    pub(super) fn get(&self, key: &str) -> Option<&Shared<'a>> {
        self.0.get(key)
    }
}

impl DraftKey {
    pub(super) fn of(reader: &mut Reader, spot: &Spot<'_>) -> Self {
        let value = spot.node.to_json();
        let bytes = value.to_string().len();
        let fate = if spot.node.is_broken() { Fate::Broken } else { fate(reader, spot) };
        Self { value, path: spot.path.clone(), place: spot.node.place, bytes, fate }
    }

    /// Findings of the free texts in it that read a name which is `known`. It is the value of `key`.
    pub(in crate::dag) fn free_texts_reading(&self, key: &str, known: impl Fn(&str) -> bool) -> Vec<Finding> {
        let (texts, path) = match is_free(key) {
            true => (Some(&self.value), self.path.clone()),
            false => (self.value.get("env").filter(|_| key == "grants"), format!("{}/env", self.path)),
        };
        let texts = texts.and_then(|texts| texts.as_object()).into_iter().flatten();
        let meant = texts.filter_map(|(name, text)| Some((name, text.as_str().filter(|text| reads(text, &known))?)));
        meant.map(|(name, text)| template_not_rendered(format!("{path}/{}", pointer_part(name)), text)).collect()
    }
}

fn fate(reader: &mut Reader, spot: &Spot<'_>) -> Fate {
    if spot.name == "retry_exponential_backoff"
        && let Kind::Bool(doubles) = spot.node.kind
    {
        let message = format!("`{}` is the factor from one pause to the next; found {doubles}", spot.name);
        let finding = spot.finding("wrong_type", message);
        reader.findings.add(finding.remedy(match doubles {
            true => "write 2.0, which doubles each pause and is the default",
            false => "write 1.0, which keeps every pause the same",
        }));
        return Fate::Refused;
    }
    let is_literal = WORK_KEYS.contains(&spot.name) && !RENDERED_KEYS.contains(&spot.name);
    if is_literal && holds_template(spot.node, spot.name, is_free(spot.name)) {
        not_rendered(reader, spot, spot.name, is_free(spot.name));
        return Fate::Refused;
    }
    Fate::Kept
}

/// Whether the texts of a key are anyone's: a log format or a Go template in them may well have braces.
fn is_free(key: &str) -> bool {
    key == "labels"
}

/// `free`, or below it in the environment, whose texts are free too. `key` is empty but for the value of a key of a task.
fn is_free_below(free: bool, key: &str, name: &str) -> bool {
    free || (key == "grants" && name == "env")
}

fn holds_template(node: &Node, key: &str, free: bool) -> bool {
    match &node.kind {
        Kind::Text(text) => is_meant_as_template(&text.value, free),
        Kind::List(nodes) => nodes.iter().any(|node| holds_template(node, "", free)),
        Kind::Object(entries) => {
            entries.iter().any(|(name, node)| holds_template(node, "", is_free_below(free, key, &name.name)))
        }
        _ => false,
    }
}

/// Narrower than what is a template where templates are read: a brace alone may be meant. Of a free text, only what
/// would come to something there. (Keys of mapped tasks are known, and looked for, later.)
fn is_meant_as_template(text: &str, free: bool) -> bool {
    has_marks(text) && (!free || reads(text, |name| NAMES.contains(&name)))
}

fn has_marks(text: &str) -> bool {
    let holds = |open: &str, close: &str| text.split_once(open).is_some_and(|(_, rest)| rest.contains(close));
    holds("{{", "}}") || holds("{%", "%}")
}

/// Whether the text is a template, and reads a name that is `known`.
fn reads(text: &str, known: impl Fn(&str) -> bool) -> bool {
    let template = Some(text).filter(|text| has_marks(text)).and_then(|text| Template::parse(text).ok());
    template.is_some_and(|template| template.references().names.iter().any(|name| known(name)))
}

fn not_rendered(reader: &mut Reader, spot: &Spot<'_>, key: &str, free: bool) {
    match &spot.node.kind {
        Kind::Text(text) if is_meant_as_template(&text.value, free) => {
            reader.findings.add(template_not_rendered(spot.path.clone(), &text.value).at(spot.node.place));
        }
        Kind::List(nodes) => {
            let elements = nodes.iter().enumerate();
            elements.for_each(|(index, node)| not_rendered(reader, &spot.element(index, node), "", free));
        }
        Kind::Object(entries) => entries.iter().for_each(|entry| {
            not_rendered(reader, &spot.value(entry), "", is_free_below(free, key, &entry.0.name));
        }),
        _ => {}
    }
}

fn template_not_rendered(path: String, text: &str) -> Finding {
    let message = format!("a template stands here, and it would be passed on as the text `{}`", shown(text));
    Finding::new(path, "template_not_rendered", message).remedy(
        "write the value itself; templates are rendered in `input`, `args`, `when`, `expand`, `zip`, \
         `expand_kwargs` and `map_index_template`",
    )
}

/// Whether `limits` say how long the task may run.
pub(super) fn has_timeout(limits: &Node) -> bool {
    match &limits.kind {
        Kind::Object(entries) => {
            entries.iter().any(|(key, node)| key.name == "execution_timeout" && node.kind != Kind::Null)
        }
        _ => false,
    }
}

/// `execution_timeout` is short for that of `limits`: one of them is enough.
pub(super) fn one_timeout(reader: &mut Reader, fields: &Fields<'_>) {
    if let (Some(short), Some(limits)) = (fields.get("execution_timeout"), fields.get("limits"))
        && has_timeout(limits.node)
    {
        let message = "`execution_timeout` is short for that of `limits`, and both are given";
        reader.findings.add(short.finding("two_timeouts", message).remedy("keep one of them"));
    }
}
