//! A JSON value in whose texts templates may stand (its keys are plain).

use serde_json::{Map, Value};

use super::errors::{RenderError, TemplateError};
use super::parse::Template;
use super::references::References;
use super::render::{Evaluation, Rendered};
use super::scope::Scope;
use super::{Bounds, is_template};
use crate::model::Json;

#[derive(Debug)]
pub struct JsonTemplate {
    root: Node,
    references: References,
}

#[derive(Debug)]
enum Node {
    /// Without any template inside, and its size as text.
    Literal(Value, usize),
    Template(Box<Template>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Default for JsonTemplate {
    /// Null.
    fn default() -> Self {
        Self { root: Node::Literal(Value::Null, 4), references: References::default() }
    }
}

impl JsonTemplate {
    /// All errors at once, each with the JSON pointer of its text.
    pub fn parse(value: &Value) -> Result<Self, Vec<(String, TemplateError)>> {
        let mut parse = Parse { pointer: String::new(), references: References::default(), errors: Vec::new() };
        let root = parse.node(value);
        if parse.errors.is_empty() { Ok(Self { root, references: parse.references }) } else { Err(parse.errors) }
    }

    pub fn references(&self) -> &References {
        &self.references
    }

    /// Whether it is the same whatever the scope.
    pub fn is_literal(&self) -> bool {
        matches!(self.root, Node::Literal(..))
    }

    /// Renders within `Bounds::default()`.
    pub fn render(&self, scope: &Scope) -> Result<Value, RenderError> {
        self.render_within(scope, Bounds::default())
    }

    pub fn render_within(&self, scope: &Scope, bounds: Bounds) -> Result<Value, RenderError> {
        let evaluation = Evaluation::new(scope, bounds);
        self.root.value(&evaluation).map_err(Located::into_error)
    }

    /// Renders to JSON text, as a task's input is kept. Whole outputs pass as text, without being read; an
    /// output that is all of the input is shared.
    pub fn render_text(&self, scope: &Scope, bounds: Bounds) -> Result<Json, RenderError> {
        let evaluation = Evaluation::new(scope, bounds);
        if let Node::Template(template) = &self.root {
            return Ok(match evaluation.render(template)? {
                Rendered::Output(output) => output.text().clone(),
                Rendered::Value(value) => Json::of(&value).expect("JSON values are JSON"),
            });
        }
        let mut text = String::new();
        self.root.write(&evaluation, &mut text).map_err(Located::into_error)?;
        Ok(Json::parse(text).expect("JSON values with their punctuation are JSON"))
    }
}

struct Parse {
    pointer: String,
    references: References,
    errors: Vec<(String, TemplateError)>,
}

impl Parse {
    fn node(&mut self, value: &Value) -> Node {
        let literal = |value: &Value| Node::Literal(value.clone(), value.to_string().len());
        match value {
            Value::String(text) if is_template(text) => match Template::parse(text) {
                Ok(template) => {
                    self.references.add(template.references());
                    Node::Template(Box::new(template))
                }
                Err(error) => {
                    self.errors.push((self.pointer.clone(), error));
                    Node::Literal(Value::Null, 4)
                }
            },
            Value::Array(items) => {
                let children = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.child(&index.to_string(), item))
                    .collect::<Vec<_>>();
                if children.iter().all(Node::is_literal) { literal(value) } else { Node::List(children) }
            }
            Value::Object(items) => {
                let children = items.iter().map(|(key, item)| (key.clone(), self.child(key, item))).collect::<Vec<_>>();
                if children.iter().all(|(_, node)| node.is_literal()) { literal(value) } else { Node::Object(children) }
            }
            value => literal(value),
        }
    }

    fn child(&mut self, step: &str, value: &Value) -> Node {
        let parent = self.pointer.len();
        push_step(&mut self.pointer, step);
        let node = self.node(value);
        self.pointer.truncate(parent);
        node
    }
}

fn push_step(pointer: &mut String, step: &str) {
    pointer.push('/');
    pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
}

/// An error and the way to it, from the inside out: the pointer is only made when something fails.
struct Located {
    steps: Vec<String>,
    error: RenderError,
}

impl Located {
    fn within(mut self, step: impl ToString) -> Self {
        self.steps.push(step.to_string());
        self
    }

    fn into_error(mut self) -> RenderError {
        self.steps.reverse();
        for step in &self.steps {
            push_step(&mut self.error.pointer, step);
        }
        self.error
    }
}

impl From<RenderError> for Located {
    fn from(error: RenderError) -> Self {
        Self { steps: Vec::new(), error }
    }
}

impl Node {
    fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(..))
    }

    fn value(&self, evaluation: &Evaluation<'_>) -> Result<Value, Located> {
        Ok(match self {
            Self::Literal(value, bytes) => {
                evaluation.take(*bytes)?;
                value.clone()
            }
            Self::Template(template) => evaluation.render(template)?.into_value()?,
            Self::List(items) => {
                let item = |(index, item): (usize, &Self)| item.value(evaluation).map_err(|error| error.within(index));
                Value::Array(items.iter().enumerate().map(item).collect::<Result<_, _>>()?)
            }
            Self::Object(items) => {
                let mut object = Map::new();
                for (key, item) in items {
                    evaluation.take(key.len() + 4)?;
                    object.insert(key.clone(), item.value(evaluation).map_err(|error| error.within(key))?);
                }
                Value::Object(object)
            }
        })
    }

    fn write(&self, evaluation: &Evaluation<'_>, text: &mut String) -> Result<(), Located> {
        match self {
            Self::Literal(value, bytes) => {
                evaluation.take(*bytes)?;
                write_json(value, text);
            }
            Self::Template(template) => match evaluation.render(template)? {
                Rendered::Output(output) => text.push_str(output.text().as_str()),
                Rendered::Value(value) => write_json(&value, text),
            },
            Self::List(items) => {
                text.push('[');
                for (index, item) in items.iter().enumerate() {
                    text.push_str(if index > 0 { "," } else { "" });
                    item.write(evaluation, text).map_err(|error| error.within(index))?;
                }
                text.push(']');
            }
            Self::Object(items) => {
                text.push('{');
                for (index, (key, item)) in items.iter().enumerate() {
                    evaluation.take(key.len() + 4)?;
                    text.push_str(if index > 0 { "," } else { "" });
                    write_json(key, text);
                    text.push(':');
                    item.write(evaluation, text).map_err(|error| error.within(key))?;
                }
                text.push('}');
            }
        }
        Ok(())
    }
}

fn write_json(value: &(impl serde::Serialize + ?Sized), text: &mut String) {
    // Through a vector: a `String` is not a writer of bytes.
    let mut bytes = std::mem::take(text).into_bytes();
    serde_json::to_writer(&mut bytes, value).expect("JSON values and texts are JSON");
    *text = String::from_utf8(bytes).expect("serde_json writes UTF-8");
}
