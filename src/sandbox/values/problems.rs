//! Says where an input is wrong, and how.

/// One thing wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputProblem {
    /// JSON Pointer into the input, `/items/3/name`; empty for the input as a whole.
    pub path: String,
    /// Stable: `invalid_json`, `wrong_type`, `out_of_range`, `missing_field`, `unknown_field`, `duplicate_field`,
    /// `unknown_case`, `missing_value`, `unexpected_value`, `wrong_length`, `duplicate_flag`, `not_base64`,
    /// `not_utf8_char`, `too_large`.
    pub code: &'static str,
    /// For people: what was expected and what was found.
    pub message: String,
}

/// Where the reader is: a list on the stack, turned into text only where there is a problem to report.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

/// An input has no more problems than this reported: reading ends there.
const MAX_PROBLEMS: usize = 100;
/// Of a key or a value that is quoted in a problem, in characters.
const MAX_QUOTED: usize = 64;

/// The problems found so far.
#[derive(Default)]
pub(super) struct Problems {
    found: Vec<InputProblem>,
}

impl Problems {
    pub(super) fn add(&mut self, path: &Path<'_>, code: &'static str, message: String) {
        self.found.push(InputProblem { path: path.to_text(), code, message });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MAX_PROBLEMS
    }

    pub(super) fn into_vec(self) -> Vec<InputProblem> {
        self.found
    }
}

impl Path<'_> {
    fn to_text(self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Key(parent, key) => {
                format!("{}/{}", parent.to_text(), shortened(key).replace('~', "~0").replace('/', "~1"))
            }
            Path::Item(parent, index) => format!("{}/{index}", parent.to_text()),
        }
    }
}

/// The beginning of what the caller wrote, fit for a message.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// What somebody wrote where something else was expected.
pub(super) fn kind_of(raw: &str) -> String {
    match raw.as_bytes().first() {
        Some(b'"') => format!("the text {}", shortened(raw)),
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "an array".to_owned(),
        _ => shortened(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_json_pointer_of_bounded_length() {
        let items = Path::Key(&Path::Root, "items");
        let third = Path::Item(&items, 3);
        assert_eq!(Path::Root.to_text(), "");
        assert_eq!(Path::Key(&third, "a/b~c").to_text(), "/items/3/a~1b~0c");
        assert_eq!(Path::Key(&Path::Root, &"ä".repeat(1000)).to_text(), format!("/{}…", "ä".repeat(MAX_QUOTED)));
    }
}
