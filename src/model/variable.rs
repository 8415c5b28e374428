//! Variables: plain settings for templates and tasks.

use std::collections::BTreeMap;

/// The longest key.
const KEY_CHARS: usize = 250;

/// The longest value. 64 KiB.
pub const VALUE_BYTES: usize = 64 << 10;

/// What a variable holds. Not a secret: whoever may read DAGs may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub value: String,
    pub description: Option<String>,
}

/// All variables' values by their keys.
pub type Variables = BTreeMap<String, String>;

#[derive(Debug, thiserror::Error)]
#[error("`{0}` cannot be the key of a variable: use 1 to 250 of letters, digits, `_`, `-` and `.`")]
pub struct NotAKey(String);

/// The rule for keys. Source: Airflow's length; its characters are those that a template can name.
pub fn check_key(key: &str) -> Result<(), NotAKey> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let fits = (1..=KEY_CHARS).contains(&key.len()) && key.bytes().all(allowed);
    if fits { Ok(()) } else { Err(NotAKey(key.chars().take(80).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_a_rule() {
        for key in ["a", "etl.bucket", "A-b_c.9", &"k".repeat(KEY_CHARS)] {
            check_key(key).unwrap_or_else(|error| panic!("{error}"));
        }
        for key in ["", "a b", "ä", "a/b", &"k".repeat(KEY_CHARS + 1)] {
            check_key(key).expect_err(key);
        }
    }
}
