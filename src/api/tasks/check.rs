//! Decides whether what a task asks for may be had.
//!
//! A single task and a task of a DAG go through the same checks. All of them are made, so that
//! who corrects a file hears everything at once; a single task is answered with the first problem.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::api::bounds::{MAX_FUNCTION_BYTES, MAX_LABEL_KEY_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, TaskBounds};
use crate::api::extract;
use crate::api::problem::{Kind, Place, Problem};
use crate::dag::finding::did_you_mean;
use crate::model::task::{MAX_ARGS, MAX_ARGS_BYTES, Terms};
use crate::model::{Grants, Json, ModuleInfo, ModuleKind, Outcome, QueueName, RetryPolicy, Timestamp};

use super::object::shared_grants;
use super::submit::TaskRequest;

/// What a request asks for, with its defaults. Of use only where there was no problem.
pub struct Asked {
    /// None where it was refused, or the module is not known.
    pub function: Option<Arc<str>>,
    pub input: Json,
    pub args: Arc<[String]>,
    pub terms: Terms,
    pub queue: QueueName,
    pub priority_weight: i32,
    pub not_before: Option<Timestamp>,
    pub labels: BTreeMap<String, String>,
}

/// Checks everything but the input, which follows from the function. Without a module, what does not depend on it.
pub fn check(
    mut request: TaskRequest,
    module: Option<&ModuleInfo>,
    bounds: &TaskBounds,
    problems: &mut Vec<Problem>,
) -> Asked {
    let function = module.and_then(|module| function(&request, module).map_err(|problem| problems.push(problem)).ok());
    let args = args(std::mem::take(&mut request.args), module, problems);
    let grants = grants(std::mem::take(&mut request.grants), module, bounds, problems);
    let limits = request.limits.within(bounds, problems);
    check_labels(&request.labels, problems);
    let retry = retry_policy(&request, bounds, problems);
    Asked {
        function,
        input: request.input.unwrap_or_else(Json::null),
        args,
        terms: Terms { grants, limits, retry },
        queue: request.queue.unwrap_or_default(),
        priority_weight: request.priority_weight.unwrap_or(1),
        not_before: request.not_before,
        labels: request.labels,
    }
}

/// The function that is named, or the only one there is.
fn function(request: &TaskRequest, info: &ModuleInfo) -> Result<Arc<str>, Problem> {
    let callable = || {
        let names = info.functions.iter().filter(|f| f.not_callable.is_none()).take(20).map(|f| f.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let place = |reason: &str| vec![Place::new("/function", Kind::FunctionNotFound.code_text(), reason)];
    let refused = |thing: String, reason: String, remedy: String| {
        let places = place(&reason);
        Err(Problem::new(Kind::FunctionNotFound, thing, reason, remedy).at(places))
    };
    match &request.function {
        None => match info.sole_function() {
            Some(function) => Ok(function.name.as_str().into()),
            None => refused(
                format!("module {}", request.module),
                "it does not have exactly one function, and the task names none".to_owned(),
                format!("name one of them in `function`: {}", callable()),
            ),
        },
        Some(name) => match info.function(name) {
            Some(function) => match &function.not_callable {
                None => Ok(name.as_str().into()),
                Some(why) => refused(
                    format!("function `{name}`"),
                    format!("it cannot be called: {why}"),
                    format!("call one of {}", callable()),
                ),
            },
            None => {
                let shown: String = name.chars().take(MAX_FUNCTION_BYTES).collect();
                let meant = did_you_mean(name, info.functions.iter().map(|function| function.name.as_str()));
                refused(
                    format!("function `{shown}`"),
                    format!("module {} does not have it", request.module),
                    meant.unwrap_or_else(|| format!("call one of {}", callable())),
                )
            }
        },
    }
}

/// The grants a task asks for; well-formed ones that may be given and suffice for its module, if there is no problem.
fn grants(
    mut asked: BTreeMap<String, Json>,
    module: Option<&ModuleInfo>,
    bounds: &TaskBounds,
    problems: &mut Vec<Problem>,
) -> Arc<Grants> {
    let unknown: Vec<Place> = asked
        .keys()
        .filter(|capability| !OFFERED.contains(&capability.as_str()))
        .map(|capability| {
            let shown: String = capability.chars().take(100).collect();
            let reason = format!("there is no capability `{shown}`");
            Place::new(format!("/grants/{shown}"), Kind::GrantNotOffered.code_text(), reason)
        })
        .collect();
    if let Some(first) = unknown.first() {
        let (thing, reason) = (format!("grant `{}`", &first.path["/grants/".len()..]), first.message.clone());
        let remedy = format!("grant only {}; context and log are free for everyone", OFFERED.join(", "));
        problems.push(Problem::new(Kind::GrantNotOffered, thing, reason, remedy).at(unknown));
        asked.retain(|capability, _| OFFERED.contains(&capability.as_str()));
    }
    let (asks_http, before) = (asked.contains_key("http"), problems.len());
    let asked = read_grants(asked, problems);
    // One that is not well-formed was meant all the same.
    let grants_http = !asked.http.is_empty() || asks_http && problems.len() > before;
    let beyond = bounds.ceiling.check(&asked);
    if let Some(first) = beyond.first() {
        let (reason, remedy) = (first.reason.clone(), first.remedy.clone());
        let thing = format!("grant `{}`", first.path);
        let places = beyond.into_iter().map(|refused| {
            Place::new(refused.path, Kind::GrantRefused.code_text(), refused.reason).remedy(refused.remedy)
        });
        problems.push(Problem::new(Kind::GrantRefused, thing, reason, remedy).at(places.collect()));
    }
    let needed = module.map(|module| module.grants_needed.as_slice()).unwrap_or_default();
    let missing: Vec<&String> = needed.iter().filter(|needed| needed.as_str() == "http" && !grants_http).collect();
    if let (Some(first), Some(module)) = (missing.first(), module) {
        let thing = format!("module {}", module.digest);
        let reason = format!("it imports what needs the grant `{first}`, and the task does not grant it");
        let remedy = format!(
            "add `{first}` to the task's grants, for example {{\"http\": [{{\"host\": \"api.example.org\"}}]}}"
        );
        let places = missing
            .iter()
            .map(|needed| Place::new(format!("/grants/{needed}"), Kind::MissingGrant.code_text(), reason.clone()));
        let places = places.collect();
        problems.push(Problem::new(Kind::MissingGrant, thing, reason, remedy).at(places));
    }
    shared_grants(asked)
}

/// What a task may be granted.
const OFFERED: [&str; 3] = ["http", "env", "scratch"];

/// Those that are well-formed.
fn read_grants(mut asked: BTreeMap<String, Json>, problems: &mut Vec<Problem>) -> Grants {
    #[derive(Deserialize)]
    struct Granted {
        grants: Grants,
    }
    while !asked.is_empty() {
        // Once more as a body, so that a refusal has its place and its words.
        let text = Json::of(&asked).expect("JSON values are JSON");
        let body = format!(r#"{{"grants": {}}}"#, text.as_str());
        let problem = match extract::json::<Granted>(body.as_bytes()) {
            Ok(read) => return read.grants,
            Err(problem) => problem,
        };
        let culprit = problem.places().first().and_then(|place| place.path.split('/').nth(2)).map(str::to_owned);
        problems.push(problem);
        if culprit.and_then(|culprit| asked.remove(&culprit)).is_none() {
            break;
        }
    }
    Grants::default()
}

/// The arguments, if the module takes any.
fn args(asked: Vec<String>, module: Option<&ModuleInfo>, problems: &mut Vec<Problem>) -> Arc<[String]> {
    if asked.is_empty() {
        return Arc::default();
    }
    if module.is_some_and(|module| module.kind != ModuleKind::Command) {
        problems.push(Problem::invalid(
            "/args",
            "only command-line programs take arguments, and this module is none",
            "pass the data as `input`",
        ));
        return Arc::default();
    }
    let bytes: usize = asked.iter().map(|arg| arg.len() + 1).sum();
    if asked.len() > MAX_ARGS || bytes > MAX_ARGS_BYTES {
        let reason =
            format!("{} arguments of {bytes} bytes are more than {MAX_ARGS} or {MAX_ARGS_BYTES} bytes", asked.len());
        let remedy = "pass large data as `input`, which the program reads on stdin";
        problems.push(Problem::invalid("/args", reason, remedy));
        return Arc::default();
    }
    for (place, _) in asked.iter().enumerate().filter(|(_, arg)| arg.contains('\0')) {
        problems.push(Problem::invalid(&format!("/args/{place}"), "it has a NUL in it", "leave it out"));
    }
    asked.into()
}

fn retry_policy(request: &TaskRequest, bounds: &TaskBounds, problems: &mut Vec<Problem>) -> RetryPolicy {
    let default = RetryPolicy::default();
    let policy = RetryPolicy {
        retries: request.retries.unwrap_or(default.retries),
        retry_delay: request.retry_delay.unwrap_or(default.retry_delay),
        retry_exponential_backoff: request.retry_exponential_backoff.unwrap_or(default.retry_exponential_backoff),
        max_retry_delay: request.max_retry_delay.unwrap_or(default.max_retry_delay),
        retry_on: request.retry_on.clone().unwrap_or(default.retry_on),
    };
    if policy.retries > bounds.max_retries {
        problems.push(Problem::invalid(
            "/retries",
            format!("{} is more than {}", policy.retries, bounds.max_retries),
            "ask for fewer, and rerun the task if all of them fail",
        ));
    }
    if !(1.0..=100.0).contains(&policy.retry_exponential_backoff) {
        problems.push(Problem::invalid(
            "/retry_exponential_backoff",
            format!("{} is not between 1 and 100", policy.retry_exponential_backoff),
            "1 keeps every pause the same",
        ));
    }
    let retried = |outcome: &Outcome| {
        !matches!(outcome, Outcome::Success | Outcome::Skipped | Outcome::Deferred | Outcome::Cancelled | Outcome::Lost)
    };
    let not_retried = policy.retry_on.iter().enumerate().filter(|(_, outcome)| !retried(outcome));
    for (place, outcome) in not_retried.take(Outcome::ALL.len()) {
        problems.push(Problem::invalid(
            &format!("/retry_on/{place}"),
            format!("`{outcome}` is not retried by policy"),
            "name ways to fail: failed, trapped, timed_out, out_of_memory, denied, output_too_large",
        ));
    }
    if policy.retry_on.len() > Outcome::ALL.len() {
        problems.push(Problem::invalid("/retry_on", "it names outcomes twice", "name each once"));
    }
    policy
}

fn check_labels(labels: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    if labels.len() > MAX_LABELS {
        let reason = format!("there are {}, the limit is {MAX_LABELS}", labels.len());
        problems.push(Problem::invalid("/labels", reason, "keep what you filter by"));
        return;
    }
    for (key, value) in labels {
        let well_formed = (1..=MAX_LABEL_KEY_BYTES).contains(&key.len())
            && !key.contains([':', '"', '\\'])
            && !key.chars().any(char::is_control);
        if !well_formed || value.len() > MAX_LABEL_VALUE_BYTES {
            let shown: String = key.chars().take(100).collect();
            problems.push(Problem::invalid(
                &format!("/labels/{shown}"),
                format!(
                    "a key has 1 to {MAX_LABEL_KEY_BYTES} bytes without `:`, `\"`, `\\` and control characters, a value at most {MAX_LABEL_VALUE_BYTES} bytes"
                ),
                "shorten it",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_found_without_a_module() {
        let body = r#"{"module": "etl", "args": ["a\u0000", "b\u0000"], "retries": 1001, "retry_on": ["lost"],
            "grants": {"sql": {}, "env": {"A": 1}, "http": [{"host": "*", "ports": [0]}], "scratch": {"byte": 1}},
            "limits": {"memory_bytes": 0, "execution_timeout": "0s"}, "labels": {"": "x", "a:b": "y"}}"#;
        let mut problems = Vec::new();
        check(extract::json(body.as_bytes()).expect("a request"), None, &TaskBounds::default(), &mut problems);
        let found: Vec<&str> = problems.iter().flat_map(Problem::places).map(|place| &*place.path).collect();
        let expected = [
            "/args/0",
            "/args/1",
            "/grants/sql",
            "/grants/env/A",
            "/grants/scratch/byte",
            "/grants/http/0/ports",
            "/limits/memory_bytes",
            "/limits/execution_timeout",
            "/labels/",
            "/labels/a:b",
            "/retries",
            "/retry_on/0",
        ];
        assert_eq!(found, expected);
    }
}
