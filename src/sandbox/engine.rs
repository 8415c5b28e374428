//! Sets up wasmtime: what guests may use of the language, and where their memory comes from.

use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;

use sha2::{Digest as _, Sha256};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::{Compiler, SandboxError};

/// How many guests there may be, and how large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSettings {
    /// Attempts that may be under way at once, waiting ones included. Default 16.
    pub slots: usize,
    /// No guest can hold more, whatever its limits say. Default 1 GiB, at most 4 GiB.
    pub max_memory_bytes: u64,
    /// Threads that run guests. Default: one a processor.
    pub guest_threads: usize,
    /// Who compiles modules. Default: this process, which the server never leaves it at.
    pub compiler: Compiler,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { slots: 16, max_memory_bytes: 1 << 30, guest_threads: processors, compiler: Compiler::InProcess }
    }
}

/// Frames of a guest shown when it traps.
pub(super) const MAX_FRAMES: usize = 32;

/// Calls at upload (asking a module for its tasks) that may run beside the slots.
const DESCRIPTOR_CALLS: usize = 2;

/// Ended instances whose memory is given back in one go: a third of the cost of
/// doing it one by one. The pool is larger by as many, so that they are not missed.
const DECOMMIT_BATCH: usize = 64;

/// Used memory and table that a free slot keeps and cleans by writing, not by a system call.
const KEEP_RESIDENT: usize = 2 << 20;

/// Free slots that keep the image of the module they ran last. With
/// `KEEP_RESIDENT` for memory and table each, this bounds what an idle pool holds.
const MAX_WARM_SLOTS: u32 = 32;

/// A Rust component takes 20 to 23 core instances, a Python one 64.
pub(super) const CORE_INSTANCES_EACH: u32 = 80;
pub(super) const TABLES_EACH: u32 = 8;
const MAX_INSTANCE_BYTES: usize = 10 << 20;
pub(super) const TABLE_ELEMENTS: usize = 100_000;

/// Memories one component may have, most generous first: each costs 4 GiB of
/// address space a slot, used or not.
pub(super) const MEMORIES_EACH: [u32; 3] = [4, 2, 1];

/// Address space of one memory: what a 32-bit guest can address, and its guard.
const ADDRESS_SPACE_EACH: u64 = (4 << 30) + (32 << 20);

/// Address space the rest of the process is left with where it is limited.
const ADDRESS_SPACE_LEFT: u64 = 16 << 30;

/// Where guests' memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allocator {
    /// Reserved at start: a guest costs microseconds.
    Pooling,
    /// Mapped for each guest: ten times slower, for machines short of address space.
    OnDemand,
}

impl Allocator {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pooling => "pooling",
            Self::OnDemand => "on_demand",
        }
    }
}

/// Guests that can exist at once; more have to wait.
pub(super) fn capacity(settings: &SandboxSettings) -> usize {
    settings.slots.max(1) + DESCRIPTOR_CALLS
}

/// Builds the engine, on the pool where the address space suffices for it.
/// `address_space` is what the process may use, if that is limited.
pub(super) fn build(
    settings: &SandboxSettings,
    address_space: Option<u64>,
) -> Result<(Engine, Allocator), SandboxError> {
    let instances = u32::try_from(capacity(settings) + DECOMMIT_BATCH).unwrap_or(u32::MAX);
    let mut reason = String::new();
    for memories_each in MEMORIES_EACH {
        if let Some(limit) = address_space
            && u64::from(instances) * u64::from(memories_each) * ADDRESS_SPACE_EACH + ADDRESS_SPACE_LEFT > limit
        {
            reason = format!("the process may address {} GiB", limit >> 30);
            continue;
        }
        let mut config = language();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(settings, instances, memories_each)));
        // Reserving the pool is the probe: it either gets its address space or says so.
        match Engine::new(&config) {
            Ok(engine) => return Ok((engine, Allocator::Pooling)),
            Err(error) => reason = format!("{error:#}"),
        }
    }
    tracing::warn!(
        slots = settings.slots,
        reason,
        "too little address space for the pool of sandboxes: every start will cost about 80 µs instead of 10; \
         raise `ulimit -v` or lower the number of slots"
    );
    Ok((for_compiling()?, Allocator::OnDemand))
}

/// Builds an engine that reserves nothing. What it compiles runs on every other engine
/// of this build.
pub(super) fn for_compiling() -> Result<Engine, SandboxError> {
    let mut config = language();
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config).map_err(SandboxError::engine("set up wasmtime"))
}

/// What guests may use, and how they are interrupted. The same for both allocators.
fn language() -> Config {
    let mut config = Config::new();
    // An allow-list: most advisories of the last year are in what is off here.
    config
        .gc_support(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_threads(false)
        .wasm_shared_everything_threads(false)
        .wasm_memory64(false)
        .wasm_stack_switching(false)
        .shared_memory(false)
        .concurrency_support(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(MAX_FRAMES))
        // Names come from the name section. Reading a guest's DWARF would be work
        // on a hostile text, on our time.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .max_wasm_stack(512 << 10)
        // The rest is for host functions.
        .async_stack_size(2 << 20);
    config
}

fn pool(settings: &SandboxSettings, instances: u32, memories_each: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_EACH))
        .total_memories(instances.saturating_mul(memories_each))
        .total_tables(instances.saturating_mul(TABLES_EACH))
        .total_stacks(instances)
        // Totals are per-component maxima times instances, so that counting
        // instances is enough to never find the pool exhausted.
        .max_core_instances_per_component(CORE_INSTANCES_EACH)
        .max_memories_per_component(memories_each)
        .max_tables_per_component(TABLES_EACH)
        .max_tables_per_module(TABLES_EACH)
        .max_memories_per_module(memories_each)
        .max_component_instance_size(MAX_INSTANCE_BYTES)
        .max_core_instance_size(MAX_INSTANCE_BYTES)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(usize::try_from(settings.max_memory_bytes.min(4 << 30)).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .decommit_batch_size(DECOMMIT_BATCH)
        .max_unused_warm_slots(MAX_WARM_SLOTS)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// What `ulimit -v` says, in bytes.
pub(super) fn address_space_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

/// Names everything that compiled code depends on (version of wasmtime, target,
/// processor features, what guests may use), as the name of a directory. Code of
/// another key is never loaded.
pub(super) fn compatibility(engine: &Engine) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let hash: [u8; 32] = hasher.0.finalize().into();
    format!("{}-{}-{}", std::env::consts::ARCH, std::env::consts::OS, hex::encode(&hash[..12]))
}

/// A hasher whose result is stable between builds, unlike the standard one's.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash: [u8; 32] = self.0.clone().finalize().into();
        u64::from_le_bytes(hash[..8].try_into().expect("8 of 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_address_space_falls_back_to_mapping_each_guest() {
        let settings = SandboxSettings::default();
        assert_eq!(build(&settings, None).expect("an engine").1, Allocator::Pooling);
        assert_eq!(build(&settings, Some(64 << 30)).expect("an engine").1, Allocator::OnDemand);
        // Room for fewer memories a component is still room for the pool.
        assert_eq!(build(&settings, Some(400 << 30)).expect("an engine").1, Allocator::Pooling);
    }

    #[test]
    fn both_allocators_load_the_same_code() {
        let settings = SandboxSettings::default();
        let keys = [None, Some(0)].map(|limit| compatibility(&build(&settings, limit).expect("an engine").0));
        assert_eq!(keys[0], keys[1]);
    }
}
