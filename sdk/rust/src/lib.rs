//! Write Tradewind tasks in Rust.
//!
//! A task is a function. [`#[task]`](macro@task) gives it a name, the JSON Schemas of its input and output, its
//! docs, and a place in the component that Tradewind runs:
//!
//! ```
//! use tradewind_sdk::{Error, data, info, task};
//!
//! #[data]
//! struct Greeting {
//!     /// Whom to greet.
//!     name: String,
//! }
//!
//! /// Greets someone by name.
//! #[task]
//! fn greet(input: Greeting) -> Result<String, Error> {
//!     if input.name.is_empty() {
//!         return Err(Error::failed("there is nobody to greet; give a `name`").do_not_retry());
//!     }
//!     info!("greeting {}", input.name);
//!     Ok(format!("Hello, {}!", input.name))
//! }
//! ```
//!
//! Built as a `cdylib` for `wasm32-wasip2`, the crate is a component that exports `tradewind:task/tasks`. Built for
//! the machine it is written on, it is plain Rust: the function is called by unit tests like any other, and
//! [`testing`] stands in for the host.

pub use jiff::Timestamp;
pub use log::Level;
pub use schemars::{self, JsonSchema};
pub use serde::{self, Deserialize, Serialize};
pub use serde_json::{self, Value, json};
pub use tradewind_sdk_macros::{data, task};

pub use context::Context;
pub use error::{Error, RetryAdvice};

mod context;
mod error;
#[cfg(target_family = "wasm")]
mod guest;
mod logging;
mod registry;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

/// What the macros write calls to. Not part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use inventory;

    pub use crate::logging::write;
    pub use crate::registry::{Fallible, Task, no_input, no_input_schema, output, output_schema};
    pub use crate::registry::{input, input_schema};
}

// The README's code is compiled with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
