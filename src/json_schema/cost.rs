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

/// So many bytes of a text count as one place more: a pattern looks at all of them.
const BYTES_A_PLACE: u64 = 16;

fn places(value: &Value) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(places).sum::<u64>(),
        Value::Object(members) => 1 + members.values().map(places).sum::<u64>(),
        Value::String(text) => 1 + text.len() as u64 / BYTES_A_PLACE,
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

/// Under these stands a schema or a list of schemas.
const APPLICATORS: [&str; 16] = [
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "oneOf",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Under these stand schemas by names that others gave them.
const NAMED: [&str; 4] = ["properties", "patternProperties", "dependentSchemas", "dependencies"];
/// The schemas of schemas, which `jsonschema` knows, cost about this.
const META: (&str, Cost) = ("json-schema.org/draft", Cost { parts: 500, depth: 20, loops: 10 });

struct Walk<'a> {
    root: &'a Value,
    /// What is behind each reference; none while it is being walked, because a schema may contain itself.
    known: HashMap<&'a str, Option<Cost>>,
}

impl<'a> Walk<'a> {
    fn cost(&mut self, schema: &'a Value, depth: u32) -> Result<Cost, String> {
        if depth > MOST_DEPTH {
            return Err(format!("it is nested more than {MOST_DEPTH} deep, references followed; simplify it"));
        }
        let mut whole = Cost::ONE;
        let mut add = |cost: Cost| {
            whole.loops = whole.loops.saturating_add(cost.loops);
            whole.parts = whole.parts.saturating_add(cost.parts);
            whole.depth = whole.depth.max(cost.depth + 1);
        };
        match schema {
            Value::Object(members) => {
                for (key, member) in members {
                    match (key.as_str(), member) {
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                            add(self.behind(reference, depth + 1)?);
                        }
                        // Within it, references would mean something else than they say.
                        ("$id" | "id", Value::String(id))
                            if !std::ptr::eq(schema, self.root) && self.is_address(key) =>
                        {
                            return Err(format!("a part of it has an address of its own, `{id}`; take that away"));
                        }
                        // What is defined costs where it is named.
                        ("$defs" | "definitions", _) => {}
                        (key, Value::Object(named)) if NAMED.contains(&key) => {
                            for member in named.values() {
                                add(self.cost(member, depth + 1)?);
                            }
                        }
                        (key, _) if APPLICATORS.contains(&key) => add(self.cost(member, depth + 1)?),
                        // Values, however they look.
                        _ => add(Cost { parts: places(member), ..Cost::ONE }),
                    }
                }
            }
            Value::Array(schemas) => {
                for schema in schemas {
                    add(self.cost(schema, depth + 1)?);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(whole)
    }

    /// Whether a part's keyword gives it an address. `id` did so in the oldest drafts.
    fn is_address(&self, key: &str) -> bool {
        let draft = self.root.get("$schema").and_then(Value::as_str).unwrap_or_default();
        key == "$id" || draft.contains("draft-04")
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
                let target = match reference.strip_prefix('#') {
                    Some(pointer) => self.root.pointer(&decoded(pointer)),
                    None if reference.contains(META.0) => return Ok(META.1),
                    None => None,
                };
                // Whatever else `jsonschema` would find by it is not counted, and may go on for ever.
                let Some(target) = target else {
                    let shown: String = reference.chars().take(100).collect();
                    return Err(format!("it refers to `{shown}`; name a part of it as `#/$defs/…`"));
                };
                self.known.insert(reference, None);
                let cost = self.cost(target, depth)?;
                self.known.insert(reference, Some(cost));
                Ok(cost)
            }
        }
    }
}

/// With the bytes that `%` and two digits stand for.
fn decoded(pointer: &str) -> String {
    let mut bytes = Vec::with_capacity(pointer.len());
    let mut rest = pointer.as_bytes();
    while let [first, others @ ..] = rest {
        let digits = others.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[2..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
    fn whatever_a_reference_is_written_like_it_is_counted_or_refused() {
        let encoded = |schema: Value| schema.to_string().replace("#/$defs", "#/%24defs");
        let encoded = encoded(chain(20_000, |next| json!({"$ref": next})));
        let refused = bound(&serde_json::from_str(&encoded).expect("JSON")).expect_err("too deep");
        assert!(refused.contains("deep"), "{refused}");
        // A property may be called like a keyword.
        let defs = chain(20_000, |next| json!({"$ref": next}));
        let named = json!({"properties": {"definitions": {"$ref": "#/$defs/0"}}, "$defs": defs["$defs"]});
        let refused = bound(&named).expect_err("too deep");
        assert!(refused.contains("deep"), "{refused}");
        for (schema, expected) in [
            (json!({"$ref": "#node", "$defs": {"a": {"$anchor": "node"}}}), "refers to `#node`"),
            (json!({"$ref": "urn:a", "$defs": {"a": {"$id": "urn:a"}}}), "refers to `urn:a`"),
            (json!({"items": {"$id": "urn:a", "$ref": "#/$defs/b", "$defs": {"b": {}}}}), "an address of its own"),
            (json!({"$ref": "#/$defs/none"}), "refers to `#/$defs/none`"),
        ] {
            let refused = bound(&schema).expect_err("refused");
            assert!(refused.contains(expected), "{refused}");
        }
        for schema in [
            json!({"$ref": "#/$defs/a%20b%2", "$defs": {"a b%2": {"type": "string"}}}),
            json!({"$id": "https://example.org/a", "const": {"$ref": "#no", "$id": "x"}, "enum": [{"$ref": "y"}]}),
            json!({"properties": {"$id": {"type": "string"}, "$ref": {"type": "string"}}}),
            json!({"$ref": "https://json-schema.org/draft/2020-12/schema"}),
        ] {
            bound(&schema).expect("a schema");
        }
    }

    #[test]
    fn long_texts_count_for_more_than_one_place() {
        let pattern = bound(&json!({"pattern": "a+b"})).expect("a schema");
        assert!(pattern.looks(&json!("a".repeat(1_600))) > 100);
    }

    #[test]
    fn parts_that_name_each_other_twice_are_refused() {
        let refused = bound(&chain(40, |next| json!({"allOf": [{"$ref": next}, {"$ref": next}]}))).expect_err("2^40");
        assert!(refused.contains("parts"), "{refused}");
    }
}
