//! The scheduler under millions of random steps, with crashes in between.
//!
//! A run is a seed: the same seed takes the same steps. `TRADEWIND_SIMULATION_STEPS`
//! asks for more of them, `TRADEWIND_SIMULATION_SEED` for the run of one seed.

#![expect(unreachable_pub, reason = "a test has no outside; `pub` says what its modules share")]

mod checks;
mod clients;
mod guests;
mod life;
mod plans;
mod profile;
mod random;
mod runs;
mod steps;
mod store;
mod stored_runs;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tradewind::model::{Outcome, TaskState};
use world::World;

const STEPS: u64 = if cfg!(debug_assertions) { 200_000 } else { 20_000_000 };
const STEPS_PER_RUN: u64 = 8_000;
/// Where nobody asks for other seeds: the same in every run of the tests.
const FIRST_SEED: u64 = 20_261_123;

#[test]
fn nothing_is_lost_and_nothing_is_done_twice() {
    let seed = setting("TRADEWIND_SIMULATION_SEED");
    let steps = setting("TRADEWIND_SIMULATION_STEPS").unwrap_or(if seed.is_some() { 1 } else { STEPS });
    let runs = steps.div_ceil(STEPS_PER_RUN);
    let next = AtomicU64::new(0);
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(runs as usize);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= runs {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(|| run_of(seed.unwrap_or(FIRST_SEED) + run));
                    if let Err(panic) = outcome {
                        next.store(runs, Ordering::Relaxed);
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
    let (taken, seconds) = (runs * STEPS_PER_RUN, began.elapsed().as_secs_f64());
    println!("{taken} steps in {seconds:.1} s on {threads} threads: {:.0} steps/s", taken as f64 / seconds);
}

#[test]
fn a_task_that_kills_its_server_is_given_up() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        (world.profile.killers, world.profile.local_slots, world.profile.remote_hosts) = (100, 1, 0);
        world.begin();
        let killer = world.clients.fresh(&mut world.random);
        world.submit(killer);
        // It is durable while it waits or runs; `kill` counts how often it may come back.
        world.seal();
        world.complete();
        world.drain();
        let row = world.store.row(world.clients.promised[0]).expect("it was promised");
        assert_eq!((row.state, row.outcome), (TaskState::Failed, Some(Outcome::Lost)));
    }
}

fn run_of(seed: u64) {
    let mut world = World::new(seed);
    world.begin();
    for _ in 0..STEPS_PER_RUN {
        world.step();
    }
    world.drain();
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}
