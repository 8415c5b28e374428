//! Checks inputs of SDK tasks against the JSON Schemas their module describes.

use tradewind_json_schema::Schema;

use super::values::InputProblem;
use crate::model::Json;

/// Problems shown of one input.
const MAX_PROBLEMS: usize = 20;

pub(super) fn compile(schema: &Json) -> Result<Schema, String> {
    let schema = schema.to_value().map_err(|error| error.to_string())?;
    Schema::compile(&schema)
}

pub(super) fn check(schema: &Schema, input: &Json) -> Result<(), Vec<InputProblem>> {
    let value = input.to_value().map_err(|error| {
        vec![InputProblem { path: String::new(), code: "not_readable", message: error.to_string() }]
    })?;
    if schema.is_valid(&value) {
        return Ok(());
    }
    let problems = schema.problems(&value, MAX_PROBLEMS).into_iter();
    Err(problems.map(|problem| InputProblem { path: problem.path, code: "schema", message: problem.message }).collect())
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
    fn what_is_nested_too_deep_is_a_problem_not_a_panic() {
        let deep = schema(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
        let validator = compile(&schema("{}")).expect("a schema");
        assert_eq!(check(&validator, &deep).expect_err("a problem")[0].code, "not_readable");
        assert!(compile(&deep).is_err());
    }

    #[test]
    fn a_schema_fetches_nothing() {
        assert!(compile(&schema(r#"{"$ref": "http://127.0.0.1:1/schema.json"}"#)).is_err());
        assert!(compile(&schema(r#"{"$ref": "file:///etc/passwd"}"#)).is_err());
    }
}
