//! Reads what holds for the DAG as a whole.

use super::Outside;
use super::fields::{Fields, Known, Reader, Spot};
use super::params;
use crate::dag::definition::{Date, Settings};
use crate::dag::finding::{Finding, shown};
use crate::dag::source::Kind;
use crate::model::dag_names::DagId;

pub(super) const DAG: Known = Known {
    on: "a DAG",
    lists: &[&[
        "dag_id",
        "description",
        "doc_md",
        "tags",
        "schedule",
        "timezone",
        "start_date",
        "end_date",
        "catchup",
        "max_active_runs",
        "dagrun_timeout",
        "fail_fast",
        "params",
        "default_args",
        "tasks",
        "groups",
    ]],
    refused: &[],
};

/// A list of DAGs shows it with each.
const MAX_DESCRIPTION_CHARS: usize = 4_000;
const MAX_TAG_CHARS: usize = 100;
const MAX_TAGS: usize = 100;
const MAX_RUNS: u32 = 100_000;

pub(super) fn dag_id(reader: &mut Reader, fields: &Fields<'_>, dag: &Spot<'_>) -> Option<DagId> {
    match fields.with_null("dag_id") {
        Some(spot) => reader.parsed(spot, "bad_id", "a text"),
        None => {
            let finding = Finding::new("", "missing_key", "the DAG has no `dag_id`").at(dag.node.place);
            reader.findings.add(finding.remedy("give it a name: `dag_id: etl`"));
            None
        }
    }
}

pub(super) fn settings(reader: &mut Reader, fields: &Fields<'_>, outside: &Outside<'_>) -> Settings {
    let default = Settings::default();
    schedule(reader, fields);
    let mut text = |key| fields.get(key).and_then(|spot| reader.text(spot)).map(str::to_owned);
    let (description, doc_md) = (text("description"), text("doc_md"));
    check_description(reader, fields, description.as_deref());
    let mut bool = |key| fields.get(key).and_then(|spot| reader.bool(spot)).unwrap_or_default();
    let (fail_fast, catchup) = (bool("fail_fast"), bool("catchup"));
    let (start_date, end_date) = (date(reader, fields, "start_date"), date(reader, fields, "end_date"));
    Settings {
        description,
        doc_md,
        tags: tags(reader, fields),
        params: fields.get("params").map(|spot| params::read(reader, spot, outside)).unwrap_or_default(),
        max_active_runs: fields
            .get("max_active_runs")
            .and_then(|spot| reader.count(spot, MAX_RUNS))
            .unwrap_or(default.max_active_runs),
        dagrun_timeout: dagrun_timeout(reader, fields),
        fail_fast,
        timezone: timezone(reader, fields, outside).unwrap_or(default.timezone),
        start_date,
        end_date,
        catchup,
    }
}

fn schedule(reader: &mut Reader, fields: &Fields<'_>) {
    if let Some(spot) = fields.get("schedule")
        && !matches!(spot.node.kind, Kind::Broken)
    {
        let message = "this version of the server has no schedules yet: a DAG runs when it is triggered";
        let remedy = "remove `schedule`, or write null, and trigger runs from outside";
        reader.findings.add(spot.finding("no_schedules_yet", message).remedy(remedy));
    }
}

fn check_description(reader: &mut Reader, fields: &Fields<'_>, description: Option<&str>) {
    if let Some(spot) = fields.get("description")
        && description.is_some_and(|text| text.chars().count() > MAX_DESCRIPTION_CHARS)
    {
        let message = format!("the description is longer than {MAX_DESCRIPTION_CHARS} characters");
        reader.findings.add(spot.finding("description_too_long", message).remedy("put the rest into `doc_md`"));
    }
}

fn tags(reader: &mut Reader, fields: &Fields<'_>) -> std::collections::BTreeSet<String> {
    let Some(spot) = fields.get("tags") else { return Default::default() };
    let (tags, _) = reader.texts(spot, "a text");
    if tags.len() > MAX_TAGS {
        let message = format!("the DAG has {} tags, the limit is {MAX_TAGS}", tags.len());
        reader.findings.add(spot.finding("too_many_tags", message).remedy("take some away"));
    }
    for (tag, spot) in &tags {
        if tag.is_empty() || tag.chars().count() > MAX_TAG_CHARS {
            let finding = spot.finding("bad_tag_name", format!("`{}` is not a tag", shown(tag)));
            reader.findings.add(finding.remedy(format!("use 1 to {MAX_TAG_CHARS} characters")));
        }
    }
    tags.into_iter().map(|(tag, _)| tag.to_owned()).collect()
}

fn dagrun_timeout(reader: &mut Reader, fields: &Fields<'_>) -> Option<crate::model::Span> {
    let spot = fields.get("dagrun_timeout")?;
    let span: crate::model::Span = reader.parsed(spot, "bad_span", "a length of time, as in 30m or 1h30m")?;
    if span == crate::model::Span::ZERO {
        let finding = spot.finding("out_of_range", "`dagrun_timeout` cannot be 0s");
        reader.findings.add(finding.remedy("leave it out for runs without a time-out"));
        return None;
    }
    Some(span)
}

fn timezone(reader: &mut Reader, fields: &Fields<'_>, outside: &Outside<'_>) -> Option<String> {
    let spot = fields.get("timezone")?;
    let name = reader.text(spot)?;
    if !(outside.is_timezone)(name) {
        let message = format!("`{}` is not a time zone", shown(name));
        let remedy = "write a name of the IANA database, as in Europe/Berlin, or UTC";
        reader.findings.add(spot.finding("bad_timezone", message).remedy(remedy));
        return None;
    }
    Some(name.to_owned())
}

fn date(reader: &mut Reader, fields: &Fields<'_>, key: &str) -> Option<Date> {
    let spot = fields.get(key)?;
    let text = reader.text(spot)?;
    reader.well_formed(spot, "bad_date", Date::try_from(text.to_owned()))
}
