//! Reads how a task or a group becomes many: `expand`, `zip` or `expand_kwargs`.

use super::fields::{Fields, Reader, Spot};
use crate::dag::definition::{Expansion, Mapped};
use crate::dag::finding::shown;
use crate::dag::source::Kind;
use crate::dag::template::is_template;

pub(super) const EXPANSION_KEYS: [&str; 3] = ["expand", "zip", "expand_kwargs"];

const MAX_KEY_BYTES: usize = 250;

pub(super) struct Expanded<'a> {
    pub(super) expansion: Expansion,
    pub(super) spot: Spot<'a>,
}

pub(super) fn read<'a>(reader: &mut Reader, fields: &Fields<'a>) -> Option<Expanded<'a>> {
    let mut given = EXPANSION_KEYS.iter().filter_map(|key| Some((*key, fields.get(key)?)));
    let (key, spot) = given.next()?;
    let mut expansion = one(reader, key, spot).unwrap_or(UNKNOWN);
    if let Some((other, spot)) = given.next() {
        let message = format!("`{key}` and `{other}` stand on the same task or group");
        let remedy = "keep one: `expand` makes the cross product of its lists, `zip` pairs them, `expand_kwargs` takes a list of objects";
        reader.findings.add(spot.finding("several_expansions", message).remedy(remedy));
        expansion = UNKNOWN;
    }
    Some(Expanded { expansion, spot: spot.clone() })
}

/// Of what has a finding: its keys are not known, so that templates may name any.
const UNKNOWN: Expansion = Expansion::ExpandKwargs(serde_json::Value::Null);

fn one(reader: &mut Reader, key: &str, spot: &Spot<'_>) -> Option<Expansion> {
    match key {
        "expand" => mapped(reader, spot).map(Expansion::Expand),
        "zip" => zip(reader, spot).map(Expansion::Zip),
        _ => kwargs(reader, spot).map(Expansion::ExpandKwargs),
    }
}

fn mapped(reader: &mut Reader, spot: &Spot<'_>) -> Option<Vec<Mapped>> {
    const WANTED: &str = "an object of lists, or of templates that give lists";
    let entries = reader.entries(spot, WANTED)?;
    if entries.is_empty() {
        let finding = spot.finding("empty_expansion", format!("`{}` names nothing to expand over", spot.name));
        reader.findings.add(finding.remedy("name a key and its list: `{file: [a, b]}`"));
    }
    let mut mapped = Vec::new();
    for entry in entries {
        let spot = spot.value(entry);
        if entry.0.name.is_empty() || entry.0.name.len() > MAX_KEY_BYTES {
            let message = format!("`{}` is not a key to map over", shown(spot.name));
            let finding = spot.finding("bad_id", message).remedy(format!("use 1 to {MAX_KEY_BYTES} bytes"));
            reader.findings.add(finding.at(entry.0.place));
        }
        match &spot.node.kind {
            Kind::List(_) | Kind::Broken => {}
            Kind::Text(text) if is_template(&text.value) => {}
            _ => reader.wrong_type(&spot, "a list, or a template that gives one"),
        }
        // Kept even where it is wrong: its name is known to the templates.
        mapped.push(Mapped { key: entry.0.name.clone(), values: spot.node.to_json() });
    }
    Some(mapped)
}

fn zip(reader: &mut Reader, spot: &Spot<'_>) -> Option<Vec<Mapped>> {
    let mapped = mapped(reader, spot)?;
    let mut lengths = mapped.iter().filter_map(|mapped| Some((&mapped.key, mapped.values.as_array()?.len())));
    if let Some((first, length)) = lengths.next()
        && let Some((other, other_length)) = lengths.find(|(_, other)| *other != length)
    {
        let message = format!("`{}` has {length} elements and `{}` has {other_length}", shown(first), shown(other));
        reader.findings.add(spot.finding("zip_lengths", message).remedy("give lists of the same length to `zip`"));
    }
    Some(mapped)
}

fn kwargs(reader: &mut Reader, spot: &Spot<'_>) -> Option<serde_json::Value> {
    const WANTED: &str = "a list of objects, or a template that gives one";
    match &spot.node.kind {
        Kind::Text(text) if is_template(&text.value) => {}
        Kind::List(nodes) => {
            for (index, node) in nodes.iter().enumerate() {
                match &node.kind {
                    Kind::Object(_) => {}
                    Kind::Text(text) if is_template(&text.value) => {}
                    _ => reader.wrong_type(&spot.element(index, node), "an object, or a template that gives one"),
                }
            }
        }
        _ => {
            reader.wrong_type(spot, WANTED);
            return None;
        }
    }
    Some(spot.node.to_json())
}
