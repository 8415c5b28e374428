//! Draws a DAG as text: from left to right, else from top to bottom, else as a list.

mod canvas;
mod labels;
mod list;
mod paint;
mod route;

use super::layers::{Layered, Sorted};
use super::order::{crossings, order};
use super::{Drawing, DrawnTask};
use canvas::Direction;
use labels::Style;

/// Above these a drawing is harder to read than a list.
const MOST_TASKS: usize = 250;
const MOST_CROSSINGS: u64 = 150;

/// The drawing, its lines at most `width` columns wide and each with its line end.
///
/// Of all that fits the one that shows most is taken. Where nothing fits, or lines would cross too often to be
/// followed, it is a list of the tasks with their upstreams. Without `unicode` everything is ASCII.
pub fn terminal(drawing: &Drawing, width: usize, colour: bool, unicode: bool) -> String {
    let style = Style { unicode, colour };
    if drawing.tasks.is_empty() {
        return "no tasks\n".to_owned();
    }
    let mut text = draw(drawing, width, style).unwrap_or_else(|| list::list(drawing, width, style));
    text.push_str(&labels::legend(drawing, width, style));
    text
}

fn draw(drawing: &Drawing, width: usize, style: Style) -> Option<String> {
    use Direction::{Down, Right};
    if drawing.tasks.len() > MOST_TASKS {
        return None;
    }
    let (parts, alone) = parts(drawing);
    let mut drawn = Vec::with_capacity(parts.len());
    for part in &parts {
        let mut layered = Layered::new(part);
        // In a terminal no frames are drawn; names say which group a task is in.
        layered.items.iter_mut().for_each(|item| item.groups.clear());
        let order = order(&mut layered);
        if crossings(&layered) > MOST_CROSSINGS {
            return None;
        }
        drawn.push((part, layered, order));
    }
    // With what is said about a task, and with the longest id.
    let tries = [
        (Right, true, usize::MAX),
        (Right, false, usize::MAX),
        (Down, true, usize::MAX),
        (Down, false, usize::MAX),
        (Right, false, 20),
        (Down, false, 20),
        (Right, false, 12),
    ];
    tries.into_iter().find_map(|(direction, with_text, longest)| {
        let of_part = |(part, layered, order): &(&Drawing, Layered, Vec<usize>)| {
            let label = |task: usize| labels::label(part, task, with_text, longest, style);
            let labels: Vec<_> = layered.items.iter().map(|item| item.task.map(label)).collect();
            paint::paint(layered, order, &labels, direction, width, style)
        };
        let mut texts: Vec<String> = drawn.iter().map(of_part).collect::<Option<_>>()?;
        if !alone.is_empty() {
            let labels = alone.iter().map(|&task| labels::label(drawing, task, with_text, longest, style));
            texts.push(labels::flow(labels, width, style)?);
        }
        Some(texts.join("\n"))
    })
}

/// The tasks that hang together, each lot as a drawing of its own, and the tasks without any line.
fn parts(drawing: &Drawing) -> (Vec<Drawing>, Vec<usize>) {
    let sorted = Sorted::new(drawing);
    let mut part_of: Vec<Option<usize>> = vec![None; drawing.tasks.len()];
    let mut parts: Vec<Vec<usize>> = Vec::new();
    for first in 0..drawing.tasks.len() {
        let mut found = vec![first];
        while let Some(task) = found.pop() {
            if part_of[task].is_none() {
                part_of[task] = Some(parts.len());
                found.extend(sorted.upstream[task].iter().chain(&sorted.downstream[task]));
            }
        }
        if part_of[first] == Some(parts.len()) {
            parts.push((first..drawing.tasks.len()).filter(|&task| part_of[task] == Some(parts.len())).collect());
        }
    }
    let (alone, parts): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.len() == 1);
    let of_part = |part: Vec<usize>| {
        let number = |task: &usize| part.binary_search(task).expect("lines stay within a part");
        let tasks = part.iter().map(|&task| DrawnTask {
            upstream: sorted.upstream[task].iter().map(number).collect(),
            ..drawing.tasks[task].clone()
        });
        Drawing { tasks: tasks.collect() }
    };
    (parts.into_iter().map(of_part).collect(), alone.into_iter().flatten().collect())
}
