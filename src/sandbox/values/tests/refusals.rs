//! Every problem an input can have, with its code and its place.

use super::echo::{Echo, named};

#[track_caller]
fn refuses(declarations: &str, ty: &str, rows: &[(&str, &str, &str)]) {
    let echo = Echo::of(declarations, ty);
    for (given, path, code) in rows {
        assert_eq!(echo.refuses(given), [((*path).to_owned(), *code)], "{ty} given {given}");
    }
}

#[test]
fn every_type_refuses_what_it_is_not() {
    let named_types = [
        r#"(record (field "a" u8))"#,
        r#"(variant (case "a") (case "b" u8))"#,
        r#"(enum "a" "b")"#,
        r#"(flags "a" "b")"#,
    ];
    let types = [
        ("bool", "1"),
        ("u8", "true"),
        ("u64", "[1]"),
        ("f64", "{}"),
        ("f32", r#""1.5""#),
        ("char", "1"),
        ("string", "1.5"),
        ("(list u8)", "1"),
        ("(list u16)", r#""a""#),
        ("(tuple u8 u8)", "{}"),
        ("(option u8)", "{}"),
        ("(option (option u8))", "1"),
        ("(result u8)", "1"),
        ("(map string u8)", "[]"),
        ("(map u8 u8)", "{}"),
        ("(list u8 2)", "true"),
    ];
    for ty in named_types {
        refuses(&named(ty), "$t", &[("-1", "", "wrong_type"), ("null", "", "wrong_type")]);
    }
    for (ty, given) in types {
        refuses("", ty, &[(given, "", "wrong_type")]);
        if !ty.starts_with("(option") {
            refuses("", ty, &[("null", "", "wrong_type")]);
        }
    }
}

#[test]
fn numbers_out_of_range() {
    refuses("", "s8", &[("128", "", "out_of_range"), ("-129", "", "out_of_range"), ("1.5", "", "wrong_type")]);
    refuses("", "u16", &[("65536", "", "out_of_range"), ("-1", "", "out_of_range"), (r#""1""#, "", "wrong_type")]);
    let u64s = [
        ("18446744073709551616", "", "out_of_range"),
        (r#""18446744073709551616""#, "", "out_of_range"),
        (r#""-1""#, "", "out_of_range"),
        ("1e19", "", "out_of_range"),
        ("9007199254740994.0", "", "out_of_range"),
        (r#""1.0""#, "", "wrong_type"),
        (r#""+1""#, "", "wrong_type"),
        (r#""""#, "", "wrong_type"),
        (r#""-""#, "", "wrong_type"),
        (r#""0x1""#, "", "wrong_type"),
    ];
    refuses("", "u64", &u64s);
    refuses("", "s64", &[("-9223372036854775809", "", "out_of_range"), (&"9".repeat(100), "", "out_of_range")]);
    refuses(
        "",
        "f32",
        &[("3.5e38", "", "out_of_range"), ("-1e39", "", "out_of_range"), (r#""inf""#, "", "wrong_type")],
    );
    refuses("", "f64", &[("1e400", "", "out_of_range"), (r#""nan""#, "", "wrong_type")]);
}

#[test]
fn text_bytes_and_characters() {
    refuses("", "char", &[(r#""ab""#, "", "not_utf8_char"), (r#""""#, "", "not_utf8_char")]);
    let bytes = [
        (r#""*""#, "", "not_base64"),
        (r#""aGk=aGk=""#, "", "not_base64"),
        (r#""a""#, "", "not_base64"),
        ("[1,256]", "/1", "out_of_range"),
        (r#"[1,"a"]"#, "/1", "wrong_type"),
    ];
    refuses("", "(list u8)", &bytes);
    refuses("", "(list u8 2)", &[(r#""aGkh""#, "", "wrong_length"), ("[1]", "", "wrong_length")]);
}

#[test]
fn arrays_and_objects() {
    let tuples = [("[1]", "", "wrong_length"), ("[1,2,3]", "", "wrong_length"), ("[1,true]", "/1", "wrong_type")];
    refuses("", "(tuple u8 u8)", &tuples);
    refuses("", "(list u16 2)", &[("[1]", "", "wrong_length"), ("[1,2,3]", "", "wrong_length")]);
    let records = [
        ("{}", "/a", "missing_field"),
        (r#"{"a":1,"c":{"deep":[]}}"#, "/c", "unknown_field"),
        (r#"{"a":1,"a":1}"#, "/a", "duplicate_field"),
        (r#"{"a":1,"b/~":1}"#, "/b~1~0", "unknown_field"),
        (r#"{"a":1,"b":"x"}"#, "/b", "wrong_type"),
    ];
    refuses(&named(r#"(record (field "a" u8) (field "b" (option u8)))"#), "$t", &records);
    refuses(
        "",
        "(map string u8)",
        &[(r#"{"a":1,"a":2}"#, "/a", "duplicate_field"), (r#"{"a":-1}"#, "/a", "out_of_range")],
    );
    refuses("", "(map u8 u8)", &[("[[1]]", "/0", "wrong_length"), ("[[1,true]]", "/0/1", "wrong_type")]);
}

#[test]
fn cases() {
    let variants = [
        (r#""c""#, "", "unknown_case"),
        (r#""b""#, "", "missing_value"),
        (r#"{"a":null}"#, "/a", "unexpected_value"),
        (r#"{"b":true}"#, "/b", "wrong_type"),
        ("{}", "", "wrong_type"),
        (r#"{"b":1,"b":1}"#, "", "wrong_type"),
    ];
    refuses(&named(r#"(variant (case "a") (case "b" u8))"#), "$t", &variants);
    refuses(&named(r#"(enum "a" "b")"#), "$t", &[(r#""c""#, "", "unknown_case"), (r#"{"a":null}"#, "", "wrong_type")]);
    let flags =
        [(r#"["a","c"]"#, "/1", "unknown_case"), (r#"["a","a"]"#, "/1", "duplicate_flag"), ("[1]", "/0", "wrong_type")];
    refuses(&named(r#"(flags "a" "b")"#), "$t", &flags);
    refuses(
        "",
        "(result u8)",
        &[(r#"{"error":1}"#, "/error", "unknown_case"), (r#"{"err":1}"#, "/err", "unexpected_value")],
    );
    refuses(
        "",
        "(option (option u8))",
        &[(r#"{"none":1}"#, "/none", "unknown_case"), (r#"{"some":-1}"#, "/some", "out_of_range")],
    );
}

#[test]
fn all_problems_are_told_together_and_no_more_than_a_hundred() {
    let echo = Echo::of(&named(r#"(record (field "a" u8) (field "b" u8))"#), "$t");
    let found = echo.refuses(r#"{"a":"x","b":300,"c":1}, {"b":1}, 5"#);
    let expected = [
        ("/a", "wrong_type"),
        ("/b", "out_of_range"),
        ("/c", "unknown_field"),
        ("/x/1/a", "missing_field"),
        ("/x/2", "wrong_type"),
    ];
    assert_eq!(found, expected.map(|(path, code)| (path.to_owned(), code)));
    assert_eq!(echo.refuses(&vec!["0"; 1000].join(",")).len(), 100);
}

#[test]
fn text_that_is_not_json_is_one_problem() {
    let echo = Echo::of("", "u8");
    for text in [
        "{",
        "{\"x\": [1]} 2",
        "{\"x\": [01]}",
        "{\"x\": [1,]}",
        "nul",
        "{\"x\":[true] \"y\":1}",
        "[1",
        "\u{feff}{}",
        r#"{"x":["\ud800"]}"#,
    ] {
        let problems = echo.signature().lower(text).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["invalid_json"], "{text}");
        assert_eq!(echo.signature().check(text), Err(problems));
    }
}

#[test]
fn an_input_that_is_no_object_is_refused() {
    let echo = Echo::of("", "u8");
    for text in ["[]", "1", "\"x\"", "true", " [{}]"] {
        let problems = echo.signature().lower(text).unwrap_err();
        assert_eq!((problems[0].path.as_str(), problems[0].code), ("", "wrong_type"), "{text}");
    }
}

#[test]
fn depth_is_no_danger() {
    let echo = Echo::of("", "u8");
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(echo.refuses(&deep), [(String::new(), "wrong_type")]);
    let unknown = format!(r#"{{"x":[],"y":{deep}}}"#);
    assert_eq!(echo.signature().lower(&unknown).unwrap_err()[0].code, "unknown_field");
}

#[test]
fn a_small_input_cannot_stand_for_a_huge_one() {
    let fields: String = (0..2000).map(|n| format!(r#"(field "f{n}" (option u8))"#)).collect();
    let echo = Echo::of(&named(&format!("(record {fields})")), "$t");
    assert_eq!(echo.sends_back("{}").len(), (0..2000).map(|n| format!(r#""f{n}":null,"#).len()).sum::<usize>() + 1);
    let problems = echo.refuses(&vec!["{}"; 1000].join(","));
    assert_eq!(problems.iter().map(|(_, code)| *code).collect::<Vec<_>>(), ["too_large"]);
}
