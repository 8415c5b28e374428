//! Which tasks are upstream of which, directly or not.

/// One that a task waits for: a draft knows more of it than its number.
pub(super) trait Before {
    fn task(&self) -> usize;
}

impl Before for u32 {
    fn task(&self) -> usize {
        *self as usize
    }
}

impl Before for usize {
    fn task(&self) -> usize {
        *self
    }
}

/// For each task, those that wait for it, in the order written.
pub(super) fn downstream(upstream: &[Vec<impl Before>]) -> Vec<Vec<usize>> {
    let mut downstream = vec![Vec::new(); upstream.len()];
    for (task, links) in upstream.iter().enumerate() {
        for link in links {
            downstream[link.task()].push(task);
        }
    }
    downstream
}

/// All that is upstream of each task. A bit for each pair of tasks: 12 MB for 10 000.
pub(super) struct Ancestors {
    words: usize,
    bits: Vec<u64>,
    /// In an order in which each comes after its upstream.
    order: Vec<usize>,
}

impl Ancestors {
    /// Of a graph without cycles.
    pub(super) fn of(upstream: &[Vec<impl Before>]) -> Self {
        let words = upstream.len().div_ceil(64);
        let mut ancestors = Self { words, bits: vec![0; words * upstream.len()], order: order(upstream) };
        for index in 0..ancestors.order.len() {
            let task = ancestors.order[index];
            for link in &upstream[task] {
                let from = link.task();
                ancestors.bits[task * words + from / 64] |= 1 << (from % 64);
                for word in 0..words {
                    ancestors.bits[task * words + word] |= ancestors.bits[from * words + word];
                }
            }
        }
        ancestors
    }

    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    pub(super) fn contains(&self, ancestor: usize, task: usize) -> bool {
        self.row(task)[ancestor / 64] >> (ancestor % 64) & 1 == 1
    }

    /// All that is upstream of the task: a bit for each, 64 in a word.
    pub(super) fn row(&self, task: usize) -> &[u64] {
        &self.bits[task * self.words..][..self.words]
    }
}

/// The tasks, each after its upstream.
fn order(upstream: &[Vec<impl Before>]) -> Vec<usize> {
    let downstream = downstream(upstream);
    let mut waits_for: Vec<usize> = upstream.iter().map(Vec::len).collect();
    let mut order: Vec<usize> = (0..upstream.len()).filter(|task| waits_for[*task] == 0).collect();
    let mut done = 0;
    while let Some(task) = order.get(done).copied() {
        done += 1;
        for next in &downstream[task] {
            waits_for[*next] -= 1;
            if waits_for[*next] == 0 {
                order.push(*next);
            }
        }
    }
    order
}
