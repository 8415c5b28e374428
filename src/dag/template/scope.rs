//! What the templates of one run, or of one task instance, may read.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use minijinja::value::Object;
use minijinja::{Error, Value};
use parking_lot::Mutex;

use super::dates;
use super::errors::too_large;
use super::json;
use crate::model::{Json, TaskId};

/// The names every template may use; to them come the keys of a mapped task. Runs without a logical date have
/// no dates, and there a date is undefined, as in Airflow.
pub const NAMES: &[&str] = &[
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
    "tasks",
    "ti",
    "ts",
    "ts_nodash",
    "ts_nodash_with_tz",
    "var",
];

/// Names no template can say, for what our operators look up.
pub(super) const KEYS: &str = "\0keys";
pub(super) const METER: &str = "\0meter";

/// An output larger than this can be passed on whole (`{{ tasks.a.output }}`) but not looked into: read, it
/// takes some twelve times its size.
const MAX_READ_BYTES: usize = 8 * 1024 * 1024;

/// An upstream task's output as text, read once and only if a template looks into it. To be shared by all scopes
/// of a run.
pub struct Output {
    text: Json,
    read: OnceLock<Result<Value, String>>,
}

impl Output {
    pub fn new(text: Json) -> Arc<Self> {
        Arc::new(Self { text, read: OnceLock::new() })
    }

    /// The output of a mapped task: the list of the outputs of its instances, in the order of their map index.
    pub fn list(texts: &[Json]) -> Arc<Self> {
        let bytes = texts.iter().map(|text| text.as_str().len() + 1).sum::<usize>();
        let mut list = String::with_capacity(bytes + 2);
        list.push('[');
        for (index, text) in texts.iter().enumerate() {
            list.push_str(if index > 0 { "," } else { "" });
            list.push_str(text.as_str());
        }
        list.push(']');
        Self::new(Json::parse(list).expect("JSON texts with commas between are a JSON list"))
    }

    /// What an output of so many bytes takes in memory, about, when it is passed on or looked into.
    pub fn weight_of(bytes: u64) -> u64 {
        if bytes <= MAX_READ_BYTES as u64 { 13 * bytes } else { 2 * bytes }
    }

    pub fn text(&self) -> &Json {
        &self.text
    }

    pub(super) fn value(&self) -> Result<Value, Error> {
        let read = || {
            let text = self.text.as_str();
            if text.len() > MAX_READ_BYTES {
                return Err(format!(
                    "an output of {} bytes cannot be looked into (the limit is {MAX_READ_BYTES}); pass it whole",
                    text.len()
                ));
            }
            serde_json::from_str::<Value>(text).map_err(|error| format!("an output cannot be read: {error}"))
        };
        self.read.get_or_init(read).clone().map_err(too_large)
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({} bytes)", self.text.as_str().len())
    }
}

/// What is known of a run.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    pub dag_id: &'a str,
    pub run_id: &'a str,
    /// None for a run that has none; there is then no `ds` or `ts` either.
    pub logical_date: Option<Timestamp>,
    pub data_interval_start: Option<Timestamp>,
    pub data_interval_end: Option<Timestamp>,
    /// An object; `conf` has already overridden it.
    pub params: Json,
    pub conf: Json,
    /// At least those that `References::variables` names and that exist.
    pub variables: Arc<BTreeMap<String, String>>,
    /// At least those that `References::tasks` names and that have succeeded.
    pub outputs: BTreeMap<String, Arc<Output>>,
}

/// What is known of a task instance.
#[derive(Debug, Clone, Copy)]
pub struct Instance<'a> {
    /// None before there is one: a condition is asked first.
    pub id: Option<TaskId>,
    pub task_id: &'a str,
    /// −1 where the task is not mapped.
    pub map_index: i64,
    pub try_number: u32,
}

/// Cheap to make, to clone and to share: what no template asks for is not made. `for_instance` and `with_keys`
/// share what the run has.
#[derive(Debug, Clone)]
pub struct Scope {
    run: Arc<RunNames>,
    instance: Option<Value>,
    keys: Value,
}

#[derive(Debug)]
struct RunNames {
    dag_id: String,
    run_id: String,
    logical_date: Option<Timestamp>,
    data_interval_start: Option<Timestamp>,
    data_interval_end: Option<Timestamp>,
    params: Arc<Output>,
    conf: Arc<Output>,
    variables: Arc<BTreeMap<String, String>>,
    outputs: Arc<BTreeMap<String, Arc<Output>>>,
    parsed: Parsed,
}

impl RunNames {
    fn get(&self, name: &str) -> Option<Value> {
        Some(match name {
            "run_id" => Value::from(self.run_id.as_str()),
            "dag" => Value::from_pairs([("dag_id", self.dag_id.as_str())]),
            "params" => self.params.value().unwrap_or_else(Value::from),
            "conf" => self.conf.value().unwrap_or_else(Value::from),
            "tasks" => Value::from_object(Tasks { outputs: Arc::clone(&self.outputs), id: String::new() }),
            "var" => {
                Value::from_object(Var { variables: Arc::clone(&self.variables), parsed: Arc::clone(&self.parsed) })
            }
            "logical_date" => Value::from(dates::iso(self.logical_date?)),
            "data_interval_start" => Value::from(dates::iso(self.data_interval_start?)),
            "data_interval_end" => Value::from(dates::iso(self.data_interval_end?)),
            name => {
                let (_, format) = dates::FORMATS.iter().find(|(known, _)| *known == name)?;
                Value::from(format(self.logical_date?))
            }
        })
    }

    fn has(&self, name: &str) -> bool {
        match name {
            "run_id" | "dag" | "params" | "conf" | "tasks" | "var" => true,
            "data_interval_start" => self.data_interval_start.is_some(),
            "data_interval_end" => self.data_interval_end.is_some(),
            "task_instance" | "ti" | "task" => false,
            _ => self.logical_date.is_some(),
        }
    }
}

impl Scope {
    pub fn of_run(run: Run<'_>) -> Self {
        let run = RunNames {
            dag_id: run.dag_id.to_owned(),
            run_id: run.run_id.to_owned(),
            logical_date: run.logical_date,
            data_interval_start: run.data_interval_start,
            data_interval_end: run.data_interval_end,
            params: Output::new(run.params),
            conf: Output::new(run.conf),
            variables: run.variables,
            outputs: Arc::new(run.outputs),
            parsed: Parsed::default(),
        };
        Self { run: Arc::new(run), instance: None, keys: Value::from_object(BTreeMap::<String, Value>::new()) }
    }

    pub fn for_instance(&self, instance: Instance<'_>) -> Self {
        let values = [
            ("task_id", Value::from(instance.task_id)),
            ("map_index", Value::from(instance.map_index)),
            ("try_number", Value::from(instance.try_number)),
            ("run_id", Value::from(self.run.run_id.as_str())),
            ("dag_id", Value::from(self.run.dag_id.as_str())),
        ];
        let id = instance.id.map(|id| ("id", Value::from(id.to_string())));
        Self { instance: Some(Value::from_pairs(values.into_iter().chain(id))), ..self.clone() }
    }

    /// The keys of a mapped instance and their values: `{{ file }}`.
    pub fn with_keys(&self, keys: &serde_json::Map<String, serde_json::Value>) -> Self {
        let keys = keys.iter().map(|(key, value)| (key.as_str(), json::from_value(value)));
        Self { keys: Value::from_pairs(keys), ..self.clone() }
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        match name {
            "task_instance" | "ti" | "task" => self.instance.clone(),
            KEYS => Some(self.keys.clone()),
            name => self.run.get(name),
        }
    }

    /// As a path starts: a name of the run, or a key.
    pub(super) fn root(&self, name: &str) -> Option<Value> {
        self.get(name).or_else(|| self.keys.get_attr(name).ok().filter(|value| !value.is_undefined()))
    }

    pub(super) fn output(&self, task: &str) -> Option<&Arc<Output>> {
        self.run.outputs.get(task)
    }

    /// The names that are defined here, for suggestions.
    pub(super) fn defined(&self) -> impl Iterator<Item = &str> {
        let run = NAMES.iter().copied().filter(|name| self.run.has(name));
        run.chain(self.instance.iter().flat_map(|_| ["task_instance", "ti", "task"]))
    }

    pub(super) fn has_dates(&self) -> bool {
        self.run.logical_date.is_some()
    }
}

/// `tasks`, and `tasks.load` on the way to `tasks.load.x.output`.
#[derive(Debug)]
struct Tasks {
    outputs: Arc<BTreeMap<String, Arc<Output>>>,
    id: String,
}

impl Object for Tasks {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        if key == "output" && !self.id.is_empty() {
            let output = self.outputs.get(&self.id)?;
            return Some(output.value().unwrap_or_else(Value::from));
        }
        let id = if self.id.is_empty() { key.to_owned() } else { format!("{}.{key}", self.id) };
        Some(Value::from_object(Self { outputs: Arc::clone(&self.outputs), id }))
    }
}

/// `var`: `var.value.KEY` is a variable's text, `var.json.KEY` what that text says.
#[derive(Debug)]
struct Var {
    variables: Arc<BTreeMap<String, String>>,
    parsed: Parsed,
}

/// What variables say as JSON: each is read once for a run's scope, however often a template names it.
type Parsed = Arc<Mutex<HashMap<String, Value>>>;

impl Object for Var {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let json = match key.as_str()? {
            "value" => false,
            "json" => true,
            _ => return None,
        };
        let parsed = Arc::clone(&self.parsed);
        Some(Value::from_object(Variables { variables: Arc::clone(&self.variables), parsed, json }))
    }
}

#[derive(Debug)]
struct Variables {
    variables: Arc<BTreeMap<String, String>>,
    parsed: Parsed,
    json: bool,
}

impl Object for Variables {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let text = self.variables.get(name)?;
        if !self.json {
            return Some(Value::from(text.as_str()));
        }
        if let Some(known) = self.parsed.lock().get(name) {
            return Some(known.clone());
        }
        let value = serde_json::from_str(text).unwrap_or_else(|error| {
            Value::from(super::errors::invalid(format!("variable `{name}` is not JSON: {error}")))
        });
        self.parsed.lock().insert(name.to_owned(), value.clone());
        Some(value)
    }
}

/// The scope as minijinja sees it, with the meter of the rendering that is under way.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) scope: Scope,
    pub(super) meter: Value,
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        if name == METER { Some(self.meter.clone()) } else { self.scope.get(name) }
    }
}
