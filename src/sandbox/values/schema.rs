//! Writes a WIT type as JSON Schema (2020-12), with the fields in the order of their declaration.
//!
//! A schema accepts what `lower` accepts, but for what JSON Schema cannot say: whether text is base64, how large a
//! number in decimal text is, and that a value is not changed by rounding.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::json;

use super::names::Names;
use super::shape::{Fields, Shape};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// The shortest decimal text of the greatest `f32`, which as a double is a little more than it.
const F32_MAX: f64 = 3.4028235e38;

/// The schema of a function's parameters.
pub(super) struct InputSchema<'a>(pub(super) &'a Fields);

/// The schema of a function's output; `null` where it has none.
pub(super) struct OutputSchema<'a>(pub(super) Option<&'a Shape>);

impl Serialize for InputSchema<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut schema = serializer.serialize_map(None)?;
        schema.serialize_entry("$schema", DIALECT)?;
        match self.0.shapes.iter().all(Shape::may_be_missing) {
            true => schema.serialize_entry("type", &["object", "null"])?,
            false => schema.serialize_entry("type", "object")?,
        }
        object(&mut schema, self.0)?;
        schema.end()
    }
}

impl Serialize for OutputSchema<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut schema = serializer.serialize_map(None)?;
        schema.serialize_entry("$schema", DIALECT)?;
        match self.0 {
            Some(shape) => entries(&mut schema, shape)?,
            None => schema.serialize_entry("type", "null")?,
        }
        schema.end()
    }
}

struct Schema<'a>(&'a Shape);

impl Serialize for Schema<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut schema = serializer.serialize_map(None)?;
        entries(&mut schema, self.0)?;
        schema.end()
    }
}

fn entries<M: SerializeMap>(schema: &mut M, shape: &Shape) -> Result<(), M::Error> {
    match shape {
        Shape::Bool => schema.serialize_entry("type", "boolean"),
        Shape::Int(int) => {
            let (least, greatest) = int.range();
            match int.is_wide() {
                true => {
                    schema.serialize_entry("type", &["integer", "string"])?;
                    schema.serialize_entry("pattern", if least < 0 { "^-?[0-9]+$" } else { "^[0-9]+$" })?;
                }
                false => schema.serialize_entry("type", "integer")?,
            }
            schema.serialize_entry("minimum", &least)?;
            schema.serialize_entry("maximum", &greatest)
        }
        Shape::F32 => float(schema, json!({"type": "number", "minimum": -F32_MAX, "maximum": F32_MAX})),
        Shape::F64 => float(schema, json!({"type": "number"})),
        Shape::Char => {
            schema.serialize_entry("type", "string")?;
            schema.serialize_entry("minLength", &1)?;
            schema.serialize_entry("maxLength", &1)
        }
        Shape::String => schema.serialize_entry("type", "string"),
        Shape::Bytes { length } => {
            schema.serialize_entry("type", &["string", "array"])?;
            schema.serialize_entry("contentEncoding", "base64")?;
            schema.serialize_entry("items", &json!({"type": "integer", "minimum": 0, "maximum": 255}))?;
            fixed(schema, *length)
        }
        Shape::List { element, length } => {
            schema.serialize_entry("type", "array")?;
            schema.serialize_entry("items", &Schema(element))?;
            fixed(schema, *length)
        }
        Shape::Pairs { pair } => {
            schema.serialize_entry("type", "array")?;
            schema.serialize_entry("items", &Schema(pair))
        }
        Shape::Map { value } => {
            schema.serialize_entry("type", "object")?;
            schema.serialize_entry("additionalProperties", &Schema(value))
        }
        Shape::Record(fields) => {
            schema.serialize_entry("type", "object")?;
            object(schema, fields)
        }
        Shape::Tuple(shapes) => {
            schema.serialize_entry("type", "array")?;
            schema.serialize_entry("prefixItems", &shapes.iter().map(Schema).collect::<Vec<_>>())?;
            schema.serialize_entry("items", &false)?;
            schema.serialize_entry("minItems", &shapes.len())
        }
        Shape::Variant(cases) => {
            let cases = cases.names.iter().zip(&cases.shapes).map(|(name, shape)| match shape {
                Some(shape) => Alternative::Key(name, Inside::Value(shape)),
                None => Alternative::Text(name),
            });
            schema.serialize_entry("oneOf", &cases.collect::<Vec<_>>())
        }
        Shape::Result { ok, err } => {
            let cases = [("ok", ok), ("err", err)].map(|(name, shape)| match shape {
                Some(shape) => Alternative::Key(name, Inside::Value(shape)),
                None => Alternative::Key(name, Inside::Null),
            });
            schema.serialize_entry("oneOf", &cases)
        }
        Shape::Option { some } => {
            let some = match some.takes_null() {
                true => Alternative::Key("some", Inside::Value(some)),
                false => Alternative::Inside(Inside::Value(some)),
            };
            schema.serialize_entry("anyOf", &[some, Alternative::Inside(Inside::Null)])
        }
        Shape::Enum(names) => named(schema, names),
        Shape::Flags(names) => {
            schema.serialize_entry("type", "array")?;
            schema.serialize_entry("items", &json!({"enum": names.iter().collect::<Vec<_>>()}))?;
            schema.serialize_entry("uniqueItems", &true)
        }
    }
}

fn object<M: SerializeMap>(schema: &mut M, fields: &Fields) -> Result<(), M::Error> {
    struct Properties<'a>(&'a Fields);
    impl Serialize for Properties<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|(name, shape)| (name, Schema(shape))))
        }
    }
    let required = fields.iter().filter(|(_, shape)| !shape.may_be_missing()).map(|(name, _)| name);
    schema.serialize_entry("properties", &Properties(fields))?;
    schema.serialize_entry("required", &required.collect::<Vec<_>>())?;
    schema.serialize_entry("additionalProperties", &false)
}

fn named<M: SerializeMap>(schema: &mut M, names: &Names) -> Result<(), M::Error> {
    schema.serialize_entry("type", "string")?;
    schema.serialize_entry("enum", &names.iter().collect::<Vec<_>>())
}

fn float<M: SerializeMap>(schema: &mut M, finite: serde_json::Value) -> Result<(), M::Error> {
    schema.serialize_entry("anyOf", &[finite, json!({"enum": ["NaN", "Infinity", "-Infinity"]})])
}

fn fixed<M: SerializeMap>(schema: &mut M, length: Option<usize>) -> Result<(), M::Error> {
    match length {
        None => Ok(()),
        Some(length) => {
            schema.serialize_entry("minItems", &length)?;
            schema.serialize_entry("maxItems", &length)
        }
    }
}

/// One of several forms that a value may have.
enum Alternative<'a> {
    Text(&'a str),
    /// An object with this one key.
    Key(&'a str, Inside<'a>),
    Inside(Inside<'a>),
}

enum Inside<'a> {
    Value(&'a Shape),
    Null,
}

impl Serialize for Alternative<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut schema = serializer.serialize_map(None)?;
        match self {
            Alternative::Text(text) => schema.serialize_entry("const", text)?,
            Alternative::Inside(Inside::Null) => schema.serialize_entry("type", "null")?,
            Alternative::Inside(Inside::Value(shape)) => entries(&mut schema, shape)?,
            Alternative::Key(key, inside) => {
                let inside = match inside {
                    Inside::Value(shape) => Alternative::Inside(Inside::Value(shape)),
                    Inside::Null => Alternative::Inside(Inside::Null),
                };
                schema.serialize_entry("type", "object")?;
                schema.serialize_entry("properties", &std::collections::BTreeMap::from([(key, inside)]))?;
                schema.serialize_entry("required", &[key])?;
                schema.serialize_entry("additionalProperties", &false)?;
            }
        }
        schema.end()
    }
}
