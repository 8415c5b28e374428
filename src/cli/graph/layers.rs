//! Puts the tasks of a DAG in layers, so that every line leads from one layer to the next.

use std::collections::{BTreeSet, HashMap};

use super::Drawing;

/// How many points may be added for lines over several layers; beyond, such lines are drawn straight.
const MOST_POINTS: usize = 20_000;

pub(super) struct Layered {
    pub(super) items: Vec<Item>,
    /// The items of each layer, in the order they are drawn.
    pub(super) layers: Vec<Vec<usize>>,
    pub(super) groups: Vec<Group>,
}

/// A task, or a point where lines pass through a layer.
///
/// Items of a layer share a point when they lead to the same tasks in all. So no line is shown that is not in the DAG,
/// a hundred tasks with one far target need one point a layer, and one bundle of lines arrives at each point.
pub(super) struct Item {
    pub(super) task: Option<usize>,
    pub(super) layer: usize,
    /// One layer before, and one after (or farther, where there were too many points).
    pub(super) sources: Vec<usize>,
    pub(super) targets: Vec<usize>,
    /// The groups it lies in, the outermost first.
    pub(super) groups: Vec<usize>,
}

impl Item {
    pub(super) fn is_alone(&self) -> bool {
        self.sources.is_empty() && self.targets.is_empty() && self.groups.is_empty()
    }
}

pub(super) struct Group {
    pub(super) id: String,
    /// First and last layer with one of its items.
    pub(super) layers: (usize, usize),
}

/// Items of one layer and their targets: there is a line from every source to every target, and from these sources
/// there is no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bundle {
    pub(super) sources: Vec<usize>,
    pub(super) targets: Vec<usize>,
}

impl Layered {
    pub(super) fn new(drawing: &Drawing) -> Self {
        let sorted = Sorted::new(drawing);
        let mut layer_of = sorted.layers();
        spread_alone(drawing, &sorted, &mut layer_of);
        let mut layered = Self {
            items: Vec::new(),
            layers: vec![Vec::new(); layer_of.iter().max().map_or(0, |last| last + 1)],
            groups: Vec::new(),
        };
        let mut item_of = vec![0; drawing.tasks.len()];
        let group_paths = layered.read_groups(drawing);
        for &task in &sorted.order {
            item_of[task] = layered.push(Some(task), layer_of[task]);
            layered.items[item_of[task]].groups.clone_from(&group_paths[task]);
        }
        if !layered.connect(&sorted, &layer_of, &item_of) {
            layered.connect_straight(&sorted, &item_of);
        }
        layered.measure_groups();
        layered
    }

    fn push(&mut self, task: Option<usize>, layer: usize) -> usize {
        let item = self.items.len();
        self.items.push(Item { task, layer, sources: Vec::new(), targets: Vec::new(), groups: Vec::new() });
        self.layers[layer].push(item);
        item
    }

    fn link(&mut self, source: usize, target: usize) {
        self.items[source].targets.push(target);
        self.items[target].sources.push(source);
    }

    /// Links tasks through a point in every layer between them. False, with nothing changed, if that takes too many.
    fn connect(&mut self, sorted: &Sorted, layer_of: &[usize], item_of: &[usize]) -> bool {
        let tasks = self.items.len();
        let mut beyond: HashMap<usize, Vec<usize>> =
            sorted.order.iter().map(|&task| (item_of[task], sorted.downstream[task].clone())).collect();
        let mut links = Vec::new();
        for layer in 0..self.layers.len() {
            let mut points: HashMap<Vec<usize>, usize> = HashMap::new();
            for item in self.layers[layer].clone() {
                let all = beyond.remove(&item).unwrap_or_default();
                let (near, far): (Vec<_>, Vec<_>) = all.iter().partition(|&&task| layer_of[task] == layer + 1);
                links.extend(near.into_iter().map(|task: usize| (item, item_of[task])));
                if !far.is_empty() {
                    let point = *points.entry(all).or_insert_with(|| self.push(None, layer + 1));
                    beyond.insert(point, far);
                    links.push((item, point));
                }
            }
            if self.items.len() - tasks > MOST_POINTS {
                self.items.truncate(tasks);
                self.layers.iter_mut().for_each(|layer| layer.retain(|&item| item < tasks));
                return false;
            }
        }
        links.into_iter().for_each(|(source, target)| self.link(source, target));
        // A point is drawn within a group where all it connects lies within it. What a point leads to is known last
        // layer first, what leads to it first layer first; the group is common to both.
        for item in (tasks..self.items.len()).rev() {
            self.items[item].groups = self.common_groups(&self.items[item].targets);
        }
        for item in tasks..self.items.len() {
            let before = self.common_groups(&self.items[item].sources);
            self.items[item].groups = common_start([before.as_slice(), &self.items[item].groups]);
        }
        true
    }

    fn connect_straight(&mut self, sorted: &Sorted, item_of: &[usize]) {
        for &task in &sorted.order {
            for &target in &sorted.downstream[task] {
                self.link(item_of[task], item_of[target]);
            }
        }
    }

    fn common_groups(&self, items: &[usize]) -> Vec<usize> {
        common_start(items.iter().map(|&item| self.items[item].groups.as_slice()))
    }

    /// Numbers the groups, a group after the one it is in, and returns the groups of each task.
    fn read_groups(&mut self, drawing: &Drawing) -> Vec<Vec<usize>> {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut paths = Vec::with_capacity(drawing.tasks.len());
        for task in &drawing.tasks {
            let id = task.group.as_deref().unwrap_or_default();
            let ends = id.match_indices('.').map(|(end, _)| end).chain((!id.is_empty()).then_some(id.len()));
            let path = ends.map(|end| {
                *numbers.entry(&id[..end]).or_insert_with(|| {
                    self.groups.push(Group { id: id[..end].to_owned(), layers: (usize::MAX, 0) });
                    self.groups.len() - 1
                })
            });
            paths.push(path.collect());
        }
        paths
    }

    fn measure_groups(&mut self) {
        for item in &self.items {
            for &group in &item.groups {
                let layers = &mut self.groups[group].layers;
                *layers = (layers.0.min(item.layer), layers.1.max(item.layer));
            }
        }
    }

    /// The lines between this layer and the next, in the order of their first source.
    pub(super) fn bundles(&self, layer: usize) -> Vec<Bundle> {
        let mut bundles: Vec<Bundle> = Vec::new();
        let mut known: HashMap<&[usize], usize> = HashMap::new();
        for &source in self.layers[layer].iter().filter(|&&item| !self.items[item].targets.is_empty()) {
            let targets = self.items[source].targets.as_slice();
            let bundle = *known.entry(targets).or_insert_with(|| {
                bundles.push(Bundle { sources: Vec::new(), targets: targets.to_vec() });
                bundles.len() - 1
            });
            bundles[bundle].sources.push(source);
        }
        bundles
    }
}

/// Tasks without lines and group fill the layers evenly, or else they would make one high column.
fn spread_alone(drawing: &Drawing, sorted: &Sorted, layer_of: &mut [usize]) {
    let is_alone = |task: &usize| {
        sorted.upstream[*task].is_empty() && sorted.downstream[*task].is_empty() && drawing.tasks[*task].group.is_none()
    };
    let alone: Vec<usize> = (0..drawing.tasks.len()).filter(is_alone).collect();
    let layers = layer_of.iter().max().map_or(0, |last| last + 1).max(alone.len().isqrt() / 2);
    for (number, &task) in alone.iter().enumerate() {
        layer_of[task] = number % layers.max(1);
    }
}

fn common_start<'a>(paths: impl IntoIterator<Item = &'a [usize]>) -> Vec<usize> {
    let mut paths = paths.into_iter();
    let mut common = paths.next().unwrap_or_default();
    for path in paths {
        let length = common.iter().zip(path).take_while(|(left, right)| left == right).count();
        common = &common[..length];
    }
    common.to_vec()
}

/// The tasks in an order in which every upstream comes first, as near to the given order as can be.
pub(super) struct Sorted {
    pub(super) order: Vec<usize>,
    /// Without what does not exist, comes twice, or would close a cycle; ascending.
    pub(super) upstream: Vec<Vec<usize>>,
    pub(super) downstream: Vec<Vec<usize>>,
}

impl Sorted {
    pub(super) fn new(drawing: &Drawing) -> Self {
        let count = drawing.tasks.len();
        let clean = |(task, drawn): (usize, &super::DrawnTask)| -> BTreeSet<usize> {
            drawn.upstream.iter().copied().filter(|&upstream| upstream < count && upstream != task).collect()
        };
        let mut upstream: Vec<BTreeSet<usize>> = drawing.tasks.iter().enumerate().map(clean).collect();
        let mut downstream = vec![Vec::new(); count];
        for (task, upstreams) in upstream.iter().enumerate() {
            upstreams.iter().for_each(|&up| downstream[up].push(task));
        }
        let mut missing: Vec<usize> = upstream.iter().map(BTreeSet::len).collect();
        let mut waiting: BTreeSet<usize> = (0..count).collect();
        let mut ready: BTreeSet<usize> = waiting.iter().copied().filter(|&task| missing[task] == 0).collect();
        let mut order = Vec::with_capacity(count);
        // Where nothing is ready there is a cycle, which is cut before the first task that waits.
        while let Some(task) = ready.pop_first().or_else(|| waiting.first().copied()) {
            waiting.remove(&task);
            order.push(task);
            upstream[task].retain(|up| !waiting.contains(up));
            for &down in &downstream[task] {
                missing[down] -= 1;
                if missing[down] == 0 && waiting.contains(&down) {
                    ready.insert(down);
                }
            }
        }
        let upstream: Vec<Vec<usize>> = upstream.into_iter().map(|set| set.into_iter().collect()).collect();
        for (task, list) in downstream.iter_mut().enumerate() {
            list.retain(|&down| upstream[down].binary_search(&task).is_ok());
        }
        Self { order, upstream, downstream }
    }

    /// The layer of each task: as far to the front as its upstreams allow, but a task with more lines behind it than
    /// before it as far to the back as its downstreams allow, which makes the lines shorter.
    pub(super) fn layers(&self) -> Vec<usize> {
        let mut layers = vec![0; self.order.len()];
        for &task in &self.order {
            layers[task] = self.upstream[task].iter().map(|&up| layers[up] + 1).max().unwrap_or(0);
        }
        for &task in self.order.iter().rev() {
            if self.downstream[task].len() > self.upstream[task].len() {
                let last = self.downstream[task].iter().map(|&down| layers[down] - 1).min();
                layers[task] = last.unwrap_or(layers[task]);
            }
        }
        layers
    }
}
