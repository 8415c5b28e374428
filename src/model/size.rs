//! Sizes: a number of bytes, written `268435456` or `256MiB`.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes. An integer in JSON; settings, CLI and YAML also take `256MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a number of bytes, or one with KiB, MiB, GiB, TiB, kB, MB, GB or TB")]
pub struct NotASize(String);

impl ByteSize {
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn mib(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Longer units first, so that `KiB` is not taken for `B`.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let not_a_size = || NotASize(text.chars().take(100).collect());
        let trimmed = text.trim();
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| trimmed.strip_suffix(unit).map(|number| (number.trim_end(), *factor)))
            .unwrap_or((trimmed, 1));
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(not_a_size);
        }
        // `1.5GiB`: digits and one point, nothing that only a float parser would take.
        let plain = factor > 1 && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match number.parse::<f64>() {
            Ok(fraction) if plain && fraction * (factor as f64) < 9e15 => {
                Ok(Self((fraction * factor as f64).round() as u64))
            }
            _ => Err(not_a_size()),
        }
    }
}

impl fmt::Display for ByteSize {
    /// The shortest exact form with a binary unit: `256MiB`, `1000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS[..4].iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => f.pad(&format!("{}{unit}", self.0 / factor)),
            None => f.pad(&self.0.to_string()),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;

        impl Visitor<'_> for SizeVisitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 268435456 or 256MiB")
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom(NotASize(bytes.to_string())))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(SizeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_in_any_unit_and_shown_in_one() {
        for (written, bytes, shown) in [
            ("0", 0, "0"),
            ("1000", 1000, "1000"),
            ("1kB", 1000, "1000"),
            ("4KiB", 4096, "4KiB"),
            ("256MiB", 256 << 20, "256MiB"),
            ("1.5GiB", 3 << 29, "1536MiB"),
            (" 2 MB ", 2_000_000, "2000000"),
        ] {
            let size: ByteSize = written.parse().expect(written);
            assert_eq!((size.get(), size.to_string().as_str()), (bytes, shown), "{written}");
        }
        for wrong in ["", "MiB", "-1", "1.5", "1e3KiB", "infKiB", "256 mibs", "99999999999TiB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}
