//! Accepts a task, once.

use std::sync::Arc;

use crate::model::{TaskId, TaskSpec, Timestamp};

use super::changes::{EventKind, OnceRow};
use super::command::{Answer, Once};
use super::task::Task;
use super::{Engine, changes};

impl Engine {
    pub(super) fn submit(
        &mut self,
        id: TaskId,
        spec: Arc<TaskSpec>,
        once: Option<Once>,
        by: Arc<str>,
        now: Timestamp,
    ) -> Answer {
        if let Some(once) = once {
            if let Some(answer) = self.answer_from_before(&once, now) {
                return answer;
            }
            self.remember_key(&once, id, now);
        }
        self.tasks.insert(id, Task::new(spec, now));
        self.record_event(id, changes::EventNote { by: Some(by), ..EventKind::Submitted.note(now) });
        self.wait(id);
        Answer::Accepted(id)
    }

    /// The key stands for this from here on.
    pub(super) fn remember_key(&mut self, once: &Once, id: TaskId, now: Timestamp) {
        let row = OnceRow { key: once.key, body: once.body, task: id, at: now };
        self.recent_keys.insert(once.key, row);
        self.changes.keys.push(row);
    }

    pub(super) fn answer_from_before(&self, once: &Once, now: Timestamp) -> Option<Answer> {
        let (task, body) = match (self.recent_keys.get(&once.key), &once.earlier) {
            (Some(recent), _) => (recent.task, recent.body),
            (None, Some(earlier)) if now < earlier.at + self.config.remember_keys => (earlier.task, earlier.body),
            _ => return None,
        };
        Some(if body == once.body { Answer::Replayed(task) } else { Answer::KeyMismatch(task) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::scene::{Scene, TASK, spec};
    use super::super::{Command, Earlier, EngineConfig};
    use super::*;

    fn submit(id: u64, body: u8, earlier: Option<Earlier>) -> Command {
        let once = Some(Once { key: [1; 32], body: [body; 32], earlier });
        Command::Submit {
            id: TaskId::from_u64(id),
            spec: Arc::new(spec(0, Duration::ZERO)),
            once,
            by: "someone".into(),
        }
    }

    #[test]
    fn a_key_stands_for_one_task_before_and_after_its_commit() {
        let mut scene = Scene::new();
        assert_eq!(scene.apply(submit(1, 1, None)), Answer::Accepted(TaskId::from_u64(1)));
        assert_eq!(scene.apply(submit(2, 1, None)), Answer::Replayed(TaskId::from_u64(1)));
        assert_eq!(scene.apply(submit(3, 2, None)), Answer::KeyMismatch(TaskId::from_u64(1)));
        scene.commit();
        let earlier = Some(Earlier { task: TASK, body: [1; 32], at: scene.now });
        assert_eq!(scene.apply(submit(4, 1, earlier)), Answer::Replayed(TASK));
        assert_eq!(scene.apply(submit(5, 2, earlier)), Answer::KeyMismatch(TASK));
        let mut scene = scene.after(EngineConfig::default().remember_keys);
        assert_eq!(scene.apply(submit(6, 1, earlier)), Answer::Accepted(TaskId::from_u64(6)), "a day later");
    }
}
