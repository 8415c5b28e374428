//! Reads airports from CSV, splits them by state, and sums up a state.

use std::collections::{BTreeMap, BTreeSet};

use tradewind_sdk::data;

/// The airports of one state, still as text.
#[data]
#[derive(Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) state: String,
    /// With the header.
    csv: String,
}

/// What is known of a state.
#[data]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) state: String,
    /// Those that are complete.
    pub(crate) airports: usize,
    /// None where no airport is complete.
    pub(crate) northernmost: Option<Airport>,
    /// The codes of those without a city or a state.
    pub(crate) incomplete: Vec<String>,
}

#[data]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Airport {
    pub(crate) iata: String,
    pub(crate) name: String,
    pub(crate) latitude: f64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BadAirports {
    #[error("the airports are not CSV")]
    NotCsv(#[from] csv::Error),
    #[error("the airports have no column `{0}`")]
    NoColumn(&'static str),
    #[error("line {line}: `{text}` is not a latitude")]
    NoLatitude { line: u64, text: String },
}

/// How the data write what is not known.
const UNKNOWN: &str = "NA";

/// One part for each state, in the order of their names: all of them, or those that are `wanted`.
pub(crate) fn split(text: &str, wanted: &BTreeSet<String>) -> Result<Vec<Part>, BadAirports> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers()?.clone();
    let state = column(&header, "state")?;
    let mut by_state = BTreeMap::<String, Vec<csv::StringRecord>>::new();
    for record in reader.records() {
        let record = record?;
        if wanted.is_empty() || wanted.contains(&record[state]) {
            by_state.entry(record[state].to_owned()).or_default().push(record);
        }
    }
    by_state.into_iter().map(|(state, records)| Ok(Part { state, csv: written(&header, &records)? })).collect()
}

/// Reads a part and sums it up.
pub(crate) fn sum_up(part: &Part) -> Result<State, BadAirports> {
    let mut reader = csv::Reader::from_reader(part.csv.as_bytes());
    let header = reader.headers()?.clone();
    let [iata, name, city, state, latitude] =
        ["iata", "name", "city", "state", "latitude"].map(|it| column(&header, it));
    let (iata, name, city, state, latitude) = (iata?, name?, city?, state?, latitude?);

    let mut sum = State { state: part.state.clone(), airports: 0, northernmost: None, incomplete: Vec::new() };
    for record in reader.records() {
        let record = record?;
        if [city, state].iter().any(|&place| [UNKNOWN, ""].contains(&&record[place])) {
            sum.incomplete.push(record[iata].to_owned());
            continue;
        }
        let latitude = record[latitude].parse().map_err(|_| BadAirports::NoLatitude {
            line: record.position().map_or(0, csv::Position::line),
            text: record[latitude].to_owned(),
        })?;
        sum.airports += 1;
        if sum.northernmost.as_ref().is_none_or(|airport| airport.latitude < latitude) {
            sum.northernmost = Some(Airport { iata: record[iata].to_owned(), name: record[name].to_owned(), latitude });
        }
    }
    Ok(sum)
}

fn column(header: &csv::StringRecord, name: &'static str) -> Result<usize, BadAirports> {
    header.iter().position(|column| column == name).ok_or(BadAirports::NoColumn(name))
}

fn written(header: &csv::StringRecord, records: &[csv::StringRecord]) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in std::iter::once(header).chain(records) {
        writer.write_record(record)?;
    }
    let bytes = writer.into_inner().expect("a Vec can be written to");
    Ok(String::from_utf8(bytes).expect("text comes from text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: &str = "iata,name,city,state,latitude\n\
        BRW,Wiley Post,Barrow,AK,71.2\nHNL,Honolulu,Honolulu,HI,21.3\nANC,\"Anchorage, Ted Stevens\",Anchorage,AK,61.1\n\
        CLD,Palomar,NA,NA,33.1\nX,No city,,HI,20\n";

    fn sums(text: &str) -> Result<Vec<State>, BadAirports> {
        split(text, &BTreeSet::new())?.iter().map(sum_up).collect()
    }

    #[test]
    fn there_is_a_part_for_each_state_and_each_part_is_a_table() {
        let parts = split(FIVE, &BTreeSet::new()).unwrap();
        assert_eq!(parts.iter().map(|part| &*part.state).collect::<Vec<_>>(), ["AK", "HI", "NA"]);
        let alaska = "iata,name,city,state,latitude\n\
            BRW,Wiley Post,Barrow,AK,71.2\nANC,\"Anchorage, Ted Stevens\",Anchorage,AK,61.1\n";
        assert_eq!(parts[0].csv, alaska);
    }

    #[test]
    fn only_the_wanted_states_are_split() {
        let parts = split(FIVE, &["HI".to_owned(), "XX".to_owned()].into()).unwrap();
        assert_eq!(parts.iter().map(|part| &*part.state).collect::<Vec<_>>(), ["HI"]);
    }

    #[test]
    fn a_row_without_a_city_or_a_state_is_incomplete() {
        let sums = sums(FIVE).unwrap();
        let incomplete: Vec<_> = sums.iter().map(|sum| (sum.airports, sum.incomplete.join(" "))).collect();
        assert_eq!(incomplete, [(2, String::new()), (1, "X".to_owned()), (0, "CLD".to_owned())]);
    }

    #[test]
    fn of_a_state_the_northernmost_airport_is_known() {
        let sums = sums(FIVE).unwrap();
        let wiley_post = Airport { iata: "BRW".to_owned(), name: "Wiley Post".to_owned(), latitude: 71.2 };
        assert_eq!((&sums[0].northernmost, &sums[2].northernmost), (&Some(wiley_post), &None));
    }

    #[test]
    fn what_is_wrong_with_a_table_is_named() {
        let message = |text: &str| sums(text).unwrap_err().to_string();
        assert_eq!(message("iata\nBRW\n"), "the airports have no column `state`");
        assert_eq!(message("state,iata,name,city\nAK,BRW,a,b\n"), "the airports have no column `latitude`");
        let north = "state,iata,name,city,latitude\nAK,BRW,a,b,71\nAK,ANC,a,b,north\n";
        assert_eq!(message(north), "line 3: `north` is not a latitude");
    }
}
