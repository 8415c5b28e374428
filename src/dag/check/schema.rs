//! What a JSON Schema says of the parts of a value: whether there can be such a part, and of which types it is.
//!
//! Says nothing rather than something wrong: keywords that could allow more than this file understands make a
//! place unknown.

use std::cell::Cell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::dag::template::OutputStep as Step;

/// A schema, followed from its root.
#[derive(Clone, Copy)]
pub(super) struct Schema<'a> {
    root: &'a Value,
    /// How many parts of schemas may still be looked at, by all who share it; then nothing is known any more.
    budget: &'a Cell<usize>,
}

/// The forms that a value may have, at least one.
pub(super) type Forms<'a> = Vec<Form<'a>>;

/// The parts of a schema that all hold for one form of a value.
pub(super) type Form<'a> = Vec<&'a Map<String, Value>>;

/// What stands at a step further into a value.
#[derive(Debug, PartialEq)]
pub(super) enum Part<'a> {
    /// There can be no such part.
    No,
    /// There may be, in these forms.
    May(Forms<'a>),
    Unknown,
}

impl Part<'_> {
    pub(super) fn types(&self) -> Option<Types> {
        match self {
            Self::May(forms) => types(forms),
            Self::No | Self::Unknown => None,
        }
    }
}

/// References may go in circles.
const MAX_DEPTH: usize = 50;
/// Forms multiply where several `anyOf` stand side by side.
const MAX_FORMS: usize = 256;

/// Keywords under which others mean more than they say, or that may allow more.
const ENTANGLED: [&str; 9] = [
    "patternProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
    "$recursiveRef",
    "if",
    "then",
    "else",
    "dependentSchemas",
];

impl<'a> Schema<'a> {
    pub(super) fn new(root: &'a Value, budget: &'a Cell<usize>) -> Self {
        Self { root, budget }
    }

    /// The value as a whole.
    pub(super) fn whole(self) -> Part<'a> {
        part_of(self.forms(self.root, 0))
    }

    pub(super) fn part(self, forms: &[Form<'a>], step: &Step) -> Part<'a> {
        self.of_each(forms, |form| match step {
            Step::Key(key) => self.value(form, key),
            Step::Index(index) => self.element(form, Some(*index)),
        })
    }

    /// Any element, of what is a list.
    pub(super) fn elements(self, forms: &[Form<'a>]) -> Part<'a> {
        self.of_each(forms, |form| self.element(form, None))
    }

    /// What one form allows is allowed, and what one does not tell is unknown.
    fn of_each(self, forms: &[Form<'a>], part: impl Fn(&Form<'a>) -> Part<'a>) -> Part<'a> {
        let mut allowed = Vec::new();
        for form in forms {
            match part(form) {
                Part::No => {}
                Part::May(forms) => allowed.extend(forms),
                Part::Unknown => return Part::Unknown,
            }
        }
        match allowed.len() {
            0 => Part::No,
            1..=MAX_FORMS => Part::May(allowed),
            _ => Part::Unknown,
        }
    }

    fn value(self, form: &Form<'a>, key: &str) -> Part<'a> {
        if types_of(form).is_some_and(|types| !types.has(Types::OBJECT)) {
            return Part::No;
        }
        let (mut said, mut is_named, mut is_closed) = (Vec::new(), false, false);
        for schema in form {
            let properties = schema.get("properties").and_then(Value::as_object);
            match (properties.and_then(|properties| properties.get(key)), schema.get("additionalProperties")) {
                (Some(property), _) => {
                    is_named = true;
                    said.push(property);
                }
                (None, Some(Value::Bool(false))) => is_closed = true,
                (None, Some(others)) => said.push(others),
                // Others are allowed, though many a schema is written so that means none.
                (None, None) => {}
            }
        }
        match said.is_empty() {
            _ if is_closed && !is_named => Part::No,
            true => Part::Unknown,
            false => part_of(self.all_of(vec![Form::new()], said, 0)),
        }
    }

    fn element(self, form: &Form<'a>, index: Option<i64>) -> Part<'a> {
        match types_of(form) {
            // Of a text, it is a letter.
            Some(types) if types.has(Types::STRING) && index.is_some() => return Part::Unknown,
            Some(types) if !types.has(Types::ARRAY) => return Part::No,
            Some(_) => {}
            None => return Part::Unknown,
        }
        let mut said = Vec::new();
        for schema in form {
            let first = schema.get("prefixItems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let most = schema.get("maxItems").and_then(Value::as_u64);
            let at = index.and_then(|index| usize::try_from(index).ok());
            match (at.and_then(|at| first.get(at)), schema.get("items")) {
                _ if at.zip(most).is_some_and(|(at, most)| at as u64 >= most) => return Part::No,
                (Some(schema), _) => said.push(schema),
                // It may be one of the first as well as of the others.
                (None, _) if at.is_none() && !first.is_empty() => {}
                (None, Some(others)) => said.push(others),
                (None, None) => {}
            }
        }
        if said.is_empty() { Part::Unknown } else { part_of(self.all_of(vec![Form::new()], said, 0)) }
    }

    /// The forms in which all of `schemas` hold as well. `None` where that is not known.
    fn all_of(self, forms: Forms<'a>, schemas: Vec<&'a Value>, depth: usize) -> Option<Forms<'a>> {
        schemas.into_iter().try_fold(forms, |forms, schema| both(forms, &self.forms(schema, depth)?))
    }

    fn forms(self, schema: &'a Value, depth: usize) -> Option<Forms<'a>> {
        self.budget.set(self.budget.get().checked_sub(1)?);
        let keywords = match schema {
            Value::Bool(true) => return Some(vec![Form::new()]),
            Value::Bool(false) => return Some(Forms::new()),
            Value::Object(keywords) => keywords,
            _ => return None,
        };
        let is_entangled = ENTANGLED.iter().any(|keyword| keywords.contains_key(*keyword));
        // References below are relative to it.
        let is_other = depth > 0 && keywords.contains_key("$id");
        if depth > MAX_DEPTH || is_entangled || is_other {
            return None;
        }
        let mut forms = vec![vec![keywords]];
        if let Some(reference) = keywords.get("$ref") {
            let target = behind(self.root, reference.as_str()?)?;
            if ref_stands_alone(self.root) {
                return self.forms(target, depth + 1);
            }
            forms = both(forms, &self.forms(target, depth + 1)?)?;
        }
        if let Some(all) = keywords.get("allOf") {
            forms = self.all_of(forms, all.as_array()?.iter().collect(), depth + 1)?;
        }
        for keyword in ["anyOf", "oneOf"] {
            let Some(several) = keywords.get(keyword) else { continue };
            let mut any = Forms::new();
            for schema in several.as_array()? {
                any.extend(self.forms(schema, depth + 1)?);
            }
            forms = both(forms, &any)?;
        }
        // Of a type that is none, there is no value.
        forms.retain(|form| types_of(form).is_none_or(|types| types != Types::NONE));
        Some(forms)
    }
}

/// The part of a schema that a reference within it names. None where it leads elsewhere, or into another schema
/// that is a part of this one: what references mean there is relative to that.
pub(super) fn behind<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = reference.strip_prefix('#')?;
    let is_foreign = |(end, _)| end > 0 && root.pointer(&pointer[..end]).is_some_and(|part| part.get("$id").is_some());
    let target = root.pointer(pointer)?;
    (!pointer.match_indices('/').any(is_foreign)).then_some(target)
}

/// Whether keywords beside a `$ref` mean nothing, as they did before 2019.
pub(super) fn ref_stands_alone(root: &Value) -> bool {
    root.get("$schema").and_then(Value::as_str).is_some_and(|dialect| dialect.contains("/draft-0"))
}

fn part_of(forms: Option<Forms<'_>>) -> Part<'_> {
    match forms {
        None => Part::Unknown,
        Some(forms) if forms.is_empty() => Part::No,
        Some(forms) => Part::May(forms),
    }
}

/// The forms that have one of each.
fn both<'a>(left: Forms<'a>, right: &[Form<'a>]) -> Option<Forms<'a>> {
    if left.len() * right.len() > MAX_FORMS {
        return None;
    }
    let pairs = left.iter().flat_map(|left| right.iter().map(move |right| [&left[..], right].concat()));
    Some(pairs.collect())
}

/// The keys that values of these forms have by name.
pub(super) fn keys<'a>(forms: &[Form<'a>]) -> BTreeSet<&'a str> {
    let properties = forms.iter().flatten().filter_map(|schema| schema.get("properties")?.as_object());
    properties.flat_map(Map::keys).map(String::as_str).collect()
}

/// The types that a value of these forms may have; `None` where one does not tell.
pub(super) fn types(forms: &[Form<'_>]) -> Option<Types> {
    forms.iter().try_fold(Types::NONE, |all, form| Some(Types(all.0 | types_of(form)?.0)))
}

fn types_of(form: &Form<'_>) -> Option<Types> {
    form.iter().filter_map(|schema| own_types(schema)).reduce(|one, other| Types(one.0 & other.0))
}

/// By its own keywords, `type`, `const` and `enum`.
fn own_types(schema: &Map<String, Value>) -> Option<Types> {
    let allowed = match (schema.get("const"), schema.get("enum").and_then(Value::as_array)) {
        (Some(only), _) => Some(Types::of(only)),
        (None, Some(several)) => Some(Types(several.iter().fold(0, |all, value| all | Types::of(value).0))),
        (None, None) => None,
    };
    let stated = schema.get("type").and_then(Types::stated);
    [allowed, stated].into_iter().flatten().reduce(|one, other| Types(one.0 & other.0))
}

/// A set of the types of JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const NONE: Self = Self(0);
    pub(super) const NULL: Self = Self(1);
    const BOOLEAN: Self = Self(2);
    pub(super) const INTEGER: Self = Self(4);
    /// Integers are numbers.
    pub(super) const NUMBER: Self = Self(8 | Self::INTEGER.0);
    pub(super) const STRING: Self = Self(16);
    pub(super) const ARRAY: Self = Self(32);
    pub(super) const OBJECT: Self = Self(64);

    const NAMED: [(&'static str, &'static str, Self); 7] = [
        ("object", "an object", Self::OBJECT),
        ("array", "a list", Self::ARRAY),
        ("string", "a text", Self::STRING),
        ("number", "a number", Self::NUMBER),
        ("integer", "an integer", Self::INTEGER),
        ("boolean", "a bool", Self::BOOLEAN),
        ("null", "null", Self::NULL),
    ];

    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            // 5.0 is an integer, too.
            Value::Number(number) if number.as_f64().is_none_or(|number| number.fract() == 0.0) => Self::INTEGER,
            Value::Number(_) => Self(Self::NUMBER.0 & !Self::INTEGER.0),
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    /// What the keyword `type` says.
    pub(super) fn stated(keyword: &Value) -> Option<Self> {
        let one = |name: &Value| {
            let name = name.as_str()?;
            Self::NAMED.iter().find(|(known, ..)| *known == name).map(|(.., types)| *types)
        };
        match keyword {
            Value::Array(several) => several.iter().try_fold(Self::NONE, |all, name| Some(Self(all.0 | one(name)?.0))),
            name => one(name),
        }
    }

    /// Whether they have one in common.
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl std::fmt::Display for Types {
    /// "a text or null".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut left = *self;
        let mut names = Vec::new();
        for (_, name, types) in Self::NAMED {
            if left.0 & types.0 == types.0 || (left.has(types) && types == Self::NUMBER && !left.has(Self::INTEGER)) {
                names.push(name);
                left = Self(left.0 & !types.0);
            }
        }
        f.write_str(&names.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn steps(path: &str) -> Vec<Step> {
        let step = |part: &str| part.parse().map_or_else(|_| Step::Key(part.to_owned()), Step::Index);
        path.split('.').filter(|part| !part.is_empty()).map(step).collect()
    }

    /// `no`, `unknown`, or the types there.
    fn look(schema: &Value, path: &str) -> String {
        let budget = Cell::new(10_000);
        let schema = Schema::new(schema, &budget);
        let mut at = schema.whole();
        for step in steps(path) {
            at = match at {
                Part::May(forms) => schema.part(&forms, &step),
                other => other,
            };
        }
        match at {
            Part::No => "no".to_owned(),
            Part::Unknown => "unknown".to_owned(),
            Part::May(forms) => types(&forms).map_or_else(|| "anything".to_owned(), |types| types.to_string()),
        }
    }

    #[test]
    fn a_schema_says_of_each_part_if_it_can_be_and_what_it_is() {
        // As an SDK writes a struct.
        let row = json!({"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string"}}, "required": ["id"],
                         "additionalProperties": false});
        let schema = json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "rows": {"type": "array", "items": {"$ref": "#/$defs/row"}},
                "row": {"anyOf": [{"$ref": "#/$defs/row"}, {"type": "null"}]},
                "both": {"type": ["object", "null"], "properties": {"x": {"type": ["integer", "string"]}}},
                "flat": {"allOf": [{"$ref": "#/$defs/row"}, {"type": "object", "properties": {"more": true}}]},
                "sealed": {"allOf": [{"$ref": "#/$defs/row"}], "type": "object", "properties": {"y": {}}, "additionalProperties": false},
                "open": {"type": "object", "properties": {"x": {}}, "additionalProperties": true},
                "map": {"type": "object", "additionalProperties": {"type": "number"}},
                "bare": {"type": "object"},
                "untyped": {"properties": {"x": {"type": "string"}}},
                "pattern": {"type": "object", "properties": {"x": {}}, "patternProperties": {"^y": {}}},
                "any": {},
                "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "items": false},
                "head": {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "number"}},
                "three": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
                "list": {"type": "array"},
                "text": {"type": "string"},
                "word": {"enum": ["a", 1, 1.5, null]},
                "how": {"oneOf": [{"const": "all"}, {"type": "object", "properties": {"top": {"type": "integer"}}, "additionalProperties": false}]},
                "node": {"$ref": "#/$defs/node"},
                "loop": {"$ref": "#/$defs/loop"},
                "gone": {"$ref": "#/$defs/gone"},
                "else": {"$ref": "https://example.com/schema"},
                "inner": {"$ref": "#/$defs/other/properties/x"},
                "never": false,
                "none": {"type": "string", "enum": [1]},
            },
            "$defs": {
                "row": row,
                "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "additionalProperties": false},
                "loop": {"$ref": "#/$defs/loop"},
                "other": {"$id": "https://example.com/other", "properties": {"x": {"type": "string"}}},
            },
        });
        for (path, expected) in [
            ("", "an object"),
            ("0", "no"),
            ("rwos", "no"),
            ("rows", "a list"),
            ("rows.0", "an object"),
            ("rows.-1.id", "an integer"),
            ("rows.0.di", "no"),
            ("rows.id", "no"),
            ("row", "an object or null"),
            ("row.name", "a text"),
            ("row.nam", "no"),
            ("both", "an object or null"),
            ("both.x", "a text or an integer"),
            ("both.z", "unknown"),
            ("flat.id", "an integer"),
            ("flat.more", "anything"),
            ("flat.more.x", "unknown"),
            ("flat.mroe", "no"),
            ("sealed.id", "an integer"),
            ("sealed.z", "no"),
            ("open.z", "anything"),
            ("map.z", "a number"),
            ("map.z.z", "no"),
            ("bare.z", "unknown"),
            ("untyped.x", "a text"),
            ("untyped.z", "unknown"),
            ("pattern", "unknown"),
            ("any", "anything"),
            ("any.z", "unknown"),
            ("any.0", "unknown"),
            ("pair.1", "a bool"),
            ("pair.2", "no"),
            ("pair.-1", "unknown"),
            ("head.5", "a number"),
            ("head.-5", "unknown"),
            ("three.2", "a text"),
            ("three.3", "no"),
            ("list.7", "unknown"),
            ("list.x", "no"),
            ("text.x", "no"),
            ("text.0", "unknown"),
            ("word", "a text or a number or null"),
            ("word.x", "no"),
            ("how", "an object or a text"),
            ("how.top", "an integer"),
            ("how.tip", "no"),
            ("node.next.next.next", "an object"),
            ("node.next.nxt", "no"),
            ("loop", "unknown"),
            ("gone", "unknown"),
            ("else", "unknown"),
            ("inner", "unknown"),
            ("never", "no"),
            ("none", "no"),
        ] {
            assert_eq!(look(&schema, path), expected, "{path}");
        }
        let old = json!({"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/a", "type": "string",
            "definitions": {"a": {"type": "object"}}});
        assert_eq!(look(&old, ""), "an object");
        for (schema, expected) in [(json!(true), "anything"), (json!(null), "unknown"), (json!(false), "no")] {
            assert_eq!(look(&schema, ""), expected, "{schema}");
        }
    }

    #[test]
    fn large_schemas_are_unknown_before_they_take_long() {
        let either = json!({"anyOf": [{"title": "a"}, {"title": "b"}]});
        let wide = json!({"allOf": vec![either; 30]});
        let twice =
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}});
        let many = json!({"anyOf": (0..20_000).map(|n| json!({"const": n})).collect::<Vec<_>>()});
        for schema in [wide, twice, many] {
            assert_eq!(look(&schema, ""), "unknown");
        }
    }
}
