//! What this machine can do at best, to read the other numbers by.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::CALIBRATION;
use crate::sandbox;

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Calibration {
    /// Appends of 4 KiB made durable in one second, one after the other.
    pub(super) fsyncs_per_s: Option<f64>,
    /// Sandboxes started, run and dropped in one second on one thread, without a server around them.
    pub(super) bare_sandboxes_per_s: Option<f64>,
}

/// Measures on the disk of `data_dir` where the server is local, else on that of temporary files.
pub(super) fn measure(data_dir: Option<&Path>) -> Calibration {
    let temporary = std::env::temp_dir();
    Calibration {
        fsyncs_per_s: fsyncs_per_s(data_dir.unwrap_or(&temporary), CALIBRATION).ok(),
        bare_sandboxes_per_s: sandbox::calibration::bare_sandboxes_per_s(CALIBRATION).ok(),
    }
}

fn fsyncs_per_s(dir: &Path, lasting: Duration) -> std::io::Result<f64> {
    let path = dir.join(format!("calibration-{}.tmp", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
    let mut append = || -> std::io::Result<f64> {
        let page = [0x5a; 4096];
        let started = Instant::now();
        let mut appended = 0.0;
        while started.elapsed() < lasting {
            file.write_all(&page)?;
            file.sync_data()?;
            appended += 1.0;
        }
        Ok(appended / started.elapsed().as_secs_f64())
    };
    let rate = append();
    std::fs::remove_file(&path)?;
    rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_measured_and_left_clean() {
        let dir = tempfile::tempdir().expect("a directory");
        let rate = fsyncs_per_s(dir.path(), Duration::from_millis(5)).expect("a rate");
        assert!(rate > 0.0);
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0);
        assert!(fsyncs_per_s(&dir.path().join("nowhere"), Duration::ZERO).is_err());
    }
}
