//! Sets up wasmtime: what guests may use of the language, and where their memory comes from.

use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;

use sha2::{Digest as _, Sha256};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, WasmBacktraceDetails};

use super::SandboxError;
use super::pool::{STACK_BYTES, SandboxSettings, address_space_needed, pool};

/// Frames of a guest shown when it traps.
pub(super) const MAX_FRAMES: usize = 32;

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

/// The engine on its pool, or why there is none. `address_space` is what the
/// process may use, if that is limited.
pub(super) fn with_pool(settings: &SandboxSettings, address_space: Option<u64>) -> Result<Engine, String> {
    if let Some(limit) = address_space
        && address_space_needed(settings) > limit
    {
        return Err(format!("the process may address {} GiB", limit >> 30));
    }
    let mut config = language();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(settings)));
    // Reserving the pool is the probe: it either gets its address space or says so.
    Engine::new(&config).map_err(|error| format!("{error:#}"))
}

/// The engine without a pool: it maps the memory of each guest, and costs next to nothing to make.
/// What it compiles runs on every other engine of this build.
pub(super) fn on_demand() -> Result<Engine, SandboxError> {
    let mut config = language();
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config).map_err(SandboxError::engine("set up wasmtime"))
}

pub(super) fn warn_of_no_pool(settings: &SandboxSettings, reason: &str) {
    tracing::warn!(
        slots = settings.slots,
        waiting = settings.waiting,
        reason,
        "too little address space for the pool of sandboxes, which needs {} GiB: every start will cost about 80 µs \
         instead of 10; raise `ulimit -v` or lower worker.waiting",
        address_space_needed(settings) >> 30,
    );
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
        .async_stack_size(STACK_BYTES as usize);
    config
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
    fn the_pool_needs_its_address_space() {
        let has_pool = |waiting, limit| {
            let settings = SandboxSettings { waiting, ..SandboxSettings::default() };
            with_pool(&settings, limit).is_ok()
        };
        assert!(has_pool(0, None));
        assert!(has_pool(0, Some(400 << 30)));
        assert!(!has_pool(0, Some(64 << 30)));
        assert!(!has_pool(1_000, Some(400 << 30)));
        assert!(has_pool(10_000, None), "47 bits suffice for the default");
    }

    #[test]
    fn both_allocators_load_the_same_code() {
        let pool = with_pool(&SandboxSettings::default(), None).expect("a pool");
        assert_eq!(compatibility(&pool), compatibility(&on_demand().expect("an engine")));
    }
}
