//! What is known of the tasks of a run while it goes on: asked for now and then, and kept up with events in between.

use std::collections::{BTreeMap, HashMap};

use super::{full_name, instance_name};
use crate::client::{RunEvent, RunTask};
use crate::model::TaskState;

/// How many instances of a task are in each state.
pub(super) type Counts = BTreeMap<TaskState, usize>;

#[derive(Default)]
pub(super) struct Watch {
    tasks: Vec<RunTask>,
    /// Places in `tasks`.
    by_id: HashMap<String, usize>,
    /// Places of those without a map index: a mapped task is one of them until it is known into how many it expands.
    whole: HashMap<String, usize>,
    counts: HashMap<String, Counts>,
    /// Whether the instances of a task have labels, as far as one of them was seen.
    has_labels: HashMap<String, bool>,
}

impl Watch {
    /// What the server now says of all tasks.
    pub(super) fn replace(&mut self, tasks: Vec<RunTask>) {
        self.by_id = tasks.iter().enumerate().map(|(place, task)| (task.id.clone(), place)).collect();
        let whole = tasks.iter().enumerate().filter(|(_, task)| task.map_index < 0);
        self.whole = whole.map(|(place, task)| (task.task_id.clone(), place)).collect();
        for task in tasks.iter().filter(|task| task.map_index >= 0) {
            *self.has_labels.entry(task.task_id.clone()).or_default() |= task.rendered_map_index.is_some();
        }
        self.counts.clear();
        for task in &tasks {
            *self.counts.entry(task.task_id.clone()).or_default().entry(task.state).or_default() += 1;
        }
        self.tasks = tasks;
    }

    pub(super) fn tasks(&self) -> &[RunTask] {
        &self.tasks
    }

    /// Of a task by its name in the DAG.
    pub(super) fn counts(&self, task_id: &str) -> Option<&Counts> {
        self.counts.get(task_id)
    }

    /// Whether the event is about a task of which nothing is known yet, as the instances of a mapped task that have just
    /// come to be.
    pub(super) fn is_news(&self, event: &RunEvent) -> bool {
        event.task.as_ref().is_some_and(|id| !self.by_id.contains_key(id))
    }

    /// The id of an instance that may have a label, as far as is known of its task; no event tells it.
    pub(super) fn without_label<'a>(&self, event: &'a RunEvent) -> Option<&'a str> {
        let id = event.task.as_deref()?;
        let task = &self.tasks[*self.by_id.get(id)?];
        let may_have = || self.has_labels.get(&task.task_id).copied().unwrap_or(true);
        (task.rendered_map_index.is_none() && task.map_index >= 0 && may_have()).then_some(id)
    }

    pub(super) fn set_label(&mut self, id: &str, label: Option<String>) {
        if let Some(place) = self.by_id.get(id) {
            let task = &mut self.tasks[*place];
            *self.has_labels.entry(task.task_id.clone()).or_default() |= label.is_some();
            task.rendered_map_index = label;
        }
    }

    /// `parse[3] (b.csv)`, else the id; `None` for the run as a whole.
    pub(super) fn name(&self, event: &RunEvent) -> Option<String> {
        let id = event.task.as_ref()?;
        if let Some(place) = self.by_id.get(id) {
            return Some(full_name(&self.tasks[*place]));
        }
        let of_event = event.task_id.as_ref().map(|task_id| instance_name(task_id, event.map_index.unwrap_or(-1)));
        Some(of_event.unwrap_or_else(|| id.clone()))
    }

    /// Takes over what the event says. One from before what is known already changes nothing: a stream begins with what
    /// has long passed.
    pub(super) fn take(&mut self, event: &RunEvent) {
        let (Some(id), Ok(state)) = (&event.task, event.state.parse::<TaskState>()) else { return };
        let known = self.by_id.get(id).copied();
        let Some(place) = known.or_else(|| self.add(event)) else { return };
        let task = &mut self.tasks[place];
        if task.end_date.max(task.start_date).is_some_and(|known| event.at < known) {
            return;
        }
        if state == TaskState::Running && task.state != state {
            (task.start_date, task.end_date, task.duration_ms) = (Some(event.at), None, None);
        }
        if state.is_final() && !task.state.is_final() {
            task.end_date = Some(event.at);
            task.duration_ms = task.start_date.map(|start| event.at.since(start).as_secs_f64() * 1e3);
        }
        task.try_number = event.try_number.unwrap_or(task.try_number);
        task.outcome = event.outcome.as_ref().and_then(|outcome| outcome.parse().ok()).or(task.outcome);
        let before = std::mem::replace(&mut task.state, state);
        let counts = self.counts.entry(task.task_id.clone()).or_default();
        take_away(counts, before);
        *counts.entry(state).or_default() += 1;
    }

    /// A task that has just come to be, and its place; `None` where the event does not say which.
    fn add(&mut self, event: &RunEvent) -> Option<usize> {
        let (id, task_id) = (event.task.clone()?, event.task_id.clone()?);
        let map_index = event.map_index.unwrap_or(-1);
        let state = TaskState::Scheduled;
        let task = RunTask {
            id: id.clone(),
            task_id: task_id.clone(),
            map_index,
            rendered_map_index: None,
            state,
            outcome: None,
            try_number: 0,
            start_date: None,
            end_date: None,
            duration_ms: None,
            error: None,
            usage: None,
            grants: None,
            limits: None,
        };
        let counts = self.counts.entry(task_id.clone()).or_default();
        *counts.entry(state).or_default() += 1;
        // The first instance takes the place of the whole.
        let place = match self.whole.remove(&task_id).filter(|_| map_index >= 0) {
            Some(place) => {
                let whole = std::mem::replace(&mut self.tasks[place], task);
                take_away(counts, whole.state);
                self.by_id.remove(&whole.id);
                place
            }
            None => {
                self.tasks.push(task);
                self.tasks.len() - 1
            }
        };
        self.by_id.insert(id, place);
        Some(place)
    }
}

fn take_away(counts: &mut Counts, state: TaskState) {
    if let Some(count) = counts.get_mut(&state) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&state);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures;
    use super::*;

    fn event(second: u32, task: &str, state: &str) -> RunEvent {
        serde_json::from_value(json!({"seq": second, "at": format!("2026-11-23T08:15:{second:02}Z"), "event": "x",
            "run": "run_1", "task": task, "try_number": 1, "state": state, "outcome": null}))
        .expect("an event")
    }

    #[test]
    fn events_move_tasks_on_and_the_past_does_not_return() {
        let mut watch = Watch::default();
        let done = json!({"end_date": "2026-11-23T08:15:20Z", "start_date": "2026-11-23T08:15:10Z"});
        let mut ended = fixtures::task_json("b", -1, "success");
        ended.as_object_mut().expect("an object").extend(done.as_object().cloned().expect("an object"));
        let ended = serde_json::from_value(ended).expect("a task");
        watch.replace(vec![fixtures::task("a", 2, "scheduled"), ended]);

        watch.take(&event(11, "task_b", "running"));
        assert_eq!(watch.tasks()[1].state, TaskState::Success);
        watch.take(&event(25, "task_b", "queued"));
        assert_eq!(watch.tasks()[1].state, TaskState::Queued);

        watch.take(&event(30, "task_a[2]", "running"));
        watch.take(&event(32, "task_a[2]", "success"));
        assert_eq!((watch.tasks()[0].state, watch.tasks()[0].duration_ms), (TaskState::Success, Some(2000.0)));
    }

    #[test]
    fn a_task_is_called_by_its_name_as_soon_as_it_is_known() {
        let mut watch = Watch::default();
        let started = event(1, "task_a[2]", "running");
        assert!(watch.is_news(&started));
        assert_eq!(watch.name(&started).as_deref(), Some("task_a[2]"));
        let mut labelled = fixtures::task("a", 2, "running");
        labelled.rendered_map_index = Some("b.csv".to_owned());
        watch.replace(vec![labelled]);
        assert!(!watch.is_news(&started));
        assert_eq!(watch.name(&started).as_deref(), Some("a[2] (b.csv)"));
        let of_run = RunEvent { task: None, ..started };
        assert_eq!((watch.name(&of_run), watch.is_news(&of_run)), (None, false));
    }

    #[test]
    fn instances_come_to_be_with_their_events_in_place_of_the_whole() {
        let mut watch = Watch::default();
        watch.replace(vec![fixtures::task("parse", -1, "scheduled"), fixtures::task("load", -1, "scheduled")]);
        let of = |index: i64, second, state| RunEvent {
            task_id: Some("parse".to_owned()),
            map_index: Some(index),
            ..event(second, &format!("task_parse[{index}]"), state)
        };
        watch.take(&of(0, 1, "running"));
        watch.take(&of(1, 1, "running"));
        watch.take(&of(0, 2, "success"));
        let names: Vec<_> = watch.tasks().iter().map(full_name).collect();
        assert_eq!(names, ["parse[0]", "load", "parse[1]"]);
        assert_eq!(watch.tasks()[0].duration_ms, Some(1000.0));
        let expected = Counts::from([(TaskState::Running, 1), (TaskState::Success, 1)]);
        assert_eq!(watch.counts("parse"), Some(&expected));
        let third = of(2, 3, "running");
        watch.take(&third);
        assert_eq!(watch.without_label(&third), Some("task_parse[2]"));
        watch.set_label("task_parse[2]", None);
        assert_eq!(watch.without_label(&third), None);
        let mut labelled = fixtures::task("parse", 0, "success");
        labelled.rendered_map_index = Some("a.csv".to_owned());
        watch.replace(vec![labelled, fixtures::task("parse", 2, "running")]);
        assert_eq!(watch.without_label(&third), Some("task_parse[2]"));
        watch.set_label("task_parse[2]", Some("b.csv".to_owned()));
        assert_eq!((watch.without_label(&third), watch.name(&third).as_deref()), (None, Some("parse[2] (b.csv)")));

        // Of which task it is, an event must say.
        watch.take(&event(3, "task_other", "running"));
        assert_eq!(watch.tasks().len(), 2);
    }
}
