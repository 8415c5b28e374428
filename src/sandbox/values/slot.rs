//! Reads one JSON value as one WIT value.
//!
//! What JSON has there decides which method of the visitor is called, what the function wants there is the shape, and
//! each pair of the two either fits or is a problem. Arrays and objects go on in `collections.rs`, numbers in
//! `number.rs`.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::lower::{NOTHING, Reader};
use super::names::Names;
use super::problems::{Path, shortened};
use super::shape::Shape;
use super::{bytes, number};

/// A place for one value.
pub(super) struct Slot<'a> {
    pub(super) shape: &'a Shape,
    pub(super) path: &'a Path<'a>,
    pub(super) reader: &'a mut Reader,
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = Val;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Val, D::Error> {
        match self.shape {
            Shape::Int(int) if !int.is_wide() => json.deserialize_any(self),
            Shape::Int(_) | Shape::F32 | Shape::F64 => {
                let number = number::read(self.shape, <&RawValue>::deserialize(json)?);
                self.number(number)
            }
            Shape::Option { .. } => json.deserialize_option(self),
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = Val;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shape.expected())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Val, E> {
        match self.shape {
            Shape::Bool => Ok(Val::Bool(value)),
            _ => self.mismatch(if value { "true" } else { "false" }),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Val, E> {
        match self.shape {
            Shape::Int(int) => self.number(int.of(number.into())),
            _ => self.mismatch(&number.to_string()),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Val, E> {
        match self.shape {
            Shape::Int(int) => self.number(int.of(number.into())),
            _ => self.mismatch(&number.to_string()),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Val, E> {
        match self.shape {
            Shape::Int(int) => self.number(int.of_float(number)),
            _ => self.mismatch(&number.to_string()),
        }
    }

    fn visit_str<E: de::Error>(mut self, text: &str) -> Result<Val, E> {
        match self.shape {
            Shape::String if self.reader.builds() => Ok(Val::String(text.to_owned())),
            Shape::String => Ok(NOTHING),
            Shape::Char => self.character(text),
            Shape::Bytes { length } => self.base64(text, *length),
            Shape::Enum(names) => match names.position(text) {
                Some(_) => Ok(Val::Enum(text.to_owned())),
                None => self.unknown_case(names, text),
            },
            Shape::Variant(cases) => match cases.names.position(text).map(|case| &cases.shapes[case]) {
                Some(None) => Ok(Val::Variant(text.to_owned(), None)),
                Some(Some(shape)) => {
                    let message = format!("case `{text}` carries {}; write {{\"{text}\": …}}", shape.expected());
                    self.report("missing_value", message)
                }
                None => self.unknown_case(&cases.names, text),
            },
            _ => self.mismatch(&format!("the text \"{}\"", shortened(text))),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<Val, E> {
        match self.shape {
            Shape::Option { .. } => Ok(Val::Option(None)),
            _ => self.mismatch("null"),
        }
    }

    fn visit_none<E: de::Error>(self) -> Result<Val, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<Val, D::Error> {
        match self.shape {
            Shape::Option { some } if !some.takes_null() => {
                let value = Slot { shape: some, ..self }.deserialize(json)?;
                Ok(Val::Option(Some(Box::new(value))))
            }
            _ => json.deserialize_any(self),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Val, A::Error> {
        match self.shape {
            Shape::List { element, length } => self.list(element, *length, items),
            Shape::Bytes { length } => self.list(&Shape::Int(number::Int::U8), *length, items),
            Shape::Tuple(shapes) => self.tuple(shapes, items),
            Shape::Flags(names) => self.flags(names, items),
            Shape::Pairs { pair } => self.pairs(pair, items),
            _ => {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                self.mismatch("an array")
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Val, A::Error> {
        match self.shape {
            Shape::Record(fields) => {
                let values = self.reader.fields(fields, self.path, map)?;
                Ok(match self.reader.builds() {
                    true => Val::Record(fields.names.iter().map(str::to_owned).zip(values).collect()),
                    false => NOTHING,
                })
            }
            Shape::Variant(cases) => self.variant(cases, map),
            Shape::Result { ok, err } => self.result(ok.as_deref(), err.as_deref(), map),
            Shape::Option { some } => self.some(some, map),
            Shape::Map { value } => self.map(value, map),
            _ => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                self.mismatch("an object")
            }
        }
    }
}

/// Problems of the value as a whole.
impl Slot<'_> {
    pub(super) fn report<E: de::Error>(&mut self, code: &'static str, message: String) -> Result<Val, E> {
        self.reader.report(self.path, code, message)
    }

    fn mismatch<E: de::Error>(mut self, found: &str) -> Result<Val, E> {
        let message = format!("expected {}; found {found}", self.shape.expected());
        self.report("wrong_type", message)
    }

    fn unknown_case<E: de::Error>(mut self, names: &Names, found: &str) -> Result<Val, E> {
        let message = format!("there is no case `{}`; the cases are {}", shortened(found), names.enumerate());
        self.report("unknown_case", message)
    }

    pub(super) fn wrong_length<E: de::Error>(&mut self, expected: usize, found: usize) -> Result<Val, E> {
        self.report("wrong_length", format!("expected {expected} values, found {found}"))
    }
}

/// Values that are numbers or text.
impl Slot<'_> {
    fn number<E: de::Error>(mut self, read: Result<Val, number::Refusal>) -> Result<Val, E> {
        read.or_else(|(code, message)| self.report(code, message))
    }

    fn character<E: de::Error>(mut self, text: &str) -> Result<Val, E> {
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(character), None) => Ok(Val::Char(character)),
            _ => {
                let message = format!("expected text of one character, found {}", text.chars().count());
                self.report("not_utf8_char", message)
            }
        }
    }

    fn base64<E: de::Error>(mut self, text: &str, length: Option<usize>) -> Result<Val, E> {
        let builds = self.reader.builds();
        let mut values = Vec::with_capacity(if builds { text.len() / 4 * 3 + 3 } else { 0 });
        let decoded = bytes::decode(text, |piece| {
            if builds {
                values.extend(piece.iter().copied().map(Val::U8));
            }
        });
        match (decoded, length) {
            (Ok(_), None) => Ok(Val::List(values)),
            (Ok(found), Some(length)) if found == length => Ok(Val::FixedLengthList(values)),
            (Ok(found), Some(length)) => self.wrong_length(length, found),
            (Err(why), _) => self.report("not_base64", format!("expected base64 text: {why}")),
        }
    }
}
