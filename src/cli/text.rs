//! Text for a terminal: what a stranger wrote cannot steer it, and numbers have sizes people read.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

/// One line: control characters and changes of the writing direction are written out.
pub(super) fn line(text: &str) -> String {
    escape(text, "\\n")
}

/// Several lines: as `line`, but line ends stay, with what follows them set in.
/// A guest's log line can therefore not pass for another line of the log.
pub(super) fn lines(text: &str) -> String {
    escape(text, "\n  ")
}

/// JSON, with every character that could steer a terminal escaped. JSON itself escapes only the oldest of them.
pub(super) fn json(text: &str) -> Cow<'_, str> {
    let steers = |character: char| character.is_control() || turns_direction(character);
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    for character in text.chars() {
        match character {
            // Between values, where line ends and tabs may stand; within texts they are escaped already.
            '\n' | '\t' | '\r' => out.push(' '),
            _ if steers(character) => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    Cow::Owned(out)
}

fn escape(text: &str, line_end: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str(line_end),
            '\t' => out.push('\t'),
            _ if character.is_control() || turns_direction(character) => {
                // Writing to a String does not fail.
                let _ = write!(out, "{}", character.escape_unicode());
            }
            _ => out.push(character),
        }
    }
    out
}

/// Characters without a shape that change how the text around them is shown.
fn turns_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// `340 B`, `1.2 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `0.42ms`, `12.3ms`, `4.56s`, `2m03s`, `1h05m`.
pub(super) fn duration(length: Duration) -> String {
    let seconds = length.as_secs_f64();
    let whole = length.as_secs();
    match seconds {
        s if s < 0.01 => format!("{:.2}ms", s * 1e3),
        s if s < 1.0 => format!("{:.1}ms", s * 1e3),
        s if s < 60.0 => format!("{s:.2}s"),
        s if s < 3600.0 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
    }
}

pub(super) fn milliseconds(length: f64) -> String {
    duration(Duration::try_from_secs_f64(length / 1e3).unwrap_or_default())
}

/// `1 call`, `2 calls`.
pub(super) fn plural(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// `1 234 567`, with narrow gaps between thousands.
pub(super) fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_steer_the_terminal() {
        for (written, shown) in [
            ("plain, with ümlauts and 🦀", "plain, with ümlauts and 🦀"),
            ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("\u{9b}31mred", "\\u{9b}31mred"),
            ("a\rb\x07\x7f\0", "a\\u{d}b\\u{7}\\u{7f}\\u{0}"),
            ("tab\there", "tab\there"),
            ("two\nlines", "two\n  lines"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
        ] {
            assert_eq!(lines(written), shown);
        }
        assert_eq!(line("two\nlines"), "two\\nlines");
    }

    #[test]
    fn json_for_a_terminal_has_the_same_value() {
        let value = "\u{9b}31m \u{202e} \u{7f} \u{1b} \n 🦀";
        let written = serde_json::to_string(value).expect("JSON");
        let shown = json(&written);
        assert!(!shown.contains(char::is_control) && !shown.contains('\u{202e}'), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).expect("JSON"), value);
    }

    #[test]
    fn numbers_have_sizes_people_read() {
        assert_eq!([size(0), size(1023), size(1 << 20), size(1_300_000)], ["0 B", "1023 B", "1.0 MiB", "1.2 MiB"]);
        let lengths =
            [0, 420, 12_340, 4_560_000, 123_000_000, 3_900_000_000].map(|us| duration(Duration::from_micros(us)));
        assert_eq!(lengths, ["0.00ms", "0.42ms", "12.3ms", "4.56s", "2m03s", "1h05m"]);
        assert_eq!([0, 1, 2].map(|calls| plural(calls, "call")), ["0 calls", "1 call", "2 calls"]);
        assert_eq!([count(7.0), count(1234.4), count(1_234_567.0)], ["7", "1 234", "1 234 567"]);
    }
}
