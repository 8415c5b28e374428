//! A value of a document, with the place of each of its parts and its keys in the order written.

use serde_json::{Number, Value};

use crate::dag::finding::{Place, pointer_part};

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub place: Place,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(Text),
    List(Vec<Node>),
    Object(Vec<(Key, Node)>),
    /// It has its finding already: whoever reads it says nothing more.
    Broken,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub place: Place,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    pub value: String,
    pub(super) written: Written,
}

/// How a text stands in the file: so that a place in the text is a place in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Written {
    /// Character by character, from here on.
    AsItIs(Place),
    /// Line by line, from this line on, each after so many spaces (`|`).
    Block { first_line: u32, indent: u32 },
    /// With escapes, or folded.
    Otherwise,
}

impl Node {
    pub(super) fn new(place: Place, kind: Kind) -> Self {
        Self { place, kind }
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(&text.value),
            _ => None,
        }
    }

    /// Where the given line and column of this text are in the file; where the text begins, if that is not known.
    pub fn place_in_text(&self, line: u32, column: u32) -> Place {
        match &self.kind {
            Kind::Text(Text { written: Written::AsItIs(start), .. }) if line == 1 => {
                Place { line: start.line, column: start.column + column.saturating_sub(1) }
            }
            Kind::Text(Text { written: Written::Block { first_line, indent }, .. }) => {
                Place { line: first_line + line.saturating_sub(1), column: indent + column }
            }
            _ => self.place,
        }
    }

    /// What it is, for sentences: "a list".
    pub fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a bool",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Object(_) => "an object",
            Kind::Broken => "something that cannot be read",
        }
    }

    /// The element or value that one part of a JSON pointer names, and where its key is.
    pub(super) fn child(&self, part: &str) -> Option<(Place, &Node)> {
        match &self.kind {
            Kind::List(nodes) => nodes.get(part.parse::<usize>().ok()?).map(|node| (node.place, node)),
            Kind::Object(entries) => {
                entries.iter().find(|(key, _)| pointer_part(&key.name) == part).map(|(key, node)| (key.place, node))
            }
            _ => None,
        }
    }

    /// Whether any part of it has its finding already.
    pub fn is_broken(&self) -> bool {
        match &self.kind {
            Kind::Broken => true,
            Kind::List(nodes) => nodes.iter().any(Node::is_broken),
            Kind::Object(entries) => entries.iter().any(|(_, node)| node.is_broken()),
            _ => false,
        }
    }

    /// Recursive: a document is nested at most `MAX_NESTING` deep.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null | Kind::Broken => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.value.clone()),
            Kind::List(nodes) => nodes.iter().map(Node::to_json).collect(),
            Kind::Object(entries) => entries.iter().map(|(key, node)| (key.name.clone(), node.to_json())).collect(),
        }
    }
}
