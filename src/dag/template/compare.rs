//! Comparing values, which may share parts and be much larger than what they are made of: every visit is paid for.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::errors::invalid;
use super::filters::sought;
use super::operators as op;

const MAX_DEPTH: usize = 128;

pub(super) fn add_to(environment: &mut Environment<'static>) {
    type Compare = fn(&Value, &Value) -> bool;
    let operators: [(Compare, &[&'static str]); 6] = [
        (|a, b| a == b, &[op::EQ, "eq", "equalto"]),
        (|a, b| a != b, &[op::NE, "ne"]),
        (|a, b| a < b, &[op::LT, "lt", "lessthan"]),
        (|a, b| a <= b, &[op::LE, "le"]),
        (|a, b| a > b, &[op::GT, "gt", "greaterthan"]),
        (|a, b| a >= b, &[op::GE, "ge"]),
    ];
    for (compare, names) in operators {
        let checked = move |state: &State<'_, '_>, a: &Value, b: &Value| -> Result<bool, Error> {
            defined(a)?;
            defined(b)?;
            pay(state, a, b)?;
            Ok(compare(a, b))
        };
        environment.add_filter(names[0], checked);
        for name in names {
            environment.add_test(*name, checked);
        }
    }
    environment.add_filter(op::IN, contains);
    environment.add_test(op::IN, contains);
}

fn defined(value: &Value) -> Result<(), Error> {
    if value.is_undefined() { Err(Error::from(ErrorKind::UndefinedError)) } else { Ok(()) }
}

/// Pays for comparing the two, at worst all of both.
fn pay(state: &State<'_, '_>, a: &Value, b: &Value) -> Result<(), Error> {
    match (a.as_object(), b.as_object()) {
        (Some(_), Some(_)) => {
            weigh(state, a, 0)?;
            weigh(state, b, 0)
        }
        _ => state.consume_fuel(a.as_str().zip(b.as_str()).map_or(0, |(a, b)| a.len().min(b.len()) as u64 / 64)),
    }
}

fn weigh(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(invalid("the value is nested too deep to be compared"));
    }
    if let Some(text) = value.as_str() {
        return state.consume_fuel(text.len() as u64 / 64);
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => each(state, value, |item| weigh(state, &item, depth + 1)),
        ValueKind::Map => each(state, value, |key| {
            weigh(state, &key, depth + 1)?;
            weigh(state, &value.get_item(&key)?, depth + 1)
        }),
        _ => Ok(()),
    }
}

/// Visits each item (of an object, each key): half a fuel an item, as in minijinja's own filters.
pub(super) fn each(
    state: &State<'_, '_>,
    value: &Value,
    mut visit: impl FnMut(Value) -> Result<(), Error>,
) -> Result<(), Error> {
    defined(value)?;
    for (index, item) in value.try_iter()?.checked().enumerate() {
        state.consume_fuel(index as u64 % 2)?;
        visit(item?)?;
    }
    Ok(())
}

/// `needle in container`.
fn contains(state: &State<'_, '_>, needle: &Value, container: &Value) -> Result<bool, Error> {
    defined(needle)?;
    defined(container)?;
    if let Some(haystack) = container.as_str() {
        state.consume_fuel(haystack.len() as u64 / 64)?;
        return Ok(haystack.contains(sought(state, needle)?.as_ref()));
    }
    let Some(object) = container.as_object() else {
        return Err(invalid(format!("`in` looks into texts, lists and objects, not into a {}", container.kind())));
    };
    if container.kind() == ValueKind::Map {
        if needle.as_object().is_some() {
            return Err(invalid("the key of an object is a text"));
        }
        return Ok(object.get_value(needle).is_some());
    }
    let mut found = false;
    each(state, container, |item| {
        if !found {
            pay(state, &item, needle)?;
            found = item == *needle;
        }
        Ok(())
    })?;
    Ok(found)
}
