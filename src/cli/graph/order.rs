//! Orders the items within each layer so that few lines cross and groups stay together.

use std::cmp::Ordering;

use super::layers::Layered;

/// Sweeps over all layers; the best order of all of them is kept.
const SWEEPS: usize = 16;

/// An order of all items across the layers, kept by a number for every item and every group.
///
/// Two items are compared by what differs first: the outermost groups, if they are not the same, or else the groups
/// within, or else the items themselves. Therefore what is before a group in one layer is before it in all.
#[derive(Clone)]
struct Keys {
    items: Vec<f64>,
    groups: Vec<f64>,
}

/// Orders every layer, and returns all items in an order that agrees with all layers.
pub(super) fn order(layered: &mut Layered) -> Vec<usize> {
    let mut keys = Keys { items: vec![0.0; layered.items.len()], groups: vec![0.0; layered.groups.len()] };
    let mut best: Option<(u64, Keys)> = None;
    for sweep in 0..SWEEPS {
        if sweep > 0 {
            walk(layered, &mut keys, sweep % 2 == 1);
        }
        take_places(layered, &mut keys);
        keys.sort_layers(layered);
        let crossings = crossings(layered);
        if best.as_ref().is_none_or(|(least, _)| crossings < *least) {
            best = Some((crossings, keys.clone()));
        }
        if crossings == 0 {
            break;
        }
    }
    let keys = best.map_or(keys, |(_, keys)| keys);
    keys.sort_layers(layered);
    let mut all: Vec<usize> = (0..layered.items.len()).collect();
    all.sort_by(|&left, &right| keys.compare(layered, left, right));
    all
}

/// Moves every item to the middle of its neighbours in the layer before (or behind), layer after layer.
fn walk(layered: &mut Layered, keys: &mut Keys, forward: bool) {
    let count = layered.layers.len();
    for step in 1..count {
        let layer = if forward { step } else { count - 1 - step };
        for &item in &layered.layers[layer] {
            let Layered { items, .. } = &*layered;
            let neighbours = if forward { &items[item].sources } else { &items[item].targets };
            if !neighbours.is_empty() {
                let sum: f64 = neighbours.iter().map(|&neighbour| keys.items[neighbour]).sum();
                keys.items[item] = sum / neighbours.len() as f64;
            }
        }
        keys.sort_layer(layered, layer);
        place_in_layer(layered, layer, &mut keys.items);
    }
}

/// Counted from the middle of the layer, so that layers of different sizes compare. Items without lines come last.
fn place_in_layer(layered: &Layered, layer: usize, keys: &mut [f64]) {
    let is_alone = |item: &&usize| layered.items[**item].is_alone();
    let count = layered.layers[layer].iter().filter(|item| !is_alone(item)).count();
    let middle = (count as f64 - 1.0) / 2.0;
    for (place, item) in layered.layers[layer].iter().enumerate() {
        keys[*item] = place as f64 - middle + if is_alone(&item) { 1e9 } else { 0.0 };
    }
}

fn take_places(layered: &Layered, keys: &mut Keys) {
    (0..layered.layers.len()).for_each(|layer| place_in_layer(layered, layer, &mut keys.items));
    let mut sums = vec![(0.0, 0.0); layered.groups.len()];
    for (item, key) in layered.items.iter().zip(&keys.items) {
        for &group in &item.groups {
            sums[group] = (sums[group].0 + key, sums[group].1 + 1.0);
        }
    }
    keys.groups = sums.into_iter().map(|(sum, count)| if count > 0.0 { sum / count } else { 0.0 }).collect();
}

impl Keys {
    fn sort_layers(&self, layered: &mut Layered) {
        (0..layered.layers.len()).for_each(|layer| self.sort_layer(layered, layer));
    }

    fn sort_layer(&self, layered: &mut Layered, layer: usize) {
        let mut items = std::mem::take(&mut layered.layers[layer]);
        items.sort_by(|&left, &right| self.compare(layered, left, right));
        layered.layers[layer] = items;
    }

    fn compare(&self, layered: &Layered, left: usize, right: usize) -> Ordering {
        if left == right {
            return Ordering::Equal;
        }
        let (of_left, of_right) = (&layered.items[left].groups, &layered.items[right].groups);
        let same = of_left.iter().zip(of_right).take_while(|(left, right)| left == right).count();
        // A number to break ties: groups have other ones than items.
        let key = |item: usize, groups: &[usize]| match groups.get(same) {
            Some(&group) => (self.groups[group], layered.items.len() + group),
            None => (self.items[item], item),
        };
        let (left, right) = (key(left, of_left), key(right, of_right));
        left.0.total_cmp(&right.0).then(left.1.cmp(&right.1))
    }
}

/// How many pairs of lines cross between neighbouring layers.
pub(super) fn crossings(layered: &Layered) -> u64 {
    let mut place = vec![0; layered.items.len()];
    for layer in &layered.layers {
        layer.iter().enumerate().for_each(|(index, &item)| place[item] = index);
    }
    let mut crossings = 0;
    for layer in &layered.layers {
        // A Fenwick tree over the places of the targets: lines that come later and end earlier cross.
        let targets = layer.iter().flat_map(|&item| layered.items[item].targets.iter().map(|&target| place[target]));
        let mut tree = vec![0_u64; targets.max().map_or(0, |last| last + 2)];
        let mut seen = 0;
        for &item in layer {
            let mut ends: Vec<usize> = layered.items[item].targets.iter().map(|&target| place[target]).collect();
            ends.sort_unstable();
            for &end in &ends {
                let mut at = end + 1;
                let mut not_behind = 0;
                while at > 0 {
                    not_behind += tree[at];
                    at &= at - 1;
                }
                crossings += seen - not_behind;
            }
            for &end in &ends {
                let mut at = end + 1;
                while at < tree.len() {
                    tree[at] += 1;
                    at += at & at.wrapping_neg();
                }
                seen += 1;
            }
        }
    }
    crossings
}
