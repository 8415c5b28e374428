//! Names that people choose: of modules, tags, queues and runs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not the name of a {what}: use 1 to {max} letters, digits and {others}, with a letter or digit first"
)]
pub struct NotAName {
    text: String,
    what: &'static str,
    max: usize,
    others: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        name!($(#[$doc])* $name, $what, $max, "`.` `_` `-`", '.' | '_' | '-');
    };
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $others:literal, $allowed:pat) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAName;

            fn from_str(text: &str) -> Result<Self, NotAName> {
                let well_formed = (1..=$max).contains(&text.len())
                    && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, $allowed))
                    && text.as_bytes()[0].is_ascii_alphanumeric();
                if well_formed {
                    Ok(Self(text.into()))
                } else {
                    Err(NotAName { text: text.chars().take(100).collect(), what: $what, max: $max, others: $others })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// Names a line of modules: `etl`.
    ModuleName, "module", 128
);
name!(
    /// Names one module of a line: the `1.4` of `etl:1.4`.
    Tag, "tag", 128
);
name!(
    /// Names a queue, where ready task instances wait.
    QueueName, "queue", 64
);
name!(
    /// What the caller calls a run of a DAG: `manual__2026-11-23T08:00:00+00:00`.
    RunName, "run", 250, "`.` `_` `-` `~` `:` `+`", '.' | '_' | '-' | '~' | ':' | '+'
);

impl Default for QueueName {
    fn default() -> Self {
        use std::sync::LazyLock;
        static DEFAULT: LazyLock<QueueName> = LazyLock::new(|| QueueName("default".into()));
        DEFAULT.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "etl", "1.4", "my-etl_2"] {
            assert!(good.parse::<ModuleName>().is_ok(), "{good}");
        }
        for wrong in ["", ".", "-a", "a/b", "a:b", "ä", "a b", &"a".repeat(129)] {
            assert!(wrong.parse::<ModuleName>().is_err(), "{wrong}");
        }
    }
}
