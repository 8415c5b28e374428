//! Ids: a prefix, then 13 characters that sort by time.
//!
//! An id is 63 bits: 48 of Unix milliseconds, 15 of sequence. It prints in
//! Crockford's base 32, so its first ten characters are those of a ULID made in
//! the same millisecond (`task_01M…` in late 2026), and it is an integer primary key in the
//! store: rows of one moment lie together and inserts append.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHARACTERS: usize = 13;
const SEQUENCE_BITS: u32 = 15;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the id of a {what}: write {prefix} and 13 characters, as the answer to a submit shows it")]
pub struct NotAnId {
    text: String,
    what: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub const fn from_u64(value: u64) -> Self {
                Self(value)
            }

            pub const fn as_u64(self) -> u64 {
                self.0
            }

            /// None made at that time or later is smaller.
            pub fn earliest(at: Timestamp) -> Self {
                Self(earliest(at))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_id(f, Self::PREFIX, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let not_an_id =
                    || NotAnId { text: text.chars().take(100).collect(), what: $what, prefix: Self::PREFIX };
                read_id(text, Self::PREFIX).map(Self).ok_or_else(not_an_id)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
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

id!(
    /// Names one task instance. `task_01KAQZ3X5T008`.
    TaskId, "task_", "task"
);
id!(
    /// Names one run of a DAG. `run_01KAQZ3X5T008`. From the same numbers as the ids of tasks, so that no two are alike.
    RunId, "run_", "run"
);

impl TaskId {
    /// The first task of a run has this id: the one that is not mapped and stands at `node` in its plan has that one.
    pub fn of_node(self, node: u32) -> Self {
        Self(self.0 + u64::from(node))
    }
}

fn earliest(at: Timestamp) -> u64 {
    (at.as_millis().max(0) as u64) << SEQUENCE_BITS
}

fn write_id(f: &mut fmt::Formatter<'_>, prefix: &str, value: u64) -> fmt::Result {
    let mut text = [0; CHARACTERS];
    for (place, byte) in text.iter_mut().enumerate() {
        let shift = 5 * (CHARACTERS - 1 - place);
        *byte = ALPHABET[(value >> shift) as usize & 31];
    }
    f.write_str(prefix)?;
    f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
}

fn read_id(text: &str, prefix: &str) -> Option<u64> {
    let digits = text.strip_prefix(prefix).filter(|digits| digits.len() == CHARACTERS)?;
    let mut value: u128 = 0;
    for byte in digits.bytes() {
        let digit = ALPHABET.iter().position(|&a| a == byte)?;
        value = value << 5 | digit as u128;
    }
    // The store keeps ids as signed integers.
    i64::try_from(value).ok().map(|value| value as u64)
}

/// Gives out ids that only grow, of tasks and of runs, also when the clock steps back or a
/// millisecond holds more than 2^15 of them.
#[derive(Debug, Clone)]
pub struct IdSource {
    last: u64,
}

impl IdSource {
    /// Continues after `last`, the greatest id given out before.
    pub fn after(last: Option<u64>) -> Self {
        Self { last: last.unwrap_or(0) }
    }

    /// The greatest id given out.
    pub fn last(&self) -> Option<u64> {
        Some(self.last).filter(|last| *last > 0)
    }

    pub fn next(&mut self, now: Timestamp) -> TaskId {
        TaskId(self.block(now, 1))
    }

    /// A run, and one task for each of so many nodes behind it: the task of node `n` is `first_task + n`.
    pub fn next_run(&mut self, now: Timestamp, nodes: usize) -> (RunId, TaskId) {
        let run = self.block(now, nodes as u64 + 1);
        (RunId(run), TaskId(run + 1))
    }

    fn block(&mut self, now: Timestamp, length: u64) -> u64 {
        let first = earliest(now).max(self.last + 1);
        self.last = first + length - 1;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_though_the_clock_steps_back() {
        let mut source = IdSource::after(None);
        let late = source.next(Timestamp::from_millis(2_000));
        let early = source.next(Timestamp::from_millis(1_000));
        assert!(early > late && early.to_string() > late.to_string());
    }

    #[test]
    fn an_id_has_one_text_form_that_begins_like_a_ulid() {
        let id = IdSource::after(None).next("2026-11-23T08:34:58Z".parse().expect("a time"));
        let text = id.to_string();
        assert!(text.starts_with("task_01M"), "{text}");
        assert_eq!(text.parse(), Ok(id));
        for wrong in ["", "task_", "run_01KAQZ3X5T008", "task_01kaqz3x5t008", "task_ZZZZZZZZZZZZZ", "task_01KAQZ3X5T00"]
        {
            assert!(wrong.parse::<TaskId>().is_err(), "{wrong}");
        }
    }
}
