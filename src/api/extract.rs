//! Parses what a request brings: JSON bodies and queries, with the place of every mistake.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Query as Pairs};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, Visitor};
use serde_json::Value;

use crate::coordinator::ModuleRef;
use crate::dag::finding::closest;

use super::bounds::MAX_NOTE_CHARS;
use super::problem::{Kind, Place, Problem, broken_off};

/// Reads a whole body. `setting` names the bound in the refusal.
pub async fn body(body: Body, limit: usize, setting: &str, timeout: Duration) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            Kind::BodyTooLarge,
            "the body",
            format!("it is larger than {limit} bytes, the limit of `{setting}`"),
            "send less at once, or raise the setting",
        )
    };
    use axum::body::HttpBody;
    // A caller who says so in advance is told before it has sent everything.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let collect = async {
        let mut pieces = body.into_data_stream();
        let Some(first) = pieces.next().await.transpose().map_err(|_| broken_off())? else { return Ok(Bytes::new()) };
        // Most bodies come in one piece, which then needs no copy.
        let Some(second) = pieces.next().await.transpose().map_err(|_| broken_off())? else {
            return if first.len() > limit { Err(too_large()) } else { Ok(first) };
        };
        let mut all = BytesMut::from(first);
        let mut next = Some(second);
        while let Some(piece) = next {
            if all.len() + piece.len() > limit {
                return Err(too_large());
            }
            all.extend_from_slice(&piece);
            next = pieces.next().await.transpose().map_err(|_| broken_off())?;
        }
        Ok(all.freeze())
    };
    tokio::time::timeout(timeout, collect).await.unwrap_or_else(|_| {
        Err(Problem::new(
            Kind::BodyTooSlow,
            "the body",
            format!("it did not arrive within {} s, the limit of `body_timeout`", timeout.as_secs()),
            "send it faster",
        ))
    })
}

/// Parses a JSON body.
pub fn json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    match serde_json::from_slice(text) {
        Ok(value) => Ok(value),
        Err(_) => Err(explain::<T>(text)),
    }
}

/// A remark or a description: text that is shown, and bounded.
pub fn remark(path: &str, text: String) -> Result<Arc<str>, Problem> {
    if text.chars().count() > MAX_NOTE_CHARS {
        let reason = format!("it is longer than {MAX_NOTE_CHARS} characters");
        return Err(Problem::invalid(path, reason, "shorten it"));
    }
    Ok(text.into())
}

/// For a key that may be left out: tells null from nothing.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Parses a refused body again, more slowly, to say where it is wrong.
fn explain<T: DeserializeOwned>(text: &[u8]) -> Problem {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut deserializer) else {
        // The value itself is fine, so there is more behind it.
        let error = serde_json::from_slice::<de::IgnoredAny>(text).err();
        return malformed(error.as_ref());
    };
    if !error.inner().is_data() {
        return malformed(Some(error.inner()));
    }
    let path = pointer(error.path());
    let (line, column) = (Some(error.inner().line()), Some(error.inner().column()));
    let unknown = match serde_json::from_slice::<Value>(text) {
        Ok(value) => unknown_keys::<T>(value),
        Err(error) => return malformed(Some(&error)),
    };
    if unknown.is_empty() {
        let message = without_place(error.inner());
        let thing = if path.is_empty() { "the body".to_owned() } else { format!("`{}`", path[1..].replace('/', ".")) };
        let place = Place { line, column, ..Place::new(path, "invalid_request", message.clone()) };
        return Problem::new(Kind::Invalid, thing, message, "correct the value").at(vec![place]);
    }
    let mut places = unknown;
    if let Some(first) = places.iter_mut().find(|place| place.path == path) {
        (first.line, first.column) = (line, column);
    }
    unknown_key(places)
}

fn unknown_key(places: Vec<Place>) -> Problem {
    let first = &places[0];
    let thing = format!("key `{}`", first.path.trim_start_matches('/').replace('/', "."));
    let (reason, remedy) = first.message.split_once("; ").unwrap_or((&first.message, "remove it"));
    Problem::new(Kind::UnknownKey, thing, reason, remedy).at(places.clone())
}

fn malformed(error: Option<&serde_json::Error>) -> Problem {
    let place = error.map(|error| Place {
        line: Some(error.line()),
        column: Some(error.column()),
        ..Place::new("", "malformed_json", without_place(error))
    });
    let reason = place.as_ref().map_or("it cannot be parsed".to_owned(), |place| {
        let at = |number: Option<usize>| number.unwrap_or_default();
        format!("{} at line {} column {}", place.message, at(place.line), at(place.column))
    });
    Problem::new(Kind::MalformedJson, "the body", reason, "send one well-formed JSON value in UTF-8")
        .at(place.into_iter().collect())
}

/// serde_json ends its messages with the place, which stands in fields of its own here.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&suffix).unwrap_or(&text).to_owned()
}

/// As a JSON pointer.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// Parameters behind the `?`. Unknown ones are refused.
pub struct Query<T>(pub T);

/// For an address without parameters: whatever is given is refused.
pub type NoQuery = Query<NoParameters>;

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

impl<S: Sync, T: DeserializeOwned + Default> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if parts.uri.query().is_none_or(str::is_empty) {
            return Ok(Self(T::default()));
        }
        let Pairs(pairs) = Pairs::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|error| {
            Problem::invalid("query", error.body_text(), "correct the part of the address behind `?`")
        })?;
        let mut object = serde_json::Map::with_capacity(pairs.len());
        for (name, value) in pairs {
            if object.insert(name.clone(), Value::String(value)).is_some() {
                return Err(Problem::invalid(&name, "it is given twice", "give it once"));
            }
        }
        parse_query(Value::Object(object)).map(Self)
    }
}

fn parse_query<T: DeserializeOwned>(object: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize::<_, T>(object.clone()).map_err(|error| {
        let mut places = unknown_keys::<T>(object);
        if places.is_empty() {
            let name = pointer(error.path());
            return Problem::invalid(name.trim_start_matches('/'), error.inner().to_string(), "correct the parameter");
        }
        places.iter_mut().for_each(|place| place.path.replace_range(..1, ""));
        unknown_key(places)
    })
}

/// Takes a query parameter, which is always a text, as what it means: `#[serde(deserialize_with = "text")]`.
pub fn text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|error| de::Error::custom(format!("`{text}` cannot be taken: {error}")))
}

/// Takes a module's name or digest: `#[serde(deserialize_with = "module_ref")]`.
pub fn module_ref<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ModuleRef, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

/// Every key of `value` that `T` does not know, with the name that was perhaps meant.
///
/// serde stops at the first unknown key and gives it away only in the text of its
/// message; but it also tells every deserializer which fields a struct has.
fn unknown_keys<T: DeserializeOwned>(value: Value) -> Vec<Place> {
    let found = RefCell::new(Vec::new());
    let result = T::deserialize(Probe { value, path: String::new(), found: &found });
    drop(result);
    found.into_inner()
}

struct Probe<'a> {
    value: Value,
    path: String,
    found: &'a RefCell<Vec<Place>>,
}

impl<'a, 'de> Deserializer<'de> for Probe<'a> {
    type Error = serde_json::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let Value::Object(object) = self.value else {
            return self.value.deserialize_struct(name, fields, visitor);
        };
        let (known, unknown): (Vec<_>, Vec<_>) =
            object.into_iter().partition(|(key, _)| fields.contains(&key.as_str()));
        for (key, _) in unknown {
            let message = match closest(&key, fields.iter().copied()) {
                Some(meant) => format!("it is not known here; did you mean `{meant}`?"),
                None if fields.is_empty() => "it is not known here; remove it".to_owned(),
                None => format!("it is not known here; known are {}", fields.join(", ")),
            };
            let path = format!("{}/{}", self.path, key.replace('~', "~0").replace('/', "~1"));
            self.found.borrow_mut().push(Place::new(path, "unknown_key", message));
        }
        visitor.visit_map(ProbeMap { entries: known.into_iter(), value: None, path: self.path, found: self.found })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.value.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.value.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.value.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct ProbeMap<'a> {
    entries: std::vec::IntoIter<(String, Value)>,
    value: Option<(String, Value)>,
    path: String,
    found: &'a RefCell<Vec<Place>>,
}

impl<'a, 'de> de::MapAccess<'de> for ProbeMap<'a> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        let parsed = seed.deserialize(Value::String(key.clone()))?;
        self.value = Some((key, value));
        Ok(Some(parsed))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        let (key, value) = self.value.take().expect("serde asks for a value after its key");
        seed.deserialize(Probe { value, path: format!("{}/{key}", self.path), found: self.found })
    }
}
