//! Finds a way for every line between two layers, so that lines of different bundles meet nowhere but cross.
//!
//! A bundle leaves its sources along, runs across the gap on a track of its own, and arrives at a port of each target.
//! A task at which several bundles arrive has a port for each of them.

use super::canvas::Direction;
use crate::cli::graph::layers::{Bundle, Layered};
use crate::cli::graph::place::{Sizes, place};

pub(super) struct Routes {
    /// How many cells are needed across.
    pub(super) across: usize,
    /// The cell of each item at which lines leave, and at which it is written.
    pub(super) middle: Vec<usize>,
    /// Whether lines flow together before they arrive at the item: before a label always, and above one only where a
    /// line would arrive beside it.
    pub(super) joins: Vec<bool>,
    pub(super) gaps: Vec<Gap>,
}

/// What lies between two layers.
pub(super) struct Gap {
    pub(super) lines: Vec<Line>,
    pub(super) tracks: usize,
}

pub(super) struct Line {
    pub(super) bundle: Bundle,
    /// The cell at which it arrives at each target.
    pub(super) ports: Vec<usize>,
    /// None: straight on.
    pub(super) track: Option<usize>,
}

impl Routes {
    /// `widths`: how many cells each item takes across.
    pub(super) fn new(layered: &Layered, order: &[usize], widths: &[usize], direction: Direction) -> Self {
        let (pitch, gap) = match direction {
            Direction::Right => (1, 0),
            Direction::Down => (2, 2),
        };
        let bundles: Vec<Vec<Bundle>> = (0..layered.layers.len()).map(|layer| layered.bundles(layer)).collect();
        let mut arriving = vec![0_usize; layered.items.len()];
        bundles.iter().flatten().flat_map(|bundle| &bundle.targets).for_each(|&target| arriving[target] += 1);
        let sizes: Vec<usize> = widths
            .iter()
            .zip(&arriving)
            .map(|(&width, &ports)| width.max(pitch * ports.saturating_sub(1) + 1))
            .collect();
        let sizes_for_place = Sizes {
            size: sizes.iter().map(|&size| size as f64).collect(),
            anchor: sizes.iter().map(|&size| ((size - 1) / 2) as f64).collect(),
            gap: gap as f64,
            frame: None,
        };
        let starts = place(layered, order, &sizes_for_place);
        // Rounding keeps whole distances. Halves all go one way, also when they are halves only up to small errors.
        let mut middle: Vec<usize> =
            starts.iter().zip(&sizes).map(|(start, size)| (start + 0.49).floor() as usize + (size - 1) / 2).collect();
        straighten(layered, &sizes, gap, &mut middle);
        let mut routes =
            Self { across: 0, middle, joins: vec![direction == Direction::Right; widths.len()], gaps: Vec::new() };
        routes.gaps = bundles.into_iter().map(|bundles| routes.ports(bundles, pitch)).collect();
        while let Some(cell) = routes.find_tracks() {
            routes.insert(cell);
        }
        for line in routes.gaps.iter().flat_map(|gap| &gap.lines) {
            for (&target, &port) in line.bundle.targets.iter().zip(&line.ports) {
                let (middle, width) = (routes.middle[target], widths[target]);
                routes.joins[target] |= port + (width - 1) / 2 < middle || port > middle + width / 2;
            }
        }
        let ends = routes.middle.iter().zip(&sizes).map(|(middle, size)| middle + size / 2 + 1);
        let ports = routes.gaps.iter().flat_map(|gap| &gap.lines).flat_map(|line| &line.ports).map(|port| port + 1);
        routes.across = ends.chain(ports).max().unwrap_or(0);
        routes
    }

    /// Gives every bundle a port at each of its targets, in the order of where the bundles come from.
    fn ports(&self, bundles: Vec<Bundle>, pitch: usize) -> Gap {
        let from = |bundle: &Bundle| {
            let sum: usize = bundle.sources.iter().map(|&source| self.middle[source]).sum();
            sum as f64 / bundle.sources.len() as f64
        };
        let port = |own: usize, target: usize| {
            let mut rivals: Vec<usize> =
                (0..bundles.len()).filter(|&at| bundles[at].targets.contains(&target)).collect();
            rivals.sort_by(|&left, &right| from(&bundles[left]).total_cmp(&from(&bundles[right])));
            let place = rivals.iter().position(|&rival| rival == own).expect("the bundle has this target");
            self.middle[target] + pitch * place - pitch * (rivals.len() - 1) / 2
        };
        let ports: Vec<Vec<usize>> = bundles
            .iter()
            .enumerate()
            .map(|(own, bundle)| bundle.targets.iter().map(|&target| port(own, target)).collect())
            .collect();
        let lines = bundles.into_iter().zip(ports).map(|(bundle, ports)| Line { bundle, ports, track: None });
        Gap { lines: lines.collect(), tracks: 0 }
    }

    /// Gives every line that is not straight a track. If two of them stand in each other's way, nothing but a cell
    /// more helps: then this is the cell behind which it is needed, and the port there has moved on to it.
    fn find_tracks(&mut self) -> Option<(usize, usize, usize, usize)> {
        for (at, gap) in self.gaps.iter_mut().enumerate() {
            if let Some((line, port, cell)) = gap.find_tracks(&self.middle) {
                return Some((at, line, port, cell));
            }
        }
        None
    }

    fn insert(&mut self, (gap, line, port, cell): (usize, usize, usize, usize)) {
        let shift = |at: &mut usize| *at += usize::from(*at > cell);
        self.middle.iter_mut().for_each(shift);
        self.gaps.iter_mut().flat_map(|gap| &mut gap.lines).flat_map(|line| &mut line.ports).for_each(shift);
        self.gaps[gap].lines[line].ports[port] = cell + 1;
    }
}

/// Takes small steps out of lines that lead from one item to one other, where there is room to do so.
fn straighten(layered: &Layered, sizes: &[usize], gap: usize, middle: &mut [usize]) {
    let single = |source: usize| match layered.items[source].targets.as_slice() {
        &[target] if layered.items[target].sources.len() == 1 => Some(target),
        _ => None,
    };
    let move_to = |item: usize, to: usize, middle: &mut [usize]| {
        let layer = &layered.layers[layered.items[item].layer];
        let place = layer.iter().position(|&other| other == item).expect("an item lies in its layer");
        let (before, behind) = (|item: usize| (sizes[item] - 1) / 2, |item: usize| sizes[item] / 2);
        let free = place
            .checked_sub(1)
            .map_or(before(item), |left| middle[layer[left]] + behind(layer[left]) + gap + 1 + before(item))
            <= to;
        let free = free
            && layer.get(place + 1).is_none_or(|&right| to + behind(item) + gap + 1 + before(right) <= middle[right]);
        if free {
            middle[item] = to;
        }
    };
    for source in layered.layers.iter().flatten().copied() {
        if let Some(target) = single(source) {
            move_to(target, middle[source], middle);
        }
    }
    for source in layered.layers.iter().rev().flatten().copied() {
        let arrives_straight = layered.items[source].sources.iter().any(|&before| middle[before] == middle[source]);
        if let Some(target) = single(source).filter(|_| !arrives_straight) {
            move_to(source, middle[target], middle);
        }
    }
}

impl Gap {
    fn find_tracks(&mut self, middle: &[usize]) -> Option<(usize, usize, usize)> {
        let leaves = |line: &Line| line.bundle.sources.iter().map(|&source| middle[source]).collect::<Vec<_>>();
        let spans: Vec<Option<(usize, usize)>> = self
            .lines
            .iter()
            .map(|line| {
                let cells = leaves(line).into_iter().chain(line.ports.iter().copied());
                let (least, most) =
                    cells.fold((usize::MAX, 0), |(least, most), cell| (least.min(cell), most.max(cell)));
                (least < most).then_some((least, most))
            })
            .collect();
        // Where one line leaves and another arrives in the same cell, the one that leaves must turn off first.
        let mut first = vec![Vec::new(); self.lines.len()];
        for (other, line) in self.lines.iter().enumerate() {
            for (port, cell) in line.ports.iter().enumerate() {
                let leaver = self.lines.iter().position(|line| leaves(line).contains(cell)).filter(|&one| one != other);
                first[other].extend(leaver.map(|one| (one, port, *cell)));
            }
        }
        let mut waiting: Vec<usize> = (0..self.lines.len()).filter(|&line| spans[line].is_some()).collect();
        waiting.sort_by_key(|&line| spans[line]);
        self.lines.iter_mut().for_each(|line| line.track = None);
        let mut taken: Vec<Vec<(usize, usize)>> = Vec::new();
        while !waiting.is_empty() {
            let free = waiting.iter().position(|&line| first[line].iter().all(|(one, ..)| !waiting.contains(one)));
            let Some(free) = free else {
                let blocked = waiting.iter().find_map(|&line| {
                    first[line]
                        .iter()
                        .find(|(one, ..)| waiting.contains(one))
                        .map(|&(_, port, cell)| (line, port, cell))
                });
                return blocked;
            };
            let line = waiting.remove(free);
            let (least, most) = spans[line].expect("straight lines do not wait");
            let from = first[line].iter().filter_map(|&(one, ..)| self.lines[one].track).map(|track| track + 1).max();
            let fits = |track: &Vec<(usize, usize)>| track.iter().all(|other| other.1 < least || most < other.0);
            let track =
                (from.unwrap_or(0)..).find(|&track| taken.get(track).is_none_or(fits)).expect("an unused one fits");
            taken.resize(taken.len().max(track + 1), Vec::new());
            taken[track].push((least, most));
            self.lines[line].track = Some(track);
        }
        self.tracks = taken.len();
        None
    }
}
