//! Checks inputs of SDK tasks against the JSON Schemas their module describes.

use jsonschema::{PatternOptions, Validator};

use super::values::InputProblem;
use crate::model::Json;

/// Problems shown of one input.
const MAX_PROBLEMS: usize = 20;

/// Compiled form of a pattern in a schema.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Compiles a schema that a guest wrote: nothing is fetched, and patterns are
/// matched in linear time.
pub(super) fn compile(schema: &Json) -> Result<Validator, String> {
    jsonschema::options()
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN_BYTES))
        .build(&schema.to_value())
        .map_err(|error| error.to_string())
}

pub(super) fn check(validator: &Validator, input: &Json) -> Result<(), Vec<InputProblem>> {
    let value = input.to_value();
    if validator.is_valid(&value) {
        return Ok(());
    }
    let problems = validator.iter_errors(&value).take(MAX_PROBLEMS);
    Err(problems
        .map(|error| InputProblem {
            path: error.instance_path().to_string(),
            code: "schema",
            // The value itself may be large, and is the caller's own.
            message: error.masked().to_string(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Json {
        Json::parse(text.to_owned()).expect("JSON")
    }

    #[test]
    fn problems_carry_their_place() {
        let validator = compile(&schema(r#"{"properties": {"n": {"type": "integer"}}}"#)).expect("a schema");
        assert!(check(&validator, &schema(r#"{"n": 1}"#)).is_ok());
        let problems = check(&validator, &schema(r#"{"n": "x"}"#)).expect_err("a problem");
        assert_eq!(problems[0].path, "/n");
    }

    #[test]
    fn a_schema_fetches_nothing() {
        assert!(compile(&schema(r#"{"$ref": "http://127.0.0.1:1/schema.json"}"#)).is_err());
        assert!(compile(&schema(r#"{"$ref": "file:///etc/passwd"}"#)).is_err());
    }
}
