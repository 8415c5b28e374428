//! The picture of a run on a terminal: redrawn in place.

use super::super::error::CliError;
use super::super::graph::Drawing;
use super::super::output::Output;
use super::super::{drawing, text};
use super::failure::headline;
use super::{counts, instance_name};
use crate::client::{Run, RunTask};
use crate::model::{TaskState, Timestamp};

/// Columns and rows where the terminal does not tell.
const USUAL_SIZE: (usize, usize) = (80, 24);

pub(super) struct Live {
    graph: Drawing,
    /// What stands on the terminal now.
    shown: String,
}

impl Live {
    pub(super) fn new(graph: Drawing) -> Self {
        Self { graph, shown: String::new() }
    }

    /// Draws the run as it is now over what was drawn before.
    pub(super) fn draw(
        &mut self,
        output: &Output,
        run: &Run,
        tasks: &[RunTask],
        now: Timestamp,
    ) -> Result<(), CliError> {
        let (columns, rows) = output.size().unwrap_or(USUAL_SIZE);
        let drawn = output.drawing(&drawing::of_run(&self.graph, tasks, now));
        let picture = picture(run, tasks, &drawn, (columns, rows), now);
        if picture == self.shown {
            return Ok(());
        }
        let frame = over(&self.shown, &picture);
        self.shown = picture;
        output.bytes(frame.as_bytes())
    }
}

/// What makes a terminal that shows `before`, its cursor below it, show `after`.
fn over(before: &str, after: &str) -> String {
    match before.lines().count() {
        0 => after.to_owned(),
        // Up to the first line, and everything from there on is gone.
        lines => format!("\x1b[{lines}F\x1b[0J{after}"),
    }
}

/// A headline, and the drawing where it fits; else the tasks that are worth a look.
fn picture(run: &Run, tasks: &[RunTask], drawn: &str, (columns, rows): (usize, usize), now: Timestamp) -> String {
    let length = match (run.duration_ms, run.start_date) {
        (Some(duration_ms), _) if run.state.is_final() => text::milliseconds(duration_ms),
        (_, Some(start)) => text::duration(now.since(start)),
        _ => "not started".to_owned(),
    };
    let mut lines = vec![
        format!("{} {}: {}, {length}", text::line(&run.dag_id), text::line(&run.run_id), run.state),
        counts(tasks),
        String::new(),
    ];
    // One row is left for the cursor.
    let room = rows.saturating_sub(lines.len() + 1).max(1);
    if drawn.lines().count() <= room {
        let lines: Vec<String> = lines.iter().map(|line| cut(line, columns)).collect();
        return format!("{}\n{drawn}", lines.join("\n"));
    }
    let worth = |state: TaskState| {
        matches!(state, TaskState::Running | TaskState::Failed | TaskState::UpForRetry | TaskState::Deferred)
    };
    let looked_at: Vec<&RunTask> = tasks.iter().filter(|task| worth(task.state)).collect();
    let shown = if looked_at.len() > room { room - 1 } else { looked_at.len() };
    lines.extend(looked_at[..shown].iter().map(|task| match task.state {
        TaskState::Failed => headline(task),
        _ => format!("{} {}, try {}", instance_name(&task.task_id, task.map_index), task.state, task.try_number),
    }));
    if shown < looked_at.len() {
        lines.push(format!("and {} more", looked_at.len() - shown));
    }
    let lines: Vec<String> = lines.iter().map(|line| cut(&text::line(line), columns)).collect();
    lines.join("\n") + "\n"
}

/// A line that went on in the next row would be in the way of the next picture.
fn cut(line: &str, columns: usize) -> String {
    use unicode_width::UnicodeWidthChar;
    let mut room = columns;
    let fits = |character: &char| {
        let width = character.width().unwrap_or(0);
        let fits = width <= room;
        room = room.saturating_sub(width);
        fits
    };
    line.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn now() -> Timestamp {
        "2026-11-23T08:15:35Z".parse().expect("a time")
    }

    #[test]
    fn the_drawing_is_shown_below_how_the_run_is() {
        let tasks = [fixtures::task("a", -1, "success"), fixtures::task("b", -1, "running")];
        let running = picture(&fixtures::run("running"), &tasks, "✔ a ─▶ ● b\n", (80, 24), now());
        assert_eq!(running, "etl nightly-7: running, 5.00s\n1 running, 1 success\n\n✔ a ─▶ ● b\n");
        let ended = picture(&fixtures::run("failed"), &tasks, "", (15, 24), now());
        assert_eq!(ended, "etl nightly-7: \n1 running, 1 su\n\n");
    }

    #[test]
    fn what_does_not_fit_is_told_as_a_list() {
        let mut tasks: Vec<RunTask> = (0..9).map(|index| fixtures::task("parse", index, "running")).collect();
        tasks.push(fixtures::task("load", -1, "scheduled"));
        let drawn = "line\n".repeat(8);
        let picture = picture(&fixtures::run("running"), &tasks, &drawn, (80, 8), now());
        assert_eq!(
            picture,
            "etl nightly-7: running, 5.00s\n1 scheduled, 9 running\n\nparse[0] running, try 1\nparse[1] running, try 1\n\
             parse[2] running, try 1\nand 6 more\n"
        );
        assert!(picture.lines().count() < 8);
    }

    #[test]
    fn a_picture_is_drawn_over_the_one_before() {
        assert_eq!(over("", "a\nb\n"), "a\nb\n");
        assert_eq!(over("a\nb\n", "c\n"), "\x1b[2F\x1b[0Jc\n");
    }
}
