//! What must hold of every resident run after every command. Checked by the simulation.

use std::collections::BTreeMap;

use crate::dag::plan::{NodeIndex, Role};
use crate::dag::trigger_rule::Upstream;
use crate::model::RunId;
use crate::model::run::Instance;

use super::super::Engine;
use super::decide::Next;
use super::{At, Element, Lane, Past, Place, PlacePhase, Progress, Run, RunPhase};

impl Engine {
    /// Everything about runs, from their places up.
    pub(in crate::engine) fn check_runs(&self) -> Result<(), String> {
        let running = self.graph.runs.values().filter(|run| run.is_running()).count();
        if running != self.graph.rooms.running() {
            return Err(format!("{running} runs are under way, but counted otherwise: {}", self.graph.rooms.running()));
        }
        for run in self.graph.runs.values() {
            self.check_run(run).map_err(|what| format!("{}: {what}", run.id))?;
            self.check_past(run).map_err(|what| format!("{}: {what}", run.id))?;
        }
        for (id, task) in &self.tasks {
            if let Some(Instance { run, node, map_index }) = task.instance
                && !task.phase.state().is_final()
            {
                let at = At { node, lane: map_index };
                let place = self.graph.runs.get(&run).and_then(|run| run.place(at));
                if !place.is_some_and(|place| place.phase == PlacePhase::Active(*id)) {
                    return Err(format!("{id} has not ended, and its run does not know of it: {place:?}"));
                }
            }
        }
        Ok(())
    }

    /// How every run stands, without what a life forgets: which answers are awaited, and what is at hand.
    pub fn describe_runs(&self) -> BTreeMap<RunId, String> {
        let running = self.graph.runs.iter().filter(|(_, run)| run.is_running());
        running.map(|(id, run)| (*id, run.describe())).collect()
    }

    /// One run.
    pub fn check_run_of(&self, id: RunId) -> Result<(), String> {
        self.graph.runs.get(&id).map_or(Ok(()), |run| self.check_run(run).map_err(|what| format!("{id}: {what}")))
    }

    /// Whoever waits for the end of the run before is told of it, and takes no former end for it.
    fn check_past(&self, run: &Run) -> Result<(), String> {
        match &run.past {
            _ if matches!(run.phase, RunPhase::Ended { .. }) => Ok(()),
            Past::Run(before) if !self.graph.followers.get(before).is_some_and(|all| all.contains(&run.id)) => {
                Err(format!("waits for the end of {before}, and will not be told"))
            }
            Past::Ended(ends) if self.graph.runs.get(&ends.run).is_some_and(|before| before.is_running()) => {
                Err(format!("takes {} to have ended, and it goes on", ends.run))
            }
            Past::None | Past::Run(_) | Past::Ended(_) => Ok(()),
        }
    }

    fn check_run(&self, run: &Run) -> Result<(), String> {
        match run.phase {
            RunPhase::Queued | RunPhase::Ended { .. } if run.changed_in <= self.durable_batch => {
                return Err("stays in memory though nothing needs it".into());
            }
            RunPhase::Queued | RunPhase::Ended { .. } => return Ok(()),
            RunPhase::Running { .. } => {}
        }
        if run.scopes_left == 0 {
            return Err("all of it is over, and yet it runs".into());
        }
        let paused = self.is_paused(run) && run.verdict().is_none();
        let mut moving = paused || !matches!(run.past, Past::None);
        for (at, place) in run.places() {
            let fail = |what: String| {
                Err(format!("{} {:?} ({:?}): {what}", run.plan.node(at.node).name, at.lane, place.phase))
            };
            match place.phase {
                PlacePhase::Waiting if !paused => match run.decide(at) {
                    Next::Nothing => {}
                    next => return fail(format!("could go on, and waits: {next:?}")),
                },
                PlacePhase::Waiting => {}
                PlacePhase::Active(id) => {
                    moving = true;
                    match self.tasks.get(&id) {
                        Some(task) if task.phase.state().is_final() => return fail("its task has ended".into()),
                        Some(task)
                            if task.instance.map(|own| (own.run, own.node, own.map_index))
                                != Some((run.id, at.node, at.lane)) =>
                        {
                            return fail("its task is another's".into());
                        }
                        _ => {}
                    }
                }
                PlacePhase::Asked(_) | PlacePhase::Held => moving = true,
                PlacePhase::Over(_) => {}
            }
            let node = run.plan.node(at.node);
            let expected = [&node.upstream, &node.setups, &node.cleans_up_after].map(|nodes| run.recount(at, nodes));
            if expected != [place.upstream, place.setups, place.cleaned] {
                return fail(format!(
                    "counts {:?}, and there are {expected:?}",
                    [place.upstream, place.setups, place.cleaned]
                ));
            }
        }
        for (index, scope) in run.scopes.iter().enumerate() {
            moving |= scope.asked.is_some();
            let waits_for_its_list = matches!(scope.progress, Progress::Closed) && scope.lanes.is_empty();
            if waits_for_its_list && scope.asked.is_none() && !paused && run.can_expand(index as u32).is_some() {
                return Err(format!("scope {index} could be expanded, and waits"));
            }
            for (lane, found) in &scope.lanes {
                let left = found.places.iter().filter(|place| !matches!(place.phase, PlacePhase::Over(_))).count();
                if left != found.left as usize {
                    return Err(format!(
                        "scope {index}, lane {lane:?}: {left} places are left, but counted {}",
                        found.left
                    ));
                }
            }
            if let Progress::Open(open) = &scope.progress {
                let under_way = scope.lanes.len() as u32 + open.over;
                if under_way != open.next + open.ahead.len() as u32 || open.over >= open.total {
                    return Err(format!("scope {index} has {} lanes under way: {open:?}", scope.lanes.len()));
                }
                let elements = scope.lanes.values().filter_map(|lane| lane.element.as_ref()).chain(&open.elements);
                let bytes: usize = elements.map(Element::bytes).sum();
                if bytes != open.bytes {
                    return Err(format!("scope {index} has elements of {bytes} bytes, but counted {}", open.bytes));
                }
            }
        }
        let left = run.scopes.iter().filter(|scope| !matches!(scope.progress, Progress::Over)).count();
        if left != run.scopes_left {
            return Err(format!("{left} scopes are left, but counted {}", run.scopes_left));
        }
        for (index, tally) in run.tallies.iter().enumerate() {
            let of_node = run.places().filter(|(at, _)| at.node as usize == index);
            let active = of_node.filter(|(_, place)| matches!(place.phase, PlacePhase::Active(_))).count();
            if active != tally.active as usize {
                return Err(format!("node {index} has {active} active instances, but counted {}", tally.active));
            }
        }
        if moving { Ok(()) } else { Err("nothing of it moves, and it has not ended".into()) }
    }
}

impl Lane {
    /// Whether some task of it is made. What is not is made anew from the list.
    fn is_made(&self) -> bool {
        self.places.iter().any(|place| matches!(place.phase, PlacePhase::Active(_) | PlacePhase::Over(_)))
    }
}

impl Run {
    fn describe(&self) -> String {
        let mut text = format!("{:?}", self.phase);
        for (index, scope) in self.scopes.iter().enumerate() {
            let made = scope.lanes.values().any(Lane::is_made);
            let progress = match &scope.progress {
                Progress::Open(open) => format!("open {} over {}", open.total, open.over),
                Progress::Over => "over".to_owned(),
                // Whether it will be expanded is found out again.
                Progress::Whole | Progress::Closed => format!("made: {made}"),
            };
            let seed: Vec<_> = scope.seed.iter().map(|place| (place.upstream, place.passed_over)).collect();
            text += &format!("\nscope {index} {progress}: {seed:?}");
        }
        let cleared: BTreeMap<_, _> = self.cleared.iter().collect();
        text += &format!("\ncleared: {cleared:?}");
        for (at, place) in self.places().filter(|(at, _)| self.lane(*at).is_some_and(Lane::is_made)) {
            let phase = match place.phase {
                PlacePhase::Active(_) | PlacePhase::Over(_) => format!("{:?}", place.phase),
                PlacePhase::Waiting | PlacePhase::Asked(_) | PlacePhase::Held => "waits".to_owned(),
            };
            let Place { upstream, setups, cleaned, passed_over, .. } = place;
            text += &format!("\n{at:?} {phase} {upstream:?} {setups:?} {cleaned:?} {passed_over}");
        }
        text
    }

    /// How these tasks stand, as one in this lane sees it, counted anew.
    fn recount(&self, at: At, nodes: &[NodeIndex]) -> Upstream {
        let mut counts = Upstream::default();
        let scope = self.plan.node(at.node).scope;
        for &index in nodes {
            let node = self.plan.node(index);
            let is_setup = node.role == Role::Setup;
            let scope_run = &self.scopes[node.scope as usize];
            let place = |lane: Option<u32>| &scope_run.lanes[&lane].places[node.place as usize];
            let mut count = |phase: PlacePhase| {
                counts.recount(0, 1, is_setup);
                if let PlacePhase::Over(state) = phase {
                    counts.note(state, is_setup);
                }
            };
            if node.scope == scope {
                count(place(at.lane).phase);
            } else if let Some(whole) = scope_run.lanes.get(&None) {
                count(whole.places[node.place as usize].phase);
            } else {
                // Lanes that are over are gone, and lanes to come are not there: the counts of those are the place's own.
                let own = self.place(at).expect("it was found");
                return [&own.upstream, &own.setups, &own.cleaned]
                    .into_iter()
                    .zip([
                        &self.plan.node(at.node).upstream,
                        &self.plan.node(at.node).setups,
                        &self.plan.node(at.node).cleans_up_after,
                    ])
                    .find(|(_, of)| of.as_slice() == nodes)
                    .map_or(counts, |(own, _)| *own);
            }
        }
        counts
    }
}
