//! What this machine can do at best.

use std::time::Duration;

/// Sandboxes started, run and dropped in one second on one thread, without a
/// server around them; `None` where the guest does not run.
pub fn bare_sandboxes_per_s(_guest: &[u8], _lasting: Duration) -> Option<f64> {
    None
}
