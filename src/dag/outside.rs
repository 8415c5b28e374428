//! What DAG files are read with, by the server and by the command line.

use std::cell::Cell;

use serde_json::Value;
use tradewind_json_schema::Schema;

use super::draft::Outside;

/// What comparing the defaults of params with their schemas may take of all files that are read together: seconds.
/// See `Schema::looks`.
pub const MAX_LOOKS: u64 = 200_000_000;

/// Told of one value at most.
const MAX_PROBLEMS: usize = 20;

/// Reads something with all that is known. Takes at most `looks`, and subtracts what it took.
pub fn with_outside<T>(looks: &mut u64, read: impl FnOnce(&Outside<'_>) -> T) -> T {
    let left = Cell::new(*looks);
    let schema_problems = |schema: &Value, value: &Value| {
        let schema = Schema::compile(schema)?;
        let rest = left.get().checked_sub(schema.looks(value));
        left.set(rest.ok_or("comparing the defaults of all params with their schemas takes too long; simplify them")?);
        let problems = schema.problems(value, MAX_PROBLEMS).into_iter();
        Ok(problems.map(|problem| (problem.path, problem.message)).collect())
    };
    let is_timezone = |name: &str| jiff::tz::TimeZone::get(name).is_ok();
    let result = read(&Outside { schema_problems: &schema_problems, is_timezone: &is_timezone });
    *looks = left.get();
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_that_take_long_to_compare_are_refused() {
        let (schema, value) = (json!({"items": {"enum": [1, 2]}}), json!(vec![1; 1_000]));
        let mut looks = 10_000;
        let problems = |outside: &Outside<'_>| (outside.schema_problems)(&schema, &value);
        assert_eq!(with_outside(&mut looks, problems), Ok(Vec::new()));
        assert!(looks < 10_000);
        let refused = with_outside(&mut looks, problems).expect_err("no looks are left");
        assert!(refused.contains("takes too long"), "{refused}");
    }
}
