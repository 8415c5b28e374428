//! What people write who know Airflow's templates, or Python, and what it is here.

use minijinja::machinery::ast::{CallArg, Expr};

use super::environment::{FILTERS, FUNCTIONS, METHODS, TESTS};
use super::errors::{Words, words};
use crate::dag::finding::{closest, shown};

const DATES: &str = "dates are texts here: make others of them by the filters `ds`, `ds_nodash`, `ts` and `ts_nodash`, \
                     and compute with dates in the task's code";
const OTHER_RUNS: &str = "only the dates of this run are known: `ds`, `logical_date`, `data_interval_start`, \
                          `data_interval_end`; compute others in the task's code";
const ASSETS: &str = "there are no assets here; pass data on as outputs: `tasks.extract.output`";

/// Names that Airflow's templates have and these do not.
const NAMES: [(&str, &str); 29] = [
    ("dag_run", "write `conf` for `dag_run.conf`, and likewise `run_id` and `logical_date`"),
    ("execution_date", "it is called `logical_date`"),
    ("next_execution_date", OTHER_RUNS),
    ("prev_execution_date", OTHER_RUNS),
    ("prev_execution_date_success", OTHER_RUNS),
    ("prev_ds", OTHER_RUNS),
    ("prev_ds_nodash", OTHER_RUNS),
    ("next_ds", OTHER_RUNS),
    ("next_ds_nodash", OTHER_RUNS),
    ("yesterday_ds", OTHER_RUNS),
    ("yesterday_ds_nodash", OTHER_RUNS),
    ("tomorrow_ds", OTHER_RUNS),
    ("tomorrow_ds_nodash", OTHER_RUNS),
    ("prev_data_interval_start_success", OTHER_RUNS),
    ("prev_data_interval_end_success", OTHER_RUNS),
    ("prev_start_date_success", OTHER_RUNS),
    ("prev_end_date_success", OTHER_RUNS),
    ("macros", DATES),
    ("conn", "there are no connections here; keep plain settings in variables: `var.value.KEY`"),
    ("task_id", "write `task.task_id`"),
    ("dag_id", "write `dag.dag_id`"),
    ("map_index", "write `ti.map_index`"),
    ("try_number", "write `ti.try_number`"),
    ("task_instance_key_str", "make it of `dag.dag_id`, `task.task_id` and `ds_nodash`"),
    ("inlets", ASSETS),
    ("outlets", ASSETS),
    ("inlet_events", ASSETS),
    ("outlet_events", ASSETS),
    ("triggering_asset_events", ASSETS),
];

/// Methods of dates.
const OF_DATES: [&str; 10] = [
    "add",
    "date",
    "diff",
    "format",
    "in_timezone",
    "isoformat",
    "strftime",
    "subtract",
    "timestamp",
    "to_date_string",
];

/// What Python has as a function or a method, and Jinja as something else.
const ELSEWHERE: [(&str, &str); 9] = [
    ("endswith", "… is endingwith('.csv')"),
    ("startswith", "… is startingwith('s3://')"),
    ("len", "… | length"),
    ("lstrip", "… | trim"),
    ("rstrip", "… | trim"),
    ("sorted", "… | sort"),
    ("splitlines", "… | lines"),
    ("str", "… | string"),
    ("strip", "… | trim"),
];

/// What to write instead of one of Airflow's names.
pub fn instead_of(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|(foreign, _)| *foreign == name).map(|(_, remedy)| *remedy)
}

pub(super) fn filter(name: &str) -> Words {
    unknown("filter", name, FILTERS)
}

pub(super) fn test(name: &str) -> Words {
    unknown("test", name, TESTS)
}

pub(super) fn function(name: &str) -> Words {
    with(unknown("function", name, FUNCTIONS), elsewhere(name))
}

/// Of a method that there is not: the name before it, if there is one, and what it is called with.
pub(super) fn method(on: Option<&str>, name: &str, arguments: &[CallArg<'_>]) -> Words {
    let remedy = match name {
        "xcom_pull" => Some(pulled(arguments)),
        "xcom_push" => Some("what a task returns is its output, and others read it: `tasks.extract.output`".to_owned()),
        _ => on.and_then(instead_of).map(str::to_owned).or_else(|| elsewhere(name)),
    };
    let remedy = remedy.or_else(|| OF_DATES.contains(&name).then(|| DATES.to_owned()));
    with(unknown("method", name, METHODS), remedy)
}

fn with(words: Words, remedy: Option<String>) -> Words {
    Words { remedy: remedy.unwrap_or(words.remedy), ..words }
}

fn elsewhere(name: &str) -> Option<String> {
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(foreign, _)| *foreign == name) {
        return Some(format!("write `{instead}`"));
    }
    FILTERS.contains(&name).then(|| format!("it is a filter: write `… | {name}`"))
}

/// `xcom_pull('extract')`, `xcom_pull(task_ids='extract')`.
fn pulled(arguments: &[CallArg<'_>]) -> String {
    let task = arguments.iter().find_map(|argument| match argument {
        CallArg::Pos(Expr::Const(task)) | CallArg::Kwarg("task_ids", Expr::Const(task)) => task.value.as_str(),
        _ => None,
    });
    format!("read the output of a task: `tasks.{}.output`", shown(task.unwrap_or("extract")))
}

fn unknown(what: &str, name: &str, known: &[&str]) -> Words {
    let remedy = match closest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are: {}", known.join(", ")),
    };
    words(format!("there is no {what} `{}` in templates", shown(name)), remedy)
}
