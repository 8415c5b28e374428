//! Reads numbers. Where a float on the way could change one, from its own digits.

use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::problems::{kind_of, shortened};
use super::shape::Shape;

/// The whole numbers of WIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Int {
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
}

/// Whole numbers up to here are exact in every JSON reader; beyond it, 64-bit numbers are given as text.
pub(super) const EXACT: u64 = 1 << 53;

/// Why a number was refused: a stable code, and a message.
pub(super) type Refusal = (&'static str, String);

impl Int {
    pub(super) fn range(self) -> (i128, i128) {
        match self {
            Int::S8 => (i8::MIN.into(), i8::MAX.into()),
            Int::U8 => (0, u8::MAX.into()),
            Int::S16 => (i16::MIN.into(), i16::MAX.into()),
            Int::U16 => (0, u16::MAX.into()),
            Int::S32 => (i32::MIN.into(), i32::MAX.into()),
            Int::U32 => (0, u32::MAX.into()),
            Int::S64 => (i64::MIN.into(), i64::MAX.into()),
            Int::U64 => (0, u64::MAX.into()),
        }
    }

    pub(super) fn is_wide(self) -> bool {
        matches!(self, Int::S64 | Int::U64)
    }

    pub(super) fn expected(self) -> String {
        let (least, greatest) = self.range();
        let or_text = if self.is_wide() { ", or that as decimal text" } else { "" };
        format!("a whole number from {least} to {greatest}{or_text}")
    }

    fn val(self, number: i128) -> Option<Val> {
        Some(match self {
            Int::S8 => Val::S8(number.try_into().ok()?),
            Int::U8 => Val::U8(number.try_into().ok()?),
            Int::S16 => Val::S16(number.try_into().ok()?),
            Int::U16 => Val::U16(number.try_into().ok()?),
            Int::S32 => Val::S32(number.try_into().ok()?),
            Int::U32 => Val::U32(number.try_into().ok()?),
            Int::S64 => Val::S64(number.try_into().ok()?),
            Int::U64 => Val::U64(number.try_into().ok()?),
        })
    }

    /// Out of a number that JSON wrote without a fraction.
    pub(super) fn of(self, number: i128) -> Result<Val, Refusal> {
        self.val(number).ok_or_else(|| self.out_of_range(number))
    }

    /// Out of a number with a fraction or an exponent: `1.0` and `1e3` are whole to JSON Schema and to many writers.
    pub(super) fn of_float(self, number: f64) -> Result<Val, Refusal> {
        match number.fract() == 0.0 {
            true if number.abs() <= EXACT as f64 => self.of(number as i128),
            true => Err(self.out_of_range(format_args!("{number:?}"))),
            false => Err(("wrong_type", format!("expected {}; found {number}", self.expected()))),
        }
    }

    /// A wide number out of its own text. `Slot` reads the others, which no reader of JSON can round.
    fn read(self, raw: &str) -> Result<Val, Refusal> {
        let text = text_of(raw);
        let digits = text.unwrap_or(raw);
        if is_decimal(digits) {
            let number = digits.parse::<i64>().map(i128::from).or_else(|_| digits.parse::<i128>());
            return number.map_err(|_| self.out_of_range(shortened(raw))).and_then(|number| self.of(number));
        }
        match digits.parse::<f64>() {
            Ok(float) if text.is_none() => self.of_float(float),
            _ => Err(("wrong_type", format!("expected {}; found {}", self.expected(), kind_of(raw)))),
        }
    }

    fn out_of_range(self, found: impl std::fmt::Display) -> Refusal {
        ("out_of_range", format!("expected {}; found {found}", self.expected()))
    }
}

/// The number a JSON value stands for, of the type `shape`: a wide whole number or a float.
pub(super) fn read(shape: &Shape, raw: &RawValue) -> Result<Val, Refusal> {
    let raw = raw.get();
    match shape {
        Shape::Int(int) => int.read(raw),
        Shape::F32 => match float_digits(raw).map(str::parse::<f32>) {
            Some(Ok(float)) if float.is_finite() => Ok(Val::Float32(float)),
            Some(_) => Err(beyond(raw, f32::MAX.into())),
            None => Ok(Val::Float32(not_finite(shape, raw)? as f32)),
        },
        _ => match float_digits(raw).map(str::parse::<f64>) {
            Some(Ok(float)) if float.is_finite() => Ok(Val::Float64(float)),
            Some(_) => Err(beyond(raw, f64::MAX)),
            None => Ok(Val::Float64(not_finite(shape, raw)?)),
        },
    }
}

fn float_digits(raw: &str) -> Option<&str> {
    starts_a_number(raw).then_some(raw)
}

fn not_finite(shape: &Shape, raw: &str) -> Result<f64, Refusal> {
    match text_of(raw) {
        Some("NaN") => Ok(f64::NAN),
        Some("Infinity") => Ok(f64::INFINITY),
        Some("-Infinity") => Ok(f64::NEG_INFINITY),
        _ => Err(("wrong_type", format!("expected {}; found {}", shape.expected(), kind_of(raw)))),
    }
}

fn beyond(raw: &str, greatest: f64) -> Refusal {
    ("out_of_range", format!("expected a number from -{greatest:e} to {greatest:e}; found {}", shortened(raw)))
}

fn starts_a_number(raw: &str) -> bool {
    raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// What stands between the quotes. Text with escapes in it is no number, so they stay as they are.
fn text_of(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"')
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}
