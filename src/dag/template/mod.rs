//! What a template is: text with `{{ … }}` in it, checked and compiled once, rendered many times.
//!
//! minijinja reads the text and runs it. Around it stand four walls, so that a template is bounded in time and
//! in size whatever it says and whatever the outputs it reads:
//!
//! 1. `restrictions` refuses by the syntax tree what would let values grow (`set`, macros, repetition of text, …).
//! 2. `program` lets through the instructions it knows, and puts an operator of ours in the place of each one
//!    whose cost minijinja does not know before it has paid it.
//! 3. `operators` and `filters` are those operators and the list of filters: they look at sizes first.
//! 4. Fuel pays for every instruction, every item visited and every 64 bytes made; `Meter` counts what comes out.
//!
//! `references` says what a template reads, `scope` is what it may read.

mod compare;
mod dates;
mod environment;
mod errors;
mod filters;
mod foreign;
mod json;
mod operators;
mod output_path;
mod parse;
mod program;
mod references;
mod render;
mod restrictions;
mod scope;
mod syntax;
mod tree;
mod unresolved;

pub use errors::{RenderError, RenderErrorKind, TemplateError, place};
pub use foreign::instead_of;
pub use output_path::{OutputPath, OutputStep, written};
pub use parse::Template;
pub use references::References;
pub use scope::{Instance, NAMES, Output, Run, Scope};
pub use tree::JsonTemplate;
pub use unresolved::Unresolved;

/// Source of one template: 64 KiB.
pub const MAX_SOURCE_BYTES: usize = 64 * 1024;

/// What rendering may cost. The costs of all strings of a `JsonTemplate` add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// One fuel pays for one instruction, two items visited by a filter, or 64 bytes of text made. Default 100 000,
    /// which is at most some tens of milliseconds.
    ///
    /// A value that is only passed on (`{{ tasks.list.output.files }}`) costs next to nothing whatever its size; a
    /// filter over a list costs one to two fuel an item, and a path (`{{ params.city }}`) one and one for each step. A
    /// `JsonTemplate` that has spent its fuel stops at the string it is at, so that it may spend twice as much at worst.
    pub fuel: u64,
    /// Bytes of all that comes out, measured as JSON text. Default 8 MiB.
    pub output_bytes: usize,
}

impl Bounds {
    /// For what is shown only, of each of very many: 2 000 fuel, some hundred microseconds; 16 KiB.
    pub const LABEL: Bounds = Bounds { fuel: 2_000, output_bytes: 16 * 1024 };
}

impl Default for Bounds {
    fn default() -> Self {
        Self { fuel: 100_000, output_bytes: 8 * 1024 * 1024 }
    }
}

/// Whether the text is more than a literal.
pub fn is_template(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(2).any(|pair| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#'))
}

#[cfg(test)]
mod tests;
