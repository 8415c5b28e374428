//! Lists the tasks of a DAG that is too large to draw, each with its upstreams.

use super::labels::{Style, Tone, label, paint, shorten};
use crate::cli::graph::Drawing;
use crate::cli::graph::layers::Sorted;

/// Every task on a line of its own, after its upstreams, set in by its layer.
pub(super) fn list(drawing: &Drawing, width: usize, style: Style) -> String {
    let sorted = Sorted::new(drawing);
    let mut layers = vec![0; drawing.tasks.len()];
    let mut lines = String::new();
    for &task in &sorted.order {
        layers[task] = sorted.upstream[task].iter().map(|&up| layers[up] + 1).max().unwrap_or(0);
        // Deep ones are not set in farther, so that there is room for the ids.
        let indent = (2 * layers[task]).min(width / 3);
        lines.push_str(&" ".repeat(indent));
        lines.push_str(&line(drawing, &sorted, task, width.saturating_sub(indent), style));
        lines.push('\n');
    }
    lines
}

fn line(drawing: &Drawing, sorted: &Sorted, task: usize, width: usize, style: Style) -> String {
    let around = label(drawing, task, false, 0, style).width();
    let mut name = label(drawing, task, false, width.saturating_sub(around).max(8), style);
    let upstream = &sorted.upstream[task];
    let arrow = if style.unicode { " ← " } else { " <- " };
    let rest = width.saturating_sub(name.width() + if style.unicode { 3 } else { 4 });
    let mut shown = String::new();
    for (index, &up) in upstream.iter().enumerate() {
        let left = upstream.len() - index;
        let comma = if index == 0 { "" } else { ", " };
        let next = format!("{comma}{}", drawing.tasks[up].id);
        let more = if left > 1 { format!(" and {} more", left - 1) } else { String::new() };
        let so_far = shown.chars().count();
        if so_far + next.chars().count() + more.len() > rest {
            shown = match index {
                0 if left > 1 => shorten(&format!("{left} tasks"), rest, style),
                0 => shorten(&drawing.tasks[up].id, rest, style),
                _ => format!("{shown} and {left} more"),
            };
            break;
        }
        shown.push_str(&next);
    }
    if !upstream.is_empty() && rest >= 8 {
        name.0.push((format!("{arrow}{shown}"), Tone::Faint));
    }
    name.0.iter().map(|(text, tone)| paint(text, *tone, style)).collect()
}
