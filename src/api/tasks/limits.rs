//! The limits of a task: what it asks for, the server's defaults, and the most it may have.

use serde::Deserialize;

use crate::api::bounds::TaskBounds;
use crate::api::problem::Problem;
use crate::model::{Limits, Span};

/// Bounds on one attempt. What is left out is the server's default.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsRequest {
    /// Sum over all memories and tables of the guest. Default 256 MiB.
    memory_bytes: Option<u64>,
    /// Wall time from the start of the attempt, instantiation included. Default `1h`.
    #[schema(value_type = Option<String>)]
    execution_timeout: Option<Span>,
    /// Time on a processor. Default `1h`.
    #[schema(value_type = Option<String>)]
    cpu_time: Option<Span>,
    /// Size of the result as JSON. Default 16 MiB.
    output_bytes: Option<u64>,
    /// Size of the log; what exceeds it is dropped, and the log says so. Default 10 MiB.
    log_bytes: Option<u64>,
    /// Bytes of HTTP requests, heads and bodies, all together. Default 256 MiB.
    sent_bytes: Option<u64>,
    /// Bytes of HTTP responses, heads and bodies, all together. Default 1 GiB.
    received_bytes: Option<u64>,
    /// Calls of the host's functions. Default 100 000 000.
    host_calls: Option<u64>,
}

impl LimitsRequest {
    /// The limits the task gets, if there is no problem with them.
    pub(super) fn within(&self, bounds: &TaskBounds, problems: &mut Vec<Problem>) -> Limits {
        let default = &bounds.default_limits;
        let limits = Limits {
            memory_bytes: self.memory_bytes.unwrap_or(default.memory_bytes),
            execution_timeout: self.execution_timeout.unwrap_or(default.execution_timeout),
            cpu_time: self.cpu_time.unwrap_or(default.cpu_time),
            output_bytes: self.output_bytes.unwrap_or(default.output_bytes),
            log_bytes: self.log_bytes.unwrap_or(default.log_bytes),
            sent_bytes: self.sent_bytes.unwrap_or(default.sent_bytes),
            received_bytes: self.received_bytes.unwrap_or(default.received_bytes),
            host_calls: self.host_calls.unwrap_or(default.host_calls),
        };
        check(&limits, bounds, problems);
        limits
    }
}

fn check(limits: &Limits, bounds: &TaskBounds, problems: &mut Vec<Problem>) {
    let sizes = [
        ("/limits/memory_bytes", limits.memory_bytes, bounds.max_memory_bytes, "max_memory_bytes"),
        ("/limits/output_bytes", limits.output_bytes, bounds.max_output_bytes, "max_output_bytes"),
    ];
    for (path, asked, most, setting) in sizes {
        if asked == 0 || asked > most {
            problems.push(out_of_bounds(path, asked, "1", most, setting));
        }
    }
    // None at all may be wanted.
    let from_nothing = [
        ("/limits/log_bytes", limits.log_bytes, bounds.max_log_bytes, "max_log_bytes"),
        ("/limits/sent_bytes", limits.sent_bytes, bounds.max_sent_bytes, "max_sent_bytes"),
        ("/limits/received_bytes", limits.received_bytes, bounds.max_received_bytes, "max_received_bytes"),
        ("/limits/host_calls", limits.host_calls, bounds.max_host_calls, "max_host_calls"),
    ];
    for (path, asked, most, setting) in from_nothing {
        if asked > most {
            problems.push(out_of_bounds(path, asked, "0", most, setting));
        }
    }
    let times = [("/limits/execution_timeout", limits.execution_timeout), ("/limits/cpu_time", limits.cpu_time)];
    let most = bounds.max_execution_timeout;
    for (path, asked) in times {
        if asked == Span::ZERO || asked > most {
            problems.push(out_of_bounds(path, asked, "more than 0s", most, "max_execution_timeout"));
        }
    }
}

fn out_of_bounds(
    path: &str,
    asked: impl std::fmt::Display,
    least: &str,
    most: impl std::fmt::Display,
    setting: &str,
) -> Problem {
    Problem::invalid(
        path,
        format!("{asked} is not between {least} and {most}"),
        format!("ask for less, or raise the setting `sandbox.{setting}` of the server"),
    )
}
