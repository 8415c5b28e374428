//! The tasks of an ETL: airports are split by state, summed up state by state, and published if enough of them are complete.
//!
//! `airports` knows the data and nothing of Tradewind; which task comes after which is said by `dag.yaml` alone.

use std::collections::BTreeSet;

use tradewind_sdk::{Context, Error, data, info, json, task, warn};

mod airports;

use airports::{Airport, Part, State};

const AIRPORTS: &str = include_str!("../data/airports.csv");

#[data]
#[serde(deny_unknown_fields)]
struct Selection {
    /// Two letters each; without any, all states there are.
    states: BTreeSet<String>,
}

#[data]
struct Extract {
    parts: Vec<Part>,
}

/// Splits the airports by state: how many parts there will be, nobody knows before it has run.
#[task]
fn extract(Selection { states }: Selection) -> Result<Extract, Error> {
    let parts = airports::split(AIRPORTS, &states)?;
    let found: BTreeSet<_> = parts.iter().map(|part| part.state.clone()).collect();
    let missing: Vec<_> = states.difference(&found).collect();
    if !missing.is_empty() {
        // The data are part of the module: the same question fails the same way for ever.
        let message = format!("there are no airports in {}", words(&missing));
        return Err(Error::failed(message).with_data(json!({"states": missing})).do_not_retry());
    }
    info!("{} bytes in {} parts", AIRPORTS.len(), parts.len());
    Ok(Extract { parts })
}

#[data]
#[serde(deny_unknown_fields)]
struct ToParse {
    part: Part,
}

/// Reads the airports of one state and sums them up. Of each run there are as many instances as states.
#[task]
fn parse(ToParse { part }: ToParse) -> Result<State, Error> {
    let sum = airports::sum_up(&part)?;
    if !sum.incomplete.is_empty() {
        warn!("without a city or a state: {}", words(&sum.incomplete));
    }
    Ok(sum)
}

#[data]
#[serde(deny_unknown_fields)]
struct ToChoose {
    states: Vec<State>,
    /// From 0 to 1.
    max_incomplete: f64,
}

/// Names the task to follow: `load.publish`, or `load.quarantine` where too many rows are incomplete.
#[task]
fn choose(ToChoose { states, max_incomplete }: ToChoose) -> &'static str {
    let incomplete: usize = states.iter().map(|state| state.incomplete.len()).sum();
    let rows = incomplete + states.iter().map(|state| state.airports).sum::<usize>();
    let share = incomplete as f64 / rows.max(1) as f64;
    info!(
        "{incomplete} of {rows} rows are incomplete: {:.1} %, and {:.1} % may be",
        share * 100.0,
        max_incomplete * 100.0
    );
    if share <= max_incomplete { "load.publish" } else { "load.quarantine" }
}

#[data]
#[serde(deny_unknown_fields)]
struct ToLoad {
    states: Vec<State>,
}

#[data]
struct Published {
    airports: usize,
    states: usize,
    /// The state with the most airports.
    largest: String,
    northernmost: Airport,
}

/// Publishes what is complete. At its first try it always fails, to show a retry.
#[task]
fn publish(context: &Context, ToLoad { states }: ToLoad) -> Result<Published, Error> {
    if context.try_number() == 1 {
        return Err(Error::failed("the catalogue is busy, as it always is at the first try"));
    }
    let nothing = || Error::failed("there is nothing to publish").do_not_retry();
    let airports = states.iter().map(|state| state.airports).sum();
    let complete = || states.iter().filter(|state| state.airports > 0);
    let largest = complete().max_by_key(|state| state.airports).ok_or_else(nothing)?.state.clone();
    let all_northernmost = states.iter().filter_map(|state| state.northernmost.clone());
    let northernmost = all_northernmost.max_by(|a, b| a.latitude.total_cmp(&b.latitude)).ok_or_else(nothing)?;
    info!("published at try {}", context.try_number());
    Ok(Published { airports, states: complete().count(), largest, northernmost })
}

#[data]
struct Quarantined {
    /// Codes of airports, for somebody to look at.
    incomplete: Vec<String>,
}

/// Puts aside what is incomplete, and publishes nothing.
#[task]
fn quarantine(ToLoad { states }: ToLoad) -> Quarantined {
    Quarantined { incomplete: states.into_iter().flat_map(|state| state.incomplete).collect() }
}

#[data]
#[serde(deny_unknown_fields)]
struct ToReport {
    /// None where `publish` was skipped.
    published: Option<Published>,
    /// None where `quarantine` was skipped.
    quarantined: Option<Quarantined>,
}

/// Says what became of the airports.
#[task]
fn report(ToReport { published, quarantined }: ToReport) -> String {
    let published = published.map(|Published { airports, states, largest, northernmost }| {
        let Airport { iata, name, latitude } = northernmost;
        format!("{airports} airports of {states} states are published, most of them in {largest}; the northernmost is {name} ({iata}), at {latitude:.2}°")
    });
    let quarantined =
        quarantined.map(|Quarantined { incomplete }| format!("nothing is published: look at {}", words(&incomplete)));
    let report = Vec::from_iter(published.into_iter().chain(quarantined)).join("\n");
    info!("{report}");
    report
}

fn words(words: &[impl AsRef<str>]) -> String {
    words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tradewind_sdk::{Value, testing};

    fn sums(states: &[&str]) -> Value {
        let Extract { parts } =
            extract(Selection { states: states.iter().map(|it| (*it).to_owned()).collect() }).unwrap();
        parts.into_iter().map(|part| testing::run("parse", json!({"part": part})).unwrap()).collect()
    }

    fn chosen(states: &Value, max_incomplete: f64) -> Value {
        testing::run("choose", json!({"states": states, "max_incomplete": max_incomplete})).unwrap()
    }

    #[test]
    fn all_airports_are_good_enough_and_some_states_are_not() {
        assert_eq!(chosen(&sums(&[]), 0.01), "load.publish");
        assert_eq!(chosen(&sums(&["HI", "NA"]), 0.01), "load.quarantine");
    }

    #[test]
    fn as_many_may_be_incomplete_as_are_allowed() {
        let states = json!([{"state": "AK", "airports": 3, "northernmost": null, "incomplete": ["X"]}]);
        assert_eq!([0.24, 0.25].map(|share| chosen(&states, share)), ["load.quarantine", "load.publish"]);
        assert_eq!(chosen(&json!([]), 0.0), "load.publish");
    }

    #[test]
    fn states_that_are_not_there_are_named_and_another_try_is_not_made() {
        let expected = Error::failed("there are no airports in XX, YY").with_data(json!({"states": ["XX", "YY"]}));
        assert_eq!(testing::run("extract", json!({"states": ["YY", "AK", "XX"]})), Err(expected.do_not_retry()));
    }

    #[test]
    fn publishing_succeeds_at_the_second_try() {
        let states = json!({"states": sums(&[])});
        let busy = "the catalogue is busy, as it always is at the first try";
        assert_eq!(testing::run("publish", &states), Err(Error::failed(busy)));
        let second = testing::context().with_try_number(2).build();
        let published = testing::run_in(&second, "publish", &states).unwrap();
        assert_eq!((&published["airports"], &published["largest"]), (&json!(3364), &json!("AK")));
    }

    #[test]
    fn a_report_is_of_the_side_that_was_taken() {
        let report = |input: Value| testing::run("report", input).unwrap();
        let quarantined = json!({"published": null, "quarantined": {"incomplete": ["CLD", "HHH"]}});
        assert_eq!(report(quarantined), "nothing is published: look at CLD, HHH");
        let northernmost = json!({"iata": "BRW", "name": "Wiley Post", "latitude": 71.2854});
        let published = json!({"airports": 2, "states": 1, "largest": "AK", "northernmost": northernmost});
        assert_eq!(
            report(json!({"published": published, "quarantined": null})),
            "2 airports of 1 states are published, most of them in AK; the northernmost is Wiley Post (BRW), at 71.29°"
        );
    }
}
