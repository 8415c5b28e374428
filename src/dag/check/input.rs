//! Checks an input with templates in it against the schema of the function that gets it.
//!
//! A template may become anything, so only what no template can put right is found: the
//! parts of a schema that speak of one place are followed down to it, and parts that
//! speak of several places at once (`anyOf`, `uniqueItems`, …) count only where no
//! template is among these.

use serde_json::{Map, Value, json};

use super::schema::Types;
use crate::dag::finding::{Finding, did_you_mean, pointer_part, shown};
use crate::dag::template::is_template;

/// Checks a value without templates: pointers into it with what is wrong there.
pub type ErrorsOf<'a> = dyn Fn(&Value, &Value) -> Vec<(String, String)> + 'a;

/// What is wrong with `input`, with paths that are relative to it. `mapped_keys` are
/// given to each instance beside it; `None` where they are known in a run only.
pub fn input_findings(
    schema: &Value,
    input: &Value,
    mapped_keys: Option<&[&str]>,
    errors_of: &ErrorsOf<'_>,
) -> Vec<Finding> {
    // What is mapped is as unknown as a template.
    let mut whole = input.clone();
    let may_have_more = mapped_keys.is_none();
    if whole.is_null() && mapped_keys.is_none_or(|keys| !keys.is_empty()) {
        whole = json!({});
    }
    if let Value::Object(object) = &mut whole {
        for key in mapped_keys.unwrap_or_default() {
            object.insert((*key).to_owned(), json!(ANYTHING));
        }
    }
    let mut check = Check { root: schema, errors_of, findings: Vec::new(), may_have_more };
    check.value(schema, &whole, "", 0);
    check.findings
}

/// Stands for a mapped value: any template would do.
const ANYTHING: &str = "{{ }}";
/// References of a schema to its own parts may go in circles.
const MAX_DEPTH: usize = 200;

struct Check<'a> {
    root: &'a Value,
    errors_of: &'a ErrorsOf<'a>,
    findings: Vec<Finding>,
    /// Whether the input gets keys that nobody knows yet.
    may_have_more: bool,
}

/// What this file checks by itself, place by place.
const FOLLOWED: [&str; 7] = ["properties", "required", "additionalProperties", "prefixItems", "items", "$ref", "allOf"];
/// Keywords under which `FOLLOWED` mean more than they say.
const ENTANGLED: [&str; 5] = ["patternProperties", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$id"];
/// Keywords that hold for a list or an object whatever its elements are.
const WHATEVER_IS_INSIDE: [&str; 6] =
    ["type", "minItems", "maxItems", "minProperties", "maxProperties", "propertyNames"];

impl Check<'_> {
    fn value(&mut self, schema: &Value, value: &Value, path: &str, depth: usize) {
        if depth > MAX_DEPTH || value.as_str().is_some_and(is_template) {
            return;
        }
        let is_open = path.is_empty() && self.may_have_more;
        let is_literal = !is_open && !has_template(value);
        let Value::Object(keywords) = schema else {
            return self.ask(schema, value, path);
        };
        if ENTANGLED.iter().any(|keyword| keywords.contains_key(*keyword) && (*keyword != "$id" || depth > 0)) {
            if is_literal {
                self.ask(schema, value, path);
            }
            return;
        }
        if let Some(target) = keywords.get("$ref").and_then(Value::as_str) {
            match target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) {
                Some(target) => self.value(target, value, path, depth + 1),
                None if is_literal => self.ask(schema, value, path),
                None => {}
            }
        }
        for schema in keywords.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.value(schema, value, path, depth + 1);
        }
        let mut rest = keywords.clone();
        rest.retain(|keyword, _| !FOLLOWED.contains(&keyword.as_str()) && !keyword.starts_with("$"));
        if !is_literal {
            self.alternatives(keywords, value, path, depth);
            rest.retain(|keyword, _| WHATEVER_IS_INSIDE.contains(&keyword.as_str()));
            if is_open {
                rest.retain(|keyword, _| keyword != "minProperties");
            }
        }
        self.ask(&Value::Object(rest), value, path);
        match value {
            Value::Object(object) => self.object(keywords, object, path, depth),
            Value::Array(elements) => self.list(keywords, elements, path, depth),
            _ => {}
        }
    }

    fn object(&mut self, schema: &Map<String, Value>, object: &Map<String, Value>, path: &str, depth: usize) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        for (key, value) in object {
            let below = format!("{path}/{}", pointer_part(key));
            match (properties.and_then(|properties| properties.get(key)), others) {
                (Some(schema), _) => self.value(schema, value, &below, depth + 1),
                (None, Some(Value::Bool(false))) => {
                    let known: Vec<&str> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                    let message = format!("{} has no field `{}`", named(path, "the input"), shown(key));
                    let finding = Finding::new(below, "unknown_field", message);
                    let all = || match known.is_empty() {
                        true => "remove it".to_owned(),
                        false => format!("its fields are {}", shown_list(&known)),
                    };
                    self.findings.push(finding.remedy(did_you_mean(key, known.iter().copied()).unwrap_or_else(all)));
                }
                (None, Some(schema)) => self.value(schema, value, &below, depth + 1),
                (None, None) => {}
            }
        }
        if path.is_empty() && self.may_have_more {
            return;
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for missing in required.filter(|key| !object.contains_key(*key)) {
            let message = match path {
                "" => format!("the field `{}` is missing", shown(missing)),
                _ => format!("the field `{}` is missing in {}", shown(missing), named(path, "it")),
            };
            self.findings.push(Finding::new(path, "missing_field", message).remedy("the function needs it"));
        }
    }

    fn list(&mut self, schema: &Map<String, Value>, elements: &[Value], path: &str, depth: usize) {
        let first = schema.get("prefixItems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let others = schema.get("items");
        for (index, value) in elements.iter().enumerate() {
            let below = format!("{path}/{index}");
            match (first.get(index), others) {
                (Some(schema), _) => self.value(schema, value, &below, depth + 1),
                (None, Some(Value::Bool(false))) => {
                    let message = format!("the list has at most {} elements here", first.len());
                    self.findings.push(Finding::new(below, "too_many_elements", message).remedy("remove it"));
                }
                (None, Some(schema)) => self.value(schema, value, &below, depth + 1),
                (None, None) => {}
            }
        }
    }

    /// Of several forms, those that a list or object can have at all: if that is one, it is followed.
    fn alternatives(&mut self, schema: &Map<String, Value>, value: &Value, path: &str, depth: usize) {
        for keyword in ["anyOf", "oneOf"] {
            let Some(forms) = schema.get(keyword).and_then(Value::as_array) else { continue };
            let mut possible = forms.iter().filter(|form| may_be(form, value));
            match (possible.next(), possible.next()) {
                (Some(only), None) => self.value(only, value, path, depth + 1),
                (Some(_), Some(_)) => {}
                (None, _) => {
                    let message = format!("none of the forms of {} is {} like this", named(path, "it"), what(value));
                    self.findings
                        .push(Finding::new(path, "wrong_type", message).remedy("see the function's input schema"));
                }
            }
        }
    }

    /// What is wrong by all of a schema, of which nothing is followed here.
    fn ask(&mut self, schema: &Value, value: &Value, path: &str) {
        if *schema == Value::Bool(true) || schema.as_object().is_some_and(Map::is_empty) {
            return;
        }
        // The other keywords are meant for values of this type.
        if let Some(wanted) = schema.get("type").and_then(Types::stated).filter(|types| !types.has(Types::of(value))) {
            let message = format!("{} is {}, and {wanted} is wanted", named(path, "it"), what(value));
            return self.findings.push(Finding::new(path, "input_not_valid", message));
        }
        // Parts of a schema may refer to others from its root.
        let definitions =
            ["$schema", "$defs", "definitions"].iter().filter_map(|key| Some((*key, self.root.get(key)?)));
        let mut whole: Map<String, Value> = definitions.map(|(key, part)| (key.to_owned(), part.clone())).collect();
        whole.insert("allOf".to_owned(), json!([schema]));
        for (pointer, message) in (self.errors_of)(&Value::Object(whole), value) {
            let path = format!("{path}{pointer}");
            let is = value.pointer(&pointer).map_or_else(|| "not there".to_owned(), what);
            let message = match message.strip_prefix("value ") {
                Some(rest) => format!("{} is {is}, which {rest}", named(&path, "it")),
                None => format!("{} is {is}: {message}", named(&path, "it")),
            };
            self.findings.push(Finding::new(path, "input_not_valid", message));
        }
    }
}

/// A part of the input, for sentences.
fn named(path: &str, whole: &str) -> String {
    if path.is_empty() { whole.to_owned() } else { format!("`{}`", shown(path)) }
}

fn has_template(value: &Value) -> bool {
    match value {
        Value::String(text) => is_template(text),
        Value::Array(elements) => elements.iter().any(has_template),
        Value::Object(object) => object.values().any(has_template),
        _ => false,
    }
}

/// Whether a list or object may have this form, going by its type, and by the one key that tells forms apart.
fn may_be(form: &Value, value: &Value) -> bool {
    let types = match form.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ if form.get("const").or(form.get("enum")).is_some() => {
            let allowed =
                form.get("const").into_iter().chain(form.get("enum").and_then(Value::as_array).into_iter().flatten());
            allowed.map(type_of).collect()
        }
        _ if form == &Value::Bool(false) => return false,
        _ => return true,
    };
    let required = form.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    types.contains(&type_of(value))
        && required.into_iter().all(|key| value.as_object().is_none_or(|object| object.contains_key(key)))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What was found, for sentences: "an object", `"the text"`, `5`.
fn what(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => Value::from(shown(text)).to_string(),
        value => value.to_string(),
    }
}

pub(super) fn shown_list(names: &[&str]) -> String {
    const MOST: usize = 20;
    let more = if names.len() > MOST { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(MOST)].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tradewind_json_schema::Schema;

    fn errors_of(schema: &Value, value: &Value) -> Vec<(String, String)> {
        let schema = Schema::compile(schema).expect("a schema");
        schema.problems(value, 20).into_iter().map(|problem| (problem.path, problem.message)).collect()
    }

    fn schema() -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 1},
                "where": {"anyOf": [{"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
                                     "required": ["lat", "lon"], "additionalProperties": false}, {"type": "null"}]},
                "flags": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": true},
                "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false, "minItems": 2},
                "how": {"oneOf": [{"const": "all"}, {"type": "object", "properties": {"top": {"type": "integer"}},
                                  "required": ["top"], "additionalProperties": false},
                                  {"type": "object", "properties": {"named": {"type": "string"}},
                                  "required": ["named"], "additionalProperties": false}]},
                "node": {"$ref": "#/$defs/node"},
            },
            "required": ["city"],
            "additionalProperties": false,
            "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "id": {"type": "integer"}},
                               "additionalProperties": false}},
        })
    }

    fn found(input: Value, mapped: Option<&[&str]>) -> Vec<String> {
        let findings = input_findings(&schema(), &input, mapped, &errors_of);
        findings.iter().map(|finding| format!("{} {}", finding.path, finding.code)).collect()
    }

    #[test]
    fn literal_parts_must_match_and_templates_may_become_anything() {
        let t = "{{ params.x }}";
        for (input, expected) in [
            (json!({"city": "Ames"}), vec![]),
            (json!({"city": t}), vec![]),
            (json!(t), vec![]),
            (json!({"city": 5}), vec!["/city input_not_valid"]),
            (json!({"city": t, "days": 0}), vec!["/days input_not_valid"]),
            (json!({"city": t, "days": t}), vec![]),
            (json!({"cty": t}), vec!["/cty unknown_field", " missing_field"]),
            (json!({}), vec![" missing_field"]),
            (json!(null), vec![" input_not_valid"]),
            (json!([t]), vec![" input_not_valid"]),
            (json!({"city": t, "where": null}), vec![]),
            (json!({"city": t, "where": t}), vec![]),
            (json!({"city": t, "where": {"lat": t, "lon": 2}}), vec![]),
            (json!({"city": t, "where": {"lat": t, "lon": "2"}}), vec!["/where/lon input_not_valid"]),
            (json!({"city": t, "where": {"lat": t}}), vec!["/where wrong_type"]),
            (json!({"city": t, "where": {"lat": 1}}), vec!["/where input_not_valid"]),
            (json!({"city": t, "where": [t]}), vec!["/where wrong_type"]),
            (json!({"city": t, "flags": ["a", t]}), vec![]),
            (json!({"city": t, "flags": ["c", t]}), vec!["/flags/0 input_not_valid"]),
            (json!({"city": t, "flags": ["a", "a"]}), vec!["/flags input_not_valid"]),
            (json!({"city": t, "pair": [t, 1]}), vec![]),
            (json!({"city": t, "pair": [t]}), vec!["/pair input_not_valid"]),
            (json!({"city": t, "pair": [t, "x", 3]}), vec!["/pair/1 input_not_valid", "/pair/2 too_many_elements"]),
            (json!({"city": t, "how": "all"}), vec![]),
            (json!({"city": t, "how": "none"}), vec!["/how input_not_valid"]),
            (json!({"city": t, "how": {"top": t}}), vec![]),
            (json!({"city": t, "how": {"top": t, "x": 1}}), vec!["/how/x unknown_field"]),
            (json!({"city": t, "node": {"next": {"next": {"id": t}}}}), vec![]),
            (json!({"city": t, "node": {"next": {"nxt": {"id": t}}}}), vec!["/node/next/nxt unknown_field"]),
            (json!({"city": t, "node": {"next": {"id": "1"}, "id": t}}), vec!["/node/next/id input_not_valid"]),
        ] {
            assert_eq!(found(input.clone(), Some(&[])), expected, "{input}");
        }
    }

    #[test]
    fn what_is_wrong_names_the_field_and_what_was_found() {
        let t = "{{ params.x }}";
        for (input, expected) in [
            (json!({"city": 5}), "`/city` is 5, and a text is wanted"),
            (json!({"city": t, "days": "x"}), "`/days` is \"x\", and an integer is wanted"),
            (json!({"city": t, "days": 1.5}), "`/days` is 1.5, and an integer is wanted"),
            (json!({"city": t, "days": 0}), "`/days` is 0, which is less than the minimum of 1"),
            (
                json!({"city": t, "days": "x".repeat(99)}),
                &format!("`/days` is \"{}…\", and an integer is wanted", "x".repeat(60)),
            ),
            (json!({"city": t, "flags": {}}), "`/flags` is an object, and a list is wanted"),
            (json!({"city": t, "flags": ["a", "a"]}), "`/flags` is a list, which has non-unique elements"),
            (json!({"city": t, "flags": ["c"]}), "`/flags/0` is \"c\", which is not one of \"a\" or \"b\""),
            (json!({"city": t, "pair": ["x", 1.5]}), "`/pair/1` is 1.5, and an integer is wanted"),
            (json!({"city": t, "where": [t]}), "none of the forms of `/where` is a list like this"),
            (
                json!({"city": t, "where": {"lat": "1", "lon": 1, }}),
                "`/where` is an object, which is not valid under any of the schemas listed in the 'anyOf' keyword",
            ),
            (json!({"city": t, "node": {"nxt": 1}}), "`/node` has no field `nxt`"),
            (json!({"cty": t, "city": t}), "the input has no field `cty`"),
            (json!({}), "the field `city` is missing"),
            (json!([t]), "it is a list, and an object is wanted"),
            (json!(null), "it is null, and an object is wanted"),
        ] {
            let findings = input_findings(&schema(), &input, Some(&[]), &errors_of);
            let messages: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
            assert_eq!(messages, [expected], "{input}");
        }
    }

    #[test]
    fn mapped_keys_count_as_present() {
        assert_eq!(found(json!(null), Some(&["city"])), Vec::<String>::new());
        assert_eq!(found(json!({"days": 1}), Some(&["city", "dayz"])), ["/dayz unknown_field"]);
        assert_eq!(found(json!({"days": 1}), None), Vec::<String>::new());
        assert_eq!(found(json!({"days": "1"}), None), ["/days input_not_valid"]);
    }
}
