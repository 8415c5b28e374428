//! Decides which types of a component JSON can stand for.
//!
//! A component can name one type many times over, and the types so named again, so that few lines of it unfold without
//! end: the tree of shapes is bounded by its parts and by its depth.

use wasmtime::component::types::Type;

use super::names::Names;
use super::number::Int;
use super::shape::{Cases, Fields, Shape};

/// A signature has no more types in it than this, each counted wherever it is named.
const MAX_PARTS: usize = 10_000;
/// Types lie no deeper in each other than this, which is also what the validator of components allows. Each level is at
/// most one level of JSON, of which serde_json reads 127.
const MAX_DEPTH: usize = 100;

/// Builds shapes out of wasmtime's types, within the bounds.
#[derive(Default)]
pub(super) struct Reading {
    parts: usize,
    depth: usize,
}

impl Reading {
    /// The shape of a type; a refusal begins with `place`.
    pub(super) fn within(&mut self, place: &str, ty: &Type) -> Result<Shape, String> {
        self.shape(ty).map_err(|why| format!("{place} {why}"))
    }

    pub(super) fn fields<'a>(
        &mut self,
        fields: impl Iterator<Item = (&'a str, Type)>,
        kind: &str,
    ) -> Result<Fields, String> {
        let (names, types): (Vec<&str>, Vec<Type>) = fields.unzip();
        let shapes = names.iter().zip(&types).map(|(name, ty)| self.within(&format!("its {kind} `{name}`"), ty));
        Ok(Fields { shapes: shapes.collect::<Result<_, _>>()?, names: Names::of(names.into_iter()) })
    }

    fn shape(&mut self, ty: &Type) -> Result<Shape, String> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(format!("goes beyond the {MAX_PARTS} types that a signature may be made of"));
        }
        if self.depth >= MAX_DEPTH {
            return Err(format!("has types more than {MAX_DEPTH} deep in each other"));
        }
        self.depth += 1;
        let shape = self.shape_unbounded(ty);
        self.depth -= 1;
        shape
    }

    fn shape_unbounded(&mut self, ty: &Type) -> Result<Shape, String> {
        Ok(match ty {
            Type::Bool => Shape::Bool,
            Type::S8 => Shape::Int(Int::S8),
            Type::U8 => Shape::Int(Int::U8),
            Type::S16 => Shape::Int(Int::S16),
            Type::U16 => Shape::Int(Int::U16),
            Type::S32 => Shape::Int(Int::S32),
            Type::U32 => Shape::Int(Int::U32),
            Type::S64 => Shape::Int(Int::S64),
            Type::U64 => Shape::Int(Int::U64),
            Type::Float32 => Shape::F32,
            Type::Float64 => Shape::F64,
            Type::Char => Shape::Char,
            Type::String => Shape::String,
            Type::List(list) => self.list(&list.ty(), None)?,
            Type::FixedLengthList(list) => self.list(&list.ty(), Some(list.len() as usize))?,
            Type::Map(map) => match map.key() {
                Type::String => Shape::Map { value: Box::new(self.shape(&map.value())?) },
                key => {
                    let pair = Shape::Tuple(vec![self.shape(&key)?, self.shape(&map.value())?]);
                    Shape::Pairs { pair: Box::new(pair) }
                }
            },
            Type::Record(record) => {
                let fields = record.fields().map(|field| (field.name, field.ty));
                Shape::Record(self.fields(fields, "field").map_err(|why| format!("has a record: {why}"))?)
            }
            Type::Tuple(tuple) => Shape::Tuple(tuple.types().map(|ty| self.shape(&ty)).collect::<Result<_, _>>()?),
            Type::Variant(variant) => Shape::Variant(Cases {
                names: self.names(variant.cases().map(|case| case.name))?,
                shapes: variant
                    .cases()
                    .map(|case| case.ty.map(|ty| self.shape(&ty)).transpose())
                    .collect::<Result<_, _>>()?,
            }),
            Type::Enum(names) => Shape::Enum(self.names(names.names())?),
            Type::Flags(flags) => Shape::Flags(self.names(flags.names())?),
            Type::Option(option) => Shape::Option { some: Box::new(self.shape(&option.ty())?) },
            Type::Result(result) => {
                Shape::Result { ok: self.optional(result.ok())?, err: self.optional(result.err())? }
            }
            Type::Own(_) | Type::Borrow(_) => return Err(no_json("a resource")),
            Type::Stream(_) => return Err(no_json("a stream")),
            Type::Future(_) => return Err(no_json("a future")),
            Type::ErrorContext => return Err(no_json("an error-context")),
        })
    }

    fn list(&mut self, element: &Type, length: Option<usize>) -> Result<Shape, String> {
        Ok(match self.shape(element)? {
            Shape::Int(Int::U8) => Shape::Bytes { length },
            element => Shape::List { element: Box::new(element), length },
        })
    }

    fn optional(&mut self, ty: Option<Type>) -> Result<Option<Box<Shape>>, String> {
        ty.map(|ty| self.shape(&ty).map(Box::new)).transpose()
    }

    /// Names count as parts: an enum can have very many cases.
    fn names<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Result<Names, String> {
        let names = Names::of(names);
        self.parts += names.len();
        Ok(names)
    }
}

fn no_json(what: &str) -> String {
    format!("is or holds {what}, which cannot be given as JSON")
}
