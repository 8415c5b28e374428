//! Reads the parameters of a DAG, and checks their defaults against their schemas.
//!
//! An object is always the long form (`default`, `schema`, `description`): a default that
//! is an object is written `{default: {…}}`. Anything else is the default itself.

use std::collections::BTreeMap;

use super::Outside;
use super::fields::{Known, Reader, Spot};
use crate::dag::definition::Param;
use crate::dag::finding::{Finding, pointer_part};
use crate::dag::source::{Key, Kind, Node};
use crate::model::dag_names::ParamName;

/// Keywords of a schema that Airflow's `Param` takes beside the default.
const IN_SCHEMA: &str = "it is a keyword of the parameter's schema; write it in `schema: {…}`";

const PARAM: Known = Known {
    on: "a parameter",
    lists: &[&["default", "schema", "description"]],
    refused: &[
        ("type", IN_SCHEMA),
        ("enum", IN_SCHEMA),
        ("const", IN_SCHEMA),
        ("format", IN_SCHEMA),
        ("pattern", IN_SCHEMA),
        ("minimum", IN_SCHEMA),
        ("maximum", IN_SCHEMA),
        ("minLength", IN_SCHEMA),
        ("maxLength", IN_SCHEMA),
        ("items", IN_SCHEMA),
        ("properties", IN_SCHEMA),
        ("title", IN_SCHEMA),
        ("value", "its value is called `default`"),
    ],
};

pub(super) fn read(reader: &mut Reader, spot: &Spot<'_>, outside: &Outside<'_>) -> BTreeMap<ParamName, Param> {
    let mut params = BTreeMap::new();
    for entry in reader.entries(spot, "an object: `{city: {default: Ames}}`").unwrap_or_default() {
        let (Key { name, place }, _) = entry;
        let spot = spot.value(entry);
        let param = param(reader, &spot, outside);
        match name.parse::<ParamName>() {
            Ok(name) => {
                params.insert(name, param);
            }
            Err(error) => reader.findings.add(spot.finding("bad_id", "").said(&error.to_string()).at(*place)),
        }
    }
    params
}

fn param(reader: &mut Reader, spot: &Spot<'_>, outside: &Outside<'_>) -> Param {
    if !matches!(spot.node.kind, Kind::Object(_)) {
        return Param { default: Some(spot.node.to_json()), ..Param::default() };
    }
    let before = reader.findings.len();
    let fields = reader.fields(spot, "an object", &PARAM);
    if reader.findings.len() > before && fields.iter().next().is_none() {
        let hint = spot
            .finding("param_form", format!("parameter `{}` has none of `default`, `schema`, `description`", spot.name));
        reader.findings.replace_since(before, hint.remedy("a default that is an object is written `{default: {…}}`"));
    }
    let description = fields.get("description").and_then(|spot| reader.text(spot)).map(str::to_owned);
    let default = fields.with_null("default");
    let schema = fields.get("schema");
    if let Some(schema) = schema {
        check(reader, schema, default, outside);
    }
    Param {
        default: default.map(|spot| spot.node.to_json()),
        schema: schema.map(|spot| spot.node.to_json()),
        description,
    }
}

fn check(reader: &mut Reader, schema: &Spot<'_>, default: Option<&Spot<'_>>, outside: &Outside<'_>) {
    let any_is_broken = schema.node.is_broken() || default.is_some_and(|default| default.node.is_broken());
    if any_is_broken {
        return;
    }
    if !matches!(schema.node.kind, Kind::Object(_) | Kind::Bool(_)) {
        return reader.wrong_type(schema, "an object of JSON Schema: `{type: string}`");
    }
    let value = default.map(|default| default.node.to_json()).unwrap_or_default();
    match (outside.schema_problems)(&schema.node.to_json(), &value) {
        Err(why) => {
            let finding = schema.finding("bad_schema", format!("this is not a JSON Schema: {why}"));
            reader.findings.add(finding.remedy("write one of draft 2020-12, as in `{type: string, maxLength: 20}`"));
        }
        Ok(problems) => {
            let Some(default) = default else { return };
            for (pointer, why) in problems {
                let message = format!("the default does not match the parameter's schema: {why}");
                let place = below(default.node, &pointer).place;
                let finding = Finding::new(format!("{}{pointer}", default.path), "default_not_valid", message);
                reader.findings.add(finding.remedy("change the default, or the `schema`").at(place));
            }
        }
    }
}

/// The part of a value at a JSON pointer, or as far as there is one.
fn below<'a>(node: &'a Node, pointer: &str) -> &'a Node {
    let mut node = node;
    for part in pointer.split('/').skip(1) {
        node = match &node.kind {
            Kind::Object(entries) => match entries.iter().find(|(key, _)| pointer_part(&key.name) == part) {
                Some((_, child)) => child,
                None => return node,
            },
            Kind::List(nodes) => match part.parse::<usize>().ok().and_then(|index| nodes.get(index)) {
                Some(child) => child,
                None => return node,
            },
            _ => return node,
        };
    }
    node
}
