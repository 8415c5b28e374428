//! Inputs, each with what is said of it.

use super::*;
use crate::dag::definition::{Expansion, Mapped};

fn of_schema(input_schema: Value) -> InputSchema {
    let (name, output_schema) = ("load".to_owned(), json!({}));
    InputSchema::new(Arc::new(Function { name, input_schema, output_schema }))
}

fn findings(input: &Value, mapped: Option<&[&str]>) -> Vec<Finding> {
    of_schema(schema()).findings(input, mapped, &mut MAX_STEPS.clone())
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
    let findings = findings(&input, mapped);
    findings.iter().map(|finding| format!("{} {}", finding.path, finding.code)).collect()
}

#[test]
fn literal_parts_must_match_and_templates_may_become_anything() {
    let t = "{{ params.x }}";
    for (input, expected) in [
        (json!({"city": "Ames"}), vec![]),
        (json!({"city": t}), vec![]),
        (json!(t), vec![]),
        (json!({"city": 5}), vec!["/city invalid_input"]),
        (json!({"city": t, "days": 0}), vec!["/days invalid_input"]),
        (json!({"city": t, "days": t}), vec![]),
        (json!({"cty": t}), vec!["/cty unknown_field", " missing_field"]),
        (json!({}), vec![" missing_field"]),
        (json!(null), vec![" invalid_input"]),
        (json!([t]), vec![" invalid_input"]),
        (json!({"city": t, "where": null}), vec![]),
        (json!({"city": t, "where": t}), vec![]),
        (json!({"city": t, "where": {"lat": t, "lon": 2}}), vec![]),
        (json!({"city": t, "where": {"lat": t, "lon": "2"}}), vec!["/where/lon invalid_input"]),
        (json!({"city": t, "where": {"lat": t}}), vec!["/where wrong_type"]),
        (json!({"city": t, "where": {"lat": 1}}), vec!["/where invalid_input"]),
        (json!({"city": t, "where": [t]}), vec!["/where wrong_type"]),
        (json!({"city": t, "flags": ["a", t]}), vec![]),
        (json!({"city": t, "flags": ["c", t]}), vec!["/flags/0 invalid_input"]),
        (json!({"city": t, "flags": ["a", "a"]}), vec!["/flags invalid_input"]),
        (json!({"city": t, "pair": [t, 1]}), vec![]),
        (json!({"city": t, "pair": [t]}), vec!["/pair invalid_input"]),
        (json!({"city": t, "pair": [t, "x", 3]}), vec!["/pair/1 invalid_input", "/pair/2 too_many_elements"]),
        (json!({"city": t, "how": "all"}), vec![]),
        (json!({"city": t, "how": "none"}), vec!["/how invalid_input"]),
        (json!({"city": t, "how": {"top": t}}), vec![]),
        (json!({"city": t, "how": {"top": t, "x": 1}}), vec!["/how/x unknown_field"]),
        (json!({"city": t, "node": {"next": {"next": {"id": t}}}}), vec![]),
        (json!({"city": t, "node": {"next": {"nxt": {"id": t}}}}), vec!["/node/next/nxt unknown_field"]),
        (json!({"city": t, "node": {"next": {"id": "1"}, "id": t}}), vec!["/node/next/id invalid_input"]),
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
        let findings = findings(&input, Some(&[]));
        let messages: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(messages, [expected], "{input}");
    }
}

#[test]
fn mapped_keys_count_as_present() {
    assert_eq!(found(json!(null), Some(&["city"])), Vec::<String>::new());
    assert_eq!(found(json!({"days": 1}), Some(&["city", "dayz"])), ["/dayz unknown_field"]);
    assert_eq!(found(json!({"days": 1}), None), Vec::<String>::new());
    assert_eq!(found(json!({"days": "1"}), None), ["/days invalid_input"]);
}

#[test]
fn the_form_of_an_input_that_gets_more_keys_is_open() {
    let forms = json!({"anyOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]});
    let schema = of_schema(forms);
    assert_eq!(schema.findings(&json!({"c": 1}), None, &mut MAX_STEPS.clone()), []);
}

#[test]
fn elements_that_are_written_out_are_checked_too() {
    let t = "{{ params.x }}";
    let mapped = |key: &str, values: Value| Mapped { key: key.to_owned(), values };
    let base = json!({"city": "Ames"});
    for (expansion, expected) in [
        (Expansion::Expand(vec![mapped("days", json!([1, 2])), mapped("flags", json!([["a"], [t]]))]), vec![]),
        (
            Expansion::Expand(vec![mapped("days", json!([1, 0, "x"])), mapped("flags", json!([t, "a"]))]),
            vec!["/expand/days/1 invalid_input", "/expand/flags/1 invalid_input"],
        ),
        (
            Expansion::Zip(vec![mapped("where", json!([{"lat": 1, "lon": t}, {"lat": "1", "lon": t}]))]),
            vec!["/zip/where/1/lat invalid_input"],
        ),
        (Expansion::Expand(vec![mapped("days", json!(t))]), vec![]),
        // That there is no such key is found with the input.
        (Expansion::Expand(vec![mapped("dayz", json!([1]))]), vec![]),
        (Expansion::ExpandKwargs(json!([{"days": 1}, {"days": t}, t])), vec![]),
        (Expansion::ExpandKwargs(json!([{"days": 1}, {"days": 0}])), vec!["/expand_kwargs/1/days invalid_input"]),
        (Expansion::ExpandKwargs(json!([{"dayz": 1}])), vec!["/expand_kwargs/0/dayz unknown_field"]),
        (Expansion::ExpandKwargs(json!(t)), vec![]),
    ] {
        let found = of_schema(schema()).element_findings(&base, &expansion, &mut MAX_STEPS.clone());
        let found: Vec<String> = found.iter().map(|finding| format!("{} {}", finding.path, finding.code)).collect();
        assert_eq!(found, expected, "{expansion:?}");
    }
    // What a template adds is known in the run.
    let kwargs = Expansion::ExpandKwargs(json!([{"days": 1}, {"days": 0}]));
    let found = of_schema(schema()).element_findings(&json!(t), &kwargs, &mut MAX_STEPS.clone());
    assert_eq!((found.len(), &*found[0].path, found[0].code), (1, "/expand_kwargs/1/days", "invalid_input"));
    let kwargs = Expansion::ExpandKwargs(json!([{"city": "Ames"}, {"days": 1}]));
    let found = of_schema(schema()).element_findings(&Value::Null, &kwargs, &mut MAX_STEPS.clone());
    assert_eq!((found.len(), &*found[0].path, found[0].code), (1, "/expand_kwargs/1", "missing_field"));
}

#[test]
fn a_schema_of_itself_takes_no_more_steps_than_there_are() {
    let t = "{{ params.x }}";
    let twice = json!({"$ref": "#/$defs/a", "$defs": {"a": {
        "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "properties": {"n": {"type": "integer"}}}}});
    let schema = of_schema(twice);
    let mut steps = 2 * MAX_STEPS;
    schema.findings(&json!({"n": 1, "t": t}), Some(&[]), &mut steps);
    assert_eq!(steps, MAX_STEPS, "one input has no more than its own");
    let found = schema.findings(&json!({"n": "x", "t": t}), Some(&[]), &mut steps);
    assert_eq!(found.iter().map(|found| &*found.path).collect::<Vec<_>>(), ["/n"]);
}

#[test]
fn a_schema_that_refers_to_itself_as_a_whole_refuses_nothing_it_takes() {
    let schema = json!({"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
        "name": {"type": "string"},
        "children": {"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "null"}]}}});
    let found = |input: Value| of_schema(schema.clone()).findings(&input, Some(&[]), &mut MAX_STEPS.clone()).len();
    for children in [json!([{"name": "a"}]), json!(null)] {
        assert_eq!(found(json!({"name": "{{ params.x }}", "children": children})), 0);
        assert_eq!(found(json!({"name": "x", "children": children})), 0);
    }
    assert_eq!(found(json!({"name": "x", "children": [{}]})), 1);
}

#[test]
fn a_large_input_takes_a_step_for_each_part_and_no_schema_is_compiled_twice() {
    let t = "{{ params.x }}";
    let schema = of_schema(json!({"properties": {"rows": {"items": {"$ref": "#/$defs/row"}}},
        "$defs": {"row": {"properties": {"id": {"type": "integer", "minimum": 0}, "name": {"maxLength": 9}}}}}));
    let rows: Vec<Value> = (0..5_000).map(|id| json!({"id": id, "name": if id % 2 == 0 { t } else { "x" }})).collect();
    let mut steps = MAX_STEPS;
    assert_eq!(schema.findings(&json!({ "rows": rows }), Some(&[]), &mut steps), []);
    assert!((MAX_STEPS - 60_000..MAX_STEPS).contains(&steps), "{steps}");
    assert!(schema.parts.borrow().len() < 20);
}

#[test]
fn what_is_known_is_decided_even_where_no_steps_are_left() {
    let schema = of_schema(schema());
    assert_eq!(schema.findings(&json!({"city": "Ames"}), Some(&[]), &mut 0), []);
    let found = schema.findings(&json!({"city": 5}), Some(&[]), &mut 0);
    assert_eq!((found.len(), &*found[0].message), (1, "it does not match the input schema"));
    // With a template in it, the run decides.
    assert_eq!(schema.findings(&json!({"city": 5, "days": "{{ ds }}"}), Some(&[]), &mut 0), []);
}

#[test]
fn many_mistakes_of_one_input_are_told_in_part() {
    let schema = of_schema(json!({"items": {"type": "integer"}}));
    let input = Value::from(vec!["x"; 1_000]);
    assert_eq!(schema.findings(&input, Some(&[]), &mut MAX_STEPS.clone()).len(), MAX_FINDINGS);
}
