//! Checks JSON against schemas that guests wrote.
//!
//! A package of its own because `jsonschema` is generic throughout: whoever calls
//! it compiles it, 30 000 functions of it, each time anew. Here it is once.

mod cost;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// Compiled form of a pattern in a schema.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema(Validator);

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// JSON pointer into the checked value.
    pub path: String,
    /// In words, without the value itself: that may be large, and is the caller's own.
    pub message: String,
}

impl Schema {
    /// Fetches nothing that the schema refers to, and matches its patterns in linear time.
    /// A schema that would cost too much to check against is refused.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        cost::bound(schema)?;
        jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN_BYTES))
            .build(schema)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    pub fn is_valid(&self, value: &Value) -> bool {
        self.0.is_valid(value)
    }

    /// The first `max` things that are wrong with `value`.
    pub fn problems(&self, value: &Value, max: usize) -> Vec<Problem> {
        let errors = self.0.iter_errors(value).take(max);
        errors
            .map(|error| Problem { path: error.instance_path().to_string(), message: error.masked().to_string() })
            .collect()
    }
}
