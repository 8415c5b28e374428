//! Variables: plain settings for templates and tasks.

use std::collections::{BTreeMap, HashMap};

/// The longest key.
const KEY_CHARS: usize = 250;

/// The longest value. 64 KiB.
pub const VALUE_BYTES: usize = 64 << 10;

/// Variables there may be.
pub const MOST_VARIABLES: usize = 10_000;

/// Bytes of all keys and values together: they lie in memory, for templates. 16 MiB.
pub const ALL_BYTES: usize = 16 << 20;

/// What a variable holds. Not a secret: whoever may read DAGs may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub value: String,
    pub description: Option<String>,
}

/// All variables' values by their keys.
pub type Variables = BTreeMap<String, String>;

/// How much there is of variables.
#[derive(Debug, Default)]
pub struct Stock {
    /// Of the key and the value.
    bytes_by_key: HashMap<String, usize>,
    bytes: usize,
}

/// There is no room for a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("there are {MOST_VARIABLES} variables, and no more may be")]
    Number,
    #[error("all variables together would come to {bytes} bytes, and the limit is {ALL_BYTES}")]
    Bytes { bytes: usize },
}

impl Stock {
    pub fn of(variables: &Variables) -> Self {
        let bytes_by_key: HashMap<_, _> =
            variables.iter().map(|(key, value)| (key.clone(), key.len() + value.len())).collect();
        let bytes = bytes_by_key.values().sum();
        Self { bytes_by_key, bytes }
    }

    /// Takes note that a variable is set, or with none taken away. What makes it less is never refused.
    pub fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), Full> {
        let before = self.bytes_by_key.get(key).copied();
        let Some(value) = value else {
            self.bytes -= self.bytes_by_key.remove(key).unwrap_or(0);
            return Ok(());
        };
        if before.is_none() && self.bytes_by_key.len() >= MOST_VARIABLES {
            return Err(Full::Number);
        }
        let own = key.len() + value.len();
        let bytes = self.bytes - before.unwrap_or(0) + own;
        if bytes > ALL_BYTES && bytes > self.bytes {
            return Err(Full::Bytes { bytes });
        }
        self.bytes = bytes;
        self.bytes_by_key.insert(key.to_owned(), own);
        Ok(())
    }
}

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

    #[test]
    fn there_are_no_more_variables_than_may_be() {
        let mut stock = Stock::default();
        for n in 0..MOST_VARIABLES {
            assert_eq!(stock.set(&n.to_string(), Some("")), Ok(()));
        }
        assert_eq!(stock.set("one more", Some("")), Err(Full::Number));
        assert_eq!(stock.set("7", Some("another value")), Ok(()));
        assert_eq!(stock.set("8", None), Ok(()));
        assert_eq!(stock.set("one more", Some("")), Ok(()));
    }

    #[test]
    fn all_variables_together_have_a_limit() {
        let value = "x".repeat(VALUE_BYTES - 4);
        let key = |n: usize| format!("{n:04}");
        let full: Variables = (0..ALL_BYTES / VALUE_BYTES).map(|n| (key(n), value.clone())).collect();
        let mut stock = Stock::of(&full);
        let bytes = ALL_BYTES + 1;
        assert_eq!(stock.set("k", Some("")), Err(Full::Bytes { bytes }));
        assert_eq!(stock.set(&key(3), Some(&format!("{value}x"))), Err(Full::Bytes { bytes }));
        assert_eq!(stock.set(&key(3), Some(&value)), Ok(()), "no more than before");
        assert_eq!(stock.set(&key(4), None), Ok(()));
        assert_eq!(stock.set("k", Some("")), Ok(()));
    }

    #[test]
    fn what_is_over_the_limit_already_may_become_less() {
        let value = "x".repeat(ALL_BYTES);
        let mut stock = Stock::of(&[("a".to_owned(), value.clone())].into());
        assert_eq!(stock.set("a", Some(&value[1..])), Ok(()));
        assert!(stock.set("b", Some("")).is_err());
    }
}
