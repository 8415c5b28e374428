//! Says why the server refused, in the words of the command line: the server's remedies speak HTTP.

use crate::client::Problem;

/// What to do instead, by the code of the problem. `{}` stands for the name in its thing: ``DAG `etl` ``.
const REMEDIES: [(&str, &str); 10] = [
    ("unauthorized", "set TRADEWIND_TOKEN; on the server's machine `tradewind --data-dir DIR …` finds its first token"),
    ("dag_not_found", "create it with `tradewind apply FILE`, or see `tradewind dags list`"),
    ("version_not_found", "see `tradewind dags versions {}`"),
    ("run_not_found", "name it as DAG/RUN_ID, or see `tradewind runs list`"),
    ("task_not_found", "name it as DAG/RUN_ID/TASK, or see `tradewind tasks list`"),
    ("module_not_found", "upload it with `tradewind push`, or see `tradewind modules list`"),
    ("variable_not_found", "set it with `tradewind variables set {}`, or see `tradewind variables list`"),
    ("invalid_params", "see the params in `tradewind dags show {}`"),
    ("dag_busy", "let them end, or cancel them with `tradewind runs cancel`: see `tradewind runs list --dag {}`"),
    ("run_stopping", "wait for its end: `tradewind runs show --follow`"),
];

/// The whole refusal, each thing once.
pub(super) fn said(problem: &Problem) -> String {
    let mut problem = problem.clone();
    say_once(&mut problem);
    // One that is said with the mistake itself is the server's, about what was sent.
    let remedy = REMEDIES.iter().find(|(code, _)| *code == problem.code).map(|(_, remedy)| *remedy);
    if let Some(remedy) = remedy {
        let name = problem.thing.split('`').nth(1).unwrap_or("NAME");
        problem.remedy = remedy.replace("{}", name);
    }
    problem.to_string()
}

/// The same of one mistake of many, whose message ends by the server's remedy.
pub(super) fn in_commands(code: &str, message: &str) -> String {
    let remedy = REMEDIES.iter().find(|(known, _)| *known == code).map(|(_, remedy)| *remedy);
    match (message.rsplit_once("; "), remedy.filter(|remedy| !remedy.contains("{}"))) {
        (Some((said, servers)), Some(remedy)) if servers.contains("/api/v1/") => format!("{said}; {remedy}"),
        _ => message.to_owned(),
    }
}

/// The head of a problem repeats its first mistake; where the mistakes are listed, it says only what they are about.
fn say_once(problem: &mut Problem) {
    let Some(first) = problem.errors.first() else { return };
    if problem.reason.is_empty() || !first.message.starts_with(&problem.reason) {
        return;
    }
    let path = first.path.as_deref().unwrap_or_default().trim_start_matches('/').replace('/', ".");
    let is_named = problem.thing == format!("`{path}`") || problem.thing == path;
    if problem.errors.len() == 1 && is_named && first.line.is_none() {
        problem.errors.clear();
        return;
    }
    if !problem.remedy.is_empty() && first.message.ends_with(&problem.remedy) {
        problem.remedy.clear();
    }
    // Then the title stands for it.
    if !problem.title.is_empty() && !problem.thing.is_empty() {
        problem.reason.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(problem: Value) -> String {
        said(&serde_json::from_value(problem).expect("a problem"))
    }

    #[test]
    fn remedies_are_commands() {
        let problem = json!({"code": "dag_not_found", "thing": "DAG `etl`", "reason": "no DAG has this name",
            "remedy": "send it with PUT /api/v1/dags/{name}, or list the DAGs with GET /api/v1/dags"});
        assert_eq!(
            of(problem),
            "DAG `etl`: no DAG has this name\n  \
             to mend it: create it with `tradewind apply FILE`, or see `tradewind dags list`\n  (dag_not_found)"
        );
        for (code, remedy) in REMEDIES {
            assert!(remedy.contains("`tradewind "), "{code}");
        }
        let found = "module etl:1: no module has this name; upload it with POST /api/v1/modules";
        let instead = "upload it with `tradewind push`, or see `tradewind modules list`";
        assert_eq!(in_commands("module_not_found", found), format!("module etl:1: no module has this name; {instead}"));
        assert_eq!(in_commands("unknown_key", "no key `x`; did you mean `y`?"), "no key `x`; did you mean `y`?");
        let other = json!({"code": "busy", "thing": "it", "reason": "busy", "remedy": "wait"});
        assert_eq!(of(other), "it: busy\n  to mend it: wait\n  (busy)");
    }

    #[test]
    fn a_mistake_is_said_once() {
        let message = "param `max` does not match its schema: value is greater than the maximum of 1";
        let problem = json!({"code": "invalid_params", "title": "The parameters do not fit the DAG",
            "thing": "the run of DAG `etl`", "reason": message, "remedy": "see GET /api/v1/dags/etl",
            "errors": [{"path": "/conf/max", "code": "param_not_valid", "message": message},
                       {"path": "/conf/city", "code": "missing_param", "message": "param `city` is not given"}]});
        insta::assert_snapshot!(of(problem), @r"
        the run of DAG `etl`: The parameters do not fit the DAG
          /conf/max: param `max` does not match its schema: value is greater than the maximum of 1
          /conf/city: param `city` is not given
          to mend it: see the params in `tradewind dags show etl`
          (invalid_params)
        ");
        let problem = json!({"code": "invalid_request", "title": "The request is not valid", "thing": "`task_ids`",
            "reason": "the DAG has no task `x`", "remedy": "name some of a, b",
            "errors": [{"path": "/task_ids", "message": "the DAG has no task `x`; name some of a, b"}]});
        assert_eq!(
            of(problem),
            "`task_ids`: the DAG has no task `x`\n  to mend it: name some of a, b\n  (invalid_request)"
        );
    }
}
