//! Puts together what is set, and checks what types cannot say.

use std::collections::BTreeMap;
use std::fmt;

use figment::Figment;

use crate::model::{ByteSize, Span};

use super::sources::{environment_layers, file_layers, flag_layers};
use super::table::waiting_beside;
use super::{SETTINGS, Settings, Sources};

/// With less the process that compiles cannot even begin.
const LEAST_COMPILE_MEMORY: ByteSize = ByteSize::mib(128);

/// The settings in force, and where each came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub settings: Settings,
    origins: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("setting `{key}` in {place} is not known{}", suggestion.as_ref().map(|s| format!("; did you mean `{s}`?")).unwrap_or_else(|| "; `tradewind config show` lists them all".to_owned()))]
    Unknown { key: String, place: String, suggestion: Option<String> },
    #[error("setting `{key}` from {place} cannot be used: {reason}")]
    BadValue { key: String, place: String, reason: String },
    #[error("settings file {path} cannot be read: {reason}")]
    File { path: String, reason: String },
}

impl Loaded {
    /// Flags win over the environment, the environment over the file, the file over the defaults.
    pub fn from(sources: &Sources) -> Result<Self, SettingsError> {
        let mut figment = Figment::new();
        if let Some(file) = &sources.file {
            for layer in file_layers(file)? {
                figment = figment.merge(layer);
            }
        }
        for layer in environment_layers(&sources.environment)? {
            figment = figment.merge(layer);
        }
        for layer in flag_layers(&sources.flags)? {
            figment = figment.merge(layer);
        }
        // Lossy: the environment and flags have only text, also for numbers.
        let settings: Settings = figment.extract_lossy().map_err(|error| bad_value(&error))?;
        let origins = SETTINGS
            .iter()
            .filter_map(|setting| {
                let origin = figment.find_metadata(&setting.path())?;
                Some((setting.path(), origin.name.to_string()))
            })
            .collect();
        let mut loaded = Self { settings, origins };
        if !loaded.origins.contains_key("worker.waiting") {
            loaded.settings.worker.waiting = waiting_beside(loaded.settings.worker.slots);
        }
        loaded.check()?;
        Ok(loaded)
    }

    /// `default`, `file tradewind.toml, line 3`, `environment TRADEWIND_LISTEN` or `flag --listen`.
    pub fn origin(&self, path: &str) -> &str {
        self.origins.get(path).map_or("default", String::as_str)
    }

    /// A default above what may be asked for would refuse every task that names nothing.
    fn hold_within<T: PartialOrd + fmt::Display>(
        &self,
        key: &str,
        value: T,
        bound_key: &str,
        bound: T,
    ) -> Result<(), SettingsError> {
        if value <= bound {
            return Ok(());
        }
        // The one that was set is to blame, not the default it meets.
        let (key, reason) = if self.origins.contains_key(key) {
            (key, format!("{value} is more than `{bound_key}`, {bound}; lower it or raise the bound"))
        } else {
            (bound_key, format!("{bound} is less than `{key}`, {value}; lower that too"))
        };
        Err(self.refuse(key, &reason))
    }

    /// What types cannot say about a value.
    fn check(&self) -> Result<(), SettingsError> {
        let settings = &self.settings;
        let at_least_one = [
            ("server.max_connections", settings.server.max_connections),
            ("server.max_in_flight_requests", settings.server.max_in_flight_requests),
            ("server.max_batches_in_flight", settings.server.max_batches_in_flight),
            ("worker.slots", settings.worker.slots),
            ("worker.guest_threads", settings.worker.guest_threads),
            ("worker.uploads", settings.worker.uploads),
            ("engine.resident_tasks", settings.engine.resident_tasks),
            ("engine.resident_runs", settings.engine.resident_runs),
            ("engine.open_instances", settings.engine.open_instances),
            ("engine.max_waiting_submissions", settings.engine.max_waiting_submissions),
            ("engine.batch_changes", settings.engine.batch_changes),
            ("retention.step_tasks", settings.retention.step_tasks),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                return Err(self.refuse(key, "0 would stop all work; write 1 or more"));
            }
        }
        let within = [
            (
                "limits.memory_bytes",
                settings.limits.memory_bytes,
                "sandbox.max_memory_bytes",
                settings.sandbox.max_memory_bytes,
            ),
            (
                "limits.output_bytes",
                settings.limits.output_bytes,
                "sandbox.max_output_bytes",
                settings.sandbox.max_output_bytes,
            ),
            ("limits.log_bytes", settings.limits.log_bytes, "sandbox.max_log_bytes", settings.sandbox.max_log_bytes),
            (
                "limits.sent_bytes",
                settings.limits.sent_bytes,
                "sandbox.max_sent_bytes",
                settings.sandbox.max_sent_bytes,
            ),
            (
                "limits.received_bytes",
                settings.limits.received_bytes,
                "sandbox.max_received_bytes",
                settings.sandbox.max_received_bytes,
            ),
        ];
        for (key, value, bound_key, bound) in within {
            self.hold_within(key, value, bound_key, bound)?;
        }
        let (calls, most_calls) = (settings.limits.host_calls, settings.sandbox.max_host_calls);
        self.hold_within("limits.host_calls", calls, "sandbox.max_host_calls", most_calls)?;
        let longest = settings.sandbox.max_execution_timeout;
        for (key, value) in [
            ("limits.execution_timeout", settings.limits.execution_timeout),
            ("limits.cpu_time", settings.limits.cpu_time),
        ] {
            self.hold_within(key, value, "sandbox.max_execution_timeout", longest)?;
        }
        if settings.sandbox.compile_memory_bytes < LEAST_COMPILE_MEMORY {
            let reason = format!("the compiler itself needs {LEAST_COMPILE_MEMORY}; write that or more");
            return Err(self.refuse("sandbox.compile_memory_bytes", &reason));
        }
        if settings.sandbox.compile_cpu_time < Span::from_secs(1) {
            return Err(self.refuse("sandbox.compile_cpu_time", "the system counts in seconds; write 1s or more"));
        }
        if settings.retention.interval == Span::ZERO {
            return Err(self.refuse("retention.interval", "a pause of 0 would never rest; write for example 60s"));
        }
        if let Err(error) = settings.log.level.parse::<tracing_subscriber::filter::Targets>() {
            return Err(self.refuse("log.level", &format!("{error}; write for example info or debug")));
        }
        Ok(())
    }

    fn refuse(&self, key: &str, reason: &str) -> SettingsError {
        SettingsError::BadValue { key: key.to_owned(), place: self.origin(key).to_owned(), reason: reason.to_owned() }
    }
}

fn bad_value(error: &figment::Error) -> SettingsError {
    use figment::error::Kind;
    let reason = match &error.kind {
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("{actual} is not {expected}")
        }
        Kind::UnknownVariant(actual, expected) => format!("`{actual}` is none of {}", expected.join(", ")),
        other => other.to_string(),
    };
    let key = error.path.join(".");
    let place = error.metadata.as_ref().map_or("the defaults", |metadata| &metadata.name).to_owned();
    // A secret that cannot be used is not shown either.
    let secret = key == "client.token";
    SettingsError::BadValue { key, place, reason: if secret { "it is not a text".to_owned() } else { reason } }
}
