//! The process's own log: lines on stderr, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt};

use crate::config::{LogFormat, LogSettings};

/// Sends what the process logs to stderr from now on. Once a process: a second call is an error.
pub fn init(settings: &LogSettings) -> Result<(), TryInitError> {
    // A level that does not parse was refused with the settings.
    let targets: Targets = settings.level.parse().unwrap_or_default();
    // It warns of what is odd in a module, once for each name: a stranger's words, and as many as they like.
    let targets = targets.with_target("wasmtime_environ", LevelFilter::ERROR);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(targets)).try_init()
}
