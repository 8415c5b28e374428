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
pub struct Schema {
    validator: Validator,
    cost: cost::Cost,
}

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
        let cost = cost::bound(schema)?;
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN_BYTES))
            .build(schema)
            .map_err(|error| error.to_string())?;
        Ok(Self { validator, cost })
    }

    /// How often a part of the schema may be compared with a part of the value before it is known whether that
    /// matches; most often it is far less. Some ten nanoseconds each.
    pub fn looks(&self, value: &Value) -> u64 {
        self.cost.looks(value)
    }

    pub fn is_valid(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    /// The first `max` things that are wrong with `value`; where finding them would take very long, because both are
    /// large or the schema contains itself in several places, only that something is.
    pub fn problems(&self, value: &Value, max: usize) -> Vec<Problem> {
        if self.is_valid(value) {
            return Vec::new();
        }
        if !self.cost.can_be_told(value) {
            let message = "value does not match its schema, and it would take too long to say where";
            return vec![Problem { path: String::new(), message: message.to_owned() }];
        }
        let errors = self.validator.iter_errors(value).take(max);
        errors
            .map(|error| Problem { path: error.instance_path().to_string(), message: error.masked().to_string() })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Schema;

    #[test]
    fn a_schema_of_itself_takes_no_longer_than_others() {
        let value = (0..60).fold(json!({"b": 1}), |value, _| json!({ "a": value }));
        let itself = json!({"properties": {"a": {"$ref": "#"}}});
        let twice: Value = json!({"allOf": [itself, itself], "properties": {"b": {"type": "string"}}});
        let schema = Schema::compile(&twice).expect("a schema");
        let problems = schema.problems(&value, 20);
        assert_eq!((problems.len(), problems[0].path.as_str()), (1, ""), "{problems:?}");
        for endless in [json!({"$ref": "#"}), json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]})] {
            assert!(Schema::compile(&endless).expect("a schema").problems(&value, 20).is_empty());
        }
    }
}
