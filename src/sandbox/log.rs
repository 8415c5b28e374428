//! Where the lines of one attempt go.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Takes the lines of one attempt. It bounds and keeps them; the sandbox only
/// cuts the guest's streams into lines of at most [`MAX_LINE_BYTES`].
pub trait LogSink: Send + Sync {
    /// Called on a guest thread, in the order the guest wrote.
    fn write(&self, line: LogLine<'_>);

    /// Bytes kept so far, for `usage.log_bytes`.
    fn bytes(&self) -> u64;
}

/// One line, without its line break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine<'a> {
    pub at: Timestamp,
    pub stream: LogStream,
    pub level: LogLevel,
    pub message: &'a str,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    Stdout,
    Stderr,
    /// The SDK's logging interface.
    Log,
}

/// How much a line matters. What a guest prints has level `info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// A longer line of stdout or stderr is cut into several.
pub const MAX_LINE_BYTES: usize = 8 << 10;

/// Nobody reads these lines.
pub struct NoLog;

impl LogSink for NoLog {
    fn write(&self, _line: LogLine<'_>) {}

    fn bytes(&self) -> u64 {
        0
    }
}

/// Cuts a stream of bytes into lines; holds back the last, unfinished one.
#[derive(Debug, Default)]
pub(super) struct LineCutter {
    partial: Vec<u8>,
}

impl LineCutter {
    pub(super) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, finished) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let mut rest = text;
            while self.partial.len() + rest.len() > MAX_LINE_BYTES {
                let (head, tail) = rest.split_at(MAX_LINE_BYTES - self.partial.len());
                self.partial.extend_from_slice(head);
                self.flush(&mut line);
                rest = tail;
            }
            if !finished {
                self.partial.extend_from_slice(rest);
            } else if self.partial.is_empty() {
                line(&readable(rest));
            } else {
                self.partial.extend_from_slice(rest);
                self.flush(&mut line);
            }
        }
    }

    /// Gives out the unfinished line, if there is one.
    pub(super) fn flush(&mut self, mut line: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            line(&readable(&self.partial));
            self.partial.clear();
        }
    }
}

fn readable(line: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_bounded_lines() {
        let mut cutter = LineCutter::default();
        let mut lines = Vec::new();
        let long = "x".repeat(MAX_LINE_BYTES + 1);
        for piece in ["a\nb", "c\r\n\n", &long, "\nlast"] {
            cutter.push(piece.as_bytes(), |line| lines.push(line.to_owned()));
        }
        cutter.flush(|line| lines.push(line.to_owned()));
        assert_eq!(lines, ["a", "bc", "", &long[1..], "x", "last"]);
    }
}
