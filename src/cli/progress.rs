//! Progress on stderr: a bar where the length is known, a spinner where not. Silent where stderr is no terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::client::UploadProgress;

pub(super) fn bytes(total: u64, what: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes}").unwrap_or(ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_message(what.to_owned())
}

pub(super) fn tasks(total: u64, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:30} {human_pos}/{human_len} {per_sec}")
        .unwrap_or(ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_message(what.to_owned())
}

pub(super) fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// The way of a file to the server and what the server then does with it: a bar while
/// bytes leave, a spinner afterwards. Where stderr is no terminal, a line now and then
/// for who reads the log of a long build.
#[derive(Clone)]
pub(super) struct UploadBar {
    bar: ProgressBar,
    file: String,
    bytes: u64,
    /// When the last plain line was written, in ms of the server's work.
    told_ms: Arc<AtomicU64>,
}

/// Time between two plain lines.
const PLAIN_INTERVAL_MS: u64 = 10_000;

impl UploadBar {
    pub(super) fn new(file: &str, bytes: u64) -> Self {
        Self { bar: self::bytes(bytes, file), file: file.to_owned(), bytes, told_ms: Arc::default() }
    }

    /// So many bytes have left.
    pub(super) fn sent(&self, sent: u64) {
        self.bar.set_position(sent);
        if sent >= self.bytes && !self.bar.is_finished() {
            self.spin("checking".to_owned());
        }
    }

    /// The server has told how far it is.
    pub(super) fn at(&self, progress: &UploadProgress) {
        let doing = doing(progress);
        if self.bar.is_hidden()
            && progress.elapsed_ms.saturating_sub(self.told_ms.load(Ordering::Relaxed)) >= PLAIN_INTERVAL_MS
        {
            self.told_ms.store(progress.elapsed_ms, Ordering::Relaxed);
            eprintln!("{}: {doing}", self.file);
        }
        self.spin(doing);
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn spin(&self, doing: String) {
        self.bar.set_style(ProgressStyle::default_spinner());
        self.bar.set_message(format!("{}: {doing}", self.file));
        self.bar.enable_steady_tick(Duration::from_millis(100));
    }
}

/// `compiling, 3.2 s of at most 300 s processor time`
fn doing(progress: &UploadProgress) -> String {
    let stage = super::text::line(&progress.stage);
    match (progress.cpu_ms, progress.cpu_limit_ms, progress.position) {
        (Some(cpu_ms), Some(limit_ms), _) if limit_ms > 0 => {
            let (tenths, limit) = (cpu_ms / 100, limit_ms / 1000);
            format!("{stage}, {}.{} s of at most {limit} s processor time", tenths / 10, tenths % 10)
        }
        (_, _, Some(ahead)) => format!("{stage}, {ahead} ahead"),
        _ => stage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_does_is_said_in_a_few_words() {
        let at = |stage: &str, cpu_ms, cpu_limit_ms, position| {
            doing(&UploadProgress { stage: stage.to_owned(), elapsed_ms: 0, cpu_ms, cpu_limit_ms, position })
        };
        assert_eq!(at("waiting", None, None, Some(2)), "waiting, 2 ahead");
        let compiling = at("compiling", Some(3249), Some(300_000), None);
        assert_eq!(compiling, "compiling, 3.2 s of at most 300 s processor time");
        assert_eq!(at("storing", None, None, None), "storing");
    }
}
