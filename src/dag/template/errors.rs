//! What can be wrong with a template, and what can go wrong when it is rendered.

use minijinja::ErrorKind;

/// Why a text is not a template. Line and column count from 1, inside the text; column in characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {remedy}")]
pub struct TemplateError {
    pub message: String,
    pub remedy: String,
    pub line: u32,
    pub column: u32,
}

impl TemplateError {
    pub(super) fn at(source: &str, offset: usize, words: Words) -> Self {
        let (line, column) = place(source, offset);
        let Words { message, remedy } = words;
        Self { message, remedy, line, column }
    }

    /// A syntax error, in minijinja's words.
    pub(super) fn syntax(source: &str, error: &minijinja::Error) -> Self {
        let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        let words = words(
            format!("not a template: {detail}"),
            "write `{{ expression }}`, or `{{ '{{' }}` where braces are meant as text",
        );
        match (error.range(), error.line()) {
            (Some(range), _) => Self::at(source, range.start, words),
            (None, line) => {
                let line = line.map_or(1, |line| u32::try_from(line).unwrap_or(u32::MAX));
                Self { line, ..Self::at(source, 0, words) }
            }
        }
    }
}

/// What is wrong, and what to do.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) message: String,
    pub(super) remedy: String,
}

pub(super) fn words(message: impl Into<String>, remedy: impl Into<String>) -> Words {
    Words { message: message.into(), remedy: remedy.into() }
}

/// Line and column of a byte, counted from 1; the column in characters.
pub fn place(source: &str, offset: usize) -> (u32, u32) {
    let before = source.get(..offset.min(source.len())).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (small(line), small(column))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenderErrorKind {
    /// A name, an attribute or an output does not exist.
    Undefined,
    /// More fuel than `Bounds::fuel` was needed.
    OutOfFuel,
    /// More came out than `Bounds::output_bytes`, or an upstream output is too large to look into.
    TooLarge,
    /// Anything else: wrong types, division by zero, a result that is not JSON.
    Failed,
}

/// Why a template could not be rendered. It is the task's own failure and would be the same on the next attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RenderError {
    /// JSON pointer of the string inside the `JsonTemplate`; empty for the whole.
    pub pointer: String,
    pub kind: RenderErrorKind,
    /// The expression and the reason.
    pub message: String,
}

impl RenderError {
    pub(super) fn new(kind: RenderErrorKind, message: impl Into<String>) -> Self {
        Self { pointer: String::new(), kind, message: message.into() }
    }

    /// Back through minijinja, from a filter.
    pub(super) fn into_engine(self) -> minijinja::Error {
        let kind = match self.kind {
            RenderErrorKind::Undefined => ErrorKind::UndefinedError,
            RenderErrorKind::OutOfFuel => OUT_OF_FUEL,
            RenderErrorKind::TooLarge => TOO_LARGE,
            RenderErrorKind::Failed => ErrorKind::InvalidOperation,
        };
        minijinja::Error::new(kind, self.message)
    }
}

/// How the errors of our filters and operators travel through minijinja.
pub(super) const OUT_OF_FUEL: ErrorKind = ErrorKind::OutOfFuel;
pub(super) const TOO_LARGE: ErrorKind = ErrorKind::WriteFailure;

pub(super) fn invalid(message: impl Into<String>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, message.into())
}

pub(super) fn too_large(message: impl Into<String>) -> minijinja::Error {
    minijinja::Error::new(TOO_LARGE, message.into())
}

pub(super) fn kind_of(error: &minijinja::Error) -> RenderErrorKind {
    match error.kind() {
        ErrorKind::UndefinedError => RenderErrorKind::Undefined,
        OUT_OF_FUEL => RenderErrorKind::OutOfFuel,
        TOO_LARGE => RenderErrorKind::TooLarge,
        _ => RenderErrorKind::Failed,
    }
}
