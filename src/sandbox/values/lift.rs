//! Writes WIT values as JSON text, within a bound.

use std::collections::HashMap;
use std::io::{self, Write};

use serde::Serialize;
use wasmtime::component::Val;

use crate::model::Json;

use super::bytes;
use super::number::EXACT;
use super::shape::{Fields, Shape};

/// Why a result has no JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LiftError {
    /// The JSON text would be larger than the bound. No more than the bound was built.
    #[error("the result, as JSON, is larger than its limit")]
    TooLarge,
    /// The value is not one of the function's type. No guest can bring this about: it is a fault of the platform.
    #[error("the result cannot be written as JSON: {0}")]
    Unsupported(String),
}

/// The JSON of a value, of at most `max_bytes` of text.
pub(super) fn json_of(shape: &Shape, value: &Val, max_bytes: usize) -> Result<Json, LiftError> {
    let mut output = Output { text: Vec::new(), max_bytes };
    output.value(shape, value)?;
    let text = String::from_utf8(output.text).expect("JSON is written as UTF-8");
    Ok(Json::parse(text).expect("what was written is JSON"))
}

/// Text that refuses to grow beyond its bound.
struct Output {
    text: Vec<u8>,
    max_bytes: usize,
}

impl Write for Output {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.write_all(text).map(|()| text.len())
    }

    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        if text.len() > self.max_bytes - self.text.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(text);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn value(&mut self, shape: &Shape, value: &Val) -> Result<(), LiftError> {
        match (shape, value) {
            (Shape::Bool, Val::Bool(value)) => self.plain(value),
            (Shape::Int(_), Val::U8(number)) => self.plain(number),
            (Shape::Int(_), Val::S8(number)) => self.plain(number),
            (Shape::Int(_), Val::U16(number)) => self.plain(number),
            (Shape::Int(_), Val::S16(number)) => self.plain(number),
            (Shape::Int(_), Val::U32(number)) => self.plain(number),
            (Shape::Int(_), Val::S32(number)) => self.plain(number),
            (Shape::Int(_), Val::U64(number)) if *number <= EXACT => self.plain(number),
            (Shape::Int(_), Val::U64(number)) => self.plain(&number.to_string()),
            (Shape::Int(_), Val::S64(number)) if number.unsigned_abs() <= EXACT => self.plain(number),
            (Shape::Int(_), Val::S64(number)) => self.plain(&number.to_string()),
            (Shape::F32, Val::Float32(number)) if number.is_finite() => self.plain(number),
            (Shape::F32, Val::Float32(number)) => self.plain(not_finite((*number).into())),
            (Shape::F64, Val::Float64(number)) if number.is_finite() => self.plain(number),
            (Shape::F64, Val::Float64(number)) => self.plain(not_finite(*number)),
            (Shape::Char, Val::Char(character)) => self.plain(character),
            (Shape::String, Val::String(text)) => self.plain(text),
            (Shape::Bytes { .. }, Val::List(values) | Val::FixedLengthList(values)) => self.base64(values),
            (Shape::List { element, .. }, Val::List(values) | Val::FixedLengthList(values)) => {
                self.array(values.iter().map(|value| (&**element, value)))
            }
            (Shape::Tuple(shapes), Val::Tuple(values)) if shapes.len() == values.len() => {
                self.array(shapes.iter().zip(values))
            }
            (Shape::Record(fields), Val::Record(values)) if fields.shapes.len() == values.len() => {
                self.record(fields, values)
            }
            (Shape::Variant(cases), Val::Variant(case, value)) => {
                match (cases.names.position(case).and_then(|case| cases.shapes[case].as_ref()), value) {
                    (Some(shape), Some(value)) => self.one_key(case, Some((shape, value))),
                    _ => self.plain(case),
                }
            }
            (Shape::Enum(_), Val::Enum(case)) => self.plain(case),
            (Shape::Flags(_), Val::Flags(flags)) => self.plain(flags),
            (Shape::Option { .. }, Val::Option(None)) => self.raw("null"),
            (Shape::Option { some }, Val::Option(Some(value))) if some.takes_null() => {
                self.one_key("some", Some((some, value)))
            }
            (Shape::Option { some }, Val::Option(Some(value))) => self.value(some, value),
            (Shape::Result { ok, .. }, Val::Result(Ok(value))) => {
                self.one_key("ok", ok.as_deref().zip(value.as_deref()))
            }
            (Shape::Result { err, .. }, Val::Result(Err(value))) => {
                self.one_key("err", err.as_deref().zip(value.as_deref()))
            }
            (Shape::Map { value }, Val::Map(entries)) => self.map(value, entries),
            (Shape::Pairs { pair }, Val::Map(entries)) => match &**pair {
                Shape::Tuple(shapes) if shapes.len() == 2 => self.pairs(&shapes[0], &shapes[1], entries),
                _ => Err(unlike(shape, value)),
            },
            _ => Err(unlike(shape, value)),
        }
    }

    fn raw(&mut self, text: &str) -> Result<(), LiftError> {
        self.write_all(text.as_bytes()).map_err(|_| LiftError::TooLarge)
    }

    /// What serde_json writes without a type. It can fail only by the bound.
    fn plain<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), LiftError> {
        serde_json::to_writer(&mut *self, value).map_err(|_| LiftError::TooLarge)
    }

    fn base64(&mut self, values: &[Val]) -> Result<(), LiftError> {
        let length = bytes::encoded_length(values.len());
        if length.saturating_add(2) > self.max_bytes - self.text.len() {
            return Err(LiftError::TooLarge);
        }
        self.text.reserve_exact(length + 2);
        self.text.push(b'"');
        bytes::encode(values, &mut self.text)
            .ok_or_else(|| LiftError::Unsupported("a list<u8> holds what is no byte".to_owned()))?;
        self.text.push(b'"');
        Ok(())
    }

    fn array<'a>(&mut self, items: impl Iterator<Item = (&'a Shape, &'a Val)>) -> Result<(), LiftError> {
        let mut before = "[";
        for (shape, value) in items {
            self.raw(before)?;
            self.value(shape, value)?;
            before = ",";
        }
        self.raw(if before == "[" { "[]" } else { "]" })
    }

    fn record(&mut self, fields: &Fields, values: &[(String, Val)]) -> Result<(), LiftError> {
        let mut before = "{";
        for ((name, shape), (_, value)) in fields.iter().zip(values) {
            self.raw(before)?;
            self.plain(name)?;
            self.raw(":")?;
            self.value(shape, value)?;
            before = ",";
        }
        self.raw(if before == "{" { "{}" } else { "}" })
    }

    /// `{"key": value}`, or `{"key": null}` where there is none.
    fn one_key(&mut self, key: &str, value: Option<(&Shape, &Val)>) -> Result<(), LiftError> {
        self.raw("{")?;
        self.plain(key)?;
        self.raw(":")?;
        match value {
            Some((shape, value)) => self.value(shape, value)?,
            None => self.raw("null")?,
        }
        self.raw("}")
    }

    /// A guest may give a key twice: the last value wins, by the rules of the component model.
    fn map(&mut self, shape: &Shape, entries: &[(Val, Val)]) -> Result<(), LiftError> {
        let mut last = HashMap::with_capacity(entries.len());
        for (position, (key, _)) in entries.iter().enumerate() {
            let Val::String(key) = key else { return Err(unlike(&Shape::String, key)) };
            last.insert(key.as_str(), position);
        }
        let mut before = "{";
        for (position, (key, value)) in entries.iter().enumerate() {
            let Val::String(key) = key else { continue };
            if last[key.as_str()] == position {
                self.raw(before)?;
                self.plain(key)?;
                self.raw(":")?;
                self.value(shape, value)?;
                before = ",";
            }
        }
        self.raw(if before == "{" { "{}" } else { "}" })
    }

    fn pairs(&mut self, key_shape: &Shape, value_shape: &Shape, entries: &[(Val, Val)]) -> Result<(), LiftError> {
        let mut before = "[";
        for (key, value) in entries {
            self.raw(before)?;
            self.array([(key_shape, key), (value_shape, value)].into_iter())?;
            before = ",";
        }
        self.raw(if before == "[" { "[]" } else { "]" })
    }
}

fn not_finite(number: f64) -> &'static str {
    match number {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

#[cold]
fn unlike(shape: &Shape, value: &Val) -> LiftError {
    let mut found = format!("{value:?}");
    found.truncate(found.char_indices().nth(64).map_or(found.len(), |(end, _)| end));
    LiftError::Unsupported(format!("expected {}, found {found}", shape.expected()))
}
