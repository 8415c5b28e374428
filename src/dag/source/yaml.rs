//! Reads YAML 1.2 with the place of each value: anchors, aliases and merge keys (`<<`) are
//! resolved, within bounds.
//!
//! Without recursion, so that no nesting can exhaust the stack before it is refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::json::{bad_number, duplicate_key};
use super::node::{Key, Kind, Node, Text, Written};
use super::scalar::{self, Scalar};
use super::{Documents, MAX_DOCUMENTS, MAX_NESTING, Source, too_deep};
use crate::dag::finding::{Finding, Findings, Located, Place, pointer_part, shown};

/// Values that stand in the tree only because of aliases, and their bytes: a few
/// lines of aliases of aliases would fill any memory.
const MAX_ALIASED_NODES: usize = 10_000;
const MAX_ALIASED_BYTES: usize = 1 << 20;
/// The same for what is kept under its anchor, in case that an alias follows.
const MAX_ANCHORED_NODES: usize = 100_000;
const MAX_ANCHORED_BYTES: usize = 8 << 20;

pub(super) fn read(text: &str) -> Documents {
    let mut parser = Parser::new_from_str(text);
    let mut texts = Texts { text, characters: 0, at: 0, begin: 0 };
    let mut sources = Vec::new();
    loop {
        match next(&mut parser) {
            Ok((Event::StreamEnd, _)) => return (sources, None),
            Ok((Event::DocumentStart(_), span)) if sources.len() >= MAX_DOCUMENTS => {
                let message = format!("the file holds more than {MAX_DOCUMENTS} documents");
                let finding = Finding::new("", "too_many_documents", message).remedy("make several files of it");
                return (sources, Some(finding.located(place(&span.start))));
            }
            Ok((Event::DocumentStart(_), _)) => match Builder::new().document(&mut parser, &mut texts) {
                Ok(source) => sources.push(source),
                Err(stopped) => return (sources, Some(stopped)),
            },
            Ok(_) => {}
            Err(stopped) => return (sources, Some(stopped)),
        }
    }
}

/// Cuts the file into the texts of its documents.
struct Texts<'a> {
    text: &'a str,
    /// How far it has been counted, in characters and in bytes.
    characters: usize,
    at: usize,
    /// Of the document that is read, in bytes.
    begin: usize,
}

impl Texts<'_> {
    /// The text of a document whose end is here: at the `...` that is its own, or before the `---` of the next.
    fn document(&mut self, end: &Marker) -> Arc<str> {
        let ahead = self.text[self.at..].char_indices().nth(end.index().saturating_sub(self.characters));
        self.at += ahead.map_or(self.text.len() - self.at, |(bytes, _)| bytes);
        self.characters = end.index();
        let rest = &self.text[self.at..];
        let own = match rest.starts_with("...") {
            true => rest
                .find(['\n', '\r'])
                .map_or(rest.len(), |line| line + 1 + usize::from(rest[line..].starts_with("\r\n"))),
            false => 0,
        };
        let begin = std::mem::replace(&mut self.begin, self.at + own);
        self.text[begin..self.begin].into()
    }
}

type Events<'a> = Parser<'a, StrInput<'a>>;

fn next<'a>(parser: &mut Events<'a>) -> Result<(Event<'a>, Span), Located> {
    match parser.next_event() {
        None => Ok((Event::StreamEnd, Span::default())),
        Some(event) => event.map_err(|error| {
            let finding = Finding::new("", "syntax", format!("this is not YAML: {}", error.info()));
            let remedy = "look at the indentation, the brackets and the quotes there; a text with `: ` or `#` in it, or \
                          with a mark such as `{` or `*` first, stands in quotes";
            finding.remedy(remedy).located(place(error.marker()))
        }),
    }
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line().max(1) as u32, column: marker.col() as u32 + 1 }
}

/// How much a value is, with all that is in it.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl Size {
    fn add(&mut self, other: Size) {
        self.nodes += other.nodes;
        self.bytes += other.bytes;
    }
}

struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    anchored: Size,
    aliased: Size,
    findings: Findings,
}

enum Anchored {
    Value(Node, Size),
    /// More than an alias may stand for.
    TooLarge,
}

/// A list or an object whose end has not been read yet.
struct Open {
    place: Place,
    anchor: usize,
    size: Size,
    content: Content,
    broken: bool,
}

enum Content {
    List(Vec<Node>),
    Object { entries: Vec<(Key, Node)>, names: HashSet<String>, key: Option<Pending>, merges: Vec<Node> },
}

/// The key whose value is read next.
enum Pending {
    Key(Key),
    Merge(Place),
    /// The key has a finding; its value is read and forgotten.
    Nothing,
}

impl Builder {
    fn new() -> Self {
        Self {
            open: Vec::new(),
            anchors: HashMap::new(),
            anchored: Size::default(),
            aliased: Size::default(),
            findings: Findings::default(),
        }
    }

    /// Up to the end of the document.
    fn document(mut self, parser: &mut Events<'_>, texts: &mut Texts<'_>) -> Result<Source, Located> {
        let mut root = None;
        let text = loop {
            let (event, span) = next(parser)?;
            let start = place(&span.start);
            let done = match event {
                Event::DocumentEnd | Event::StreamEnd => break texts.document(&span.start),
                Event::Scalar(word, style, anchor, tag) => {
                    let tag = tag.as_deref();
                    if self.is_merge_key(&word, style, tag) {
                        self.expect_value(Pending::Merge(start));
                        continue;
                    }
                    let kind = self.scalar(&word, style, anchor, tag, &span);
                    let size = Size { nodes: 1, bytes: word.len() };
                    Some((Node::new(start, kind), size, anchor))
                }
                Event::Alias(anchor) => {
                    let (node, size) = self.alias(anchor, start)?;
                    Some((node, size, 0))
                }
                Event::SequenceStart(anchor, tag) => {
                    self.start(start, anchor, tag.as_deref(), "seq", Content::List(Vec::new()))?;
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    let (entries, names, merges) = (Vec::new(), HashSet::new(), Vec::new());
                    let content = Content::Object { entries, names, key: None, merges };
                    self.start(start, anchor, tag.as_deref(), "map", content)?;
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => Some(self.end()),
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => None,
            };
            if let Some((node, size, anchor)) = done {
                self.keep_anchored(anchor, &node, size);
                root = self.put(node, size).or(root);
            }
        };
        let root = root.unwrap_or(Node::new(Place::START, Kind::Null));
        Ok(Source { root, text, findings: self.findings.into_vec() })
    }

    fn start(
        &mut self,
        place: Place,
        anchor: usize,
        tag: Option<&Tag>,
        own: &str,
        content: Content,
    ) -> Result<(), Located> {
        if self.open.len() >= MAX_NESTING {
            return Err(too_deep(self.path(), place));
        }
        let broken = tag.is_some_and(|tag| !(tag.is_yaml_core_schema() && tag.suffix == own));
        if let (true, Some(tag)) = (broken, tag) {
            self.refuse_tag(tag, place);
        }
        self.open.push(Open { place, anchor, size: Size { nodes: 1, bytes: 0 }, content, broken });
        Ok(())
    }

    /// Closes the innermost list or object.
    fn end(&mut self) -> (Node, Size, usize) {
        let Open { place, anchor, size, content, broken } = self.open.pop().expect("an end has its start");
        let kind = match content {
            Content::List(nodes) => Kind::List(nodes),
            Content::Object { mut entries, mut names, merges, .. } => {
                // What stands in the object itself goes before what is merged into it.
                for (key, node) in merges.into_iter().flat_map(entries_of) {
                    if names.insert(key.name.clone()) {
                        entries.push((key, node));
                    }
                }
                Kind::Object(entries)
            }
        };
        (Node::new(place, if broken { Kind::Broken } else { kind }), size, anchor)
    }

    /// Puts a value where it belongs, or gives it back if it is the document.
    fn put(&mut self, node: Node, size: Size) -> Option<Node> {
        let path = if self.findings_need_path(&node) { self.path() } else { String::new() };
        let Some(open) = self.open.last_mut() else { return Some(node) };
        open.size.add(size);
        match &mut open.content {
            Content::List(nodes) => nodes.push(node),
            Content::Object { entries, names, key, merges } => match key.take() {
                Some(Pending::Key(key)) => entries.push((key, node)),
                Some(Pending::Merge(place)) => match mergeable(&node) {
                    true => merges.push(node),
                    false => {
                        let message = format!("`<<` merges objects; found {}", node.what());
                        let finding = Finding::new(path, "bad_merge", message);
                        self.findings.add(finding.remedy("write an alias of an object: `<<: *defaults`").at(place));
                    }
                },
                Some(Pending::Nothing) => {}
                None => {
                    let pending = match node.kind {
                        Kind::Text(text) if names.insert(text.value.clone()) => {
                            Pending::Key(Key { place: node.place, name: text.value })
                        }
                        Kind::Text(text) => {
                            let path = format!("{path}/{}", pointer_part(&text.value));
                            self.findings.add(duplicate_key(&path, &text.value, node.place));
                            Pending::Nothing
                        }
                        Kind::Broken => Pending::Nothing,
                        _ => {
                            // `{{ x }}` without quotes is an object in the place of a key.
                            let is_nested = matches!(node.kind, Kind::Object(_) | Kind::List(_));
                            open.broken |= is_nested;
                            let message = format!("a key is a text; found {}", node.what());
                            let remedy = match is_nested {
                                true => "write a template in quotes: \"{{ … }}\"",
                                false => "write it in quotes",
                            };
                            let finding = Finding::new(path, "key_not_text", message).remedy(remedy);
                            self.findings.add(finding.at(node.place));
                            Pending::Nothing
                        }
                    };
                    *key = Some(pending);
                }
            },
        }
        None
    }

    /// Paths are made of every open list and object: only for keys that are wrong, and for merges.
    fn findings_need_path(&self, node: &Node) -> bool {
        match self.open.last().map(|open| &open.content) {
            Some(Content::Object { key: Some(Pending::Merge(_)), .. }) => true,
            Some(Content::Object { key: None, names, .. }) => node.as_text().is_none_or(|name| names.contains(name)),
            _ => false,
        }
    }

    fn is_merge_key(&self, word: &str, style: ScalarStyle, tag: Option<&Tag>) -> bool {
        word == "<<"
            && style == ScalarStyle::Plain
            && tag.is_none()
            && matches!(self.open.last().map(|open| &open.content), Some(Content::Object { key: None, .. }))
    }

    fn expect_value(&mut self, pending: Pending) {
        if let Some(Content::Object { key, .. }) = self.open.last_mut().map(|open| &mut open.content) {
            *key = Some(pending);
        }
    }

    fn scalar(&mut self, word: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, span: &Span) -> Kind {
        let start = place(&span.start);
        let plain = tag.is_none() && anchor == 0;
        let text = || {
            // The span begins with the anchor or tag, where there is one.
            let written = if plain { written(word, style, span) } else { Written::Otherwise };
            Kind::Text(Text { value: word.to_owned(), written })
        };
        let wanted = match tag {
            None if style == ScalarStyle::Plain => None,
            None => return text(),
            Some(tag) if is_str(tag) => return text(),
            Some(tag) if tag.is_yaml_core_schema() && style == ScalarStyle::Plain => Some(tag),
            Some(tag) => return self.refuse_tag(tag, start),
        };
        let (kind, own) = match scalar::resolve(word) {
            Scalar::Null => (Kind::Null, "null"),
            Scalar::Bool(value) => (Kind::Bool(value), "bool"),
            Scalar::Number(number) if number.is_f64() => (Kind::Number(number), "float"),
            Scalar::Number(number) => (Kind::Number(number), "int"),
            Scalar::Text => (text(), "str"),
            Scalar::NotJson(why) => {
                let path = self.path();
                self.findings.add(bad_number(&path, word, why, start));
                return Kind::Broken;
            }
        };
        match wanted {
            Some(tag) if tag.suffix != own => self.refuse_tag(tag, start),
            _ => kind,
        }
    }

    fn refuse_tag(&mut self, tag: &Tag, place: Place) -> Kind {
        let name = match tag.is_yaml_core_schema() {
            true => format!("!!{}", tag.suffix),
            false => format!("{}{}", tag.handle, tag.suffix),
        };
        let message = format!("the tag `{}` is not known, or does not fit what it stands before", shown(&name));
        let finding = Finding::new(self.path(), "bad_tag", message);
        self.findings.add(finding.remedy("leave the tag out; write bytes as base64 text").at(place));
        Kind::Broken
    }

    fn keep_anchored(&mut self, anchor: usize, node: &Node, size: Size) {
        if anchor == 0 {
            return;
        }
        let total = Size { nodes: self.anchored.nodes + size.nodes, bytes: self.anchored.bytes + size.bytes };
        let too_large = size.nodes > MAX_ALIASED_NODES
            || size.bytes > MAX_ALIASED_BYTES
            || total.nodes > MAX_ANCHORED_NODES
            || total.bytes > MAX_ANCHORED_BYTES;
        let anchored = if too_large {
            Anchored::TooLarge
        } else {
            self.anchored = total;
            Anchored::Value(node.clone(), size)
        };
        self.anchors.insert(anchor, anchored);
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(Node, Size), Located> {
        let bomb = |path| {
            let message = format!(
                "the aliases of this document stand for more than {MAX_ALIASED_NODES} values or {MAX_ALIASED_BYTES} bytes"
            );
            Finding::new(path, "alias_bomb", message).remedy("write fewer aliases of aliases").located(place)
        };
        match self.anchors.get(&anchor) {
            Some(Anchored::Value(node, size)) => {
                self.aliased.add(*size);
                if self.aliased.nodes > MAX_ALIASED_NODES || self.aliased.bytes > MAX_ALIASED_BYTES {
                    return Err(bomb(self.path()));
                }
                let deepest = self.open.len() + depth(node);
                if deepest > MAX_NESTING {
                    return Err(too_deep(self.path(), place));
                }
                Ok((node.clone(), *size))
            }
            Some(Anchored::TooLarge) => Err(bomb(self.path())),
            None => {
                // The parser knows the anchors of the whole file.
                let (code, message, remedy) = match self.open.iter().any(|open| open.anchor == anchor) {
                    true => ("alias_of_itself", "this alias stands inside what it names", "write the value out"),
                    false => (
                        "alias_of_other_document",
                        "what this alias names is in another document, and anchors end with their document",
                        "write the value in this document too, with its anchor, or in the place of the alias",
                    ),
                };
                self.findings.add(Finding::new(self.path(), code, message).remedy(remedy).at(place));
                Ok((Node::new(place, Kind::Broken), Size { nodes: 1, bytes: 0 }))
            }
        }
    }

    /// JSON pointer to the value that is read next.
    fn path(&self) -> String {
        let part = |open: &Open| match &open.content {
            Content::List(nodes) => format!("/{}", nodes.len()),
            Content::Object { key: Some(Pending::Key(key)), .. } => format!("/{}", pointer_part(&key.name)),
            Content::Object { .. } => String::new(),
        };
        self.open.iter().map(part).collect()
    }
}

/// How a text stands in the file.
fn written(word: &str, style: ScalarStyle, span: &Span) -> Written {
    let start = place(&span.start);
    let quotes = match style {
        ScalarStyle::Plain => 0,
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => 1,
        ScalarStyle::Folded => return Written::Otherwise,
        // The parser's span begins where the first line with text in it does.
        ScalarStyle::Literal => {
            let blank = word.bytes().take_while(|b| *b == b'\n').count() as u32;
            return Written::Block { first_line: start.line.saturating_sub(blank), indent: start.column - 1 };
        }
    };
    // Escapes and folding write more than what they mean.
    let same_line = span.start.line() == span.end.line();
    match same_line && word.chars().count() + 2 * quotes == span.len() {
        true => Written::AsItIs(Place { line: start.line, column: start.column + quotes as u32 }),
        false => Written::Otherwise,
    }
}

fn is_str(tag: &Tag) -> bool {
    (tag.is_yaml_core_schema() && tag.suffix == "str") || (tag.handle.is_empty() && tag.suffix == "!")
}

fn mergeable(node: &Node) -> bool {
    match &node.kind {
        Kind::Object(_) | Kind::Broken => true,
        Kind::List(nodes) => nodes.iter().all(|node| matches!(node.kind, Kind::Object(_) | Kind::Broken)),
        _ => false,
    }
}

/// The entries to merge; of a list of objects, the first ones first.
fn entries_of(node: Node) -> Vec<(Key, Node)> {
    match node.kind {
        Kind::Object(entries) => entries,
        Kind::List(nodes) => nodes.into_iter().flat_map(entries_of).collect(),
        _ => Vec::new(),
    }
}

/// Lists and objects inside each other. Recursive over what has been bounded when it was read.
fn depth(node: &Node) -> usize {
    match &node.kind {
        Kind::List(nodes) => 1 + nodes.iter().map(depth).max().unwrap_or(0),
        Kind::Object(entries) => 1 + entries.iter().map(|(_, node)| depth(node)).max().unwrap_or(0),
        _ => 0,
    }
}
