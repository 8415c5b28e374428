//! Between JSON and the values of templates; or why a template's value is not JSON.

use minijinja::Value;
use minijinja::value::ValueKind;
use serde::Deserialize;
use serde_json::{Map, Number, Value as Json};

use super::errors::{RenderError, RenderErrorKind as Kind, kind_of};
use super::operators::Meter;

/// One level less than serde_json reads.
const MAX_DEPTH: usize = 127;

pub(super) fn from_value(value: &Json) -> Value {
    Value::deserialize(value).expect("every JSON value is a value of templates")
}

/// Integers stay exact, floats are as serde_json makes them, what can be iterated becomes a list.
pub(super) fn to_value(value: &Value, meter: &Meter) -> Result<Json, RenderError> {
    convert(value, meter, 0)
}

fn convert(value: &Value, meter: &Meter, depth: usize) -> Result<Json, RenderError> {
    let failed = |message: &str| Err(RenderError::new(Kind::Failed, message));
    if depth > MAX_DEPTH {
        return failed("the value is nested deeper than 127 levels");
    }
    Ok(match value.kind() {
        ValueKind::Undefined => {
            return Err(RenderError::new(Kind::Undefined, "there is no value (an `if` without `else` has none)"));
        }
        ValueKind::None => {
            take(meter, 4)?;
            Json::Null
        }
        ValueKind::Bool => {
            take(meter, 5)?;
            Json::Bool(value.is_true())
        }
        ValueKind::Number => {
            take(meter, 8)?;
            Json::Number(number(value)?)
        }
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            take(meter, text.len() + 2)?;
            Json::String(text.to_owned())
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut list = Vec::new();
            for item in value.try_iter().map_err(from_engine)?.checked() {
                take(meter, 1)?;
                list.push(convert(&item.map_err(from_engine)?, meter, depth + 1)?);
            }
            take(meter, 2)?;
            Json::Array(list)
        }
        ValueKind::Map => {
            let mut object = Map::new();
            for key in value.try_iter().map_err(from_engine)?.checked() {
                let key = key.map_err(from_engine)?;
                let item = value.get_item(&key).map_err(from_engine)?;
                let key = match key.kind() {
                    ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                    ValueKind::Number if key.is_integer() => key.to_string(),
                    _ => return failed("the key of an object is a text"),
                };
                take(meter, key.len() + 4)?;
                object.insert(key, convert(&item, meter, depth + 1)?);
            }
            take(meter, 2)?;
            Json::Object(object)
        }
        ValueKind::Bytes => return failed("bytes are not JSON"),
        ValueKind::Plain => return failed("a function is not a value; call it"),
        _ => return Err(error_of(value).map_or_else(|| RenderError::new(Kind::Failed, "not a value"), from_engine)),
    })
}

fn number(value: &Value) -> Result<Number, RenderError> {
    if !value.is_integer() {
        let float = f64::try_from(value.clone()).map_err(from_engine)?;
        return Number::from_f64(float)
            .ok_or_else(|| RenderError::new(Kind::Failed, format!("{float} is not a JSON number")));
    }
    match (i64::try_from(value.clone()), u64::try_from(value.clone())) {
        (Ok(number), _) => Ok(number.into()),
        (_, Ok(number)) => Ok(number.into()),
        _ => Err(RenderError::new(Kind::Failed, format!("{value} does not fit in 64 bits"))),
    }
}

fn take(meter: &Meter, bytes: usize) -> Result<(), RenderError> {
    meter.take(bytes).map_err(from_engine)
}

/// The error that an invalid value holds: minijinja hands it out only where values are visited.
pub(super) fn error_of(value: &Value) -> Option<minijinja::Error> {
    if value.kind() != ValueKind::Invalid {
        return None;
    }
    Value::from(vec![value.clone()]).try_iter().ok()?.checked().find_map(Result::err)
}

fn from_engine(error: minijinja::Error) -> RenderError {
    let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    RenderError::new(kind_of(&error), message)
}
