//! What this machine can do at best: wasmtime alone, to read other numbers by.

use std::time::{Duration, Instant};

use wasmtime::component::{Component, InstancePre, Linker, TypedFunc};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

/// wasmtime without us: synchronous, tuned as the sandbox is, but sized for small
/// guests that import nothing, and without a limiter, a timer or an outcome.
pub struct Bare {
    engine: Engine,
    instance: InstancePre<()>,
}

/// How the no-op of the benchmarks is called.
type Noop = TypedFunc<(&'static [u8],), (Result<Vec<u8>, String>,)>;

impl Bare {
    pub fn new(guest: &[u8]) -> wasmtime::Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(100)
            .total_core_instances(400)
            .total_memories(100)
            .total_tables(300)
            .max_memory_size(64 << 20)
            .linear_memory_keep_resident(2 << 20)
            .table_keep_resident(2 << 20)
            .decommit_batch_size(64)
            .pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
            .epoch_interruption(true)
            .concurrency_support(false);
        let engine = Engine::new(&config)?;
        let component = Component::new(&engine, guest)?;
        let instance = Linker::new(&engine).instantiate_pre(&component)?;
        Ok(Self { engine, instance })
    }

    /// Runs the guest's `run` once in a fresh store.
    pub fn run(&self) -> wasmtime::Result<()> {
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(1);
        let instance = self.instance.instantiate(&mut store)?;
        let run: Noop = instance.get_typed_func(&mut store, "run")?;
        let (answer,) = run.call(&mut store, (&[],))?;
        answer.map(drop).map_err(wasmtime::Error::msg)
    }
}

/// No-ops in one second on one thread, each in a fresh sandbox.
pub fn bare_sandboxes_per_s(lasting: Duration) -> wasmtime::Result<f64> {
    const BETWEEN_LOOKS: u32 = 64;
    let bare = Bare::new(&super::guests::noop())?;
    let (began, mut ran) = (Instant::now(), 0);
    while began.elapsed() < lasting {
        (0..BETWEEN_LOOKS).try_for_each(|_| bare.run())?;
        ran += BETWEEN_LOOKS;
    }
    Ok(f64::from(ran) / began.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noop_runs_without_a_server() {
        assert!(bare_sandboxes_per_s(Duration::from_millis(1)).expect("a rate") > 1.0);
    }
}
