//! What is wrong with a DAG file, why, where, and what to do.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Where something stands in a file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

impl Place {
    pub const START: Place = Place { line: 1, column: 1 };
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Finding {
    /// JSON pointer into the document: `/tasks/parse/when`.
    pub path: String,
    /// Stable, in snake_case.
    pub code: &'static str,
    /// The thing and the reason.
    pub message: String,
    /// What to do: "did you mean `extract`?"
    pub remedy: Option<String>,
    /// Where it is, if that is known better than by `path`.
    pub place: Option<Place>,
}

impl Finding {
    pub fn new(path: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { path: path.into(), code, message: message.into(), remedy: None, place: None }
    }

    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Message and remedy out of a text with a colon between.
    pub fn said(mut self, text: &str) -> Self {
        let (message, remedy) = text.rsplit_once(": ").unwrap_or((text, "correct it"));
        self.message = message.to_owned();
        self.remedy(remedy)
    }

    pub fn maybe_remedy(mut self, remedy: Option<String>) -> Self {
        self.remedy = remedy.or(self.remedy);
        self
    }

    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The same finding where its path was relative to what stands at `base`.
    pub fn below(mut self, base: &str) -> Self {
        self.path.insert_str(0, base);
        self
    }

    pub fn located(self, place: Place) -> Located {
        let Place { line, column } = self.place.unwrap_or(place);
        let Self { path, code, message, remedy, .. } = self;
        Located { path, line, column, code: code.into(), message, remedy }
    }
}

/// A finding with its line and column, as it is answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Located {
    // In the order in which people want to read findings.
    pub line: u32,
    pub column: u32,
    pub path: String,
    pub code: std::borrow::Cow<'static, str>,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl std::fmt::Display for Located {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        self.remedy.iter().try_for_each(|remedy| write!(f, "; {remedy}"))
    }
}

/// Findings as they are gathered, each once.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    /// A mistake in `default_args` is met again with every task.
    seen: HashSet<Finding>,
    more: usize,
}

/// More mistakes than this are counted, not told.
pub const MAX_FINDINGS: usize = 1_000;

impl Findings {
    pub fn add(&mut self, finding: Finding) {
        if self.list.len() >= MAX_FINDINGS {
            self.more += usize::from(!self.seen.contains(&finding));
        } else if self.seen.insert(finding.clone()) {
            self.list.push(finding);
        }
    }

    /// Whether there are more than are told: what would only find others may stop.
    pub fn has_more(&self) -> bool {
        self.more > 0
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn has(&self, code: &str) -> bool {
        self.list.iter().any(|finding| finding.code == code)
    }

    /// Whether more mistakes would only be counted.
    pub fn is_full(&self) -> bool {
        self.list.len() >= MAX_FINDINGS
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// One finding that says it better than those since there were `before`.
    pub fn replace_since(&mut self, before: usize, finding: Finding) {
        self.list.drain(before.min(self.list.len())..).for_each(|forgotten| {
            self.seen.remove(&forgotten);
        });
        self.add(finding);
    }

    pub fn into_vec(mut self) -> Vec<Finding> {
        if self.more > 0 {
            let message = format!("at least {} more mistakes are not listed", self.more);
            self.list.push(Finding::new("", "too_many_findings", message).remedy("correct these first"));
        }
        self.list
    }
}

impl Extend<Finding> for Findings {
    fn extend<T: IntoIterator<Item = Finding>>(&mut self, findings: T) {
        findings.into_iter().for_each(|finding| self.add(finding));
    }
}

/// The known name that a mistyped one was probably meant to be.
pub fn closest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = wrong.len();
    // The distance takes time and memory by the product of the lengths.
    if length > 250 {
        return None;
    }
    let at_most = if length <= 3 { 1 } else { 2 };
    let lower = wrong.to_lowercase();
    known
        .into_iter()
        .filter(|name| name.len().abs_diff(length) <= at_most)
        .map(|name| (strsim::osa_distance(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= at_most && *distance < name.len())
        .min()
        .map(|(_, name)| name)
}

/// "did you mean `extract`?"
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(wrong, known).map(|name| format!("did you mean `{name}`?"))
}

/// What somebody wrote, shortened to where it can be read in a sentence.
pub fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let mut shown: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

/// A key as a part of a JSON pointer. A very long one is cut: a thousand findings below it
/// would be a thousand times as long.
pub fn pointer_part(key: &str) -> std::borrow::Cow<'_, str> {
    const MOST: usize = 256;
    if key.len() > MOST {
        let cut = key.char_indices().take_while(|(at, _)| *at < MOST).map(|(_, c)| c).collect::<String>();
        return format!("{}…", cut.replace('~', "~0").replace('/', "~1")).into();
    }
    match key.contains(['~', '/']) {
        true => key.replace('~', "~0").replace('/', "~1").into(),
        false => key.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_is_guessed_and_a_foreign_one_is_not() {
        let known = ["upstream", "retries", "when", "ds"];
        for (wrong, meant) in [
            ("upstraem", Some("upstream")),
            ("Retries", Some("retries")),
            ("wen", Some("when")),
            ("dependencies", None),
            ("x", None),
            ("xy", None),
        ] {
            assert_eq!(closest(wrong, known), meant, "{wrong}");
        }
    }

    #[test]
    fn one_mistake_is_told_once_and_very_many_are_counted() {
        let mut findings = Findings::default();
        for i in 0..MAX_FINDINGS + 5 {
            findings.extend([Finding::new(format!("/{i}"), "x", "wrong"), Finding::new("/0", "x", "wrong")]);
        }
        let findings = findings.into_vec();
        assert_eq!(findings.len(), MAX_FINDINGS + 1);
        assert_eq!(findings[MAX_FINDINGS].message, "at least 5 more mistakes are not listed");
    }
}
