//! Turns a text into a template: read, checked, compiled.

use minijinja::machinery::ast::{Expr, Stmt};
use minijinja::machinery::{self, CodeGenerator};

use super::errors::{RenderError, TemplateError, words};
use super::output_path::OutputPath;
use super::program::Program;
use super::references::{self, Path, References};
use super::render::{Evaluation, Rendered};
use super::scope::Scope;
use super::{Bounds, MAX_SOURCE_BYTES, is_template, restrictions};

/// One text, compiled. Rendering takes `&self` and no lock.
#[derive(Debug)]
pub struct Template {
    source: Box<str>,
    pub(super) compiled: Compiled,
    references: References,
    /// Where an undefined value may come from, for the message.
    pub(super) paths: Vec<Path>,
}

#[derive(Debug)]
pub(super) enum Compiled {
    /// No marks: the text itself.
    Literal,
    /// Exactly `{{ name.attribute['key'] }}`: looked up without the virtual machine, so that a whole output is
    /// passed on unread.
    Path(Path),
    /// Exactly one `{{ expression }}`: keeps the value's type.
    Value(Program),
    /// Anything else: a text.
    Text(Program),
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let parsed = |compiled, references, paths| Self { source: text.into(), compiled, references, paths };
        if !is_template(text) {
            return Ok(parsed(Compiled::Literal, References::default(), Vec::new()));
        }
        if text.len() > MAX_SOURCE_BYTES {
            let message = format!("a template of {} bytes; the limit is {MAX_SOURCE_BYTES}", text.len());
            return Err(TemplateError::at(text, 0, words(message, restrictions::MOVE)));
        }
        restrictions::check_tokens(text)?;
        let tree = machinery::parse(text, "template", Default::default())
            .map_err(|error| TemplateError::syntax(text, &error))?;
        restrictions::check(text, &tree)?;
        let found = references::find(text, &tree)?;
        let single = single_expression(&tree);
        if let Some(path) = single.and_then(references::as_path) {
            return Ok(parsed(Compiled::Path(path), found.references, found.paths));
        }
        let mut generator = CodeGenerator::new("template", text);
        match single {
            Some(expression) => generator.compile_expr(expression),
            None => generator.compile_stmt(&tree),
        }
        let program = Program::relink(&generator.finish().0)
            .map_err(|message| TemplateError::at(text, 0, words(message, restrictions::MOVE)))?;
        let compiled = if single.is_some() { Compiled::Value(program) } else { Compiled::Text(program) };
        Ok(parsed(compiled, found.references, found.paths))
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn references(&self) -> &References {
        &self.references
    }

    /// What it reads of outputs, each once, as far as it stands in the text; without what it provides for being
    /// not there, by `default` or `is defined`.
    pub fn outputs(&self) -> Vec<OutputPath> {
        OutputPath::all_of(self)
    }

    /// Whether it is the same text whatever the scope.
    pub fn is_literal(&self) -> bool {
        matches!(self.compiled, Compiled::Literal)
    }

    /// Renders within `Bounds::default()`.
    pub fn render(&self, scope: &Scope) -> Result<serde_json::Value, RenderError> {
        self.render_within(scope, Bounds::default())
    }

    pub fn render_within(&self, scope: &Scope, bounds: Bounds) -> Result<serde_json::Value, RenderError> {
        let evaluation = Evaluation::new(scope, bounds);
        evaluation.render(self).and_then(Rendered::into_value)
    }
}

/// The expression of a text that is one `{{ }}` with nothing but space around.
fn single_expression<'a, 's>(tree: &'a Stmt<'s>) -> Option<&'a Expr<'s>> {
    let Stmt::Template(template) = tree else { return None };
    let mut single = None;
    for statement in &template.children {
        match statement {
            Stmt::EmitRaw(raw) if raw.raw.trim().is_empty() => {}
            Stmt::EmitExpr(emit) if single.is_none() => single = Some(&emit.expr),
            _ => return None,
        }
    }
    single
}
