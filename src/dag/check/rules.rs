//! Checks each task's graph keys against each other and against the graph.

use std::collections::HashSet;

use super::order::downstream;
use crate::dag::definition::TaskKind;
use crate::dag::draft::{DraftTask, Read, Reader};
use crate::dag::finding::Finding;
use crate::dag::trigger_rule::TriggerRule;

pub(super) fn check(reader: &mut Reader, read: &Read<'_>) {
    let downstream = downstream(&read.upstream);
    // Whether nobody waits for a task is not known where somebody's upstream is not.
    let downstream_unsure =
        read.names_unsure || read.draft.tasks.iter().any(|task| task.upstream_unsure) || reader.findings.has("cycle");
    for (index, task) in read.draft.tasks.iter().enumerate() {
        module(reader, task);
        trigger_rule(reader, read, task);
        setup_and_teardown(reader, task);
        mapping(reader, read, index);
        let follows = match task.kind {
            TaskKind::Plain => None,
            TaskKind::Branch => Some(("branch", "names the tasks to follow")),
            TaskKind::ShortCircuit { .. } => Some(("short_circuit", "says whether the tasks after it run")),
        };
        if let (Some((key, what)), true, false) = (follows, downstream[index].is_empty(), downstream_unsure) {
            let message = format!("`{}` {what}, and no task waits for it", task.id);
            let remedy = format!("name `{}` in the `upstream` of those tasks, or remove `{key}`", task.id);
            reader.findings.add(on_key(task, key, "nothing_downstream", message).remedy(remedy));
        }
        if let Some((key, _)) = follows {
            choice_in_map(reader, read, index, key, &downstream[index]);
        }
    }
    groups(reader, read);
    comes_back(reader, read, &downstream);
}

fn on_key(task: &DraftTask, key: &str, code: &'static str, message: String) -> Finding {
    Finding::new(format!("{}/{key}", task.path), code, message)
}

fn module(reader: &mut Reader, task: &DraftTask) {
    if !task.keys.contains_key("module") && !task.is_broken {
        let message = format!("task `{}` has no `module`, neither its own nor by `default_args`", task.id);
        let finding = Finding::new(task.path.clone(), "missing_module", message).at(task.place);
        reader.findings.add(finding.remedy("write `module: name:tag` on it or in `default_args`"));
    }
}

fn trigger_rule(reader: &mut Reader, read: &Read<'_>, task: &DraftTask) {
    let (rule, Some(path)) = (task.trigger_rule, &task.trigger_rule_path) else { return };
    if task.teardown.is_some() {
        if rule != TriggerRule::AllDoneSetupSuccess {
            let message = format!("the trigger rule of a teardown is always all_done_setup_success; found {rule}");
            let finding = Finding::new(path, "teardown_trigger_rule", message);
            reader.findings.add(finding.remedy("remove `trigger_rule`"));
        }
        return;
    }
    let allowed = matches!(rule, TriggerRule::AllSuccess | TriggerRule::AllDoneSetupSuccess);
    if read.draft.settings.fail_fast && !allowed {
        let message = format!("with `fail_fast`, trigger rules are all_success: a run ends before {rule} could decide");
        let finding = Finding::new(path, "fail_fast_trigger_rule", message);
        reader.findings.add(finding.remedy("remove `trigger_rule` here, or `fail_fast` from the DAG"));
    }
}

fn setup_and_teardown(reader: &mut Reader, task: &DraftTask) {
    if task.setup && task.teardown.is_some() {
        let message = format!("`{}` is a setup and a teardown", task.id);
        reader.findings.add(on_key(task, "teardown", "setup_and_teardown", message).remedy("make two tasks of it"));
    }
}

fn mapping(reader: &mut Reader, read: &Read<'_>, index: usize) {
    let task = &read.draft.tasks[index];
    let group = read.draft.mapped_group(task.group).map(|group| &read.draft.groups[group].id);
    match (&task.expansion, group) {
        (Some(expansion), Some(group)) => {
            let message = format!("`{}` is mapped, and so is group `{group}` that it is in", task.id);
            let remedy = "map one of them: nested maps are not possible";
            reader.findings.add(on_key(task, expansion.key(), "nested_mapping", message).remedy(remedy));
        }
        (None, _) if task.map_index_template.is_some() => {
            let message =
                format!("`map_index_template` names the instances of a mapped task, and `{}` is not mapped", task.id);
            let finding = on_key(task, "map_index_template", "not_mapped", message);
            reader.findings.add(finding.remedy("remove it, or add `expand`"));
        }
        _ => {}
    }
}

/// What an instance chooses holds for its own instance of the group, so what it chooses from is in there.
fn choice_in_map(reader: &mut Reader, read: &Read<'_>, index: usize, key: &str, behind: &[usize]) {
    let task = &read.draft.tasks[index];
    if let Some(expansion) = &task.expansion {
        let message = format!("`{}` is mapped, and each of its instances would choose for the same tasks", task.id);
        let remedy = format!("map a group with `{}` and the tasks behind it in it, or remove `{key}`", task.id);
        reader.findings.add(on_key(task, expansion.key(), "mapped_choice", message).remedy(remedy));
        return;
    }
    let Some(group) = read.draft.mapped_group(task.group) else { return };
    let is_outside = |other: &&usize| read.draft.mapped_group(read.draft.tasks[**other].group) != Some(group);
    if let Some(outside) = behind.iter().find(is_outside) {
        let group = &read.draft.groups[group].id;
        let outside = &read.draft.tasks[*outside].id;
        let message =
            format!("`{}` chooses in each instance of group `{group}`, and `{outside}` is not in it", task.id);
        let remedy = format!("move `{outside}` into `{group}`, or let it wait for a task behind `{}`", task.id);
        reader.findings.add(on_key(task, key, "choice_leaves_map", message).remedy(remedy));
    }
}

/// A task of a mapped group that waits for one outside which waits for the group: the outside waits for all
/// instances, of which only so many are under way at once, and none of these could end.
fn comes_back(reader: &mut Reader, read: &Read<'_>, downstream: &[Vec<usize>]) {
    let tasks = &read.draft.tasks;
    for (group, definition) in read.draft.groups.iter().enumerate().filter(|(_, group)| group.expansion.is_some()) {
        let is_in = |task: usize| read.draft.mapped_group(tasks[task].group) == Some(group);
        let mut outside: Vec<usize> =
            (0..tasks.len()).filter(|task| is_in(*task)).flat_map(|task| &downstream[task]).copied().collect();
        let mut seen = HashSet::new();
        outside.retain(|task| !is_in(*task) && seen.insert(*task));
        while let Some(task) = outside.pop() {
            for &behind in &downstream[task] {
                if is_in(behind) {
                    let (id, other, group) = (&tasks[behind].id, &tasks[task].id, &definition.id);
                    let message = format!(
                        "`{id}` of the mapped group `{group}` waits for `{other}`, which waits for the whole group"
                    );
                    let remedy = format!("move `{other}` into `{group}`, or `{id}` out of it");
                    reader.findings.add(on_key(&tasks[behind], "upstream", "comes_back", message).remedy(remedy));
                } else if seen.insert(behind) {
                    outside.push(behind);
                }
            }
        }
    }
}

fn groups(reader: &mut Reader, read: &Read<'_>) {
    for group in &read.draft.groups {
        let outer = read.draft.mapped_group(group.parent).map(|outer| &read.draft.groups[outer].id);
        match (&group.expansion, outer) {
            (Some(expansion), Some(outer)) => {
                let message = format!("group `{}` is mapped, and so is group `{outer}` that it is in", group.id);
                let finding = Finding::new(format!("{}/{}", group.path, expansion.key()), "nested_mapping", message);
                reader.findings.add(finding.remedy("map one of them: nested maps are not possible"));
            }
            (None, _) if group.map_index_template.is_some() => {
                let message = format!(
                    "`map_index_template` names the instances of a mapped group, and `{}` is not mapped",
                    group.id
                );
                let finding = Finding::new(format!("{}/map_index_template", group.path), "not_mapped", message);
                reader.findings.add(finding.remedy("remove it, or add `expand`"));
            }
            _ => {}
        }
    }
}
