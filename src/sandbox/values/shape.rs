//! Says which forms a value of a WIT type has in JSON.

use super::names::Names;
use super::number::Int;

/// A WIT type. One of wasmtime's is a handle whose every look inside counts references; this is a plain tree.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Bool,
    Int(Int),
    F32,
    F64,
    Char,
    String,
    /// `list<u8>`; its length where the type fixes it.
    Bytes {
        length: Option<usize>,
    },
    List {
        element: Box<Shape>,
        length: Option<usize>,
    },
    /// `map<string, V>`: an object.
    Map {
        value: Box<Shape>,
    },
    /// A map with other keys, which JSON's objects cannot have: an array of pairs; `pair` is a tuple.
    Pairs {
        pair: Box<Shape>,
    },
    Record(Fields),
    Tuple(Vec<Shape>),
    Variant(Cases),
    Enum(Names),
    Option {
        some: Box<Shape>,
    },
    Result {
        ok: Option<Box<Shape>>,
        err: Option<Box<Shape>>,
    },
    Flags(Names),
}

/// Named values: the fields of a record, the parameters of a function.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    pub(super) names: Names,
    pub(super) shapes: Vec<Shape>,
}

/// The cases of a variant, and what they carry.
#[derive(Debug, Clone)]
pub(super) struct Cases {
    pub(super) names: Names,
    pub(super) shapes: Vec<Option<Shape>>,
}

impl Fields {
    pub(super) fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Shape)> {
        self.names.iter().zip(&self.shapes)
    }
}

impl Shape {
    /// Whether a key of this type may be left out.
    pub(super) fn may_be_missing(&self) -> bool {
        matches!(self, Shape::Option { .. })
    }

    /// Whether, as the inside of an option, it takes `null` for itself; then `some` must be written out.
    pub(super) fn takes_null(&self) -> bool {
        matches!(self, Shape::Option { .. })
    }

    /// "expected …"
    pub(super) fn expected(&self) -> String {
        match self {
            Shape::Bool => "true or false".to_owned(),
            Shape::Int(int) => int.expected(),
            Shape::F32 | Shape::F64 => "a number, or one of \"NaN\", \"Infinity\", \"-Infinity\"".to_owned(),
            Shape::Char => "text of one character".to_owned(),
            Shape::String => "text".to_owned(),
            Shape::Bytes { .. } => "base64 text, or an array of numbers from 0 to 255".to_owned(),
            Shape::List { .. } | Shape::Tuple(_) => "an array".to_owned(),
            Shape::Map { .. } => "an object".to_owned(),
            Shape::Pairs { .. } => "an array of [key, value] pairs".to_owned(),
            Shape::Record(fields) => format!("an object with the fields {}", fields.names.enumerate()),
            Shape::Variant(cases) => {
                format!("\"case\" or {{\"case\": value}} with one of the cases {}", cases.names.enumerate())
            }
            Shape::Enum(names) => format!("one of the texts {}", names.enumerate()),
            Shape::Option { some } if some.takes_null() => "null or {\"some\": value}".to_owned(),
            Shape::Option { some } => format!("null or {}", some.expected()),
            Shape::Result { .. } => "{\"ok\": value} or {\"err\": value}".to_owned(),
            Shape::Flags(names) => format!("an array of texts out of {}", names.enumerate()),
        }
    }
}
