//! Functions as a whole: which can be called, what they take and return, how large a result may be.

use serde_json::json;
use wasmtime::component::Val;

use super::super::{LiftError, Returned, Signature};
use super::echo::{Echo, component, import, named};
use crate::model::Json;

/// A signature out of `(param …) (result …)`: that of an import, which needs no code.
fn signature(declarations: &str, func: &str) -> Result<Signature, String> {
    let component = component(&format!(r#"(component {declarations} (import "f" (func {func})))"#));
    Signature::of(&import(&component, "f"))
}

fn value(json: &str) -> Returned {
    Returned::Value(Json::parse(json.to_owned()).unwrap())
}

fn error(json: &str) -> Returned {
    Returned::Error(Some(Json::parse(json.to_owned()).unwrap()))
}

#[test]
fn no_parameters_may_be_given_in_three_ways() {
    let none = signature("", "").unwrap();
    for input in ["", " ", "null", "{}", " null ", "{ }"] {
        assert_eq!(none.check(input), Ok(()), "{input}");
        assert!(none.lower(input).unwrap().is_empty(), "{input}");
    }
    assert_eq!(none.check(r#"{"a":1}"#).unwrap_err()[0].code, "unknown_field");
    assert_eq!(none.check("1").unwrap_err()[0].code, "wrong_type");
    assert_eq!(none.check("n").unwrap_err()[0].code, "invalid_json");
}

#[test]
fn parameters_are_passed_in_their_order() {
    let two = signature("", r#"(param "a" u8) (param "b-c" (option string))"#).unwrap();
    assert_eq!(
        two.lower(r#"{"b-c":"x","a":1}"#).unwrap(),
        [Val::U8(1), Val::Option(Some(Box::new(Val::String("x".into()))))]
    );
    assert_eq!(two.lower(r#"{"a":1}"#).unwrap(), [Val::U8(1), Val::Option(None)]);
    for nothing in ["", "null", "{}"] {
        let problems = two.lower(nothing).unwrap_err();
        assert_eq!((problems[0].path.as_str(), problems[0].code, problems.len()), ("/a", "missing_field", 1));
    }
}

#[test]
fn the_result_of_the_function_is_its_outcome() {
    let both = signature("", r#"(result (result u8 (error string)))"#).unwrap();
    let ok = Val::Result(Ok(Some(Box::new(Val::U8(1)))));
    let err = Val::Result(Err(Some(Box::new(Val::String("no".into())))));
    assert_eq!(both.result_count(), 1);
    assert_eq!(both.lift(&[ok], 100), Ok(value("1")));
    assert_eq!(both.lift(&[err], 100), Ok(error("\"no\"")));

    let neither = signature("", r#"(result (result))"#).unwrap();
    assert_eq!(neither.lift(&[Val::Result(Ok(None))], 100), Ok(value("null")));
    assert_eq!(neither.lift(&[Val::Result(Err(None))], 100), Ok(Returned::Error(None)));

    let nothing = signature("", "").unwrap();
    assert_eq!((nothing.result_count(), nothing.lift(&[], 100)), (0, Ok(value("null"))));

    let inside = signature("", r#"(result (option (result u8)))"#).unwrap();
    let err = Val::Option(Some(Box::new(Val::Result(Err(None)))));
    assert_eq!(inside.lift(&[err], 100), Ok(value(r#"{"err":null}"#)));
}

#[test]
fn a_result_may_be_as_large_as_its_limit_and_no_larger() {
    let bytes = Echo::of("", "u8");
    let strings = Echo::of("", "string");
    let numbers = Echo::of("", "u32");
    let cases = [
        (&bytes, Val::List(vec![Val::U8(0); 5000]), 6670),
        (&strings, Val::List(vec![Val::String("\n".repeat(500))]), 1004),
        (&numbers, Val::List(vec![Val::U32(7); 500]), 1001),
    ];
    for (echo, results, size) in cases {
        let results = [results];
        match echo.signature().lift(&results, size).unwrap() {
            Returned::Value(json) => assert_eq!(json.as_str().len(), size),
            other => panic!("{other:?}"),
        }
        for limit in [0, 1, 2, size / 2, size - 1] {
            assert_eq!(echo.signature().lift(&results, limit), Err(LiftError::TooLarge), "{limit}");
        }
    }
}

#[test]
fn a_value_of_another_type_is_an_error_of_ours() {
    let echo = Echo::of("", "string");
    assert!(matches!(echo.signature().lift(&[Val::U8(1)], 100), Err(LiftError::Unsupported(_))));
    assert!(matches!(echo.signature().lift(&[], 100), Err(LiftError::Unsupported(_))));
}

#[test]
fn the_last_of_a_guests_equal_keys_wins() {
    let echo = Echo::of("", "(map string u8)");
    let entry = |key: &str, value| (Val::String(key.into()), Val::U8(value));
    let results = [Val::List(vec![Val::Map(vec![entry("a", 1), entry("b", 2), entry("a", 3)])])];
    assert_eq!(echo.signature().lift(&results, 100), Ok(value(r#"[{"b":2,"a":3}]"#)));
}

#[test]
fn what_json_cannot_carry_is_refused_with_its_place() {
    let resource = r#"(import "r" (type $r (sub resource)))"#;
    let reason = signature(resource, r#"(param "x" (list (own $r)))"#).unwrap_err();
    assert_eq!(reason, "its parameter `x` is or holds a resource, which cannot be given as JSON");
    let reason = signature(resource, r#"(result (option (own $r)))"#).unwrap_err();
    assert_eq!(reason, "its result is or holds a resource, which cannot be given as JSON");
}

#[test]
fn a_type_that_doubles_with_each_line_is_refused() {
    let doubling: String = (1..18).map(|n| format!("(type $t{n} (tuple $t{m} $t{m}))", m = n - 1)).collect();
    let echo =
        |depth: usize| signature(&format!("(type $t0 (tuple u8 u8)) {doubling}"), &format!(r#"(param "x" $t{depth})"#));
    assert!(echo(8).is_ok());
    let reason = echo(17).unwrap_err();
    assert_eq!(reason, "its parameter `x` goes beyond the 10000 types that a signature may be made of");
}

#[test]
fn schemas_say_what_is_taken() {
    let run =
        signature("", r#"(param "input" (list u8)) (param "limit" (option u64)) (result (result string (error u8)))"#)
            .unwrap();
    let dialect = "https://json-schema.org/draft/2020-12/schema";
    let input = json!({
        "$schema": dialect,
        "type": "object",
        "properties": {
            "input": {
                "type": ["string", "array"],
                "contentEncoding": "base64",
                "items": {"type": "integer", "minimum": 0, "maximum": 255},
            },
            "limit": {"anyOf": [
                {"type": ["integer", "string"], "pattern": "^[0-9]+$", "minimum": 0, "maximum": u64::MAX},
                {"type": "null"},
            ]},
        },
        "required": ["input"],
        "additionalProperties": false,
    });
    assert_eq!(run.input_schema().to_value().unwrap(), input);
    assert_eq!(run.output_schema().to_value().unwrap(), json!({"$schema": dialect, "type": "string"}));
    assert_eq!(
        signature("", "").unwrap().output_schema().to_value().unwrap(),
        json!({"$schema": dialect, "type": "null"})
    );
}

#[test]
fn properties_stand_in_the_order_of_their_declaration() {
    let echo = Echo::of(&named(r#"(record (field "z" u8) (field "a" u8) (field "m" u8))"#), "$t");
    let schema = echo.signature().input_schema();
    let places = ["\"z\":", "\"a\":", "\"m\":"].map(|name| schema.as_str().find(name).unwrap());
    assert!(places.is_sorted(), "{}", schema.as_str());
}
