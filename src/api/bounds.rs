//! Every bound of the API, with its name and default.

use std::time::Duration;

use crate::model::{Ceiling, Limits, Span};

/// What a caller may send at most. `config` has the settings that fill it.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// A body that is not a batch or a module, and one line of a batch. Default 1 MiB.
    pub max_body_bytes: usize,
    /// A whole batch. Default 64 MiB.
    pub max_batch_bytes: usize,
    /// Lines of a batch. Default 10 000.
    pub max_batch_lines: usize,
    /// Batches being read or answered at once; each holds its body in memory. Default 8.
    pub max_batches_in_flight: usize,
    /// Requests being answered at once, those that wait for a result among them. Default 2 048.
    pub max_requests_in_flight: usize,
    /// Default 4 096.
    pub max_connections: usize,
    /// Request line and headers. Default 32 KiB; at most 100 headers.
    pub max_header_bytes: usize,
    /// Time for the head of a request; also how long an idle connection is kept. Default 60 s.
    pub header_timeout: Duration,
    /// Time for a whole JSON body, or between two pieces of a module. Default 30 s.
    pub body_timeout: Duration,
    /// What a task may ask for at most.
    pub tasks: TaskBounds,
}

/// What a task may ask for at most.
#[derive(Debug, Clone)]
pub struct TaskBounds {
    /// What a task gets that asks for nothing in particular.
    pub default_limits: Limits,
    /// Default 1 GiB, the size of a sandbox's memory.
    pub max_memory_bytes: u64,
    /// Default 24 h; bounds wall and CPU time.
    pub max_execution_timeout: Span,
    /// Default 256 MiB.
    pub max_output_bytes: u64,
    /// Default 256 MiB.
    pub max_log_bytes: u64,
    /// Default 16 GiB.
    pub max_sent_bytes: u64,
    /// Default 64 GiB.
    pub max_received_bytes: u64,
    /// Default 10 000 000 000.
    pub max_host_calls: u64,
    /// What anyone may grant.
    pub ceiling: Ceiling,
    pub max_retries: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_body_bytes: 1 << 20,
            max_batch_bytes: 64 << 20,
            max_batch_lines: 10_000,
            max_batches_in_flight: 8,
            max_requests_in_flight: 2_048,
            max_connections: 4_096,
            max_header_bytes: 32 << 10,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            tasks: TaskBounds::default(),
        }
    }
}

impl Default for TaskBounds {
    fn default() -> Self {
        Self {
            default_limits: Limits::default(),
            max_memory_bytes: 1 << 30,
            max_execution_timeout: Span::from_secs(24 * 3600),
            max_output_bytes: 256 << 20,
            max_log_bytes: 256 << 20,
            max_sent_bytes: 16 << 30,
            max_received_bytes: 64 << 30,
            max_host_calls: 10_000_000_000,
            ceiling: Ceiling::default(),
            max_retries: 1_000,
        }
    }
}

/// Longest `?wait=`.
pub const MAX_WAIT: Duration = Duration::from_secs(60);
/// Entries of a page: by default, and at most.
pub const PAGE: (usize, usize) = (50, 1_000);
pub const MAX_LABELS: usize = 64;
pub const MAX_LABEL_KEY_BYTES: usize = 128;
pub const MAX_LABEL_VALUE_BYTES: usize = 256;
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;
pub const MAX_FUNCTION_BYTES: usize = 512;
/// Requests whose DAG files are checked at once; others wait.
pub const DAG_CHECKS_AT_ONCE: usize = 2;
/// Files of one apply.
pub const MAX_FILES: usize = 1_000;
/// Of the name of such a file.
pub const MAX_FILE_NAME_BYTES: usize = 1_024;
/// Mistakes that are told of all files together.
pub const MAX_MISTAKES: usize = 5_000;
/// DAGs in one request.
pub const MAX_DAGS: usize = 2_000;
/// Their definitions together, as text: defaults are written out for each task, so that files may be much smaller.
pub const MAX_DEFINITIONS_BYTES: usize = 64 << 20;
/// Places of inputs that are compared with schemas for one request: some ten seconds.
pub const MAX_CHECK_STEPS: usize = 10_000_000;
/// Of the path of a mistake; a longer one is cut.
pub const MAX_POINTER_BYTES: usize = 1_024;
/// Of a run's note and a variable's description.
pub const MAX_NOTE_CHARS: usize = 1_000;
