//! Reads JSON text as the parameters of a function.
//!
//! One pass over the text. Reading goes on after a problem, so that all of them are told together; values are no
//! longer built then. What a single value may be is in `slot.rs`.

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use wasmtime::component::Val;

use super::names::Names;
use super::problems::{InputProblem, Path, Problems, kind_of};
use super::shape::Fields;
use super::slot::Slot;

/// What the reading is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The values.
    Build,
    /// Only the problems: what is returned is of no use.
    Check,
}

/// Optional keys that an input may leave out. Three bytes of JSON, `{},`, can stand for a record of thousands of
/// fields; without a bound a small input would fill the memory.
const MAX_LEFT_OUT: usize = 1 << 20;

/// Stands where no value is built.
pub(super) const NOTHING: Val = Val::Bool(false);

/// The parameters of a function from JSON text.
pub(super) fn parameters(fields: &Fields, input: &str, purpose: Purpose) -> Result<Vec<Val>, Vec<InputProblem>> {
    let input = match input.trim_ascii() {
        "" | "null" => "{}",
        _ => input,
    };
    let mut reader = Reader { problems: Problems::default(), purpose, left_out: 0, stopped: false };
    let mut json = serde_json::Deserializer::from_str(input);
    let read = match input.trim_ascii_start().as_bytes() {
        [b'{', ..] => json.deserialize_map(Parameters { fields, reader: &mut reader }),
        _ => de::Deserialize::deserialize(&mut json).and_then(|IgnoredAny| reader.not_an_object(fields, input)),
    };
    match read.and_then(|values| json.end().map(|()| values)) {
        Ok(values) if reader.problems.is_empty() => Ok(values),
        Err(error) if !reader.stopped => {
            let mut problems = Problems::default();
            problems.add(&Path::Root, "invalid_json", format!("the input is not JSON: {error}"));
            Err(problems.into_vec())
        }
        _ => Err(reader.problems.into_vec()),
    }
}

struct Parameters<'a> {
    fields: &'a Fields,
    reader: &'a mut Reader,
}

impl<'de> Visitor<'de> for Parameters<'_> {
    type Value = Vec<Val>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of the function's parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Val>, A::Error> {
        self.reader.fields(self.fields, &Path::Root, map)
    }
}

/// What is found out along the way.
pub(super) struct Reader {
    problems: Problems,
    purpose: Purpose,
    left_out: usize,
    /// Reading was ended here, by an error that is not one of JSON.
    stopped: bool,
}

impl Reader {
    pub(super) fn builds(&self) -> bool {
        self.purpose == Purpose::Build
    }

    pub(super) fn report<E: de::Error>(
        &mut self,
        path: &Path<'_>,
        code: &'static str,
        message: String,
    ) -> Result<Val, E> {
        self.problems.add(path, code, message);
        self.purpose = Purpose::Check;
        if self.problems.is_full() { Err(self.stop()) } else { Ok(NOTHING) }
    }

    fn stop<E: de::Error>(&mut self) -> E {
        self.stopped = true;
        E::custom("enough problems")
    }

    /// Reads the keys of `map` as `fields`, in the order of the fields.
    pub(super) fn fields<'de, A: MapAccess<'de>>(
        &mut self,
        fields: &Fields,
        path: &Path<'_>,
        mut map: A,
    ) -> Result<Vec<Val>, A::Error> {
        let mut found: Vec<Option<Val>> = Vec::new();
        found.resize_with(fields.shapes.len(), || None);
        let mut next = 0;
        while let Some(key) = map.next_key_seed(Key { names: &fields.names, hint: next })? {
            match key {
                Found::Name(position) => {
                    let path = Path::Key(path, fields.names.get(position));
                    let value =
                        map.next_value_seed(Slot { shape: &fields.shapes[position], path: &path, reader: self })?;
                    if found[position].replace(value).is_some() {
                        self.report(&path, "duplicate_field", "this key is here twice; give it once".to_owned())?;
                    }
                    next = position + 1;
                }
                Found::Other(key) => {
                    map.next_value::<IgnoredAny>()?;
                    self.unknown_field(fields, &Path::Key(path, &key))?;
                }
            }
        }
        self.complete(fields, path, found)
    }

    /// What is to be said of, or put for, the fields that were not given.
    fn complete<E: de::Error>(
        &mut self,
        fields: &Fields,
        path: &Path<'_>,
        found: Vec<Option<Val>>,
    ) -> Result<Vec<Val>, E> {
        let mut values = Vec::with_capacity(found.len());
        for (value, (name, shape)) in found.into_iter().zip(fields.iter()) {
            values.push(match value {
                Some(value) => value,
                None if shape.may_be_missing() => self.leave_out(path)?,
                None => {
                    let message = format!("`{name}` is missing: expected {}", shape.expected());
                    self.report(&Path::Key(path, name), "missing_field", message)?
                }
            });
        }
        Ok(values)
    }

    fn leave_out<E: de::Error>(&mut self, path: &Path<'_>) -> Result<Val, E> {
        self.left_out += 1;
        if self.left_out <= MAX_LEFT_OUT {
            return Ok(Val::Option(None));
        }
        let message = format!("more than {MAX_LEFT_OUT} optional keys are left out in this input; split it");
        self.report::<E>(path, "too_large", message)?;
        Err(self.stop())
    }

    fn not_an_object<E: de::Error>(&mut self, fields: &Fields, input: &str) -> Result<Vec<Val>, E> {
        let expected = match fields.is_empty() {
            true => "null or {}, as the function takes no parameters".to_owned(),
            false => format!("an object with the parameters {}", fields.names.enumerate()),
        };
        let message = format!("expected {expected}; found {}", kind_of(input.trim_ascii()));
        self.report(&Path::Root, "wrong_type", message).map(|_| Vec::new())
    }

    fn unknown_field<E: de::Error>(&mut self, fields: &Fields, path: &Path<'_>) -> Result<Val, E> {
        let whose = if matches!(path, Path::Key(Path::Root, _)) { "the parameters" } else { "the fields" };
        let message = match fields.is_empty() {
            true => "the function takes no parameters".to_owned(),
            false => format!("there is no such key: {whose} are {}", fields.names.enumerate()),
        };
        self.report(path, "unknown_field", message)
    }
}

/// A key of an object, looked up in `names`; tried first at `hint`.
pub(super) struct Key<'a> {
    pub(super) names: &'a Names,
    pub(super) hint: usize,
}

pub(super) enum Found {
    Name(usize),
    Other(String),
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Found, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Found, E> {
        Ok(match self.names.position_near(key, self.hint) {
            Some(position) => Found::Name(position),
            None => Found::Other(key.to_owned()),
        })
    }
}
