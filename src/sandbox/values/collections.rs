//! Reads JSON arrays and objects as lists, tuples, flags, maps, variants, results and nested options.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde::de::{IgnoredAny, MapAccess, SeqAccess};
use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::lower::{Found, Key, NOTHING};
use super::names::Names;
use super::problems::{Path, kind_of, shortened};
use super::shape::{Cases, Shape};
use super::slot::Slot;

static OK_ERR: LazyLock<Names> = LazyLock::new(|| Names::of(["ok", "err"].into_iter()));
static SOME: LazyLock<Names> = LazyLock::new(|| Names::of(["some"].into_iter()));

/// Which of several keys there was, and its value where it carries one.
type Case = (usize, Option<Box<Val>>);

/// Arrays.
impl Slot<'_> {
    pub(super) fn list<'de, A: SeqAccess<'de>>(
        &mut self,
        element: &Shape,
        length: Option<usize>,
        mut items: A,
    ) -> Result<Val, A::Error> {
        let mut values = Vec::new();
        let mut count = 0;
        while let Some(value) = {
            let path = Path::Item(self.path, count);
            items.next_element_seed(Slot { shape: element, path: &path, reader: self.reader })?
        } {
            count += 1;
            if self.reader.builds() {
                values.push(value);
            }
        }
        match length {
            None => Ok(Val::List(values)),
            Some(length) if length == count => Ok(Val::FixedLengthList(values)),
            Some(length) => self.wrong_length(length, count),
        }
    }

    pub(super) fn tuple<'de, A: SeqAccess<'de>>(&mut self, shapes: &[Shape], mut items: A) -> Result<Val, A::Error> {
        let mut values = Vec::with_capacity(shapes.len());
        for (index, shape) in shapes.iter().enumerate() {
            let path = Path::Item(self.path, index);
            match items.next_element_seed(Slot { shape, path: &path, reader: self.reader })? {
                Some(value) => values.push(value),
                None => return self.wrong_length(shapes.len(), index),
            }
        }
        let mut extra = 0;
        while items.next_element::<IgnoredAny>()?.is_some() {
            extra += 1;
        }
        match extra {
            0 => Ok(Val::Tuple(values)),
            _ => self.wrong_length(shapes.len(), shapes.len() + extra),
        }
    }

    pub(super) fn flags<'de, A: SeqAccess<'de>>(&mut self, names: &Names, mut items: A) -> Result<Val, A::Error> {
        let mut set = vec![false; names.len()];
        let mut index = 0;
        while let Some(raw) = items.next_element::<&RawValue>()? {
            let path = Path::Item(self.path, index);
            // Into a String, because text with escapes cannot be borrowed.
            let flag = serde_json::from_str::<String>(raw.get()).ok();
            match flag.as_deref().map(|flag| names.position(flag)) {
                Some(Some(flag)) if !set[flag] => set[flag] = true,
                Some(Some(_)) => {
                    let message = format!("flag {} is here twice; give it once", raw.get());
                    self.reader.report(&path, "duplicate_flag", message)?;
                }
                Some(None) => {
                    let message =
                        format!("there is no flag {}; the flags are {}", shortened(raw.get()), names.enumerate());
                    self.reader.report(&path, "unknown_case", message)?;
                }
                None => {
                    let message = format!("expected the name of a flag; found {}", kind_of(raw.get()));
                    self.reader.report(&path, "wrong_type", message)?;
                }
            }
            index += 1;
        }
        let set = names.iter().zip(set).filter(|(_, set)| *set);
        Ok(Val::Flags(set.map(|(name, _)| name.to_owned()).collect()))
    }

    pub(super) fn pairs<'de, A: SeqAccess<'de>>(&mut self, pair: &Shape, items: A) -> Result<Val, A::Error> {
        let Val::List(pairs) = self.list(pair, None, items)? else { return Ok(NOTHING) };
        let entries = pairs.into_iter().filter_map(|pair| match pair {
            Val::Tuple(values) => <[Val; 2]>::try_from(values).ok().map(|[key, value]| (key, value)),
            _ => None,
        });
        Ok(Val::Map(entries.collect()))
    }
}

/// Objects.
impl Slot<'_> {
    pub(super) fn map<'de, A: MapAccess<'de>>(&mut self, shape: &Shape, mut map: A) -> Result<Val, A::Error> {
        let mut keys = HashSet::new();
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = Path::Key(self.path, &key);
            let value = map.next_value_seed(Slot { shape, path: &path, reader: self.reader })?;
            if !keys.insert(key.clone()) {
                self.reader.report(&path, "duplicate_field", "this key is here twice; give it once".to_owned())?;
            }
            if self.reader.builds() {
                entries.push((Val::String(key), value));
            }
        }
        Ok(Val::Map(entries))
    }

    pub(super) fn variant<'de, A: MapAccess<'de>>(&mut self, cases: &Cases, map: A) -> Result<Val, A::Error> {
        let shapes = |case: usize| cases.shapes[case].as_ref();
        let case = self.one_key(&cases.names, shapes, map, |case, raw| {
            let case = cases.names.get(case);
            Err(format!("case `{case}` carries no value; write \"{case}\" instead of {{\"{case}\": {raw}}}"))
        })?;
        Ok(match case {
            Some((case, value)) => Val::Variant(cases.names.get(case).to_owned(), value),
            None => NOTHING,
        })
    }

    pub(super) fn result<'de, A: MapAccess<'de>>(
        &mut self,
        ok: Option<&Shape>,
        err: Option<&Shape>,
        map: A,
    ) -> Result<Val, A::Error> {
        let shapes = |case: usize| if case == 0 { ok } else { err };
        let case = self.one_key(&OK_ERR, shapes, map, |case, raw| match raw {
            "null" => Ok(()),
            _ => Err(format!("`{}` carries no value here; write null", OK_ERR.get(case))),
        })?;
        Ok(match case {
            Some((0, value)) => Val::Result(Ok(value)),
            Some((_, value)) => Val::Result(Err(value)),
            None => NOTHING,
        })
    }

    pub(super) fn some<'de, A: MapAccess<'de>>(&mut self, shape: &Shape, map: A) -> Result<Val, A::Error> {
        let some = self.one_key(&SOME, |_| Some(shape), map, |_, _| Ok(()))?;
        Ok(some.map_or(NOTHING, |(_, value)| Val::Option(value)))
    }

    /// Reads an object that has one key out of `keys`. Where that carries no value by its type, `empty` judges what
    /// stands there. `None` when there was a problem with the keys.
    fn one_key<'de, 's, A: MapAccess<'de>>(
        &mut self,
        keys: &Names,
        shapes: impl Fn(usize) -> Option<&'s Shape>,
        mut map: A,
        empty: impl Fn(usize, &str) -> Result<(), String>,
    ) -> Result<Option<Case>, A::Error> {
        let mut found = None;
        let mut count = 0;
        while let Some(key) = map.next_key_seed(Key { names: keys, hint: 0 })? {
            count += 1;
            match key {
                Found::Name(case) => {
                    let path = Path::Key(self.path, keys.get(case));
                    let value = match shapes(case) {
                        Some(shape) => {
                            let value = map.next_value_seed(Slot { shape, path: &path, reader: self.reader })?;
                            Some(Box::new(value))
                        }
                        None => {
                            if let Err(message) = empty(case, &kind_of(map.next_value::<&RawValue>()?.get())) {
                                self.reader.report(&path, "unexpected_value", message)?;
                            }
                            None
                        }
                    };
                    found = Some((case, value));
                }
                Found::Other(key) => {
                    map.next_value::<IgnoredAny>()?;
                    let message = format!("there is no case `{}`; the cases are {}", shortened(&key), keys.enumerate());
                    self.reader.report(&Path::Key(self.path, &key), "unknown_case", message)?;
                }
            }
        }
        if count == 1 {
            return Ok(found);
        }
        let message = format!("expected {}: one key; found {count} keys", self.shape.expected());
        self.report("wrong_type", message)?;
        Ok(None)
    }
}
