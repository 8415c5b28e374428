//! What a DAG is: from the bytes its author wrote to the numbers the engine runs by.
//!
//! Pure: no I/O, no clock, no store. Modules and their schemas are looked up by the layer above.
//! In reading order: `source` reads the bytes, `draft` what they say, `check` whether it can be,
//! `definition` is what a version is, `plan` what the engine runs by.

pub mod check;
pub mod definition;
pub mod draft;
pub mod finding;
mod order;
mod outside;
pub mod plan;
pub mod source;
pub mod template;
#[cfg(test)]
mod tests;
pub mod trigger_rule;

pub use definition::Definition;
pub use draft::Draft;
pub use finding::{Finding, Located};
pub use outside::{MAX_LOOKS, with_outside};
pub use plan::Plan;
pub use source::Source;
pub use trigger_rule::TriggerRule;
