//! Processor time and memory: the server's, where it is on this machine, and our own.

use std::time::Duration;

use serde::Serialize;

/// What Linux counts processor time of processes in, for every program: a hundredth of a second.
const TICK: Duration = Duration::from_millis(10);

/// A server process, and what it had used when the watch began.
pub(super) struct ServerProcess {
    pid: Option<u32>,
    cpu_before: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Memory {
    /// Resident now.
    pub(super) now: u64,
    /// The most that was ever resident.
    pub(super) peak: u64,
}

impl ServerProcess {
    pub(super) fn watch(pid: Option<u32>) -> Self {
        Self { pid, cpu_before: pid.and_then(cpu_of) }
    }

    /// Processor time since the watch began; `None` where the server is elsewhere.
    pub(super) fn cpu(&self) -> Option<Duration> {
        Some(cpu_of(self.pid?)?.saturating_sub(self.cpu_before?))
    }

    pub(super) fn memory(&self) -> Option<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        let kibibytes = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Memory { now: kibibytes("VmRSS:")? << 10, peak: kibibytes("VmHWM:")? << 10 })
    }
}

fn cpu_of(pid: u32) -> Option<Duration> {
    ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?).map(|ticks| TICK * ticks)
}

/// User and system time, fields 14 and 15. The second field is a name that may hold anything, so count from its end.
fn ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    Some(fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?)
}

/// Processor time of this process so far.
pub(super) fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_a_strange_name() {
        assert_eq!(ticks("7 (a) b) R) S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20"), Some(150));
        assert_eq!(ticks("7 (a"), None);
        assert!(cpu_of(std::process::id()).is_some());
    }
}
