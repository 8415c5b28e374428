//! Names that authors of DAGs choose: of DAGs, tasks, groups and parameters.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// In bytes, which are characters: names are ASCII.
pub const MAX_NAME_BYTES: usize = 250;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not {what}: use 1 to {MAX_NAME_BYTES} letters, digits, {marks}, with a letter, digit or `_` first"
)]
pub struct NotAName {
    text: String,
    what: &'static str,
    marks: &'static str,
}

/// Whether `text` may be the name of a DAG, a path of group and task, or one part of such a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dots {
    Anywhere,
    BetweenParts,
    Nowhere,
}

fn is_well_formed(text: &str, dots: Dots) -> bool {
    let part = |part: &str| {
        let inside =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-') || (b == b'.' && dots == Dots::Anywhere);
        part.bytes().all(inside) && part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let parts_are = match dots {
        Dots::Anywhere | Dots::Nowhere => part(text),
        Dots::BetweenParts => text.split('.').all(part),
    };
    text.len() <= MAX_NAME_BYTES && parts_are
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $marks:literal, $dots:expr) => {
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
                if is_well_formed(text, $dots) {
                    Ok(Self(text.into()))
                } else {
                    Err(NotAName { text: text.chars().take(100).collect(), what: $what, marks: $marks })
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

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
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
    /// Names a DAG: `etl`, `sales.daily`.
    DagId, "the name of a DAG", "`_`, `-` and `.`", Dots::Anywhere
);
name!(
    /// Names a task within its DAG, with the groups it is in: `parse`, `load.deep.store`.
    TaskName, "the name of a task", "`_` and `-`, and `.` between a group and what is in it", Dots::BetweenParts
);
name!(
    /// Names a group within its DAG, with the groups it is in: `load.deep`.
    GroupName, "the name of a group", "`_` and `-`, and `.` between a group and what is in it", Dots::BetweenParts
);
name!(
    /// One part of the name of a task or group: what stands as a key under `tasks` or `groups`.
    OwnName, "the name of a task or group", "`_` and `-`", Dots::Nowhere
);
name!(
    /// Names a parameter of a DAG: `city`.
    ParamName, "the name of a parameter", "`_` and `-`", Dots::Nowhere
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_stand_where_each_name_allows_them() {
        for (text, dag, task, own) in [
            ("etl", true, true, true),
            ("_x-1", true, true, true),
            ("1st", true, true, true),
            ("load.x", true, true, false),
            ("load..x", true, false, false),
            ("load.", true, false, false),
            (".", false, false, false),
            ("", false, false, false),
            ("-x", false, false, false),
            ("a b", false, false, false),
            ("ä", false, false, false),
            (&"a".repeat(250), true, true, true),
            (&"a".repeat(251), false, false, false),
        ] {
            assert_eq!(text.parse::<DagId>().is_ok(), dag, "dag {text}");
            assert_eq!(text.parse::<TaskName>().is_ok(), task, "task {text}");
            assert_eq!(text.parse::<OwnName>().is_ok(), own, "own {text}");
        }
        assert_eq!(
            "a b".parse::<OwnName>().expect_err("a space").to_string(),
            "`a b` is not the name of a task or group: use 1 to 250 letters, digits, `_` and `-`, with a letter, digit or `_` first"
        );
    }
}
