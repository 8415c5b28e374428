//! What of the outputs of other tasks a template reads.

use std::collections::HashSet;

use minijinja::Value;

use super::parse::{Compiled, Template};
use super::references::Path;
use crate::dag::finding::shown;

/// `tasks.extract.output.files[0]`, or what of it stands before something computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPath {
    pub task: String,
    pub steps: Vec<OutputStep>,
    /// Whether the template is this path and nothing else, so that its value is the one there.
    pub is_all: bool,
    /// In the text, from 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OutputStep {
    Key(String),
    /// From the end where it is negative.
    Index(i64),
}

/// What is further inside is not told.
const MAX_STEPS: usize = 64;
/// Bytes; a task's name may be longer.
const MOST_SHOWN: usize = 300;

impl OutputPath {
    pub(super) fn all_of(template: &Template) -> Vec<Self> {
        let mut seen = HashSet::new();
        let is_path = matches!(template.compiled, Compiled::Path(_));
        let mut all = Vec::new();
        let mut paths: Vec<&Path> = template.paths.iter().collect();
        paths.sort_by_key(|path| path.offset);
        let mut cursor = Cursor { source: template.source(), offset: 0, line: 1, column: 1 };
        for path in paths {
            let Path { task: Some(task), steps: values, offset, is_optional: false, .. } = path else { continue };
            let steps: Vec<OutputStep> = values.iter().map_while(OutputStep::of).take(MAX_STEPS).collect();
            if !seen.insert((task, steps.clone())) {
                continue;
            }
            let (line, column) = cursor.forward(*offset);
            let is_all = is_path && steps.len() == values.len();
            all.push(Self { task: task.clone(), steps, is_all, line, column });
        }
        all
    }
}

/// Counts lines and columns on from where it was: there may be thousands of paths in one text.
struct Cursor<'t> {
    source: &'t str,
    offset: usize,
    line: u32,
    column: u32,
}

impl Cursor<'_> {
    fn forward(&mut self, offset: usize) -> (u32, u32) {
        for c in self.source.get(self.offset..offset).unwrap_or_default().chars() {
            (self.line, self.column) = if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self.offset = self.offset.max(offset);
        (self.line, self.column)
    }
}

/// A path into the output of a task as it is written, shortened to where it can be read in a sentence.
pub fn written(task: &str, steps: &[OutputStep]) -> String {
    let mut text = format!("tasks.{task}.output");
    for step in steps {
        if text.len() > MOST_SHOWN {
            text.push('…');
            break;
        }
        match step {
            OutputStep::Key(key) if key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
                text.push('.');
                text.push_str(&shown(key));
            }
            OutputStep::Key(key) => text.push_str(&format!("['{}']", shown(key))),
            OutputStep::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

impl OutputStep {
    fn of(value: &Value) -> Option<Self> {
        match value.as_str() {
            Some(key) => Some(Self::Key(key.to_owned())),
            None if value.is_integer() => value.as_i64().map(Self::Index),
            None => None,
        }
    }
}
