//! What does a path of a guest name, and how is it shown to people?

use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

/// Names in one path: where the kernel cannot resolve it in one go, each is a file of
/// the server's for a moment.
const MAX_NAMES: usize = 128;

/// Characters shown of a path that was refused.
const MAX_SHOWN: usize = 80;

pub(super) fn check(path: &str) -> Result<(), ErrorCode> {
    if path.split('/').count() > MAX_NAMES { Err(ErrorCode::NameTooLong) } else { Ok(()) }
}

/// The directory and the name in it. None of what cannot be made, moved or removed: an
/// absolute path, and one that ends in `..` or names the directory itself.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let mut trimmed = path;
    while let Some(shorter) = trimmed.strip_suffix('/').or_else(|| trimmed.strip_suffix("/.")) {
        trimmed = shorter;
    }
    let (above, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    let named = !path.starts_with('/') && !matches!(name, "" | "." | "..");
    named.then_some((above, name))
}

/// Quoted, escaped and short.
pub(super) fn shown(path: &str) -> String {
    let mut shown: String = path.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
    if path.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_directory_and_a_name_in_it() {
        for (path, expected) in [
            ("a", Some(("", "a"))),
            ("a/", Some(("", "a"))),
            ("a//./", Some(("", "a"))),
            ("a/b", Some(("a", "b"))),
            ("a//b", Some(("a/", "b"))),
            ("../a", Some(("..", "a"))),
            ("./a", Some((".", "a"))),
            ("", None),
            (".", None),
            ("..", None),
            ("a/..", None),
            ("/", None),
            ("/a", None),
            ("/a/b", None),
        ] {
            assert_eq!(split(path), expected, "{path}");
        }
    }

    #[test]
    fn a_path_is_shown_escaped_and_short() {
        assert_eq!(shown("a\n\"b\u{1b}"), r#""a\n\"b\u{1b}""#);
        assert_eq!(shown(&"ü".repeat(100)), format!("\"{}…\"", "ü".repeat(80)));
    }

    #[test]
    fn a_path_of_too_many_names_is_refused() {
        assert_eq!(check(&vec!["a"; 128].join("/")), Ok(()));
        assert_eq!(check(&vec!["a"; 129].join("/")), Err(ErrorCode::NameTooLong));
    }
}
