//! Bounds what it costs to check a value against a schema, before anything is checked.
//!
//! `jsonschema` follows references by recursion: a long chain of them overflows the stack, and a short schema
//! whose parts name each other twice takes for ever. What counts is the schema with its references followed.

use std::collections::HashMap;

use serde_json::Value;

/// Parts of a schema, those behind references counted each time they are named.
const MOST_PARTS: u64 = 100_000;
/// Parts within parts, references followed. 2 MiB of stack hold some thousands.
const MOST_DEPTH: u32 = 200;

/// Err: why the schema costs too much.
pub(super) fn bound(schema: &Value) -> Result<(), String> {
    let mut walk = Walk { root: schema, known: HashMap::new() };
    let Cost { parts, .. } = walk.cost(schema, 0)?;
    match parts {
        0..=MOST_PARTS => Ok(()),
        _ => Err(format!("with its references followed it has more than {MOST_PARTS} parts; simplify it")),
    }
}

#[derive(Clone, Copy)]
struct Cost {
    parts: u64,
    /// Of the deepest part.
    depth: u32,
}

struct Walk<'a> {
    root: &'a Value,
    /// What is behind each reference; none while it is being walked, because a schema may contain itself.
    known: HashMap<&'a str, Option<Cost>>,
}

impl<'a> Walk<'a> {
    fn cost(&mut self, part: &'a Value, depth: u32) -> Result<Cost, String> {
        if depth > MOST_DEPTH {
            return Err(format!("it is nested more than {MOST_DEPTH} deep, references followed; simplify it"));
        }
        let mut whole = Cost { parts: 1, depth: 1 };
        let mut add = |cost: Cost| {
            whole.parts = whole.parts.saturating_add(cost.parts);
            whole.depth = whole.depth.max(cost.depth + 1);
        };
        match part {
            Value::Object(members) => {
                for (key, member) in members {
                    match (key.as_str(), member) {
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                            add(self.behind(reference, depth + 1)?);
                        }
                        // What is defined costs where it is named.
                        ("$defs" | "definitions", _) => {}
                        _ => add(self.cost(member, depth + 1)?),
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    add(self.cost(item, depth + 1)?);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(whole)
    }

    fn behind(&mut self, reference: &'a str, depth: u32) -> Result<Cost, String> {
        let too_deep = |cost: Cost| depth + cost.depth > MOST_DEPTH;
        match self.known.get(reference) {
            Some(Some(cost)) if too_deep(*cost) => {
                Err(format!("it is nested more than {MOST_DEPTH} deep, references followed; simplify it"))
            }
            Some(Some(cost)) => Ok(*cost),
            // It contains itself: how often is for the value to say, which is bounded.
            Some(None) => Ok(Cost { parts: 1, depth: 1 }),
            None => {
                let pointer = reference.strip_prefix('#').unwrap_or_default();
                // An anchor or a foreign schema: found or refused by who compiles it.
                let Some(target) = self.root.pointer(pointer) else { return Ok(Cost { parts: 1, depth: 1 }) };
                self.known.insert(reference, None);
                let cost = self.cost(target, depth)?;
                self.known.insert(reference, Some(cost));
                Ok(cost)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::bound;

    fn chain(links: usize, part: impl Fn(String) -> Value) -> Value {
        let defs: Map<String, Value> = (0..links)
            .map(|link| (link.to_string(), part(format!("#/$defs/{}", link + 1))))
            .chain([(links.to_string(), json!({"type": "string"}))])
            .collect();
        json!({"$defs": defs, "$ref": "#/$defs/0"})
    }

    #[test]
    fn schemas_that_people_write_pass() {
        bound(&json!({"type": "object", "properties": {"a": {"type": "integer"}}})).expect("a small one");
        bound(&json!({"$ref": "#/$defs/node", "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}}))
            .expect("a list");
        bound(&chain(50, |next| json!({"$ref": next}))).expect("a chain");
    }

    #[test]
    fn a_long_chain_of_references_is_refused() {
        for part in [|next: String| json!({"$ref": next}), |next: String| json!({"allOf": [{"$ref": next}]})] {
            let refused = bound(&chain(32_000, part)).expect_err("too deep");
            assert!(refused.contains("deep"), "{refused}");
        }
    }

    #[test]
    fn parts_that_name_each_other_twice_are_refused() {
        let refused = bound(&chain(40, |next| json!({"allOf": [{"$ref": next}, {"$ref": next}]}))).expect_err("2^40");
        assert!(refused.contains("parts"), "{refused}");
    }
}
