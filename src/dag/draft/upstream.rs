//! Resolves the names in `upstream` to tasks: a group's name stands for its leaves, and
//! what a group waits for, its roots wait for.

use super::MAX_EDGES;
use super::fields::{Reader, Spot};
use super::tasks::{Owner, Read};
use crate::dag::definition::Expansion;
use crate::dag::finding::shown;
use crate::dag::order::Before;

/// A name that somebody wrote in `upstream` or among a teardown's setups.
pub(in crate::dag) struct Reference<'a> {
    pub(in crate::dag) owner: Owner,
    pub(in crate::dag) named: Named,
    pub(in crate::dag) name: &'a str,
    pub(in crate::dag) spot: Spot<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dag) enum Named {
    Upstream,
    /// A teardown's setup, which is upstream of it too.
    Setup,
}

/// A task that another waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dag) struct Link {
    pub(in crate::dag) task: usize,
    /// In `Read::references`: who says so.
    pub(in crate::dag) reference: usize,
}

impl Before for Link {
    fn task(&self) -> usize {
        self.task
    }
}

pub(super) fn resolve(reader: &mut Reader, read: &mut Read<'_>) {
    let mut resolved: Vec<Resolved> = Vec::new();
    for reference in 0..read.references.len() {
        match target(reader, read, reference) {
            Some(target) => {
                let depth = read.depth(read.common_group(read.references[reference].owner, target));
                resolved.push(Resolved { depth, target, reference });
            }
            None => match read.references[reference].owner {
                Owner::Task(task) => read.draft.tasks[task].upstream_unsure = true,
                Owner::Group(group) => read.draft.groups[group].upstream_unsure = true,
            },
        }
    }
    // From the inside out: which tasks of a group are its leaves and roots is known when
    // everything inside it is linked.
    resolved.sort_by_key(|resolved| std::cmp::Reverse(resolved.depth));
    let links = Links::new(read, &resolved, reader);
    read.upstream = links.upstream;
    for group in 0..read.draft.groups.len() {
        if read.draft.groups[group].upstream_unsure {
            for task in read.draft.groups[group].tasks.clone() {
                read.draft.tasks[task].upstream_unsure = true;
            }
        }
    }
    setups(read);
}

struct Resolved {
    /// Of the innermost group that both are in.
    depth: usize,
    target: Owner,
    reference: usize,
}

/// What a name means where it stands: first within the group, then outwards.
fn target(reader: &mut Reader, read: &Read<'_>, reference: usize) -> Option<Owner> {
    let Reference { owner, named, name, spot } = &read.references[reference];
    let scope = read.scope(*owner);
    let inside = read.draft.enclosing(scope).map(|group| format!("{}.{name}", read.draft.groups[group].id));
    let target = inside.chain([(*name).to_owned()]).find_map(|id| read.index.get(&id).copied());
    let Some(target) = target else {
        if !read.names_unsure {
            let siblings = read.draft.enclosing(scope).flat_map(|group| {
                let prefix = read.draft.groups[group].id.len() + 1;
                read.draft.groups[group].tasks.clone().filter_map(move |task| read.draft.tasks[task].id.get(prefix..))
            });
            let guess = reader.guess(name, siblings.chain(read.index.keys().map(String::as_str)));
            let remedy = guess.unwrap_or_else(|| "name a task or a group of this DAG".to_owned());
            let message = format!("there is no task or group `{}`", shown(name));
            reader.findings.add(spot.finding("unknown_upstream", message).remedy(remedy));
        }
        return None;
    };
    let wrong = |code, message: String, remedy: &str| Some(spot.finding(code, message).remedy(remedy));
    let wrong = if target == *owner {
        wrong("self_dependency", format!("`{name}` waits for itself"), "remove it, or name what it really waits for")
    } else if read.contains(target, *owner) {
        wrong(
            "self_dependency",
            format!("`{}` waits for `{name}`, the group it is in", read.id(*owner)),
            "name a task of the group",
        )
    } else if read.contains(*owner, target) {
        wrong(
            "self_dependency",
            format!("group `{}` waits for `{name}`, which is in it", read.id(*owner)),
            "name what is outside of the group",
        )
    } else {
        match (named, target) {
            (Named::Setup, Owner::Group(_)) => wrong(
                "not_a_setup",
                format!("`{name}` is a group, and what a teardown cleans up after is a task"),
                "name the setup in it",
            ),
            (Named::Setup, Owner::Task(task)) if !read.draft.tasks[task].setup => wrong(
                "not_a_setup",
                format!("`{name}` is not a setup"),
                "write `setup: true` on it, or name it in `upstream`",
            ),
            _ => None,
        }
    };
    match wrong {
        Some(finding) => {
            reader.findings.add(finding);
            None
        }
        None => Some(target),
    }
}

/// Who waits for whom, as far as it is linked.
struct Links {
    upstream: Vec<Vec<Link>>,
    downstream: Vec<Vec<usize>>,
    leaves: Vec<Option<Vec<usize>>>,
    roots: Vec<Option<Vec<usize>>>,
}

impl Links {
    fn new(read: &Read<'_>, resolved: &[Resolved], reader: &mut Reader) -> Self {
        let (tasks, groups) = (read.draft.tasks.len(), read.draft.groups.len());
        let mut links = Self {
            upstream: vec![Vec::new(); tasks],
            downstream: vec![Vec::new(); tasks],
            leaves: vec![None; groups],
            roots: vec![None; groups],
        };
        let mut edges = 0;
        for Resolved { target, reference, .. } in resolved {
            let owner = read.references[*reference].owner;
            if read.is_empty(owner) || read.is_empty(*target) {
                continue;
            }
            let from = links.ends(read, *target, Self::leaves_of, |links| &mut links.leaves);
            let to = links.ends(read, owner, Self::roots_of, |links| &mut links.roots);
            edges += from.len() * to.len();
            if edges > MAX_EDGES {
                let spot = &read.references[*reference].spot;
                let message = format!("more than {MAX_EDGES} pairs of tasks wait for each other, groups written out");
                let remedy = "put a task between two large groups, so that each waits for one";
                reader.findings.add(spot.finding("too_many_edges", message).remedy(remedy));
                break;
            }
            for &to in &to {
                for &from in &from {
                    links.upstream[to].push(Link { task: from, reference: *reference });
                    links.downstream[from].push(to);
                }
            }
        }
        for upstream in &mut links.upstream {
            upstream.sort_unstable();
            upstream.dedup_by_key(|link| link.task);
        }
        links
    }

    /// The tasks that stand for a task or group, made out once for a group.
    fn ends(
        &mut self,
        read: &Read<'_>,
        of: Owner,
        make: fn(&Self, &Read<'_>, usize) -> Vec<usize>,
        kept: fn(&mut Self) -> &mut Vec<Option<Vec<usize>>>,
    ) -> Vec<usize> {
        match of {
            Owner::Task(task) => vec![task],
            Owner::Group(group) => {
                if kept(self)[group].is_none() {
                    kept(self)[group] = Some(make(self, read, group));
                }
                kept(self)[group].clone().unwrap_or_default()
            }
        }
    }

    /// As in Airflow, a teardown is no leaf and hides none: a group is done when its work
    /// is, though it may still be cleaned up after.
    fn leaves_of(&self, read: &Read<'_>, group: usize) -> Vec<usize> {
        let inside = &read.draft.groups[group].tasks;
        let is_teardown = |task: usize| read.draft.tasks[task].teardown.is_some();
        let is_leaf = |task: &usize| {
            let mut downstream = self.downstream[*task].iter().filter(|task| inside.contains(task));
            let cleaned_up = read.draft.tasks[*task].setup && downstream.clone().any(|task| is_teardown(*task));
            !is_teardown(*task) && !cleaned_up && downstream.all(|task| is_teardown(*task))
        };
        let leaves: Vec<usize> = inside.clone().filter(is_leaf).collect();
        if !leaves.is_empty() {
            return leaves;
        }
        // A group of setups and teardowns only: what it ends with is all there is to wait for.
        let is_last = |task: &usize| !self.downstream[*task].iter().any(|task| inside.contains(task));
        inside.clone().filter(is_last).collect()
    }

    fn roots_of(&self, read: &Read<'_>, group: usize) -> Vec<usize> {
        let inside = &read.draft.groups[group].tasks;
        let is_root = |task: &usize| !self.upstream[*task].iter().any(|link| inside.contains(&link.task));
        inside.clone().filter(is_root).collect()
    }
}

/// A teardown cleans up after the setups directly upstream of it, named as such or not.
fn setups(read: &mut Read<'_>) {
    for task in 0..read.draft.tasks.len() {
        let setups = read.upstream[task].iter().map(|link| link.task).filter(|task| read.draft.tasks[*task].setup);
        let setups: Vec<usize> = setups.collect();
        if let Some(teardown) = &mut read.draft.tasks[task].teardown {
            teardown.setups = setups;
        }
    }
}

impl Read<'_> {
    /// The group in which names are looked up.
    pub(in crate::dag) fn scope(&self, owner: Owner) -> Option<usize> {
        match owner {
            Owner::Task(task) => self.draft.tasks[task].group,
            Owner::Group(group) => self.draft.groups[group].parent,
        }
    }

    /// What maps it, if it is mapped itself.
    pub(in crate::dag) fn expansion(&self, owner: Owner) -> Option<&Expansion> {
        match owner {
            Owner::Task(task) => self.draft.tasks[task].expansion.as_ref(),
            Owner::Group(group) => self.draft.groups[group].expansion.as_ref(),
        }
    }

    pub(in crate::dag) fn id(&self, owner: Owner) -> &str {
        match owner {
            Owner::Task(task) => &self.draft.tasks[task].id,
            Owner::Group(group) => &self.draft.groups[group].id,
        }
    }

    fn is_empty(&self, owner: Owner) -> bool {
        matches!(owner, Owner::Group(group) if self.draft.groups[group].tasks.is_empty())
    }

    fn contains(&self, outer: Owner, inner: Owner) -> bool {
        matches!(outer, Owner::Group(outer) if self.draft.enclosing(self.scope(inner)).any(|group| group == outer))
    }

    fn common_group(&self, one: Owner, other: Owner) -> Option<usize> {
        let others: Vec<usize> = self.draft.enclosing(self.scope(other)).collect();
        self.draft.enclosing(self.scope(one)).find(|group| others.contains(group))
    }

    fn depth(&self, group: Option<usize>) -> usize {
        self.draft.enclosing(group).count()
    }
}
