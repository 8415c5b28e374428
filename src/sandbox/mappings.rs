//! How many guests the system has memory mappings for.

use super::SandboxError;
use super::pool::{DESCRIPTOR_CALLS, SandboxSettings, places};

/// Memory mappings of one place: the stack and the guard below; of the memory its
/// image, what is used before and behind it, and what it may grow into.
const MAPPINGS_EACH: u64 = 6;

/// Memory mappings that the rest of the process is left with: 256 modules, 512 threads, code.
const MAPPINGS_LEFT: u64 = 3_072;

/// Refuses more guests than the system lets a process have mappings for: met while
/// guests run, that limit would fail whatever asks for memory next.
pub(super) fn check(settings: &SandboxSettings, allowed: Option<u64>) -> Result<(), SandboxError> {
    let Some(allowed) = allowed else { return Ok(()) };
    let (slots, waiting) = (settings.slots, settings.waiting);
    let (most, needed) = (most_guests(allowed), needed(settings));
    if needed > allowed { Err(SandboxError::TooManyGuests { slots, waiting, most, needed, allowed }) } else { Ok(()) }
}

fn needed(settings: &SandboxSettings) -> u64 {
    u64::from(places(settings)).saturating_mul(MAPPINGS_EACH).saturating_add(MAPPINGS_LEFT)
}

/// Guests that so many mappings suffice for.
fn most_guests(allowed: u64) -> u64 {
    (allowed.saturating_sub(MAPPINGS_LEFT) / MAPPINGS_EACH).saturating_sub(DESCRIPTOR_CALLS as u64)
}

/// As many guests as the system has mappings for, computing and waiting ones
/// together. No bound where it does not say.
pub fn most_guests_here() -> usize {
    allowed().map_or(usize::MAX, |allowed| usize::try_from(most_guests(allowed)).unwrap_or(usize::MAX))
}

/// `vm.max_map_count`: the memory mappings a process may have.
pub(super) fn allowed() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_guests_than_there_may_be_mappings_for_are_refused() {
        let settings = |waiting| SandboxSettings { waiting, ..SandboxSettings::default() };
        assert!(check(&settings(10_000), Some(65_530)).is_ok(), "the defaults suit each other");
        assert!(check(&settings(usize::MAX), None).is_ok());
        let most = settings(most_guests(65_530) as usize - 16);
        assert!(check(&most, Some(65_530)).is_ok());
        assert!(check(&settings(most.waiting + 1), Some(65_530)).is_err());
        let refusal = check(&settings(20_000), Some(65_530)).expect_err("too many").to_string();
        assert_eq!(
            refusal,
            "worker.slots (16) and worker.waiting (20000) need 123180 memory mappings, and the system allows a process \
             65530, enough for 10407 guests; lower worker.waiting, or raise the limit with \
             `sysctl -w vm.max_map_count=123180`"
        );
    }
}
