//! What a DAG file says, and where it says it.

mod json;
mod node;
mod scalar;
mod yaml;

pub use node::{Key, Kind, Node, Text};

use std::sync::Arc;

use super::finding::{Finding, Located, Place};

/// Of a whole file, with all its documents.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// Of one file.
pub const MAX_DOCUMENTS: usize = 1_000;
/// Lists and objects inside each other.
pub const MAX_NESTING: usize = 64;

/// One document of a file.
#[derive(Debug)]
pub struct Source {
    root: Node,
    text: Arc<str>,
    /// What is wrong with it as YAML or JSON, though it could be read on.
    findings: Vec<Finding>,
}

impl Source {
    /// A file that holds one document.
    pub fn read(bytes: &[u8]) -> Result<Self, Vec<Located>> {
        let (mut sources, mut findings) = Self::read_all(bytes);
        if let (Some(second), true) = (sources.get(1), findings.is_empty()) {
            let finding = Finding::new("", "several_documents", "the file holds several DAGs, and one is wanted here")
                .remedy("leave the other documents out");
            findings.push(finding.located(second.root.place));
        }
        match sources.pop() {
            Some(source) if findings.is_empty() => Ok(source),
            _ => Err(findings),
        }
    }

    /// A file that holds any number of documents, separated by `---`: those that could be
    /// read, and why the reading ended before the file did.
    pub fn read_all(bytes: &[u8]) -> (Vec<Self>, Vec<Located>) {
        let text = match text(bytes) {
            Ok(text) => text,
            Err(finding) => return (Vec::new(), vec![finding]),
        };
        let (mut sources, stopped) = read_text(text);
        sources.retain(|source| !matches!(source.root.kind, Kind::Null));
        let mut findings: Vec<Located> = stopped.into_iter().collect();
        if sources.is_empty() && findings.is_empty() {
            let finding = Finding::new("", "empty_document", "the file holds no DAG: it is empty");
            findings.push(finding.remedy("write `dag_id: …` and `tasks: …`").located(Place::START));
        }
        (sources, findings)
    }

    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Of the file, what is this document's: with its comments, its `---` before and its `...` behind.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Where `path` is, or its nearest ancestor that is anywhere.
    pub fn place(&self, path: &str) -> Place {
        let mut node = &self.root;
        let mut place = node.place;
        for part in path.split('/').skip(1) {
            match node.child(part) {
                Some((child_place, child)) => (node, place) = (child, child_place),
                None => break,
            }
        }
        place
    }

    /// Gives each finding its place, in the order of the file, each once.
    pub fn locate(&self, findings: Vec<Finding>) -> Vec<Located> {
        let locate = |finding: Finding| {
            let place = finding.place.unwrap_or_else(|| self.place(&finding.path));
            finding.located(place)
        };
        let mut located: Vec<Located> = findings.into_iter().map(locate).collect();
        located.sort();
        located.dedup();
        located
    }
}

type Documents = (Vec<Source>, Option<Located>);

fn read_text(text: &str) -> Documents {
    // YAML would take most JSON, but not its surrogates (`\ud83d\ude00`) nor tabs everywhere.
    if !text.trim_start().starts_with(['{', '[']) {
        return yaml::read(text);
    }
    match json::read(text) {
        Ok(source) => (vec![source], None),
        Err(not_json) => match yaml::read(text) {
            (_, Some(_)) if looks_like_json(text) => (Vec::new(), Some(not_json)),
            documents => documents,
        },
    }
}

fn looks_like_json(text: &str) -> bool {
    text.trim_start()[1..].trim_start().starts_with(['"', '{', '['])
}

/// The bytes as text that a reader may be given.
fn text(bytes: &[u8]) -> Result<&str, Located> {
    if bytes.len() > MAX_DOCUMENT_BYTES {
        let message = format!("the file is {} bytes large, and at most {MAX_DOCUMENT_BYTES} are read", bytes.len());
        let remedy = "make several DAGs of it, or hand data over as a task's input from outside";
        return Err(Finding::new("", "document_too_large", message).remedy(remedy).located(Place::START));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = std::str::from_utf8(&bytes[..error.valid_up_to()]).expect("valid up to here");
        let finding = Finding::new("", "not_utf8", "the file is not UTF-8 text");
        finding.remedy("save it as UTF-8").located(end_of(before))
    })?;
    // NUL would end the document for a YAML reader, whatever comes after it.
    let forbidden = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    match text.find(forbidden) {
        None => Ok(text),
        Some(at) => {
            let code = text[at..].chars().next().map_or(0, u32::from);
            let finding =
                Finding::new("", "control_character", format!("the control character U+{code:04X} stands here"));
            Err(finding
                .remedy(format!("remove it, or write \"\\u{code:04x}\" in double quotes"))
                .located(end_of(&text[..at])))
        }
    }
}

/// The place after `text`.
fn end_of(text: &str) -> Place {
    let line = text.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = text.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    Place { line: line as u32, column: column as u32 }
}

fn too_deep(path: String, place: Place) -> Located {
    let message = format!("this is nested more than {MAX_NESTING} levels deep");
    Finding::new(path, "nested_too_deep", message).remedy("write it flatter").located(place)
}

#[cfg(test)]
mod tests;
