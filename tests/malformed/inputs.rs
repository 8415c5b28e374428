//! Makes an input that may fit a JSON Schema, in the simplest way. One that does not fit is refused, which is fine.

use serde_json::{Map, Value, json};

const MOST_DEPTH: usize = 16;
const MOST_ITEMS: u64 = 4;

pub fn example(schema: &Value) -> Value {
    of(schema, MOST_DEPTH)
}

fn of(schema: &Value, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(value) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return value.clone();
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[choice].get(0) {
            return of(first, depth - 1);
        }
    }
    let word = schema["type"].as_str().or_else(|| schema["type"].get(0).and_then(Value::as_str));
    match word {
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let member = |name: &str| (name.to_owned(), of(&schema["properties"][name], depth - 1));
            Value::Object(required.take(64).map(member).collect::<Map<_, _>>())
        }
        Some("array") => {
            let first = schema["prefixItems"].as_array().into_iter().flatten().map(|item| of(item, depth - 1));
            let mut items: Vec<Value> = first.take(64).collect();
            let least = schema["minItems"].as_u64().unwrap_or(0).min(MOST_ITEMS);
            while (items.len() as u64) < least {
                items.push(of(&schema["items"], depth - 1));
            }
            Value::Array(items)
        }
        Some("string") if schema["minLength"].as_u64().is_some_and(|least| least > 0) => json!("a"),
        Some("string") => json!(""),
        Some("integer") => json!(schema["minimum"].as_i64().unwrap_or(0)),
        Some("number") => json!(0.5),
        Some("boolean") => json!(false),
        _ => Value::Null,
    }
}
