//! Stands in for the host where tasks are tested with plain `cargo test`.
//!
//! A task function is called like any other. [`context()`] makes the context it may want, [`logged`] shows what it logged,
//! and [`run`] goes the whole way, by name and with JSON in and out, as the host does.
//!
//! ```
//! use tradewind_sdk::{Context, Error, info, json, task, testing};
//!
//! #[task]
//! fn next_try(context: &Context) -> Result<u32, Error> {
//!     info!("this is try {}", context.try_number());
//!     Ok(context.try_number() + 1)
//! }
//!
//! let second = testing::context().with_try_number(2).build();
//! let (answer, lines) = testing::logged(|| next_try(&second));
//! assert_eq!(answer, Ok(3));
//! assert_eq!(lines, ["INFO this is try 2"]);
//!
//! assert_eq!(testing::run("next_try", json!(null)), Ok(json!(2)));
//! ```

use std::cell::RefCell;

use jiff::{SignedDuration, Timestamp};
use log::Level;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Context, Error, registry};

/// What a [`Context`] shall say; see [`context()`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Facts {
    task_id: String,
    run_id: Option<String>,
    dag_id: Option<String>,
    logical_date: Option<Timestamp>,
    data_interval: Option<(Timestamp, Timestamp)>,
    try_number: u32,
    map_index: Option<u32>,
    params: Value,
    deadline: Timestamp,
}

/// The context of a single task in its first try, with an hour until its deadline; what differs is said by `with_…`.
pub fn context() -> Facts {
    Facts {
        task_id: "task_00000000000000000000000000".to_owned(),
        run_id: None,
        dag_id: None,
        logical_date: None,
        data_interval: None,
        try_number: 1,
        map_index: None,
        params: json!({}),
        deadline: Timestamp::now() + SignedDuration::from_hours(1),
    }
}

impl Facts {
    pub fn with_task_id(self, id: &str) -> Self {
        Self { task_id: id.to_owned(), ..self }
    }

    /// Makes it a task of the DAG run `run_id` of `dag_id`.
    pub fn with_run(self, dag_id: &str, run_id: &str) -> Self {
        Self { dag_id: Some(dag_id.to_owned()), run_id: Some(run_id.to_owned()), ..self }
    }

    pub fn with_logical_date(self, date: Timestamp) -> Self {
        Self { logical_date: Some(date), ..self }
    }

    pub fn with_data_interval(self, start: Timestamp, end: Timestamp) -> Self {
        Self { data_interval: Some((start, end)), ..self }
    }

    pub fn with_try_number(self, try_number: u32) -> Self {
        Self { try_number, ..self }
    }

    pub fn with_map_index(self, map_index: u32) -> Self {
        Self { map_index: Some(map_index), ..self }
    }

    /// `params` is an object.
    pub fn with_params(self, params: Value) -> Self {
        Self { params, ..self }
    }

    pub fn with_deadline(self, deadline: Timestamp) -> Self {
        Self { deadline, ..self }
    }

    #[must_use]
    pub fn build(self) -> Context {
        Context { source: self }
    }
}

// The answers in the form the host gives them, so that the context reads both the same way.
impl Facts {
    pub(crate) fn task_id(&self) -> String {
        self.task_id.clone()
    }

    pub(crate) fn run_id(&self) -> Option<String> {
        self.run_id.clone()
    }

    pub(crate) fn dag_id(&self) -> Option<String> {
        self.dag_id.clone()
    }

    pub(crate) fn logical_date(&self) -> Option<String> {
        self.logical_date.map(|date| date.to_string())
    }

    pub(crate) fn data_interval_start(&self) -> Option<String> {
        self.data_interval.map(|(start, _)| start.to_string())
    }

    pub(crate) fn data_interval_end(&self) -> Option<String> {
        self.data_interval.map(|(_, end)| end.to_string())
    }

    pub(crate) fn try_number(&self) -> u32 {
        self.try_number
    }

    pub(crate) fn map_index(&self) -> Option<u32> {
        self.map_index
    }

    pub(crate) fn params(&self) -> String {
        self.params.to_string()
    }

    pub(crate) fn deadline(&self) -> String {
        self.deadline.to_string()
    }
}

/// Runs a task of this crate by its name, as the host does: the input is read from JSON, the output is JSON.
pub fn run(name: &str, input: impl Serialize) -> Result<Value, Error> {
    run_in(&context().build(), name, input)
}

/// [`run`] with a context of one's own.
pub fn run_in(context: &Context, name: &str, input: impl Serialize) -> Result<Value, Error> {
    let output = registry::run(context, name, &serde_json::to_string(&input)?)?;
    Ok(serde_json::from_str(&output)?)
}

/// The tasks of this crate as Tradewind sees them at upload: `[{name, docs, input_schema, output_schema}]`.
///
/// # Panics
///
/// When two tasks have the same name.
pub fn list_tasks() -> Value {
    let describe = |task: &registry::Task| {
        json!({
            "name": task.name,
            "docs": task.docs,
            "input_schema": (task.input_schema)(),
            "output_schema": (task.output_schema)(),
        })
    };
    registry::tasks().into_iter().map(describe).collect()
}

/// What `work` returns, and the lines it logged on this thread: `INFO three rows read`.
///
/// Outside of it, lines go to stderr.
pub fn logged<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let outer = LINES.replace(Some(Vec::new()));
    let result = work();
    (result, LINES.replace(outer).unwrap_or_default())
}

thread_local! {
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

pub(crate) fn write_log(level: Level, message: &str) {
    LINES.with_borrow_mut(|lines| match lines {
        Some(lines) => lines.push(format!("{level} {message}")),
        None => eprintln!("{level} {message}"),
    });
}
