//! Reads JSON with the place of each value.
//!
//! serde_json tells no places. This walks over the text for them, and leaves the
//! meaning of texts and numbers to serde_json.

use std::collections::HashSet;

use serde_json::Number;

use super::node::{Key, Kind, Node, Text, Written};
use super::{MAX_NESTING, Source, too_deep};
use crate::dag::finding::{Finding, Findings, Located, Place, pointer_part, shown};

pub(super) fn read(text: &str) -> Result<Source, Located> {
    let reader = Reader {
        text,
        at: 0,
        counted: 0,
        place: Place::START,
        path: String::new(),
        depth: 0,
        findings: Findings::default(),
    };
    reader.document()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// How far `place` has been counted.
    counted: usize,
    place: Place,
    path: String,
    depth: usize,
    findings: Findings,
}

impl Reader<'_> {
    fn document(mut self) -> Result<Source, Located> {
        let root = self.value()?;
        match self.next() {
            None => Ok(Source { root, text: self.text.into(), findings: self.findings.into_vec() }),
            Some(_) => Err(self.wrong("something follows after the end of the document")),
        }
    }

    fn value(&mut self) -> Result<Node, Located> {
        let first = self.next();
        let place = self.place();
        let kind = match first {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => Kind::Text(self.string()?),
            Some(_) => self.word()?,
            None => return Err(self.wrong("the document ends where a value is expected")),
        };
        Ok(Node::new(place, kind))
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Kind, Located>) -> Result<Kind, Located> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            let place = self.place();
            return Err(too_deep(self.path.clone(), place));
        }
        self.at += 1;
        let kind = read(self)?;
        self.depth -= 1;
        Ok(kind)
    }

    fn object(&mut self) -> Result<Kind, Located> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut names = HashSet::new();
        if self.next() == Some(b'}') {
            self.at += 1;
            return Ok(Kind::Object(entries));
        }
        loop {
            if self.next() != Some(b'"') {
                return Err(self.wrong("a key in double quotes is expected"));
            }
            let place = self.place();
            let name = self.string()?.value;
            if self.next() != Some(b':') {
                return Err(self.wrong("`:` is expected after a key"));
            }
            self.at += 1;
            let parent = self.path.len();
            self.path.push('/');
            self.path.push_str(&pointer_part(&name));
            let node = self.value()?;
            if names.insert(name.clone()) {
                entries.push((Key { place, name }, node));
            } else {
                self.findings.add(duplicate_key(&self.path, &name, place));
            }
            self.path.truncate(parent);
            if self.ends(b'}', "`,` or `}` is expected")? {
                return Ok(Kind::Object(entries));
            }
        }
    }

    fn list(&mut self) -> Result<Kind, Located> {
        let mut nodes = Vec::new();
        if self.next() == Some(b']') {
            self.at += 1;
            return Ok(Kind::List(nodes));
        }
        loop {
            let parent = self.path.len();
            self.path.push_str(&format!("/{}", nodes.len()));
            nodes.push(self.value()?);
            self.path.truncate(parent);
            if self.ends(b']', "`,` or `]` is expected")? {
                return Ok(Kind::List(nodes));
            }
        }
    }

    fn ends(&mut self, end: u8, otherwise: &str) -> Result<bool, Located> {
        let found = self.next();
        if found != Some(b',') && found != Some(end) {
            return Err(self.wrong(otherwise));
        }
        self.at += 1;
        Ok(found == Some(end))
    }

    fn string(&mut self) -> Result<Text, Located> {
        let start = self.place();
        let inside = &self.text[self.at + 1..];
        let mut escaped = false;
        let end = inside.bytes().position(|b| {
            let ends = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        });
        let end = end.ok_or_else(|| self.wrong("this text has no end: `\"` is missing"))?;
        let quoted = &self.text[self.at..self.at + end + 2];
        let value = serde_json::from_str(quoted)
            .map_err(|_| self.wrong("this text holds an escape or a line break that JSON does not have"))?;
        self.at += quoted.len();
        let written = match quoted.contains('\\') {
            true => Written::Otherwise,
            false => Written::AsItIs(Place { line: start.line, column: start.column + 1 }),
        };
        Ok(Text { value, written })
    }

    fn word(&mut self) -> Result<Kind, Located> {
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'))).unwrap_or(rest.len());
        let word = &rest[..end];
        let kind = match word {
            "null" => Kind::Null,
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            number => {
                let whole = number.bytes().all(|b| b.is_ascii_digit() || b == b'-');
                match serde_json::from_str::<Number>(number) {
                    // serde_json rounds whole numbers of more than 64 bits.
                    Ok(number) if !whole || number.is_i64() || number.is_u64() => Kind::Number(number),
                    Ok(_) => self.not_json(number, "it has more than 64 bits"),
                    Err(_) if is_number(number) => self.not_json(number, "it is too large"),
                    Err(_) => return Err(self.wrong("a value is expected")),
                }
            }
        };
        self.at += end;
        Ok(kind)
    }

    fn not_json(&mut self, number: &str, why: &str) -> Kind {
        let place = self.place();
        self.findings.add(bad_number(&self.path, number, why, place));
        Kind::Broken
    }

    /// The byte after white space.
    fn next(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n')).unwrap_or(rest.len());
        self.at += blank;
        rest.get(blank).copied()
    }

    /// Where the reader is. Counted on from the last time: a whole document may stand on one line.
    fn place(&mut self) -> Place {
        for c in self.text[self.counted..self.at].chars() {
            match c {
                '\n' => self.place = Place { line: self.place.line + 1, column: 1 },
                _ => self.place.column += 1,
            }
        }
        self.counted = self.at;
        self.place
    }

    fn wrong(&mut self, message: &str) -> Located {
        let place = self.place();
        let finding = Finding::new(self.path.clone(), "syntax", format!("this is not JSON: {message}"));
        finding.remedy("correct it there, or write the file as YAML").located(place)
    }
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && word.parse::<f64>().is_ok()
}

pub(super) fn duplicate_key(path: &str, name: &str, place: Place) -> Finding {
    let message = format!("key `{}` stands here a second time", shown(name));
    Finding::new(path, "duplicate_key", message).remedy("keep one of the two").at(place)
}

pub(super) fn bad_number(path: &str, number: &str, why: &str, place: Place) -> Finding {
    let message = format!("the number `{}` cannot be passed on: {why}", shown(number));
    Finding::new(path, "bad_number", message).remedy("write it in quotes, as text").at(place)
}
