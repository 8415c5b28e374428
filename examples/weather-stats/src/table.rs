//! Reads the weather from CSV.

/// The weather, day by day. Which columns there are, the data say.
#[derive(Debug, PartialEq)]
pub(crate) struct Table {
    /// The names of the columns of numbers.
    pub(crate) columns: Vec<String>,
    pub(crate) days: Vec<Day>,
    pub(crate) years: Years,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Day {
    pub(crate) year: u16,
    pub(crate) precipitation: f64,
    /// In the order of [`Table::columns`].
    pub(crate) values: Vec<f64>,
}

/// Both ends are included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Years {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BadTable {
    #[error("the weather is not CSV")]
    NotCsv(#[from] csv::Error),
    #[error("the weather has no column `{0}`")]
    NoColumn(&'static str),
    #[error("the weather has no days")]
    NoDays,
    #[error("line {line}: `{text}` is not {what}")]
    NoValue { line: u64, text: String, what: &'static str },
}

/// Columns that are no numbers.
const WORDS: [&str; 2] = ["date", "weather"];

impl Table {
    pub(crate) fn parse(text: &str) -> Result<Self, BadTable> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers()?.clone();
        let place = |name| header.iter().position(|column| column == name).ok_or(BadTable::NoColumn(name));
        let (date, precipitation) = (place("date")?, place("precipitation")?);
        let numbers: Vec<_> = header.iter().enumerate().filter(|(_, column)| !WORDS.contains(column)).collect();

        let mut days = Vec::new();
        for record in reader.records() {
            let record = record?;
            let number = |place: usize| record[place].parse().map_err(|_| no_value(&record, place, "a number"));
            days.push(Day {
                year: year(&record[date]).ok_or_else(|| no_value(&record, date, "a date like 2012/01/31"))?,
                precipitation: number(precipitation)?,
                values: numbers.iter().map(|(place, _)| number(*place)).collect::<Result<_, _>>()?,
            });
        }
        let years = days.iter().map(|day| day.year);
        let (Some(first), Some(last)) = (years.clone().min(), years.max()) else {
            return Err(BadTable::NoDays);
        };
        let columns = numbers.iter().map(|(_, column)| (*column).to_owned()).collect();
        Ok(Self { columns, days, years: Years { first, last } })
    }
}

fn year(date: &str) -> Option<u16> {
    let (year, _month_and_day) = date.split_once('/')?;
    year.parse().ok()
}

fn no_value(record: &csv::StringRecord, place: usize, what: &'static str) -> BadTable {
    let line = record.position().map_or(0, csv::Position::line);
    BadTable::NoValue { line, text: record[place].to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_their_names() {
        let table = Table::parse("wind,date,weather,precipitation\n1.5,2012/12/31,rain,3\n").unwrap();
        let day = Day { year: 2012, precipitation: 3.0, values: vec![1.5, 3.0] };
        assert_eq!(
            table,
            Table {
                columns: vec!["wind".to_owned(), "precipitation".to_owned()],
                days: vec![day],
                years: Years { first: 2012, last: 2012 }
            }
        );
    }

    #[test]
    fn a_bad_value_is_named_with_its_line() {
        let message = |text: &str| Table::parse(text).unwrap_err().to_string();
        assert_eq!(message("date,precipitation\n2012/01/01,0\n2012/01/02,wet\n"), "line 3: `wet` is not a number");
        assert_eq!(message("date,precipitation\nmonday,0\n"), "line 2: `monday` is not a date like 2012/01/31");
        assert_eq!(message("date,precipitation\n"), "the weather has no days");
        assert_eq!(message("date\n2012/01/01\n"), "the weather has no column `precipitation`");
    }
}
