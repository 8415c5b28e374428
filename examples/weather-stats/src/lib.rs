//! A Tradewind task that computes statistics over a real data set: four years of weather in Seattle.
//!
//! The way of the data: `table` reads the CSV text, `statistics` sums up numbers, the task here puts them together.

use std::collections::BTreeMap;

use tradewind_sdk::{Error, data, debug, info, task};

mod statistics;
mod table;

use statistics::Summary;
use table::{Table, Years};

const WEATHER: &str = include_str!("../data/seattle-weather.csv");

/// What to compute; everything may be left out.
#[data]
#[derive(Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct Question {
    /// The first year; without it, the first there is.
    from: Option<u16>,
    /// The last year, included; without it, the last there is.
    to: Option<u16>,
    /// Columns of numbers: `precipitation`, `temp_max`, `temp_min`, `wind`. Without any, all of them.
    columns: Vec<String>,
    /// Percentiles between 0 and 100; without any, the median.
    percentiles: Vec<f64>,
}

#[data]
#[derive(Debug)]
struct Answer {
    days: usize,
    years: Vec<Year>,
}

#[data]
#[derive(Debug)]
struct Year {
    year: u16,
    days: usize,
    /// Days with any precipitation.
    rainy_days: usize,
    columns: BTreeMap<String, Summary>,
}

/// What a caller may have got wrong. Programs find it in `error.data`, told apart by `kind`.
#[data]
#[derive(Debug, PartialEq, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum BadQuestion {
    #[error("there is no column `{column}` of numbers; use one of {}", known.join(", "))]
    UnknownColumn { column: String, known: Vec<String> },
    #[error("there is no weather from {from} to {to}; the data are of {first} to {last}")]
    NoSuchYears { from: u16, to: u16, first: u16, last: u16 },
    #[error("there is no percentile {percentile}; it lies between 0 and 100")]
    NoSuchPercentile { percentile: f64 },
}

/// Mean, minimum, maximum and percentiles of Seattle's weather, and its rainy days, for each year.
///
/// Numbers are rounded to two digits. Precipitation is in mm, temperatures are in °C, wind is in m/s.
#[task]
fn yearly(question: Question) -> Result<Answer, Error> {
    let table = Table::parse(WEATHER)?;
    let answer = answer(&table, &question).map_err(|bad| {
        // The data are part of the module: the same question fails the same way for ever.
        Error::failed(&bad).with_data(&bad).do_not_retry()
    })?;
    info!("{} days read, {} summed up", table.days.len(), answer.days);
    Ok(answer)
}

fn answer(table: &Table, question: &Question) -> Result<Answer, BadQuestion> {
    let columns = columns(table, question)?;
    let years = years(table, question)?;
    let percentiles = percentiles(question)?;

    let years: Vec<Year> = (years.first..=years.last)
        .map(|year| {
            let days: Vec<_> = table.days.iter().filter(|day| day.year == year).collect();
            let summarise = |&column: &usize| {
                let values = days.iter().map(|day| day.values[column]).collect();
                Some((table.columns[column].clone(), Summary::of(values, percentiles)?))
            };
            let columns = columns.iter().filter_map(summarise).collect();
            let rainy_days = days.iter().filter(|day| day.precipitation > 0.0).count();
            debug!("{year}: {} days, {rainy_days} with rain", days.len());
            Year { year, days: days.len(), rainy_days, columns }
        })
        .collect();
    Ok(Answer { days: years.iter().map(|year| year.days).sum(), years })
}

/// The places of the wanted columns.
fn columns(table: &Table, question: &Question) -> Result<Vec<usize>, BadQuestion> {
    if question.columns.is_empty() {
        return Ok((0..table.columns.len()).collect());
    }
    let place = |wanted: &String| {
        table
            .columns
            .iter()
            .position(|column| column == wanted)
            .ok_or_else(|| BadQuestion::UnknownColumn { column: wanted.clone(), known: table.columns.clone() })
    };
    question.columns.iter().map(place).collect()
}

fn years(table: &Table, question: &Question) -> Result<Years, BadQuestion> {
    let Years { first, last } = table.years;
    let (from, to) = (question.from.unwrap_or(first), question.to.unwrap_or(last));
    if from > to || from > last || to < first {
        return Err(BadQuestion::NoSuchYears { from, to, first, last });
    }
    Ok(Years { first: from.max(first), last: to.min(last) })
}

fn percentiles(question: &Question) -> Result<&[f64], BadQuestion> {
    match question.percentiles.iter().find(|percentile| !(0.0..=100.0).contains(*percentile)) {
        Some(&percentile) => Err(BadQuestion::NoSuchPercentile { percentile }),
        None if question.percentiles.is_empty() => Ok(&[50.0]),
        None => Ok(&question.percentiles),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tradewind_sdk::{Value, json, serde_json, testing};

    fn refused(question: Value, message: &str, data: Value) {
        assert_eq!(testing::run("yearly", question), Err(Error::failed(message).with_data(data).do_not_retry()));
    }

    #[test]
    fn the_documented_input_gives_the_expected_output() {
        let question =
            json!({"from": 2013, "to": 2014, "columns": ["precipitation", "temp_max"], "percentiles": [50, 90]});
        let expected: Value = serde_json::from_str(include_str!("../expected.json")).unwrap();
        assert_eq!(testing::run("yearly", question), Ok(expected[0]["result"].clone()));
    }

    #[test]
    fn without_a_question_everything_is_answered() {
        let answer = yearly(Question::default()).unwrap();
        assert_eq!((answer.days, answer.years.len()), (1461, 4));
        let columns: Vec<_> = answer.years[0].columns.keys().collect();
        assert_eq!(columns, ["precipitation", "temp_max", "temp_min", "wind"]);
    }

    #[test]
    fn years_beyond_the_data_are_left_out() {
        let answer = yearly(Question { from: Some(1990), to: Some(2012), ..Question::default() }).unwrap();
        assert_eq!(answer.years.iter().map(|year| (year.year, year.days)).collect::<Vec<_>>(), [(2012, 366)]);
    }

    #[test]
    fn what_it_did_is_in_the_log() {
        let (_, lines) = testing::logged(|| yearly(Question { from: Some(2015), ..Question::default() }));
        assert_eq!(lines, ["DEBUG 2015: 365 days, 144 with rain", "INFO 1461 days read, 365 summed up"]);
    }

    #[test]
    fn an_unknown_column_is_refused_with_those_there_are() {
        refused(
            json!({"columns": ["humidity"]}),
            "there is no column `humidity` of numbers; use one of precipitation, temp_max, temp_min, wind",
            json!({
                "kind": "unknown_column", "column": "humidity",
                "known": ["precipitation", "temp_max", "temp_min", "wind"]
            }),
        );
    }

    #[test]
    fn years_without_data_are_refused_with_those_there_are() {
        refused(
            json!({"from": 2020, "to": 2021}),
            "there is no weather from 2020 to 2021; the data are of 2012 to 2015",
            json!({"kind": "no_such_years", "from": 2020, "to": 2021, "first": 2012, "last": 2015}),
        );
        refused(
            json!({"from": 2014, "to": 2013}),
            "there is no weather from 2014 to 2013; the data are of 2012 to 2015",
            json!({"kind": "no_such_years", "from": 2014, "to": 2013, "first": 2012, "last": 2015}),
        );
    }

    #[test]
    fn a_percentile_beyond_100_is_refused() {
        refused(
            json!({"percentiles": [50, 101.5]}),
            "there is no percentile 101.5; it lies between 0 and 100",
            json!({"kind": "no_such_percentile", "percentile": 101.5}),
        );
    }
}
