//! The filters whose cost minijinja would only see afterwards, and the methods of objects.

use std::borrow::Cow;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters, tests};

use super::compare;
use super::errors::{RenderErrorKind, invalid, too_large};
use super::operators::{Meter, pay_for_walk, room, text, walkable};

/// As in minijinja.
const MAX_RANGE: u64 = 100_000;
const MAX_PIECES: usize = 100_000;
const MAX_PATH_BYTES: usize = 256;

pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("string", string);
    environment.add_filter("tojson", to_json);
    environment.add_filter("join", join);
    environment.add_filter("replace", replace);
    environment.add_filter("trim", trim);
    environment.add_filter("split", split);
    environment.add_filter("lines", lines);
    environment.add_filter("upper", |value: &Value| Ok::<_, Error>(plain_text(value)?.to_uppercase()));
    environment.add_filter("lower", |value: &Value| Ok::<_, Error>(plain_text(value)?.to_lowercase()));
    environment.add_filter("title", |value: &Value| Ok::<_, Error>(filters::title(plain_text(value)?)));
    environment.add_filter("capitalize", capitalize);
    environment.add_filter("urlencode", |value: &Value| filters::urlencode(&Value::from(plain_text(value)?.as_ref())));
    environment.add_filter("sum", sum);
    environment.add_filter("sort", |state: &State<'_, '_>, value: Value, options: Kwargs| {
        orderable(state, &value, options.get("attribute")?, true)?;
        filters::sort(state, value, options)
    });
    environment.add_filter("unique", |state: &State<'_, '_>, value: Value, options: Kwargs| {
        orderable(state, &value, options.get("attribute")?, true)?;
        filters::unique(state, value, options)
    });
    environment.add_filter("min", |state: &State<'_, '_>, value: Value, options: Kwargs| {
        orderable(state, &value, options.get("attribute")?, false)?;
        filters::min(state, value, options)
    });
    environment.add_filter("max", |state: &State<'_, '_>, value: Value, options: Kwargs| {
        orderable(state, &value, options.get("attribute")?, false)?;
        filters::max(state, value, options)
    });
    environment.add_filter(
        "select",
        |state: &mut State<'_, '_>, value: &Value, test: Option<&str>, args: Rest<Value>| {
            choose(state, value, None, test, &args, true)
        },
    );
    environment.add_filter(
        "reject",
        |state: &mut State<'_, '_>, value: &Value, test: Option<&str>, args: Rest<Value>| {
            choose(state, value, None, test, &args, false)
        },
    );
    environment.add_filter("selectattr", choose_by::<true>);
    environment.add_filter("rejectattr", choose_by::<false>);
    environment.add_filter("map", map);
    environment.add_filter("groupby", group_by);
    environment.add_filter("dictsort", |state: &State<'_, '_>, value: &Value, options: Kwargs| {
        if options.get::<Option<&str>>("by")? == Some("value") {
            orderable(state, &method_values(state, value)?, None, true)?;
        }
        pay_for_sorting(state, value.len().unwrap_or(0))?;
        filters::dictsort(value, options)
    });
    environment
        .add_test("lower", |value: &Value| Ok::<_, Error>(tests::is_lower(&Value::from(plain_text(value)?.as_ref()))));
    environment
        .add_test("upper", |value: &Value| Ok::<_, Error>(tests::is_upper(&Value::from(plain_text(value)?.as_ref()))));
    environment.add_test("startingwith", |value: &Value, start: &Value| {
        Ok::<_, Error>(plain_text(value)?.starts_with(plain_text(start)?.as_ref()))
    });
    environment.add_test("endingwith", |value: &Value, end: &Value| {
        Ok::<_, Error>(plain_text(value)?.ends_with(plain_text(end)?.as_ref()))
    });
    environment.add_function("range", range);
}

/// A text, or a number, truth value or null as text. Lists and objects are not turned into text in passing:
/// their size is not known before.
pub(super) fn plain_text(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value.kind() {
        ValueKind::String => value.as_str().map(Cow::Borrowed).ok_or_else(|| invalid("the text is not UTF-8")),
        ValueKind::Number | ValueKind::Bool | ValueKind::None => Ok(Cow::Owned(value.to_string())),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        other => Err(invalid(format!("a text is needed here, not a {other}; to make one, write `… | string`"))),
    }
}

/// A text to search for: to set up the search takes as long as it is.
pub(super) fn sought<'v>(state: &State<'_, '_>, value: &'v Value) -> Result<Cow<'v, str>, Error> {
    let text = plain_text(value)?;
    state.consume_fuel(text.len() as u64 / 64)?;
    Ok(text)
}

fn string(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    if value.as_str().is_some() { Ok(value.clone()) } else { text(state, value).map(Value::from) }
}

fn to_json(state: &State<'_, '_>, value: &Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let indent = indent.or(options.get("indent")?).filter(Value::is_true);
    options.assert_all_used()?;
    // Measured by a meter of its own: what is made here is not yet what comes out.
    let (left, too_much) = walkable(state);
    let value = super::json::to_value(value, &Meter::new(left)).map_err(|error| match error.kind {
        RenderErrorKind::TooLarge => too_much(),
        _ => error.into_engine(),
    })?;
    let json = if indent.is_some() { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
    let json = json.map_err(|error| invalid(error.to_string()))?;
    pay_for_walk(state, json.len())?;
    Ok(json)
}

fn join(
    state: &State<'_, '_>,
    value: &Value,
    between: Option<Value>,
    attribute: Option<Value>,
    options: Kwargs,
) -> Result<String, Error> {
    let between = between.or(options.get("d")?).unwrap_or_else(|| Value::from(""));
    let between = plain_text(&between)?;
    let attribute = attribute.or(options.get("attribute")?);
    options.assert_all_used()?;
    let room = room(state);
    let mut joined = String::new();
    let mut first = true;
    compare::each(state, value, |item| {
        if !std::mem::take(&mut first) {
            joined.push_str(&between);
        }
        let item = match attribute.as_ref().and_then(Value::as_str) {
            Some(path) => follow(&item, path)?,
            None => item,
        };
        match item.as_str() {
            Some(plain) => joined.push_str(plain),
            None => joined.push_str(&text(state, &item)?),
        }
        // The last piece made is within the room, and so this is at most twice of it.
        if joined.len() > room {
            return Err(too_large("the joined text is too large"));
        }
        Ok(())
    })?;
    Ok(joined)
}

fn replace(
    state: &State<'_, '_>,
    value: &Value,
    from: &Value,
    to: &Value,
    count: Option<usize>,
) -> Result<String, Error> {
    let (value, from, to) = (plain_text(value)?, sought(state, from)?, plain_text(to)?);
    let count = count.unwrap_or(usize::MAX);
    // Counted before it is made: replacing each letter by a long text multiplies.
    let found = value.matches(from.as_ref()).take(count).count();
    if value.len().saturating_add(found.saturating_mul(to.len())) > room(state) {
        return Err(too_large("the text with all replaced is too large"));
    }
    state.consume_fuel(found as u64 * to.len() as u64 / 64)?;
    Ok(value.replacen(from.as_ref(), &to, count))
}

fn trim(value: &Value, letters: Option<&str>) -> Result<String, Error> {
    let value = plain_text(value)?;
    let Some(letters) = letters else { return Ok(value.trim().to_owned()) };
    // Each letter of the text is compared with each of these.
    if letters.len() > 256 {
        return Err(invalid("`trim` takes at most 256 bytes of letters"));
    }
    Ok(value.trim_matches(|letter| letters.contains(letter)).to_owned())
}

fn capitalize(value: &Value) -> Result<String, Error> {
    let value = plain_text(value)?;
    let mut letters = value.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    Ok(first.chain(letters.as_str().to_lowercase().chars()).collect())
}

fn split(state: &State<'_, '_>, value: &Value, separator: Option<Value>, most: Option<i64>) -> Result<Value, Error> {
    let value = plain_text(value)?;
    let most = most.and_then(|most| usize::try_from(most).ok()).map_or(MAX_PIECES + 1, |most| most.saturating_add(1));
    let separator = separator.filter(|separator| !separator.is_none());
    match &separator {
        Some(separator) => {
            let separator = sought(state, separator)?;
            if separator.is_empty() {
                return Err(invalid("`split` needs a separator that is not empty"));
            }
            pieces(value.splitn(most.min(MAX_PIECES + 1), separator.as_ref()))
        }
        None => pieces(value.split_whitespace()),
    }
}

fn lines(value: &Value) -> Result<Value, Error> {
    pieces(plain_text(value)?.lines())
}

fn pieces<'t>(pieces: impl Iterator<Item = &'t str>) -> Result<Value, Error> {
    let pieces = pieces.take(MAX_PIECES + 1).map(Value::from).collect::<Vec<_>>();
    if pieces.len() > MAX_PIECES {
        return Err(too_large(format!("the text has more than {MAX_PIECES} pieces")));
    }
    Ok(Value::from(pieces))
}

/// Of numbers only: the sum of texts or lists would be built again for each item.
fn sum(state: &State<'_, '_>, values: &Value, attribute: Option<&str>, options: Kwargs) -> Result<Value, Error> {
    let attribute = attribute.or(options.get("attribute")?);
    let (mut whole, mut broken, mut exact) = (0_i128, 0.0_f64, true);
    let start = options.get::<Option<Value>>("start")?;
    options.assert_all_used()?;
    let mut add = |value: Value| {
        if value.is_integer() || value.kind() == ValueKind::Bool {
            whole = whole.checked_add(i128::try_from(value)?).ok_or_else(|| invalid("the sum is too large"))?;
        } else if value.is_number() {
            broken += f64::try_from(value)?;
            exact = false;
        } else {
            return Err(invalid(format!("`sum` adds numbers, not a {}", value.kind())));
        }
        Ok(())
    };
    start.map_or(Ok(()), &mut add)?;
    compare::each(state, values, |item| add(attribute.map_or(Ok(item.clone()), |path| follow(&item, path))?))?;
    if exact {
        return Ok(i64::try_from(whole).map_or_else(|_| Value::from(whole), Value::from));
    }
    Ok(Value::from(broken + whole as f64))
}

/// `map('upper')`, or `map(attribute='name', default='')`.
fn map(
    state: &mut State<'_, '_>,
    value: &Value,
    filter: Option<&str>,
    args: Rest<Value>,
    options: Kwargs,
) -> Result<Vec<Value>, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let attribute = options.get::<Option<&str>>("attribute")?;
    let default = options.get::<Option<Value>>("default")?;
    options.assert_all_used()?;
    let size = |value: &Value| 1 + value.as_str().map_or(0, |text| text.len() as u64 / 64);
    let mut mapped = Vec::new();
    let mut operands = Vec::with_capacity(args.len() + 1);
    for item in value.try_iter()?.checked() {
        let item = item?;
        state.consume_fuel(size(&item))?;
        mapped.push(match (attribute, filter) {
            (Some(path), None) => match (follow(&item, path)?, &default) {
                (found, Some(default)) if found.is_undefined() => default.clone(),
                (found, _) => found,
            },
            (None, Some(filter)) => {
                operands.clear();
                operands.push(item);
                operands.extend_from_slice(&args);
                let made = state.apply_filter(filter, &operands)?;
                state.consume_fuel(size(&made))?;
                made
            }
            _ => return Err(invalid("`map` takes a filter's name, or `attribute='name'`")),
        });
    }
    Ok(mapped)
}

fn choose_by<const WANTED: bool>(
    state: &mut State<'_, '_>,
    value: &Value,
    attribute: &str,
    test: Option<&str>,
    args: Rest<Value>,
) -> Result<Vec<Value>, Error> {
    choose(state, value, Some(attribute), test, &args, WANTED)
}

/// The items that pass the test, or those that do not. (minijinja's makes the test's name of any value.)
fn choose(
    state: &mut State<'_, '_>,
    value: &Value,
    attribute: Option<&str>,
    test: Option<&str>,
    args: &[Value],
    wanted: bool,
) -> Result<Vec<Value>, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let mut chosen = Vec::new();
    let mut operands = Vec::with_capacity(args.len() + 1);
    for item in value.try_iter()?.checked() {
        let item = item?;
        let tested = attribute.map_or(Ok(item.clone()), |path| follow(&item, path))?;
        state.consume_fuel(1 + tested.as_str().map_or(0, |text| text.len() as u64 / 64))?;
        let passes = match test {
            None => tested.is_true(),
            Some(test) => {
                operands.clear();
                operands.push(tested);
                operands.extend_from_slice(args);
                state.perform_test(test, &operands)?
            }
        };
        if passes == wanted {
            chosen.push(item);
        }
    }
    Ok(chosen)
}

fn group_by(state: &State<'_, '_>, value: Value, attribute: Option<&str>, options: Kwargs) -> Result<Value, Error> {
    let named = attribute.or(options.get("attribute")?).ok_or_else(|| invalid("`groupby` needs an attribute"))?;
    orderable(state, &value, Some(named), true)?;
    pay_for_sorting(state, value.len().unwrap_or(0))?;
    filters::groupby(value, attribute, options)
}

/// Whether the items, or what they have under the attributes (several with commas between), are texts, numbers,
/// truth values or null; and pays for comparing them. Lists and objects have no order that anyone means, and
/// comparing them may take long.
fn orderable(state: &State<'_, '_>, value: &Value, attribute: Option<&str>, sorts: bool) -> Result<(), Error> {
    let comparisons = if sorts { u64::from(value.len().unwrap_or(1 << 16).max(2).ilog2()) + 1 } else { 2 };
    let check = |key: &Value| {
        if key.as_object().is_some() {
            return Err(invalid("lists and objects have no order; name what to order by: `attribute='name'`"));
        }
        state.consume_fuel(key.as_str().map_or(0, |text| text.len() as u64 * comparisons / 64))
    };
    compare::each(state, value, |item| match attribute {
        None => check(&item),
        Some(paths) => paths.split(',').try_for_each(|path| {
            state.consume_fuel(1)?;
            check(&follow(&item, path.trim())?)
        }),
    })
}

fn pay_for_sorting(state: &State<'_, '_>, items: usize) -> Result<(), Error> {
    let levels = u64::from(items.max(2).ilog2()) + 1;
    state.consume_fuel((items as u64).saturating_mul(levels))
}

/// `a.b.0` in an item; undefined if it is not there.
fn follow(item: &Value, path: &str) -> Result<Value, Error> {
    // Each item of a list pays for the same path again.
    if path.len() > MAX_PATH_BYTES {
        return Err(invalid(format!("the name of an attribute has at most {MAX_PATH_BYTES} bytes")));
    }
    let mut at = item.clone();
    for step in path.split('.') {
        if at.is_undefined() {
            break;
        }
        at = match step.parse::<usize>() {
            Ok(index) => at.get_item_by_index(index)?,
            Err(_) => at.get_attr(step)?,
        };
    }
    Ok(at)
}

/// As in minijinja, with arithmetic that does not overflow.
fn range(first: i64, second: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (start, stop) = second.map_or((0, first), |stop| (first, stop));
    let step = step.unwrap_or(1);
    let distance = match step {
        0 => return Err(invalid("`range` needs a step that is not 0")),
        1.. => stop.saturating_sub(start).max(0).unsigned_abs(),
        _ => start.saturating_sub(stop).max(0).unsigned_abs(),
    };
    let items = distance.div_ceil(step.unsigned_abs());
    if items > MAX_RANGE {
        return Err(too_large(format!("`range` makes at most {MAX_RANGE} numbers, not {items}")));
    }
    let numbers = (0..items as usize).map(move |index| start + step * index as i64);
    Ok(Value::make_iterable(move || numbers.clone()))
}

/// `object.get('key', default)`, `.keys()`, `.values()`, `.items()`.
pub(super) fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if value.kind() != ValueKind::Map {
        return Err(Error::from(ErrorKind::UnknownMethod));
    }
    match (name, args) {
        ("get", [key, default @ ..]) if default.len() <= 1 => {
            let found = value.get_item(key)?;
            let default = default.first().cloned().unwrap_or(Value::from(()));
            Ok(if found.is_undefined() { default } else { found })
        }
        ("get", _) => Err(invalid("`get` takes a key and a default")),
        ("items", []) => filters::items(value),
        ("keys", []) => {
            let mut keys = Vec::new();
            compare::each(state, value, |key| {
                keys.push(key);
                Ok(())
            })?;
            Ok(Value::from(keys))
        }
        ("values", []) => method_values(state, value),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn method_values(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    if value.kind() != ValueKind::Map {
        return Err(invalid(format!("an object is needed here, not a {}", value.kind())));
    }
    let mut values = Vec::new();
    compare::each(state, value, |key| {
        values.push(value.get_item(&key)?);
        Ok(())
    })?;
    Ok(Value::from(values))
}
