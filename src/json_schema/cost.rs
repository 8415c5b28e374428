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

/// Looks that saying what is wrong with a value may take: a second or two.
const MOST_LOOKS: u64 = 100_000_000;

/// Err: why the schema costs too much.
pub(super) fn bound(schema: &Value) -> Result<Cost, String> {
    let mut walk = Walk { root: schema, known: HashMap::from([("#", None)]) };
    let cost = walk.cost(schema, 0)?;
    match cost.parts {
        0..=MOST_PARTS => Ok(cost),
        _ => Err(format!("with its references followed it has more than {MOST_PARTS} parts; simplify it")),
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    parts: u64,
    /// Of the deepest part.
    depth: u32,
    /// How often it refers to what it is within.
    loops: u64,
}

impl Cost {
    const ONE: Self = Self { parts: 1, depth: 1, loops: 0 };

    /// Whether what is wrong with the value can be told within reason.
    ///
    /// `jsonschema` remembers whether a part of a value matched, but not why it did not: where a schema contains
    /// itself twice, each level of a value takes twice as long as the one above it.
    pub(super) fn can_be_told(&self, value: &Value) -> bool {
        let mut left = MOST_LOOKS;
        match self.loops {
            0 | 1 => self.looks(value) <= MOST_LOOKS,
            _ => self.take(value, self.parts, &mut left),
        }
    }

    /// Each part at each place of the value.
    pub(super) fn looks(&self, value: &Value) -> u64 {
        self.parts.saturating_mul(places(value))
    }

    fn take(&self, value: &Value, looks: u64, left: &mut u64) -> bool {
        let Some(rest) = left.checked_sub(looks) else { return false };
        *left = rest;
        let below = looks.saturating_mul(self.loops);
        match value {
            Value::Array(items) => items.iter().all(|item| self.take(item, below, left)),
            Value::Object(members) => members.values().all(|member| self.take(member, below, left)),
            _ => true,
        }
    }
}

fn places(value: &Value) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(places).sum::<u64>(),
        Value::Object(members) => 1 + members.values().map(places).sum::<u64>(),
        _ => 1,
    }
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
        let mut whole = Cost::ONE;
        let mut add = |cost: Cost| {
            whole.loops = whole.loops.saturating_add(cost.loops);
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
            Some(None) => Ok(Cost { loops: 1, ..Cost::ONE }),
            None => {
                let pointer = reference.strip_prefix('#').unwrap_or_default();
                // An anchor or a foreign schema: found or refused by who compiles it.
                let Some(target) = self.root.pointer(pointer) else { return Ok(Cost::ONE) };
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
    fn what_is_wrong_is_told_where_that_does_not_take_for_ever() {
        let nested = |depth| (0..depth).fold(json!(1), |value, _| json!({ "a": value }));
        let list = bound(&json!({"properties": {"a": {"$ref": "#"}}})).expect("a list");
        assert!(list.can_be_told(&nested(60)));
        let tree = bound(&json!({"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}})).expect("a tree");
        assert!(tree.can_be_told(&nested(12)) && !tree.can_be_told(&nested(60)));
        let wide = bound(&json!({"items": {"enum": vec![0; 1_000]}})).expect("a list");
        assert!(wide.can_be_told(&Value::from(vec![1; 1_000])) && !wide.can_be_told(&Value::from(vec![1; 200_000])));
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
