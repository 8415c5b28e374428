//! Holds one attempt to its memory: the sum over all memories and tables.

use wasmtime::ResourceLimiter;

/// Counts what the guest's memories and tables hold together. Growth beyond the
/// limit fails as it does on a machine that is full (`memory.grow` answers −1),
/// and is remembered, so that what follows from it is named by its cause.
#[derive(Debug)]
pub(super) struct MemoryMeter {
    limit: usize,
    held: usize,
    peak: usize,
    denied: bool,
}

impl MemoryMeter {
    pub(super) fn new(limit_bytes: u64) -> Self {
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        Self { limit, held: 0, peak: 0, denied: false }
    }

    /// Greatest sum so far, bytes.
    pub(super) fn peak(&self) -> u64 {
        self.peak as u64
    }

    /// Whether the guest was ever refused memory.
    pub(super) fn denied(&self) -> bool {
        self.denied
    }

    fn grow(&mut self, more: usize, within_maximum: bool) -> bool {
        match self.held.checked_add(more) {
            Some(held) if held <= self.limit && within_maximum => {
                self.held = held;
                self.peak = self.peak.max(held);
                true
            }
            _ => {
                self.denied = true;
                false
            }
        }
    }
}

impl ResourceLimiter for MemoryMeter {
    /// `maximum` is the module's own or the pool's. Growth beyond it would fail
    /// after this; failing it here keeps the sum true.
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let within_maximum = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(self.grow(desired.saturating_sub(current), within_maximum))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.denied = true;
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let within_maximum = maximum.is_none_or(|maximum| desired <= maximum);
        let elements = desired.saturating_sub(current);
        Ok(self.grow(elements.saturating_mul(size_of::<usize>()), within_maximum))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.denied = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn memories_and_tables_are_summed() {
        let mut meter = MemoryMeter::new(10 * MIB as u64);
        assert!(meter.memory_growing(0, 6 * MIB, None).expect("an answer"));
        assert!(meter.table_growing(0, MIB / 2, None).expect("an answer"), "half a million elements are 4 MiB");
        assert!(!meter.memory_growing(0, 1, None).expect("an answer"));
        assert!(meter.denied());
        assert_eq!(meter.peak(), 10 * MIB as u64);
    }

    #[test]
    fn a_growth_beyond_the_modules_maximum_is_not_held() {
        let mut meter = MemoryMeter::new(10 * MIB as u64);
        assert!(!meter.memory_growing(0, 8 * MIB, Some(4 * MIB)).expect("an answer"));
        assert!(meter.memory_growing(0, 9 * MIB, None).expect("an answer"));
        assert_eq!(meter.peak(), 9 * MIB as u64);
    }
}
