//! Gives every item its place across the layers: in the layer's order, apart from the next, and near its neighbours.

use super::layers::Layered;

/// Walks over the layers, forward and back in turn.
const WALKS: usize = 8;
/// In rounds, groups and items around them find places that suit both: as many rounds as this many moves allow.
const MOVES: usize = 400_000;

pub(super) struct Sizes {
    /// How much of the layer an item takes.
    pub(super) size: Vec<f64>,
    /// Where on the item its lines begin and end, counted from its start.
    pub(super) anchor: Vec<f64>,
    /// Between two items.
    pub(super) gap: f64,
    /// Around groups; none when groups are not drawn.
    pub(super) frame: Option<Frame>,
}

pub(super) struct Frame {
    pub(super) header: f64,
    pub(super) padding: f64,
}

/// Where each item starts; the least is 0. `order` is an order of all items that agrees with every layer.
pub(super) fn place(layered: &Layered, order: &[usize], sizes: &Sizes) -> Vec<f64> {
    let mut starts = vec![0.0; layered.items.len()];
    for layer in &layered.layers {
        let mut start = 0.0;
        for &item in layer {
            starts[item] = start;
            start += sizes.size[item] + sizes.gap;
        }
    }
    let count = layered.layers.len();
    for walk in 0..WALKS {
        for step in 0..count {
            let layer = if walk % 2 == 0 { step } else { count - 1 - step };
            let look = match walk {
                _ if walk + 2 >= WALKS => Look::Both,
                _ if walk % 2 == 0 => Look::Back,
                _ => Look::Forth,
            };
            settle_layer(layered, sizes, layer, &look, &mut starts);
        }
    }
    if let Some(frame) = sizes.frame.as_ref().filter(|_| !starts.is_empty()) {
        settle_groups(layered, order, sizes, frame, &mut starts);
        close_gaps(layered, sizes, frame, &mut starts);
    }
    let least = starts.iter().copied().fold(f64::INFINITY, f64::min);
    starts.iter_mut().for_each(|start| *start -= least);
    starts
}

enum Look {
    Back,
    Forth,
    Both,
}

/// Where the item would like to start, and how much that matters. One without lines follows the one before it.
fn wish(layered: &Layered, sizes: &Sizes, item: usize, look: &Look, starts: &[f64]) -> (f64, f64) {
    let here = &layered.items[item];
    if here.is_alone() {
        return (-1e6, 1e-12);
    }
    let back = here.sources.iter().filter(|_| !matches!(look, Look::Forth));
    let forth = here.targets.iter().filter(|_| !matches!(look, Look::Back));
    let (mut sum, mut weight) = (0.0, 0.0);
    for &neighbour in back.chain(forth) {
        // A line over several layers is easier to follow when it is straight.
        let pull = if here.task.is_none() && layered.items[neighbour].task.is_none() { 8.0 } else { 1.0 };
        sum += pull * (starts[neighbour] + sizes.anchor[neighbour]);
        weight += pull;
    }
    if weight == 0.0 { (starts[item], 0.01) } else { (sum / weight - sizes.anchor[item], weight) }
}

/// Places one layer as near to the wishes as its order and sizes allow: least squares, by pooling neighbours that
/// want to pass each other (isotonic regression).
fn settle_layer(layered: &Layered, sizes: &Sizes, layer: usize, look: &Look, starts: &mut [f64]) {
    let mut offset = 0.0;
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    let mut offsets = Vec::with_capacity(layered.layers[layer].len());
    for &item in &layered.layers[layer] {
        let (start, weight) = wish(layered, sizes, item, look, starts);
        let mut pool = (start - offset, weight, 1);
        while let Some(before) = pools.pop_if(|before| before.0 > pool.0) {
            let weight = before.1 + pool.1;
            pool = ((before.0 * before.1 + pool.0 * pool.1) / weight, weight, before.2 + pool.2);
        }
        pools.push(pool);
        offsets.push(offset);
        offset += sizes.size[item] + sizes.gap;
    }
    let bases = pools.into_iter().flat_map(|(base, _, count)| std::iter::repeat_n(base, count));
    for ((&item, offset), base) in layered.layers[layer].iter().zip(offsets).zip(bases) {
        starts[item] = base + offset;
    }
}

/// Moves items apart until nothing lies in the frame of a group it is not in.
fn settle_groups(layered: &Layered, order: &[usize], sizes: &Sizes, frame: &Frame, starts: &mut Vec<f64>) {
    let (items, count) = (layered.items.len(), layered.layers.len());
    let rounds = if layered.groups.is_empty() { 0 } else { (MOVES / items).clamp(20, 100) };
    for round in 0..rounds {
        let wishes = (0..items).map(|item| {
            let wish = if round == 0 { None } else { wish_with_lines(layered, sizes, item, &Look::Both, starts) };
            wish.map_or(starts[item], |wish| f64::midpoint(starts[item], wish))
        });
        *starts = push_both_ways(layered, order, sizes, frame, &wishes.collect::<Vec<_>>());
    }
    // All at once they never quite agree; layer by layer, each comes to stand straight before the next.
    if items * count <= MOVES {
        let walk =
            (0..count).map(|layer| (layer, Look::Back)).chain((0..count).rev().map(|layer| (layer, Look::Forth)));
        for (layer, look) in walk {
            let mut wishes = starts.clone();
            for &item in &layered.layers[layer] {
                wishes[item] = wish_with_lines(layered, sizes, item, &look, starts).unwrap_or(starts[item]);
            }
            *starts = push_both_ways(layered, order, sizes, frame, &wishes);
        }
    }
}

fn wish_with_lines(layered: &Layered, sizes: &Sizes, item: usize, look: &Look, starts: &[f64]) -> Option<f64> {
    (!layered.items[item].is_alone()).then(|| wish(layered, sizes, item, look, starts).0)
}

/// Takes out what is empty across all layers: parts without lines to each other push each other farther away than
/// need be.
fn close_gaps(layered: &Layered, sizes: &Sizes, frame: &Frame, starts: &mut [f64]) {
    let extent = |item: usize| {
        let here = &layered.items[item];
        let around = here.groups.len() as f64 * (frame.header + frame.padding);
        let lines = here.targets.iter().map(|&target| starts[target] + sizes.anchor[target]);
        let (least, most) =
            lines.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), at| (least.min(at), most.max(at)));
        (least.min(starts[item] - around), most.max(starts[item] + sizes.size[item] + around))
    };
    let mut extents: Vec<(f64, f64)> = (0..starts.len()).map(extent).collect();
    extents.sort_by(|left, right| left.0.total_cmp(&right.0));
    // Where each gap ends, and how much too wide the gaps up to there are.
    let mut excess = vec![(f64::NEG_INFINITY, 0.0)];
    let mut end = extents.first().map_or(0.0, |first| first.1);
    for (from, to) in extents {
        if from - end > sizes.gap {
            let before = excess.last().map_or(0.0, |last| last.1);
            excess.push((from, before + from - end - sizes.gap));
        }
        end = end.max(to);
    }
    for start in starts {
        let passed = excess.partition_point(|gap| gap.0 <= *start);
        *start -= excess[passed - 1].1;
    }
}

/// Pushing all down and pushing all up both keep the distances, and so does the mean of the two.
fn push_both_ways(layered: &Layered, order: &[usize], sizes: &Sizes, frame: &Frame, wishes: &[f64]) -> Vec<f64> {
    let down = push(layered, order.iter(), sizes, frame.header + frame.padding, frame.padding, wishes);
    let mirrored: Vec<f64> = wishes.iter().zip(&sizes.size).map(|(wish, size)| -wish - size).collect();
    let up = push(layered, order.iter().rev(), sizes, frame.padding, frame.header + frame.padding, &mirrored);
    (0..wishes.len()).map(|item| (down[item] - up[item] - sizes.size[item]) / 2.0).collect()
}

/// Places all items in this order where they wish, or farther along where that is taken. `before` and `behind` is the
/// room between a group's edge and what is in it.
fn push<'a>(
    layered: &Layered,
    order: impl Iterator<Item = &'a usize>,
    sizes: &Sizes,
    before: f64,
    behind: f64,
    wishes: &[f64],
) -> Vec<f64> {
    let mut starts = vec![0.0; layered.items.len()];
    let mut free = vec![f64::NEG_INFINITY; layered.layers.len()];
    let mut open: Vec<usize> = Vec::new();
    let level = |free: &mut [f64], group: usize, room: f64| {
        let (first, last) = layered.groups[group].layers;
        let most = free[first..=last].iter().copied().fold(f64::NEG_INFINITY, f64::max);
        free[first..=last].fill(most + room);
    };
    for &item in order {
        let groups = &layered.items[item].groups;
        let same = open.iter().zip(groups).take_while(|(left, right)| left == right).count();
        while open.len() > same {
            let group = open.pop().expect("the loop's condition says so");
            level(&mut free, group, behind);
        }
        for &group in &groups[same..] {
            level(&mut free, group, before);
            open.push(group);
        }
        let layer = layered.items[item].layer;
        starts[item] = wishes[item].max(free[layer]);
        free[layer] = starts[item] + sizes.size[item] + sizes.gap;
    }
    starts
}
