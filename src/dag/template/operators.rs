//! The operators of templates, each of which looks at sizes before it works.
//!
//! minijinja charges a filter for the text it is given and for what it returns; what these charge themselves is
//! the rest: items visited in comparisons, and text made of lists and objects.

use std::fmt::Write;

use minijinja::value::{Object, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::compare;
use super::errors::{OUT_OF_FUEL, invalid, too_large};
use super::scope::METER;

pub(super) const PRINT: &str = "{{}}";
pub(super) const JOIN: &str = "~";
pub(super) const TIMES: &str = "*";
pub(super) const ITEM: &str = "[]";
pub(super) const SLICE: &str = "[:]";
pub(super) const EQ: &str = "==";
pub(super) const NE: &str = "!=";
pub(super) const LT: &str = "<";
pub(super) const LE: &str = "<=";
pub(super) const GT: &str = ">";
pub(super) const GE: &str = ">=";
pub(super) const IN: &str = "in";

pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter(PRINT, print);
    environment.add_filter(JOIN, join);
    environment.add_filter(TIMES, times);
    environment.add_filter(ITEM, item);
    environment.add_filter(SLICE, slice);
    compare::add_to(environment);
}

/// Bytes that may still come out of the rendering that is under way.
#[derive(Debug)]
pub(super) struct Meter {
    left: std::sync::atomic::AtomicUsize,
}

impl Object for Meter {}

impl Meter {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: bytes.into() }
    }

    pub(super) fn left(&self) -> usize {
        self.left.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// One rendering is one thread's: there is no race to lose here.
    pub(super) fn take(&self, bytes: usize) -> Result<(), Error> {
        match self.left().checked_sub(bytes) {
            Some(left) => {
                self.left.store(left, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }
            None => Err(too_large("more comes out of the template than is allowed; pass large values whole")),
        }
    }
}

/// What may still come out: what is made on the way may not be larger either.
pub(super) fn room(state: &State<'_, '_>) -> usize {
    state.lookup(METER).and_then(|meter| meter.downcast_object_ref::<Meter>().map(Meter::left)).unwrap_or(0)
}

/// Four bytes of text made of lists and objects cost one fuel (minijinja's own price): walking is slower than copying.
const WALKED_BYTES: u64 = 4;

/// How much text may be made of lists and objects, by room and by fuel; and the error for more.
pub(super) fn walkable(state: &State<'_, '_>) -> (usize, fn() -> Error) {
    let fuel = state.fuel_levels().map_or(u64::MAX, |(_, remaining)| remaining);
    let payable = usize::try_from(fuel.saturating_mul(WALKED_BYTES)).unwrap_or(usize::MAX);
    let room = room(state);
    if payable < room {
        (payable, || Error::from(OUT_OF_FUEL))
    } else {
        (room, || too_large("a list or an object is too large to be made into text"))
    }
}

pub(super) fn pay_for_walk(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / WALKED_BYTES)
}

/// The value as text, as Jinja prints it; a list or an object is cut off by error as soon as it is too large.
pub(super) fn text(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let (left, too_much) = walkable(state);
    let mut text = Bounded { text: String::new(), left };
    write!(text, "{value}").map_err(|_| too_much())?;
    if value.as_object().is_some() {
        pay_for_walk(state, text.text.len())?;
    }
    Ok(text.text)
}

struct Bounded {
    text: String,
    left: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        self.left = self.left.checked_sub(part.len()).ok_or(std::fmt::Error)?;
        self.text.push_str(part);
        Ok(())
    }
}

/// `{{ value }}` inside a text, and the plain text between.
fn print(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    // What is undefined is refused by the instruction that follows, but for an `if` without `else`.
    let value = match value.is_undefined() || value.as_str().is_some() {
        true => value,
        false => Value::from(text(state, &value)?),
    };
    if let Some(text) = value.as_str() {
        let meter = state.lookup(METER).ok_or_else(|| invalid("printing needs a meter"))?;
        meter.downcast_object_ref::<Meter>().map_or(Ok(()), |meter| meter.take(text.len()))?;
    }
    Ok(value)
}

/// `left ~ right`.
fn join(state: &State<'_, '_>, first: &Value, second: &Value) -> Result<String, Error> {
    // Texts are joined without the copy that `text` would make.
    let mut joined = match first.as_str() {
        Some(plain) if plain.len() <= room(state) => plain.to_owned(),
        _ => text(state, first)?,
    };
    match second.as_str() {
        Some(plain) if joined.len() + plain.len() <= room(state) => joined.push_str(plain),
        Some(_) => return Err(too_large("the joined text is too large")),
        None => joined.push_str(&text(state, second)?),
    }
    Ok(joined)
}

/// `left * right`, of numbers alone.
fn times(left: &Value, right: &Value) -> Result<Value, Error> {
    if left.is_undefined() || right.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if !left.is_number() || !right.is_number() {
        return Err(invalid("`*` takes numbers; to make a number of a text, write `(… | int)`"));
    }
    if left.is_integer() && right.is_integer() {
        let product = i128::try_from(left.clone())?.checked_mul(i128::try_from(right.clone())?);
        return product
            .map(|product| i64::try_from(product).map_or_else(|_| Value::from(product), Value::from))
            .ok_or_else(|| invalid("the product is too large"));
    }
    Ok(Value::from(f64::try_from(left.clone())? * f64::try_from(right.clone())?))
}

/// `container[key]`.
fn item(state: &State<'_, '_>, container: &Value, key: &Value) -> Result<Value, Error> {
    if container.is_undefined() || key.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if container.kind() == ValueKind::Iterable {
        // It is visited up to the index.
        let visited = key.as_i64().map_or(0, i64::unsigned_abs).min(container.len().unwrap_or(0) as u64);
        state.consume_fuel(visited / 2)?;
    }
    container.get_item(key)
}

/// `value[start:stop:step]`, as in Python.
fn slice(state: &State<'_, '_>, value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    let bound = |bound: &Value| if bound.is_none() { Ok(None) } else { i64::try_from(bound.clone()).map(Some) };
    let (start, stop, step) = (bound(start)?, bound(stop)?, bound(step)?.unwrap_or(1));
    if step == 0 {
        return Err(invalid("a slice cannot have a step of 0"));
    }
    if let Some(text) = value.as_str() {
        if text.len() > 64 * 1024 {
            // Four bytes a letter are set up to count them.
            state.consume_fuel(text.len() as u64 / 16)?;
        }
        let letters = text.chars().collect::<Vec<_>>();
        return Ok(Value::from(indexes(start, stop, step, letters.len()).map(|i| letters[i]).collect::<String>()));
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(match value.is_undefined() {
            true => Error::from(ErrorKind::UndefinedError),
            false => invalid(format!("a {} cannot be sliced", value.kind())),
        });
    }
    let mut items = Vec::new();
    compare::each(state, value, |item| {
        items.push(item);
        Ok(())
    })?;
    Ok(Value::from(indexes(start, stop, step, items.len()).map(|i| items[i].clone()).collect::<Vec<_>>()))
}

fn indexes(start: Option<i64>, stop: Option<i64>, step: i64, len: usize) -> impl Iterator<Item = usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let (lowest, highest) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |bound: i64| if bound < 0 { bound.saturating_add(len) } else { bound }.clamp(lowest, highest);
    let start = start.map_or(if step > 0 { lowest } else { highest }, clamp);
    let stop = stop.map_or(if step > 0 { highest } else { lowest }, clamp);
    std::iter::successors(Some(start), move |at| at.checked_add(step))
        .take_while(move |at| if step > 0 { *at < stop } else { *at > stop })
        .filter_map(|at| usize::try_from(at).ok())
}
