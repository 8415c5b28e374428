//! Every row of the table "JSON and WIT", both ways, through a guest.

use super::echo::{Echo, named};

/// Each pair: what is given, and what comes back.
#[track_caller]
fn maps(declarations: &str, ty: &str, rows: &[(&str, &str)]) {
    let echo = Echo::of(declarations, ty);
    let schema = tradewind_json_schema::Schema::compile(&echo.signature().output_schema().to_value().unwrap()).unwrap();
    for (given, back) in rows {
        assert_eq!(echo.sends_back(given), *back, "{ty} given {given}");
        assert_eq!(echo.sends_back(back), *back, "{ty} given {back}");
        for json in [given, back] {
            let json = serde_json::from_str(&format!("[{json}]")).unwrap();
            assert!(schema.is_valid(&json), "{ty}: the schema refuses {json}");
        }
    }
}

#[test]
fn numbers_and_truth() {
    maps("", "bool", &[("true", "true"), ("false", "false")]);
    maps("", "s8", &[("-128", "-128"), ("127", "127"), ("-0", "0")]);
    maps("", "s16", &[("-32768", "-32768"), ("32767", "32767")]);
    maps("", "u16", &[("65535", "65535")]);
    maps("", "s32", &[("-2147483648", "-2147483648"), ("1e3", "1000"), ("2.0", "2")]);
    maps("", "u32", &[("4294967295", "4294967295")]);
}

#[test]
fn wide_numbers_are_text_beyond_2_to_the_53() {
    let u64s = [
        ("9007199254740992", "9007199254740992"),
        ("9007199254740993", r#""9007199254740993""#),
        ("18446744073709551615", r#""18446744073709551615""#),
        (r#""18446744073709551615""#, r#""18446744073709551615""#),
        (r#""7""#, "7"),
        ("9007199254740991.0", "9007199254740991"),
    ];
    maps("", "u64", &u64s);
    let s64s = [
        ("-9007199254740992", "-9007199254740992"),
        ("-9007199254740993", r#""-9007199254740993""#),
        ("-9223372036854775808", r#""-9223372036854775808""#),
        (r#""9223372036854775807""#, r#""9223372036854775807""#),
        (r#""-7""#, "-7"),
    ];
    maps("", "s64", &s64s);
}

#[test]
fn floats_keep_every_digit() {
    let f64s = [
        ("1", "1.0"),
        ("-0.0", "-0.0"),
        ("0.1", "0.1"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("0.30000000000000004", "0.30000000000000004"),
        (r#""NaN""#, r#""NaN""#),
        (r#""Infinity""#, r#""Infinity""#),
        (r#""-Infinity""#, r#""-Infinity""#),
    ];
    maps("", "f64", &f64s);
    let f32s =
        [("0.1", "0.1"), ("3.4028235e38", "3.4028235e+38"), ("16777217", "16777216.0"), (r#""NaN""#, r#""NaN""#)];
    maps("", "f32", &f32s);
}

#[test]
fn text() {
    maps("", "string", &[(r#""""#, r#""""#), (r#""ä\n\"\u0041😀""#, r#""ä\n\"A😀""#)]);
    maps("", "char", &[(r#""a""#, r#""a""#), (r#""\ud83d\ude00""#, r#""😀""#), (r#""\"""#, r#""\"""#)]);
}

#[test]
fn lists_and_bytes() {
    maps("", "(list u32)", &[("[]", "[]"), ("[1, 2,3]", "[1,2,3]")]);
    maps("", "(list string)", &[(r#"["a","b"]"#, r#"["a","b"]"#)]);
    maps(
        "",
        "(list u8)",
        &[(r#""""#, r#""""#), ("[104,105]", r#""aGk=""#), (r#""aGk""#, r#""aGk=""#), ("[]", r#""""#)],
    );
    maps("", "(list u16 2)", &[("[1,2]", "[1,2]")]);
    maps("", "(list u8 2)", &[("[104,105]", r#""aGk=""#), (r#""aGk=""#, r#""aGk=""#)]);
}

#[test]
fn records_and_tuples() {
    let record = named(r#"(record (field "name" string) (field "max-size" (option u32)))"#);
    let rows = [
        (r#"{"name":"a","max-size":null}"#, r#"{"name":"a","max-size":null}"#),
        (r#"{"name":"a"}"#, r#"{"name":"a","max-size":null}"#),
        (r#"{"max-size":1,"name":"a"}"#, r#"{"name":"a","max-size":1}"#),
        (r#"{"n\u0061me":"a"}"#, r#"{"name":"a","max-size":null}"#),
    ];
    maps(&record, "$t", &rows);
    maps("", "(tuple u32 string)", &[(r#"[1,"a"]"#, r#"[1,"a"]"#)]);
}

#[test]
fn variants_enums_and_flags() {
    let variant = named(r#"(variant (case "none") (case "some" u32) (case "maybe" (option u32)))"#);
    let rows = [
        (r#""none""#, r#""none""#),
        (r#"{"some":1}"#, r#"{"some":1}"#),
        (r#"{"maybe":null}"#, r#"{"maybe":null}"#),
        (r#"{"maybe":2}"#, r#"{"maybe":2}"#),
    ];
    maps(&variant, "$t", &rows);
    maps(&named(r#"(enum "red" "dark-blue")"#), "$t", &[(r#""dark-blue""#, r#""dark-blue""#)]);
    let rows = [("[]", "[]"), (r#"["write","read"]"#, r#"["read","write"]"#)];
    maps(&named(r#"(flags "read" "write")"#), "$t", &rows);
}

#[test]
fn options_and_results() {
    maps("", "(option u32)", &[("null", "null"), ("1", "1")]);
    let nested = [("null", "null"), (r#"{"some":null}"#, r#"{"some":null}"#), (r#"{"some":1}"#, r#"{"some":1}"#)];
    maps("", "(option (option u32))", &nested);
    maps("", "(option (option (option u32)))", &[(r#"{"some":{"some":1}}"#, r#"{"some":{"some":1}}"#)]);
    maps("", "(result u32 (error string))", &[(r#"{"ok":1}"#, r#"{"ok":1}"#), (r#"{"err":"a"}"#, r#"{"err":"a"}"#)]);
    maps("", "(result)", &[(r#"{"ok":null}"#, r#"{"ok":null}"#), (r#"{"err":null}"#, r#"{"err":null}"#)]);
    maps("", "(result (option u8))", &[(r#"{"ok":null}"#, r#"{"ok":null}"#), (r#"{"ok":1}"#, r#"{"ok":1}"#)]);
}

#[test]
fn maps_are_objects_where_their_keys_are_text() {
    maps("", "(map string u32)", &[("{}", "{}"), (r#"{"b":1,"a ä":2}"#, r#"{"b":1,"a ä":2}"#)]);
    maps("", "(map u32 string)", &[("[]", "[]"), (r#"[[1,"a"],[2,"b"]]"#, r#"[[1,"a"],[2,"b"]]"#)]);
}
