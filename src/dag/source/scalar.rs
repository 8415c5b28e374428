//! What an unquoted word of YAML means: the core schema of YAML 1.2.
//!
//! `yes` and `no` are texts, and so are dates.

use serde_json::Number;

pub(super) enum Scalar {
    Null,
    Bool(bool),
    Number(Number),
    Text,
    /// A number that JSON cannot hold, and why.
    NotJson(&'static str),
}

pub(super) fn resolve(word: &str) -> Scalar {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Scalar::NotJson("it is not a number"),
        _ => {}
    }
    let (negative, unsigned) = match word.as_bytes()[0] {
        b'-' => (true, &word[1..]),
        b'+' => (false, &word[1..]),
        _ => (false, word),
    };
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Scalar::NotJson("it is infinite");
    }
    let digits = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    if let Some(octal) = word.strip_prefix("0o").filter(|octal| digits(octal, 8)) {
        return whole(false, u64::from_str_radix(octal, 8).ok());
    }
    if let Some(hex) = word.strip_prefix("0x").filter(|hex| digits(hex, 16)) {
        return whole(false, u64::from_str_radix(hex, 16).ok());
    }
    if digits(unsigned, 10) {
        return whole(negative, unsigned.parse().ok());
    }
    if !is_float(unsigned) {
        return Scalar::Text;
    }
    match word.parse().ok().and_then(Number::from_f64) {
        Some(number) => Scalar::Number(number),
        None => Scalar::NotJson("it is too large"),
    }
}

fn whole(negative: bool, magnitude: Option<u64>) -> Scalar {
    let number = match (negative, magnitude) {
        (false, Some(magnitude)) => Some(Number::from(magnitude)),
        (true, Some(magnitude)) => 0_i64.checked_sub_unsigned(magnitude).map(Number::from),
        (_, None) => None,
    };
    number.map_or(Scalar::NotJson("it has more than 64 bits"), Scalar::Number)
}

/// `12.5`, `.5`, `5.`, `1e3`, without a sign before it.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let mantissa_is = match mantissa.split_once('.') {
        Some((before, after)) => all_digits(before) && all_digits(after) && before.len() + after.len() > 0,
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let exponent_is = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_is && exponent_is
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn words_mean_what_yaml_1_2_says() {
        let shown = |word: &str| match resolve(word) {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => value.into(),
            Scalar::Number(number) => number.into(),
            Scalar::Text => word.into(),
            Scalar::NotJson(why) => json!({"no": why}),
        };
        for (word, value) in [
            ("~", json!(null)),
            ("True", json!(true)),
            ("yes", json!("yes")),
            ("on", json!("on")),
            ("12", json!(12)),
            ("-12", json!(-12)),
            ("+12", json!(12)),
            ("007", json!(7)),
            ("0o17", json!(15)),
            ("0xfF", json!(255)),
            ("-0x1", json!("-0x1")),
            ("1_000", json!("1_000")),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("5.", json!(5.0)),
            ("-1e3", json!(-1000.0)),
            (".", json!(".")),
            ("e3", json!("e3")),
            ("1e", json!("1e")),
            ("-", json!("-")),
            ("inf", json!("inf")),
            ("2026-01-01", json!("2026-01-01")),
            ("3m", json!("3m")),
            ("12:30:00", json!("12:30:00")),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551616", json!({"no": "it has more than 64 bits"})),
            ("-9223372036854775809", json!({"no": "it has more than 64 bits"})),
            ("1e400", json!({"no": "it is too large"})),
            (".NaN", json!({"no": "it is not a number"})),
            ("-.inf", json!({"no": "it is infinite"})),
        ] {
            assert_eq!(shown(word), value, "{word}");
        }
    }
}
