//! Dates in templates: Airflow's texts, and its filters that make one of another.

use jiff::Timestamp;
use jiff::civil::Date;
use minijinja::{Environment, Error, Value};

use super::errors::invalid;
use super::filters::plain_text;

type Format = fn(Timestamp) -> String;

/// The texts a date is shown as, by the names Airflow gives them.
pub(super) const FORMATS: [(&str, Format); 5] = [
    ("ds", |time| time.strftime("%Y-%m-%d").to_string()),
    ("ds_nodash", |time| time.strftime("%Y%m%d").to_string()),
    ("ts", iso),
    ("ts_nodash", |time| time.strftime("%Y%m%dT%H%M%S").to_string()),
    ("ts_nodash_with_tz", |time| time.strftime("%Y%m%dT%H%M%S+0000").to_string()),
];

/// `2026-01-01T00:00:00+00:00`; microseconds only where there are any, as Python prints it.
pub(super) fn iso(time: Timestamp) -> String {
    match time.subsec_nanosecond() / 1_000 {
        0 => time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string(),
        microseconds => format!("{}.{microseconds:06}+00:00", time.strftime("%Y-%m-%dT%H:%M:%S")),
    }
}

pub(super) fn add_to(environment: &mut Environment<'static>) {
    for (name, format) in FORMATS {
        environment.add_filter(name, move |value: &Value| parse(value).map(format));
    }
}

fn parse(value: &Value) -> Result<Timestamp, Error> {
    let text = plain_text(value)?;
    let midnight = |date: Date| date.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp());
    let time = text.parse::<Timestamp>().or_else(|_| text.parse::<Date>().and_then(midnight));
    time.map_err(|_| {
        let start = text.chars().take(40).collect::<String>();
        invalid(format!("`{start}` is not a date; dates look like 2026-01-01 or 2026-01-01T00:00:00+00:00"))
    })
}
