//! What is drawn of a DAG, from its definition or from a file that is not applied yet, and how a run looks in it.

use std::collections::BTreeMap;

use super::graph::{Drawing, DrawnTask, Kind};
use super::text;
use crate::client::{DagGraph, DagTask, RunTask};
use crate::dag::Draft;
use crate::dag::definition::{Scope, TaskKind};
use crate::model::{TaskState, Timestamp};

pub(super) fn of_definition(dag: &DagGraph) -> Drawing {
    let places: BTreeMap<&str, usize> = dag.tasks.iter().enumerate().map(|(at, task)| (task.id.as_str(), at)).collect();
    let kind = |task: &DagTask| match task {
        task if task.is_mapped() => Kind::Mapped(None),
        task if task.setup => Kind::Setup,
        task if task.teardown.is_some() => Kind::Teardown,
        task if task.decides() => Kind::Branch,
        _ => Kind::Plain,
    };
    let drawn = dag.tasks.iter().map(|task| DrawnTask {
        id: task.id.clone(),
        upstream: task.upstream.iter().filter_map(|id| places.get(id.as_str()).copied()).collect(),
        group: task.group.clone(),
        label: function_beside(&task.id, &task.function),
        kind: kind(task),
        state: None,
    });
    Drawing { tasks: drawn.collect() }
}

/// As far as the file could be read.
pub(super) fn of_draft(draft: &Draft) -> Drawing {
    let drawn = draft.tasks.iter().enumerate().map(|(at, task)| DrawnTask {
        id: task.id.clone(),
        upstream: task.upstream.clone(),
        group: task.group.map(|group| draft.groups[group].id.clone()),
        label: task
            .keys
            .get("function")
            .and_then(|function| function.value.as_str())
            .and_then(|function| function_beside(&task.id, function)),
        kind: match task.kind {
            _ if draft.scope(at) != Scope::Run => Kind::Mapped(None),
            _ if task.setup => Kind::Setup,
            _ if task.teardown.is_some() => Kind::Teardown,
            TaskKind::Branch | TaskKind::ShortCircuit { .. } => Kind::Branch,
            TaskKind::Plain => Kind::Plain,
        },
        state: None,
    });
    Drawing { tasks: drawn.collect() }
}

/// The function of a task, where its id does not say it: `load.store` and `store` are one word too many.
fn function_beside(id: &str, function: &str) -> Option<String> {
    // WIT has `say-hi` for what many write as `say_hi`.
    let is_said_by = |name: &str| name.replace('_', "-") == function.replace('_', "-");
    let last = id.rsplit('.').next().unwrap_or(id);
    (!function.is_empty() && !is_said_by(id) && !is_said_by(last)).then(|| function.to_owned())
}

/// The same with the states of a run. What a task took, or how far a mapped one is, goes in place of its function.
pub(super) fn of_run<'a>(
    drawing: &Drawing,
    instances: impl IntoIterator<Item = &'a RunTask>,
    now: Timestamp,
) -> Drawing {
    let mut by_task: BTreeMap<&str, Vec<&RunTask>> = BTreeMap::new();
    for instance in instances {
        by_task.entry(&instance.task_id).or_default().push(instance);
    }
    let drawn = drawing.tasks.iter().map(|task| {
        let instances = by_task.get(task.id.as_str()).map_or(&[][..], Vec::as_slice);
        let is_expanded = instances.iter().any(|instance| instance.map_index >= 0);
        DrawnTask {
            kind: match task.kind {
                Kind::Mapped(_) if is_expanded => Kind::Mapped(u32::try_from(instances.len()).ok()),
                kind => kind,
            },
            label: match instances {
                [instance] => length(instance, now),
                _ => progress(instances),
            },
            state: whole(instances.iter().map(|instance| instance.state)).map(|state| state.to_string()),
            ..task.clone()
        }
    });
    Drawing { tasks: drawn.collect() }
}

/// The state of a mapped task: what most needs to be seen of the states of its instances.
pub(super) fn whole(states: impl Iterator<Item = TaskState>) -> Option<TaskState> {
    use TaskState::*;
    const URGENT_FIRST: [TaskState; 11] = [
        Failed,
        UpstreamFailed,
        Cancelled,
        UpForRetry,
        Running,
        Deferred,
        Queued,
        Scheduled,
        Success,
        Skipped,
        Removed,
    ];
    states.min_by_key(|state| URGENT_FIRST.iter().position(|urgent| urgent == state))
}

fn length(instance: &RunTask, now: Timestamp) -> Option<String> {
    let length = match (instance.state, instance.duration_ms, instance.start_date) {
        (TaskState::Running, _, Some(start)) => text::duration(now.since(start)),
        (_, Some(duration_ms), _) => text::milliseconds(duration_ms),
        _ => return None,
    };
    match instance.try_number {
        0 | 1 => Some(length),
        again => Some(format!("{length}, try {again}")),
    }
}

/// `7/10` while some have not ended.
fn progress(instances: &[&RunTask]) -> Option<String> {
    let ended = instances.iter().filter(|instance| instance.state.is_final()).count();
    (ended < instances.len()).then(|| format!("{ended}/{}", instances.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::graph;

    fn dag() -> DagGraph {
        serde_json::from_value(json!({"dag_id": "etl", "later": 1, "tasks": [
            {"id": "extract", "module": "m", "function": "etl/read#extract"},
            {"id": "parse", "module": "m", "function": "parse", "upstream": ["extract"], "scope": "task",
             "expansion": {"expand": []}},
            {"id": "choose", "module": "m", "function": "choose", "upstream": ["parse"], "kind": "branch"},
            {"id": "load.copy", "module": "m", "function": "copy", "upstream": ["choose", "gone"], "group": "load"}
        ]}))
        .expect("a definition")
    }

    fn instance(task_id: &str, map_index: i64, state: &str, duration_ms: Option<f64>) -> RunTask {
        serde_json::from_value(json!({"id": format!("task_{task_id}{map_index}"), "task_id": task_id,
            "map_index": map_index, "state": state, "try_number": 1, "duration_ms": duration_ms}))
        .expect("an instance")
    }

    #[test]
    fn a_definition_is_drawn() {
        let text = graph::terminal(&of_definition(&dag()), 120, false, true);
        assert_eq!(text, "extract (etl/read#extract) ─▶ parse […] ─▶ choose (branch) ─▶ load.copy\n");
    }

    #[test]
    fn a_function_is_told_where_the_id_does_not_say_it() {
        for (id, function, told) in [
            ("parse", "parse", None),
            ("load.parse", "parse", None),
            ("say_hi", "say-hi", None),
            ("load.say_hi", "say_hi", None),
            ("parse", "", None),
            ("parse", "parse-all", Some("parse-all")),
            ("load.parse", "load", Some("load")),
        ] {
            assert_eq!(function_beside(id, function).as_deref(), told, "{id} {function}");
        }
    }

    #[test]
    fn a_run_is_drawn_with_what_is_worth_seeing_of_each_task() {
        let instances = [
            instance("extract", -1, "success", Some(12.0)),
            instance("parse", 0, "success", Some(1.0)),
            instance("parse", 1, "running", None),
            instance("choose", -1, "scheduled", None),
            instance("load.copy", -1, "scheduled", None),
        ];
        let drawing = of_run(&of_definition(&dag()), &instances, Timestamp::from_millis(0));
        let drawn: Vec<_> = drawing
            .tasks
            .iter()
            .map(|task| (task.kind, task.state.as_deref().unwrap_or_default(), task.label.as_deref()))
            .collect();
        assert_eq!(
            drawn,
            [
                (Kind::Plain, "success", Some("12.0ms")),
                (Kind::Mapped(Some(2)), "running", Some("1/2")),
                (Kind::Branch, "scheduled", None),
                (Kind::Plain, "scheduled", None),
            ]
        );
    }

    #[test]
    fn one_failure_is_seen_among_many() {
        use TaskState::*;
        for (states, expected) in [
            (vec![], None),
            (vec![Success, Skipped], Some(Success)),
            (vec![Success, Running, Queued], Some(Running)),
            (vec![Success, Running, Failed], Some(Failed)),
            (TaskState::ALL.to_vec(), Some(Failed)),
        ] {
            assert_eq!(whole(states.iter().copied()), expected, "{states:?}");
        }
    }

    #[test]
    fn a_file_is_drawn_though_it_has_mistakes() {
        let file = "dag_id: etl\ntasks:\n  a: {module: m, function: f}\n  b: {module: m, upstream: [a, c], expand: {x: [1]}}\n";
        let (mut drafts, findings) = crate::cli::draft::read(file.as_bytes());
        assert_eq!(findings.len(), 1, "{findings:?}");
        let drawing = of_draft(&drafts.pop().expect("one draft"));
        assert_eq!(graph::terminal(&drawing, 80, false, true), "a (f) ─▶ b […]\n");
    }
}
