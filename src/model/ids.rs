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

/// Names one task instance. `task_01KAQZ3X5T008`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a task id: write {prefix} and 13 characters, as the answer to a submit shows it")]
pub struct NotAnId {
    text: String,
    prefix: &'static str,
}

impl TaskId {
    pub const PREFIX: &'static str = "task_";

    pub const fn from_u64(value: u64) -> Self {
        Self(value)
    }

    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// No task accepted at that time or later has a smaller id.
    pub fn earliest(at: Timestamp) -> Self {
        Self((at.as_millis().max(0) as u64) << SEQUENCE_BITS)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TaskId::PREFIX.len() + CHARACTERS];
        text[..Self::PREFIX.len()].copy_from_slice(Self::PREFIX.as_bytes());
        for (place, byte) in text[Self::PREFIX.len()..].iter_mut().enumerate() {
            let shift = 5 * (CHARACTERS - 1 - place);
            *byte = ALPHABET[(self.0 >> shift) as usize & 31];
        }
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TaskId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let not_an_id = || NotAnId { text: text.chars().take(100).collect(), prefix: Self::PREFIX };
        let digits = text.strip_prefix(Self::PREFIX).ok_or_else(not_an_id)?;
        if digits.len() != CHARACTERS {
            return Err(not_an_id());
        }
        let mut value: u128 = 0;
        for byte in digits.bytes() {
            let digit = ALPHABET.iter().position(|&a| a == byte).ok_or_else(not_an_id)?;
            value = value << 5 | digit as u128;
        }
        // The store keeps ids as signed integers.
        i64::try_from(value).map(|value| Self(value as u64)).map_err(|_| not_an_id())
    }
}

impl Serialize for TaskId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Gives out ids that only grow, also when the clock steps back or a
/// millisecond holds more than 2^15 of them.
#[derive(Debug, Clone)]
pub struct IdSource {
    last: u64,
}

impl IdSource {
    /// Continues after `last`, the greatest id given out before.
    pub fn after(last: Option<TaskId>) -> Self {
        Self { last: last.map_or(0, TaskId::as_u64) }
    }

    pub fn next(&mut self, now: Timestamp) -> TaskId {
        self.last = TaskId::earliest(now).as_u64().max(self.last + 1);
        TaskId(self.last)
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
