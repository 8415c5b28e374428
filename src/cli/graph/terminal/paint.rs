//! Paints labels and lines on a canvas, if there is room for them.

use super::canvas::{Canvas, Direction};
use super::labels::{Label, Style};
use super::route::{Gap, Line, Routes};
use crate::cli::graph::layers::Layered;

/// More lines side by side than this are hard to tell apart.
const MOST_TRACKS: usize = 16;

/// Where one layer and the gap behind it lie along the drawing.
struct Stretch {
    start: usize,
    /// The longest label ends before this.
    end: usize,
    /// The first track, and the step to the next.
    tracks: (usize, usize),
    /// Where lines to the same item flow together, if any do.
    merge: Option<usize>,
    arrow: usize,
}

/// None if it takes more than `width` columns, or is too dense to be read.
pub(super) fn paint(
    layered: &Layered,
    order: &[usize],
    labels: &[Option<Label>],
    direction: Direction,
    width: usize,
    style: Style,
) -> Option<String> {
    let lengths: Vec<usize> = labels.iter().map(|label| label.as_ref().map_or(1, Label::width)).collect();
    let widths: Vec<usize> = match direction {
        Direction::Right => vec![1; lengths.len()],
        Direction::Down => lengths.clone(),
    };
    // A cheap refusal before the work: what no routing can make fit.
    let least = |layer: &Vec<usize>| match direction {
        Direction::Right => layer.iter().map(|&item| lengths[item]).max().unwrap_or(0) + 4,
        Direction::Down => 0,
    };
    let widest = |layer: &Vec<usize>| layer.iter().map(|&item| widths[item] + 2).sum::<usize>();
    let room = match direction {
        Direction::Right => layered.layers.iter().map(least).sum::<usize>(),
        Direction::Down => layered.layers.iter().map(widest).max().unwrap_or(0),
    };
    if room > width + 4 {
        return None;
    }
    let routes = Routes::new(layered, order, &widths, direction);
    let stretches = stretches(layered, &routes, &lengths, direction);
    let along = stretches.last().map_or(0, |last| last.end);
    let needed = if direction == Direction::Right { along } else { routes.across };
    if needed > width || routes.gaps.iter().any(|gap| gap.tracks > MOST_TRACKS) {
        return None;
    }
    let mut canvas = Canvas::new(direction, along, routes.across);
    for (layer, stretch) in stretches.iter().enumerate() {
        for &item in &layered.layers[layer] {
            let middle = routes.middle[item];
            match (&labels[item], direction) {
                (Some(label), Direction::Right) => canvas.write(stretch.start, middle, label),
                (Some(label), Direction::Down) => canvas.write(stretch.start, middle - (lengths[item] - 1) / 2, label),
                (None, _) => canvas.along(stretch.start, stretch.end - 1, middle, 0, (true, true)),
            }
        }
        let next = stretches.get(layer + 1);
        for (number, line) in routes.gaps[layer].lines.iter().enumerate() {
            let to = next.expect("lines end in the layer after").start;
            draw_line(&mut canvas, layered, &routes, (number + 1, line), stretch, (to, &lengths), style);
        }
        merge_ports(&mut canvas, &routes, &routes.gaps[layer], stretch);
    }
    Some(canvas.print(style))
}

fn stretches(layered: &Layered, routes: &Routes, lengths: &[usize], direction: Direction) -> Vec<Stretch> {
    let mut start = 0;
    let of_layer = |(layer, items): (usize, &Vec<usize>)| {
        let gap = &routes.gaps[layer];
        let longest = items.iter().map(|&item| lengths[item]).max().unwrap_or(0);
        // To the right, a space and a dash come before the tracks, and a space behind the arrow.
        let (length, lead, step, behind) = match direction {
            Direction::Right => (longest, 2, 2, 1),
            Direction::Down => (1, 0, 1, 0),
        };
        let end = start + length;
        let tracks = (end + lead, step);
        let mut at = end + lead + step * gap.tracks;
        let merges = gap.lines.iter().any(|line| {
            let mut ports = line.bundle.targets.iter().zip(&line.ports);
            ports.any(|(&target, &port)| routes.joins[target] && port != routes.middle[target])
        });
        let merge = merges.then_some(at);
        at += usize::from(merges);
        start = at + 1 + behind;
        Stretch { start: end - length, end, tracks, merge, arrow: at }
    };
    layered.layers.iter().enumerate().map(of_layer).collect()
}

fn draw_line(
    canvas: &mut Canvas,
    layered: &Layered,
    routes: &Routes,
    (number, line): (usize, &Line),
    stretch: &Stretch,
    (to, lengths): (usize, &[usize]),
    style: Style,
) {
    let turn = line.track.map(|track| stretch.tracks.0 + stretch.tracks.1 * track);
    let down = stretch.tracks.1 == 1;
    for &source in &line.bundle.sources {
        let is_point = layered.items[source].task.is_none();
        let from = if is_point || down { stretch.end } else { stretch.start + lengths[source] + 1 };
        // A straight line is drawn on from here below.
        let until = turn.unwrap_or(stretch.tracks.0.max(stretch.end + 1) - 1);
        canvas.along(from, until, routes.middle[source], number, (true, turn.is_none()));
    }
    let cells = line.bundle.sources.iter().map(|&source| routes.middle[source]).chain(line.ports.iter().copied());
    if let (Some(turn), Some(least), Some(most)) = (turn, cells.clone().min(), cells.max()) {
        canvas.across(turn, least, most, number);
    }
    for (&target, &port) in line.bundle.targets.iter().zip(&line.ports) {
        let merge = stretch.merge.filter(|_| routes.joins[target] && port != routes.middle[target]);
        let end = merge.unwrap_or(stretch.arrow);
        canvas.along(turn.unwrap_or(stretch.tracks.0), end, port, number, (turn.is_none(), merge.is_none()));
        let arrives = if merge.is_some() { routes.middle[target] } else { port };
        if layered.items[target].task.is_some() {
            canvas.arrow(stretch.arrow, arrives, style);
        } else {
            canvas.along(stretch.arrow, to - 1, arrives, number, (true, true));
        }
    }
}

fn merge_ports(canvas: &mut Canvas, routes: &Routes, gap: &Gap, stretch: &Stretch) {
    let Some(merge) = stretch.merge else { return };
    for line in &gap.lines {
        for (&target, &port) in line.bundle.targets.iter().zip(&line.ports) {
            let middle = routes.middle[target];
            if routes.joins[target] && port != middle {
                canvas.merge(merge, port.min(middle), port.max(middle));
                canvas.along(merge, stretch.arrow, middle, 0, (false, true));
            }
        }
    }
}
