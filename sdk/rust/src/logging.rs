//! Lines in the attempt's log.
//!
//! The macros here go straight to the host. What libraries say through the `log` crate arrives there too.

use std::fmt;

use log::Level;

/// Writes one line of the given [`Level`](crate::Level) to the attempt's log.
#[macro_export]
macro_rules! log {
    ($level:expr, $($message:tt)+) => { $crate::__private::write($level, ::core::format_args!($($message)+)) };
}

/// Writes a line of level `trace` to the attempt's log.
#[macro_export]
macro_rules! trace {
    ($($message:tt)+) => { $crate::log!($crate::Level::Trace, $($message)+) };
}

/// Writes a line of level `debug` to the attempt's log.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log!($crate::Level::Debug, $($message)+) };
}

/// Writes a line of level `info` to the attempt's log.
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log!($crate::Level::Info, $($message)+) };
}

/// Writes a line of level `warn` to the attempt's log.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log!($crate::Level::Warn, $($message)+) };
}

/// Writes a line of level `error` to the attempt's log.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log!($crate::Level::Error, $($message)+) };
}

#[doc(hidden)]
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    // Most lines are built from parts; one that is not need not be copied.
    match message.as_str() {
        Some(text) => send(level, text),
        None => send(level, &message.to_string()),
    }
}

#[cfg(target_family = "wasm")]
use crate::guest::write_log as send;
#[cfg(not(target_family = "wasm"))]
use crate::testing::write_log as send;

/// Leads the `log` crate's lines here, unless the task has set a logger of its own.
pub(crate) fn listen_to_libraries() {
    if log::set_logger(&Libraries).is_ok() {
        // Libraries trace more than a log should keep; `log::set_max_level` lets them.
        log::set_max_level(log::LevelFilter::Debug);
    }
}

struct Libraries;

impl log::Log for Libraries {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        write(record.level(), format_args!("{}: {}", record.target(), record.args()));
    }

    fn flush(&self) {}
}
