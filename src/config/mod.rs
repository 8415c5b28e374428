//! Every setting: its default, its unit, its name in the file and in the environment.
//!
//! A value comes from the first of: a flag, the environment, the file, the
//! default. `[worker] slots` in the file is `TRADEWIND_WORKER_SLOTS` in the
//! environment; `[server]` and `[client]` leave their section out there, so
//! `[server] listen` is `TRADEWIND_LISTEN`. A key nobody knows is refused, with
//! its place and the nearest known one. A secret prints dots.

mod loaded;
mod sources;
mod table;
#[cfg(test)]
mod tests;

pub use loaded::{Loaded, SettingsError};
pub use sources::{FlagValue, SettingsFile, Sources};
pub use table::*;

/// The file that is read when none is named and it exists.
pub const DEFAULT_FILE: &str = "tradewind.toml";

/// Names the file in the environment.
pub const FILE_VARIABLE: &str = "TRADEWIND_CONFIG";

const PREFIX: &str = "TRADEWIND_";
