//! How many guests there may be at once, and what is reserved for each.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use wasmtime::component::Component;
use wasmtime::{Enabled, PoolingAllocationConfig};

use super::Compiler;

/// How many guests there may be, and how large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSettings {
    /// Attempts that may compute at once. Default 16.
    pub slots: usize,
    /// Attempts that may besides wait in a host call. Default none.
    pub waiting: usize,
    /// No guest can hold more, whatever its limits say. Default 1 GiB, at most 4 GiB.
    pub max_memory_bytes: u64,
    /// Threads that run guests. Default: one a processor.
    pub guest_threads: usize,
    /// The directory that those of attempts with the grant `scratch` are made in. It is
    /// emptied at the start: nothing else may use it. Default none.
    pub scratch: Option<PathBuf>,
    /// Who compiles modules. Default: this process, which the server never leaves it at.
    pub compiler: Compiler,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            slots: 16,
            waiting: 0,
            max_memory_bytes: 1 << 30,
            guest_threads: processors,
            scratch: None,
            compiler: Compiler::InProcess,
        }
    }
}

/// Calls at upload (asking a module for its tasks) that may run beside the slots: places that no attempt counts on.
pub(super) const DESCRIPTOR_CALLS: usize = 2;

/// Used memory and table that a free place keeps and cleans by writing, not by a
/// system call, which is what makes a fresh interpreter cheap: as much of each as keeps
/// all places that were ever in use at once within a part of the machine's memory, and
/// what a small guest touches in any case.
const KEEP_RESIDENT_MOST: usize = 2 << 20;
const KEEP_RESIDENT_LEAST: usize = 64 << 10;
const IDLE_PART: usize = 4;

/// Free places that keep the image of the module they ran last.
const MAX_WARM_SLOTS: u32 = 32;

/// A Rust component takes 20 to 23 core instances, a Python one 64. Only a count: it reserves nothing.
pub(super) const CORE_INSTANCES_EACH: u32 = 80;
/// Memories and tables one component may have.
pub(super) const MOST_MEMORIES: u32 = 4;
pub(super) const MOST_TABLES: u32 = 8;
const MAX_INSTANCE_BYTES: usize = 10 << 20;
pub(super) const TABLE_ELEMENTS: usize = 100_000;

/// Tables of one place in the pool, beside one memory and one stack; a Rust component
/// has two. One with more of either takes several places ([`room_needed`]): a memory
/// costs 4 GiB of address space, used or not, and 47 bits of it are all there is.
const TABLES_EACH: u32 = 4;

/// Places that the most generous component takes.
const MOST_PLACES: u32 = MOST_MEMORIES;
const _: () = assert!(MOST_PLACES >= MOST_MEMORIES && MOST_PLACES * TABLES_EACH >= MOST_TABLES);

/// Address space of one place: what a 32-bit guest can address with its guard, tables, stack.
const ADDRESS_SPACE_EACH: u64 = (4 << 30) + (32 << 20) + (TABLES_EACH as u64 * TABLE_ELEMENTS as u64 * 8) + STACK_BYTES;

/// Stack of a guest and of the host functions it calls.
pub(super) const STACK_BYTES: u64 = 2 << 20;

/// Address space the rest of the process is left with where it is limited.
const ADDRESS_SPACE_LEFT: u64 = 16 << 30;

/// Places in the pool: guests with one memory that can exist at once; more have to wait.
pub(super) fn places(settings: &SandboxSettings) -> u32 {
    let guests = settings.slots.max(1).saturating_add(settings.waiting).saturating_add(DESCRIPTOR_CALLS);
    // Whatever is accepted at upload can run, if alone.
    u32::try_from(guests).unwrap_or(u32::MAX).max(MOST_PLACES)
}

/// How many places a guest of the component takes, so that who has found as many
/// free never finds the pool exhausted. At most [`MOST_PLACES`], also without a pool.
pub(super) fn room_needed(component: &Component) -> u32 {
    // None would be a component that instantiates modules it imports, which nobody offers.
    let needed = component.resources_required();
    let places = needed.map(|needed| needed.num_memories.max(needed.num_tables.div_ceil(TABLES_EACH)));
    places.unwrap_or(MOST_PLACES).clamp(1, MOST_PLACES)
}

pub(super) fn address_space_needed(settings: &SandboxSettings) -> u64 {
    u64::from(places(settings)).saturating_mul(ADDRESS_SPACE_EACH).saturating_add(ADDRESS_SPACE_LEFT)
}

/// What `ulimit -v` says, in bytes.
pub(super) fn address_space_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

/// Memory of the machine, or of the control group we are in where that has less; nothing where neither is told.
fn machine_memory() -> usize {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|meminfo| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? << 10)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max");
    // Without a limit it says `max`.
    let group = group.ok().and_then(|most| most.trim().parse().ok());
    machine.into_iter().chain(group).min().unwrap_or(0)
}

/// The pool of these settings.
pub(super) fn pool(settings: &SandboxSettings) -> PoolingAllocationConfig {
    let places = places(settings);
    let idle_bytes = machine_memory() / IDLE_PART;
    let keep_resident = (idle_bytes / places as usize).clamp(KEEP_RESIDENT_LEAST, KEEP_RESIDENT_MOST);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_core_instances(places.saturating_mul(CORE_INSTANCES_EACH))
        .total_memories(places)
        .total_tables(places.saturating_mul(TABLES_EACH))
        .total_stacks(places)
        .max_core_instances_per_component(CORE_INSTANCES_EACH)
        .max_memories_per_component(MOST_MEMORIES)
        .max_tables_per_component(MOST_TABLES)
        .max_tables_per_module(MOST_TABLES)
        .max_memories_per_module(MOST_MEMORIES)
        .max_component_instance_size(MAX_INSTANCE_BYTES)
        .max_core_instance_size(MAX_INSTANCE_BYTES)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(usize::try_from(settings.max_memory_bytes.min(4 << 30)).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(keep_resident)
        .table_keep_resident(keep_resident)
        // At once: an ended guest may leave as much as the largest memory, and a batch of such
        // would be more than the machine has. Small ones are cleaned by writing, and never wait.
        .decommit_batch_size(1)
        .max_unused_warm_slots(MAX_WARM_SLOTS)
        .pagemap_scan(Enabled::Auto);
    pool
}
