//! Reads values of a document as what they should be, and says so where they are not.

use crate::dag::finding::{Finding, Findings, did_you_mean, pointer_part, shown};
use crate::dag::source::{Key, Kind, Node};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(in crate::dag) struct Spot<'a> {
    /// The key it stands under; of an element, that of its list.
    pub(in crate::dag) name: &'a str,
    /// JSON pointer.
    pub(in crate::dag) path: String,
    pub(in crate::dag) node: &'a Node,
}

impl<'a> Spot<'a> {
    pub(in crate::dag) fn root(node: &'a Node) -> Self {
        Self { name: "", path: String::new(), node }
    }

    pub(in crate::dag) fn value(&self, (key, node): &'a (Key, Node)) -> Self {
        Self { name: &key.name, path: format!("{}/{}", self.path, pointer_part(&key.name)), node }
    }

    pub(in crate::dag) fn element(&self, index: usize, node: &'a Node) -> Self {
        Self { name: self.name, path: format!("{}/{index}", self.path), node }
    }

    /// An element has the name of its list.
    fn is_element(&self) -> bool {
        self.path.rsplit('/').next().is_some_and(|part| part != pointer_part(self.name))
    }

    pub(in crate::dag) fn is_null(&self) -> bool {
        matches!(self.node.kind, Kind::Null)
    }

    /// Something is wrong with this value.
    pub(in crate::dag) fn finding(&self, code: &'static str, message: impl Into<String>) -> Finding {
        Finding::new(self.path.clone(), code, message).at(self.node.place)
    }
}

pub(in crate::dag) struct Reader {
    pub(in crate::dag) findings: Findings,
    /// A guess compares with every known name; with very many mistakes the last ones get none.
    guesses: usize,
}

const MAX_GUESSES: usize = 200;
/// Names that one guess compares with.
const MAX_COMPARED: usize = 10_000;

/// What people call our keys who come from elsewhere.
const FOREIGN: [(&str, &str); 14] = [
    ("depends_on", "upstream"),
    ("dependencies", "upstream"),
    ("needs", "upstream"),
    ("after", "upstream"),
    ("upstream_task_ids", "upstream"),
    ("schedule_interval", "schedule"),
    ("timetable", "schedule"),
    ("timeout", "execution_timeout"),
    ("retry", "retries"),
    ("condition", "when"),
    ("if", "when"),
    ("params", "input"),
    ("op_kwargs", "input"),
    ("task_groups", "groups"),
];

/// What to do instead of removing a key that is refused.
const INSTEAD: [(&str, &str); 1] = [(
    "not_before",
    "remove it, and trigger the run when the task may start; to leave the task out of runs of earlier dates, write \
     `when: \"{{ ds >= '2026-01-01' }}\"`",
)];

impl Reader {
    pub(in crate::dag) fn new(known: &[Finding]) -> Self {
        let mut findings = Findings::default();
        findings.extend(known.iter().cloned());
        Self { findings, guesses: MAX_GUESSES }
    }

    /// "did you mean …?", as long as there are not too many questions.
    pub(in crate::dag) fn guess<'k>(
        &mut self,
        wrong: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Option<String> {
        self.guesses = self.guesses.checked_sub(1)?;
        did_you_mean(wrong, known.into_iter().take(MAX_COMPARED))
    }

    pub(in crate::dag) fn wrong_type(&mut self, spot: &Spot<'_>, wanted: &str) {
        if !matches!(spot.node.kind, Kind::Broken) {
            let name = match (spot.name, spot.is_element()) {
                ("", _) => "the document".to_owned(),
                (name, false) => format!("`{}`", shown(name)),
                (name, true) => format!("an element of `{}`", shown(name)),
            };
            let finding = spot.finding("wrong_type", format!("{name} cannot be {}", spot.node.what()));
            self.findings.add(finding.remedy(format!("write {wanted}")));
        }
    }

    /// The entries of an object that may have any keys. `None` has its finding.
    pub(in crate::dag) fn entries<'a>(&mut self, spot: &Spot<'a>, wanted: &str) -> Option<&'a [(Key, Node)]> {
        match &spot.node.kind {
            Kind::Object(entries) => Some(entries),
            _ => {
                self.wrong_type(spot, wanted);
                None
            }
        }
    }

    /// The entries of an object that have a known key, by it.
    pub(in crate::dag) fn fields<'a>(&mut self, spot: &Spot<'a>, wanted: &str, known: &Known) -> Fields<'a> {
        let mut fields = Vec::new();
        for entry in self.entries(spot, wanted).unwrap_or_default() {
            match known.keys().find(|key| *key == entry.0.name) {
                Some(key) => fields.push((key, spot.value(entry))),
                None => self.unknown_key(spot, &entry.0, known),
            }
        }
        Fields(fields)
    }

    fn unknown_key(&mut self, parent: &Spot<'_>, key: &Key, known: &Known) {
        let path = format!("{}/{}", parent.path, pointer_part(&key.name));
        let name = shown(&key.name);
        if let Some((_, why)) = known.refused.iter().find(|(refused, _)| *refused == key.name) {
            let instead = INSTEAD.iter().find(|(refused, _)| *refused == key.name).map(|(_, remedy)| *remedy);
            let finding =
                Finding::new(path, "key_not_allowed", format!("`{name}` cannot stand on {}: {why}", known.on));
            let remedy = instead.map_or_else(|| format!("remove `{name}`"), str::to_owned);
            return self.findings.add(finding.remedy(remedy).at(key.place));
        }
        let foreign =
            FOREIGN.iter().find(|(foreign, ours)| *foreign == key.name && known.keys().any(|key| key == *ours));
        let remedy = match foreign {
            Some((_, ours)) => Some(format!("here it is called `{ours}`")),
            None => self.guess(&key.name, known.keys()),
        };
        let remedy = remedy.unwrap_or_else(|| format!("known are {}", known.keys().collect::<Vec<_>>().join(", ")));
        let finding = Finding::new(path, "unknown_key", format!("{} has no key `{name}`", known.on));
        self.findings.add(finding.remedy(remedy).at(key.place));
    }

    pub(in crate::dag) fn text<'a>(&mut self, spot: &Spot<'a>) -> Option<&'a str> {
        let text = spot.node.as_text();
        if text.is_none() {
            self.wrong_type(spot, "a text");
        }
        text
    }

    pub(in crate::dag) fn bool(&mut self, spot: &Spot<'_>) -> Option<bool> {
        match spot.node.kind {
            Kind::Bool(value) => Some(value),
            _ => {
                self.wrong_type(spot, "true or false");
                None
            }
        }
    }

    /// A whole number from 1 to `most`.
    pub(in crate::dag) fn count(&mut self, spot: &Spot<'_>, most: u32) -> Option<u32> {
        let Kind::Number(number) = &spot.node.kind else {
            self.wrong_type(spot, "a whole number");
            return None;
        };
        let count = number.as_u64().filter(|count| (1..=u64::from(most)).contains(count));
        if count.is_none() {
            let finding = spot.finding("out_of_range", format!("`{}` cannot be {number}", spot.name));
            self.findings.add(finding.remedy(format!("write a whole number from 1 to {most}")));
        }
        count.map(|count| count as u32)
    }

    /// A text that is parsed further.
    pub(in crate::dag) fn parsed<T>(&mut self, spot: &Spot<'_>, code: &'static str, wanted: &str) -> Option<T>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let Some(text) = spot.node.as_text() else {
            self.wrong_type(spot, wanted);
            return None;
        };
        self.well_formed(spot, code, text.parse::<T>())
    }

    /// The errors of our names, dates and lengths of time say what is wrong, a colon, and what to write.
    pub(in crate::dag) fn well_formed<T, E>(
        &mut self,
        spot: &Spot<'_>,
        code: &'static str,
        parsed: Result<T, E>,
    ) -> Option<T>
    where
        E: std::fmt::Display,
    {
        parsed.map_err(|error| self.findings.add(spot.finding(code, "").said(&error.to_string()))).ok()
    }

    /// A list of texts, or one text: `wanted` says what each is. Whether all of it could be read.
    pub(in crate::dag) fn texts<'a>(&mut self, spot: &Spot<'a>, wanted: &str) -> (Vec<(&'a str, Spot<'a>)>, bool) {
        match &spot.node.kind {
            Kind::Text(text) => (vec![(&*text.value, spot.clone())], true),
            Kind::List(nodes) => {
                let mut texts = Vec::new();
                for (index, node) in nodes.iter().enumerate() {
                    let element = spot.element(index, node);
                    match node.as_text() {
                        Some(text) => texts.push((text, element)),
                        None => self.wrong_type(&element, wanted),
                    }
                }
                let complete = texts.len() == nodes.len();
                (texts, complete)
            }
            _ => {
                self.wrong_type(spot, &format!("a list, of which each element is {wanted}"));
                (Vec::new(), false)
            }
        }
    }
}

/// The keys that an object may have.
pub(in crate::dag) struct Known {
    /// What has them: "a task".
    pub(in crate::dag) on: &'static str,
    pub(in crate::dag) lists: &'static [&'static [&'static str]],
    /// Keys that people may expect here, and why they are not.
    pub(in crate::dag) refused: &'static [(&'static str, &'static str)],
}

impl Known {
    fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.lists.iter().copied().flatten().copied()
    }
}

/// Known keys with their values, in the order written.
pub(in crate::dag) struct Fields<'a>(Vec<(&'static str, Spot<'a>)>);

impl<'a> Fields<'a> {
    pub(in crate::dag) fn none() -> Self {
        Self(Vec::new())
    }

    /// The value of a key; null is as if it were not there.
    pub(in crate::dag) fn get(&self, key: &str) -> Option<&Spot<'a>> {
        self.with_null(key).filter(|spot| !spot.is_null())
    }

    pub(in crate::dag) fn with_null(&self, key: &str) -> Option<&Spot<'a>> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, spot)| spot)
    }

    pub(in crate::dag) fn iter(&self) -> impl Iterator<Item = (&'static str, &Spot<'a>)> {
        self.0.iter().map(|(key, spot)| (*key, spot))
    }
}
