//! Bounds on one attempt.

use serde::{Deserialize, Serialize};

use super::Span;

/// What one attempt may use. The attempt ends at the first bound it meets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Limits {
    /// Sum over all memories and tables of the guest. Default 256 MiB.
    pub memory_bytes: u64,
    /// Wall time from the start of the attempt, instantiation included. Default `1h`.
    #[schema(value_type = String)]
    pub execution_timeout: Span,
    /// Time on a processor. Default `1h`.
    #[schema(value_type = String)]
    pub cpu_time: Span,
    /// Size of the result as JSON. Default 16 MiB.
    pub output_bytes: u64,
    /// Size of the log; what exceeds it is dropped, and the log says so. Default 10 MiB.
    pub log_bytes: u64,
    /// Bytes of HTTP requests, heads and bodies, all together. Default 256 MiB.
    pub sent_bytes: u64,
    /// Bytes of HTTP responses, heads and bodies, all together. Default 1 GiB.
    pub received_bytes: u64,
    /// Calls of the host's functions: a guest that does nothing else is ended long
    /// before its hour is over. Default 100 000 000.
    pub host_calls: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            execution_timeout: Span::from_secs(3600),
            cpu_time: Span::from_secs(3600),
            output_bytes: 16 << 20,
            log_bytes: 10 << 20,
            sent_bytes: 256 << 20,
            received_bytes: 1 << 30,
            host_calls: 100_000_000,
        }
    }
}
