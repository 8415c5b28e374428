//! What a version of a DAG is: everything that a run needs, checked, and named by its digest.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::trigger_rule::TriggerRule;
use crate::model::dag_names::{DagId, GroupName, ParamName, TaskName};
use crate::model::task::Terms;
use crate::model::{Digest, QueueName, Span};

/// A DAG as it is kept and run. Never changes: other content is another version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    pub dag_id: DagId,
    #[serde(flatten)]
    pub settings: Settings,
    /// In the order of the file, a group before the groups in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupDefinition>,
    /// In the order of the file: those of the DAG itself, then group by group.
    pub tasks: Vec<TaskDefinition>,
}

/// What holds for the DAG as a whole. What is default is left out of the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Markdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc_md: Option<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<ParamName, Param>,
    /// Runs at once. Default 16.
    #[serde(skip_serializing_if = "is_16")]
    pub max_active_runs: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dagrun_timeout: Option<Span>,
    /// The first failure ends the run.
    #[serde(skip_serializing_if = "is_default")]
    pub fail_fast: bool,
    /// IANA name. Default `UTC`.
    #[serde(skip_serializing_if = "is_utc")]
    pub timezone: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_date: Option<Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_date: Option<Date>,
    /// Default false.
    #[serde(skip_serializing_if = "is_default")]
    pub catchup: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            description: None,
            doc_md: None,
            tags: BTreeSet::new(),
            params: BTreeMap::new(),
            max_active_runs: 16,
            dagrun_timeout: None,
            fail_fast: false,
            timezone: "UTC".to_owned(),
            start_date: None,
            end_date: None,
            catchup: false,
        }
    }
}

/// A value that a run is given. Without a default it must be given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Param {
    /// `Some(null)` is a default too.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    pub default: Option<Value>,
    /// JSON Schema of the value.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    pub schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A day or a moment as the author wrote it. Kept as text, because what moment it is
/// may change with the time zone's rules, and a version never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Date(String);

impl Date {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The moment it is, where clocks go by `timezone` unless it has an offset of its own.
    pub fn moment(&self, timezone: &jiff::tz::TimeZone) -> Result<crate::model::Timestamp, jiff::Error> {
        let moment = match self.0.parse::<jiff::Timestamp>() {
            Ok(moment) => moment,
            Err(_) => self.0.parse::<jiff::civil::DateTime>()?.to_zoned(timezone.clone())?.timestamp(),
        };
        Ok(crate::model::Timestamp::from_micros(moment.as_microsecond()))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a date: write 2026-01-01, 2026-01-01T08:00:00 or 2026-01-01T08:00:00+01:00")]
pub struct NotADate(String);

impl TryFrom<String> for Date {
    type Error = NotADate;

    fn try_from(text: String) -> Result<Self, NotADate> {
        let is_date = text.len() <= 64
            && !text.contains('[')
            && (text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::DateTime>().is_ok());
        if is_date { Ok(Self(text)) } else { Err(NotADate(super::finding::shown(&text))) }
    }
}

/// Tasks that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupDefinition {
    pub id: GroupName,
    /// Of a mapped group: one instance of all its tasks for each element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expansion: Option<Expansion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_index_template: Option<String>,
}

/// A task of a DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDefinition {
    pub id: TaskName,
    /// The innermost group it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// Tasks only: groups are resolved. Sorted, each once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub upstream: BTreeSet<TaskName>,
    #[serde(default = "all_success", skip_serializing_if = "is_all_success")]
    pub trigger_rule: TriggerRule,
    /// Whether its upstream is skipped or followed is for others to say: see `TaskKind`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: TaskKind,
    #[serde(default, skip_serializing_if = "is_default")]
    pub setup: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teardown: Option<Teardown>,
    /// A template or a bool: where it is false, the task is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expansion: Option<Expansion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_index_template: Option<String>,
    /// Of a mapped task: instances at once in a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_active_tis_per_dagrun: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub depends_on_past: bool,
    /// Never without `depends_on_past`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait_for_downstream: bool,
    /// What gives it its map index.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope: Scope,
    #[serde(default = "default_pool", skip_serializing_if = "is_default_pool")]
    pub pool: String,
    /// JSON with templates; of a mapped task, what all its instances share.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    #[serde(flatten)]
    pub work: ResolvedTask,
}

/// What a task does, resolved: the part of it that a single task has too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResolvedTask {
    pub module: Digest,
    pub function: String,
    /// With templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub terms: Terms,
    #[serde(default, skip_serializing_if = "is_default")]
    pub queue: QueueName,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub priority_weight: i32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What a task's output means for the tasks after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// It is a value.
    #[default]
    Plain,
    /// It names the tasks to follow; the others directly downstream are skipped.
    Branch,
    /// Where it is false, what is downstream is skipped: all of it, or only the tasks
    /// directly downstream, and their trigger rules decide about the rest.
    ShortCircuit { ignore_downstream_trigger_rules: bool },
}

/// Of a task that cleans up after others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Teardown {
    /// What it cleans up after: setups directly upstream of it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub setups: BTreeSet<TaskName>,
    /// Whether its failure fails the run. Default false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failure_fail_dagrun: bool,
}

/// How a task or a group becomes many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expansion {
    /// The cross product. The last key changes fastest.
    Expand(Vec<Mapped>),
    /// Element by element. Unequal lengths fail.
    Zip(Vec<Mapped>),
    /// An object for each instance: a list, or a template that gives one.
    ExpandKwargs(Value),
}

/// One key of an expansion. In a list, because the order of the keys decides the order of the instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mapped {
    pub key: String,
    /// A list, or a template that gives one.
    pub values: Value,
}

impl Expansion {
    /// What it is called in a DAG file.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Expand(_) => "expand",
            Self::Zip(_) => "zip",
            Self::ExpandKwargs(_) => "expand_kwargs",
        }
    }

    /// The keys that instances differ in, where they are known before the run.
    pub fn keys(&self) -> Option<BTreeSet<&str>> {
        match self {
            Self::Expand(mapped) | Self::Zip(mapped) => Some(mapped.iter().map(|mapped| mapped.key.as_str()).collect()),
            Self::ExpandKwargs(Value::Array(objects)) => {
                let keys = objects.iter().map(|object| Some(object.as_object()?.keys().map(String::as_str)));
                Some(keys.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
            }
            Self::ExpandKwargs(_) => None,
        }
    }
}

/// What gives a task's instances their map index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Nothing: it has one instance a run.
    #[default]
    Run,
    /// Its own expansion.
    Task,
    /// That of a group it is in, itself or further out.
    Group(GroupName),
}

impl Definition {
    /// The one text of this content: keys sorted, what is default left out.
    pub fn canonical_json(&self) -> String {
        // A `Value`'s objects are sorted by key, as `preserve_order` is off.
        let value = serde_json::to_value(self).expect("a definition is plain data");
        value.to_string()
    }

    pub fn digest(&self) -> Digest {
        Digest::of(self.canonical_json().as_bytes())
    }

    pub fn task(&self, id: &str) -> Option<&TaskDefinition> {
        self.tasks.iter().find(|task| task.id.as_str() == id)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Unlike serde, tells a null that is written from a key that is not.
fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn is_16(number: &u32) -> bool {
    *number == 16
}

fn is_utc(timezone: &str) -> bool {
    timezone == "UTC"
}

fn all_success() -> TriggerRule {
    TriggerRule::AllSuccess
}

fn is_all_success(rule: &TriggerRule) -> bool {
    *rule == TriggerRule::AllSuccess
}

/// The pool that every task is in.
pub const DEFAULT_POOL: &str = "default_pool";

fn default_pool() -> String {
    DEFAULT_POOL.to_owned()
}

fn is_default_pool(pool: &str) -> bool {
    pool == DEFAULT_POOL
}

fn one() -> i32 {
    1
}

fn is_one(number: &i32) -> bool {
    *number == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn small() -> Definition {
        serde_json::from_value(json!({
            "dag_id": "etl",
            "params": {"city": {"default": null}, "day": {}},
            "tasks": [{"id": "b", "module": Digest::of(b""), "function": "run"}, {
                "id": "a", "module": Digest::of(b""), "function": "run", "upstream": ["b"],
                "kind": {"short_circuit": {"ignore_downstream_trigger_rules": false}},
                "expansion": {"expand": [{"key": "z", "values": [1]}, {"key": "y", "values": "{{ params.city }}"}]},
                "scope": "task", "input": {"b": 1.5, "a": null},
            }],
        }))
        .expect("a definition")
    }

    #[test]
    fn a_definition_has_one_text_and_comes_back_from_it() {
        let text = small().canonical_json();
        assert_eq!(serde_json::from_str::<Definition>(&text).expect("its own text"), small());
        let digest = Digest::of(b"");
        assert_eq!(
            text,
            format!(
                r#"{{"dag_id":"etl","params":{{"city":{{"default":null}},"day":{{}}}},"tasks":[{{"function":"run","id":"b","module":"{digest}"}},{{"expansion":{{"expand":[{{"key":"z","values":[1]}},{{"key":"y","values":"{{{{ params.city }}}}"}}]}},"function":"run","id":"a","input":{{"a":null,"b":1.5}},"kind":{{"short_circuit":{{"ignore_downstream_trigger_rules":false}}}},"module":"{digest}","scope":"task","upstream":["b"]}}]}}"#
            )
        );
    }

    #[test]
    fn other_content_is_another_digest() {
        let mut other = small();
        assert_eq!(other.digest(), small().digest());
        other.tasks[1].depends_on_past = true;
        assert_ne!(other.digest(), small().digest());
    }

    #[test]
    fn dates_are_days_and_moments() {
        let berlin = jiff::tz::TimeZone::fixed(jiff::tz::offset(1));
        for (text, moment) in [
            ("2026-01-01", "2025-12-31T23:00:00.000000Z"),
            ("2026-01-01T08:30:00", "2026-01-01T07:30:00.000000Z"),
            ("2026-01-01T08:30:00Z", "2026-01-01T08:30:00.000000Z"),
            ("2026-01-01 08:30:00+02:00", "2026-01-01T06:30:00.000000Z"),
        ] {
            let date = Date::try_from(text.to_owned()).expect(text);
            assert_eq!(date.moment(&berlin).expect(text).to_string(), moment);
        }
        for wrong in ["", "today", "2026-13-01", "01.02.2026", "2026-01-01T00:00[Europe/Berlin]"] {
            assert!(Date::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
