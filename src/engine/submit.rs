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
            let row = OnceRow { key: once.key, body: once.body, task: id, at: now };
            self.recent_keys.insert(once.key, row);
            self.changes.keys.push(row);
        }
        self.tasks.insert(id, Task::new(spec, now));
        self.record_event(id, changes::EventNote { by: Some(by), ..EventKind::Submitted.note(now) });
        self.wait(id);
        Answer::Accepted(id)
    }

    fn answer_from_before(&self, once: &Once, now: Timestamp) -> Option<Answer> {
        let (task, body) = match (self.recent_keys.get(&once.key), &once.earlier) {
            (Some(recent), _) => (recent.task, recent.body),
            (None, Some(earlier)) if now < earlier.at + self.config.remember_keys => (earlier.task, earlier.body),
            _ => return None,
        };
        Some(if body == once.body { Answer::Replayed(task) } else { Answer::KeyMismatch(task) })
    }
}
