//! What of a plan is only known in a run: texts that are evaluated, compiled once for all runs of the version.
//!
//! The engine never looks in here.

use serde::{Deserialize, Serialize};

use crate::dag::template::{JsonTemplate, Template};

/// Of a task. Where there is no template in something, it stands in the node's spec.
#[derive(Debug, Default)]
pub struct NodeTemplates {
    pub input: Option<JsonTemplate>,
    /// A list of texts.
    pub args: Option<JsonTemplate>,
    pub when: Option<JsonTemplate>,
}

/// How the list of a mapped task or group is made.
#[derive(Debug, Default)]
pub struct ListTemplate {
    pub form: ListForm,
    /// In the order of the file.
    pub columns: Vec<Column>,
    /// A list with one item for each column, itself a list.
    pub values: JsonTemplate,
    /// What an instance is called.
    pub label: Option<Template>,
}

/// One of the lists that instances are made of.
#[derive(Debug)]
pub struct Column {
    /// Empty for a list of objects, which bring their own.
    pub key: String,
    /// As the author wrote it, or its beginning. For people.
    pub source: String,
}

/// How columns become elements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListForm {
    /// `expand`: each with each. The last column changes fastest.
    Product,
    /// `zip`: the first ones, the second ones, …
    Zip,
    /// `expand_kwargs`: one column, of objects.
    #[default]
    Objects,
}

impl ListForm {
    /// What it is called in a DAG file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Product => "expand",
            Self::Zip => "zip",
            Self::Objects => "expand_kwargs",
        }
    }
}

impl NodeTemplates {
    /// Whether an attempt's input or arguments are made from templates.
    pub fn make_input(&self) -> bool {
        self.input.is_some() || self.args.is_some()
    }
}
