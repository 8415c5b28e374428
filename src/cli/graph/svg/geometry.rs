//! Says where in the picture every box, frame and line lies.

use crate::cli::graph::layers::Layered;
use crate::cli::graph::place::{Frame, Sizes, place};

const HEIGHT: f64 = 38.0;
const BETWEEN: f64 = 14.0;
const MARGIN: f64 = 20.0;
const PADDING: f64 = 12.0;
const HEADER: f64 = 12.0;
/// Between two layers, if few lines lie there.
const GAP: f64 = 52.0;

#[derive(Debug, Clone, Copy)]
pub(super) struct Rectangle {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

type Spot = (f64, f64);

pub(super) enum Wire {
    Line {
        from: Spot,
        to: Spot,
        /// Whether it ends at a task.
        tip: bool,
    },
    /// Where many lines come together and many go on, to every target from every source.
    Knot(Spot),
}

pub(super) struct Geometry {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Of every item; those of points have no extent.
    pub(super) boxes: Vec<Rectangle>,
    /// Of every group, outer ones before those within.
    pub(super) frames: Vec<Rectangle>,
    pub(super) wires: Vec<Wire>,
}

impl Geometry {
    pub(super) fn new(layered: &Layered, order: &[usize], widths: &[f64]) -> Self {
        let height = |item: usize| if layered.items[item].task.is_some() { HEIGHT } else { 0.0 };
        let sizes = Sizes {
            size: (0..layered.items.len()).map(height).collect(),
            anchor: (0..layered.items.len()).map(|item| height(item) / 2.0).collect(),
            gap: BETWEEN,
            frame: Some(Frame { header: HEADER, padding: PADDING }),
        };
        let rows = &place(layered, order, &sizes);
        let depth = layered.items.iter().map(|item| item.groups.len()).max().unwrap_or(0) as f64;
        let mut columns = Vec::with_capacity(layered.layers.len());
        let mut x = MARGIN + depth * PADDING;
        for layer in &layered.layers {
            let width = layer.iter().map(|&item| widths[item]).fold(0.0, f64::max);
            columns.push((x, width));
            // Lines with far to go up or down need more room for their bends.
            let steep = layer.iter().flat_map(|&item| {
                layered.items[item].targets.iter().map(move |&target| (rows[target] - rows[item]).abs())
            });
            let bends = (steep.fold(0.0, f64::max) / 8.0).min(60.0);
            x += width + GAP + bends + 2.0 * depth * PADDING;
        }
        let top = MARGIN + depth * (PADDING + HEADER);
        let boxes: Vec<Rectangle> = layered
            .items
            .iter()
            .enumerate()
            .map(|(item, here)| {
                let (column, room) = columns[here.layer];
                // A point is as wide as its column, so that lines pass the boxes before they bend.
                let (x, width) = match here.task {
                    Some(_) => (column + (room - widths[item]) / 2.0, widths[item]),
                    None => (column, room),
                };
                Rectangle { x, y: top + rows[item], width, height: height(item) }
            })
            .collect();
        let frames = frames(layered, &boxes, &columns);
        let right = columns.last().map_or(0.0, |(x, width)| x + width) + depth * PADDING + MARGIN;
        let bottom = boxes.iter().chain(&frames).map(|shape| shape.y + shape.height).fold(0.0, f64::max) + MARGIN;
        let wires = wires(layered, &boxes);
        Self { width: right.max(1.0), height: bottom, boxes, frames, wires }
    }
}

fn frames(layered: &Layered, boxes: &[Rectangle], columns: &[(f64, f64)]) -> Vec<Rectangle> {
    // How many groups lie within each group: the frame is wider by so many paddings.
    let mut within = vec![0_usize; layered.groups.len()];
    for item in &layered.items {
        for (depth, &group) in item.groups.iter().enumerate() {
            within[group] = within[group].max(item.groups.len() - depth);
        }
    }
    let mut spans = vec![(f64::INFINITY, f64::NEG_INFINITY); layered.groups.len()];
    for (item, shape) in layered.items.iter().zip(boxes) {
        for (depth, &group) in item.groups.iter().enumerate() {
            let around = (item.groups.len() - depth) as f64;
            let span = &mut spans[group];
            span.0 = span.0.min(shape.y - around * (PADDING + HEADER));
            span.1 = span.1.max(shape.y + shape.height + around * PADDING);
        }
    }
    let frame = |(number, group): (usize, &crate::cli::graph::layers::Group)| {
        let (first, last) = (columns[group.layers.0], columns[group.layers.1]);
        let padding = within[number] as f64 * PADDING;
        let (top, bottom) = spans[number];
        Rectangle {
            x: first.0 - padding,
            y: top,
            width: last.0 + last.1 - first.0 + 2.0 * padding,
            height: bottom - top,
        }
    };
    layered.groups.iter().enumerate().map(frame).collect()
}

fn wires(layered: &Layered, boxes: &[Rectangle]) -> Vec<Wire> {
    let leave = |item: usize| (boxes[item].x + boxes[item].width, boxes[item].y + boxes[item].height / 2.0);
    let arrive = |item: usize| (boxes[item].x, boxes[item].y + boxes[item].height / 2.0);
    let is_task = |item: usize| layered.items[item].task.is_some();
    let mut wires = Vec::new();
    // Through a point.
    for (item, here) in layered.items.iter().enumerate().filter(|(_, here)| here.task.is_none()) {
        debug_assert!(!here.targets.is_empty());
        wires.push(Wire::Line { from: arrive(item), to: leave(item), tip: false });
    }
    for bundle in (0..layered.layers.len()).flat_map(|layer| layered.bundles(layer)) {
        let (sources, targets) = (&bundle.sources, &bundle.targets);
        if sources.len() * targets.len() <= sources.len() + targets.len() {
            for &source in sources {
                wires.extend(targets.iter().map(|&target| Wire::Line {
                    from: leave(source),
                    to: arrive(target),
                    tip: is_task(target),
                }));
            }
            continue;
        }
        let left = sources.iter().map(|&source| leave(source).0).fold(0.0, f64::max);
        let right = targets.iter().map(|&target| arrive(target).0).fold(f64::INFINITY, f64::min);
        let ends = sources.iter().map(|&source| leave(source).1).chain(targets.iter().map(|&target| arrive(target).1));
        let count = (sources.len() + targets.len()) as f64;
        let knot = (f64::midpoint(left, right), ends.sum::<f64>() / count);
        wires.extend(sources.iter().map(|&source| Wire::Line { from: leave(source), to: knot, tip: false }));
        wires.extend(targets.iter().map(|&target| Wire::Line { from: knot, to: arrive(target), tip: is_task(target) }));
        wires.push(Wire::Knot(knot));
    }
    wires
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::cli::graph::order::order;
    use crate::cli::graph::tests::any_drawing;

    fn apart(left: &Rectangle, right: &Rectangle) -> bool {
        left.x + left.width <= right.x
            || right.x + right.width <= left.x
            || left.y + left.height <= right.y
            || right.y + right.height <= left.y
    }

    proptest! {
        #[test]
        fn lines_join_each_task_with_its_upstreams_and_boxes_lie_apart(drawing in any_drawing()) {
            let mut layered = Layered::new(&drawing);
            let order = order(&mut layered);
            let widths: Vec<f64> = layered.items.iter().map(|item| if item.task.is_some() { 80.0 } else { 0.0 }).collect();
            let geometry = Geometry::new(&layered, &order, &widths);

            let place = |(x, y): Spot| (x.to_bits(), y.to_bits());
            let mut lines: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for wire in &geometry.wires {
                if let Wire::Line { from, to, tip } = wire {
                    lines.entry(place(*from)).or_default().push((place(*to), *tip));
                }
            }
            let middle = |shape: &Rectangle| shape.y + shape.height / 2.0;
            let tasks: Vec<(usize, usize)> =
                layered.items.iter().enumerate().filter_map(|(item, here)| Some((item, here.task?))).collect();
            let arrivals: BTreeMap<_, usize> = tasks
                .iter()
                .map(|&(item, task)| (place((geometry.boxes[item].x, middle(&geometry.boxes[item]))), task))
                .collect();
            let mut joined = BTreeSet::new();
            for &(item, task) in &tasks {
                let shape = &geometry.boxes[item];
                let mut open = vec![place((shape.x + shape.width, middle(shape)))];
                while let Some(from) = open.pop() {
                    for &(to, tip) in lines.get(&from).into_iter().flatten() {
                        if tip { joined.insert((task, arrivals[&to])); } else { open.push(to); }
                    }
                }
            }
            prop_assert_eq!(joined, crate::cli::graph::tests::edges(&drawing));

            for (at, &(item, _)) in tasks.iter().enumerate() {
                for &(other, _) in &tasks[..at] {
                    prop_assert!(apart(&geometry.boxes[item], &geometry.boxes[other]));
                }
                for (group, frame) in geometry.frames.iter().enumerate() {
                    let shape = &geometry.boxes[item];
                    let inside = frame.x <= shape.x && frame.y <= shape.y
                        && shape.x + shape.width <= frame.x + frame.width
                        && shape.y + shape.height <= frame.y + frame.height;
                    let expected = layered.items[item].groups.contains(&group);
                    prop_assert_eq!(inside, expected);
                    prop_assert!(expected || apart(shape, frame));
                }
            }
            for (at, frame) in geometry.frames.iter().enumerate() {
                for (before, other) in geometry.frames[..at].iter().enumerate() {
                    let nested = layered.groups[at].id.starts_with(&format!("{}.", layered.groups[before].id));
                    prop_assert!(nested || apart(frame, other));
                }
                prop_assert!(frame.x >= 0.0 && frame.y >= 0.0 && frame.x + frame.width <= geometry.width);
                prop_assert!(frame.y + frame.height <= geometry.height);
            }
        }
    }
}
