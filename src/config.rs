//! Every setting: its default, its unit, its name in the file and in the environment.
//!
//! A value comes from the first of: a flag, the environment, the file, the
//! default. `[worker] slots` in the file is `TRADEWIND_WORKER_SLOTS` in the
//! environment; `[server]` and `[client]` leave their section out there, so
//! `[server] listen` is `TRADEWIND_LISTEN`. A key nobody knows is refused, with
//! its place and the nearest known one. A secret prints dots.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::{Deserialize, Serialize, Serializer};

use crate::model::grants::HostPattern;
use crate::model::{ByteSize, Ceiling, Limits, Span};
use crate::sandbox::{CompileLimits, most_guests_here};

/// The file that is read when none is named and it exists.
pub const DEFAULT_FILE: &str = "tradewind.toml";

/// Names the file in the environment.
pub const FILE_VARIABLE: &str = "TRADEWIND_CONFIG";

const PREFIX: &str = "TRADEWIND_";

/// With less the process that compiles cannot even begin.
const LEAST_COMPILE_MEMORY: ByteSize = ByteSize::mib(128);

/// Declares the sections once: the structs, their defaults, and the table that
/// the environment, `--set`, `config show` and the refusal of unknown keys use.
macro_rules! settings {
    ($($(#[doc = $section_doc:literal])+ $section:ident: $Section:ident {
        $($(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr,)+
    })+) => {
        /// All settings, by section.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Settings { $($(#[doc = $section_doc])+ pub $section: $Section,)+ }

        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields, default)]
            pub struct $Section { $($(#[doc = $doc])+ pub $key: $type,)+ }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $($key: $default,)+ }
                }
            }
        )+

        /// The table of all settings, in the order of the file.
        pub const SETTINGS: &[Setting] = &[$($(
            Setting { section: stringify!($section), key: stringify!($key), docs: concat!($($doc),+) },
        )+)+];
    };
}

settings! {
    /// The server's address, its directory, and what it takes from the network.
    server: ServerSettings {
        /// Where everything is kept: database, artifacts, compiled modules, the first token.
        data_dir: PathBuf = PathBuf::from("tradewind-data"),
        /// Address and port to listen on. Port 0 takes a free one.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)),
        /// Open connections. Further ones wait to be accepted.
        max_connections: usize = 4096,
        /// Requests being answered. Further ones get 429 with Retry-After.
        max_in_flight_requests: usize = 2048,
        /// Batches being answered; each holds its body in memory until its last answer has left.
        max_batches_in_flight: usize = 8,
        /// Body of one task.
        max_task_body_bytes: ByteSize = ByteSize::mib(4),
        /// Body of one batch of tasks.
        max_batch_body_bytes: ByteSize = ByteSize::mib(64),
        /// An uploaded module.
        max_module_bytes: ByteSize = ByteSize::mib(256),
        /// Request line and headers of one request.
        max_header_bytes: ByteSize = ByteSize::new(32 << 10),
        /// How long a client may take for its request line and headers, and a connection may be idle.
        header_timeout: Span = Span::from_secs(60),
        /// How long a client may pause within a body.
        body_timeout: Span = Span::from_secs(30),
        /// How long what runs may go on after the signal to stop; then it is handed back at no cost.
        graceful_stop: Span = Span::from_secs(30),
    }
    /// Where the client verbs find the server, and who they are.
    client: ClientSettings {
        /// Base address of the server, as in `https://tradewind.example.org`. Default: the local server.
        url: Option<String> = None,
        /// Bearer token. Default, for a server on this machine: what `admin.token` in its data directory holds.
        token: Option<Secret> = None,
    }
    /// The in-process worker.
    worker: WorkerSettings {
        /// Attempts that compute at once. Default: 8 for each core.
        slots: usize = 8 * cores(),
        /// Attempts that may besides wait in a host call: for a timer, or another system's answer.
        /// Each takes 4 GiB of address space. Default: 10 000, or what `vm.max_map_count` allows beside the slots.
        waiting: usize = waiting_beside(8 * cores()),
        /// Threads that run guests. Default: one for each core.
        guest_threads: usize = cores(),
        /// Compiled modules kept mapped, by the size of their code.
        module_cache_bytes: ByteSize = ByteSize::mib(512),
        /// Uploads received at the same time; further ones wait. They are compiled one at a time.
        uploads: usize = 4,
    }
    /// What bounds every sandbox, whatever a task asks for.
    sandbox: SandboxSettings {
        /// The most memory that one attempt may be granted.
        max_memory_bytes: ByteSize = ByteSize::mib(1024),
        /// The most that one attempt may be granted for its result.
        max_output_bytes: ByteSize = ByteSize::mib(256),
        /// The most that one attempt may be granted for its log.
        max_log_bytes: ByteSize = ByteSize::mib(256),
        /// The most that one attempt may be granted to send by HTTP.
        max_sent_bytes: ByteSize = ByteSize::mib(16 << 10),
        /// The most that one attempt may be granted to receive by HTTP.
        max_received_bytes: ByteSize = ByteSize::mib(64 << 10),
        /// The most calls of the host that one attempt may be granted.
        max_host_calls: u64 = 10_000_000_000,
        /// The longest `execution_timeout` and `cpu_time` a task may ask for.
        max_execution_timeout: Span = Span::from_secs(24 * 3600),
        /// Address space of the process that compiles an upload.
        compile_memory_bytes: ByteSize = CompileLimits::default().memory,
        /// Processor time of the process that compiles an upload, in whole seconds.
        compile_cpu_time: Span = CompileLimits::default().cpu_time,
    }
    /// What anyone may grant to a task.
    grants: GrantSettings {
        /// Hosts that may be granted: names, `*.example.org`, or `*` for all; as a list, or separated by commas.
        http_hosts: HostPatterns = HostPatterns(vec![HostPattern::Any]),
        /// Whether private, loopback and link-local addresses may be granted.
        private_addresses: bool = true,
        /// The most that one attempt may be granted for its scratch files.
        max_scratch_bytes: ByteSize = ByteSize::mib(1024),
    }
    /// The limits of a task that names none.
    limits: LimitSettings {
        /// Memory of one attempt.
        memory_bytes: ByteSize = ByteSize::new(Limits::default().memory_bytes),
        /// Wall time of one attempt.
        execution_timeout: Span = Limits::default().execution_timeout,
        /// Time on a processor of one attempt.
        cpu_time: Span = Limits::default().cpu_time,
        /// Result of one attempt.
        output_bytes: ByteSize = ByteSize::new(Limits::default().output_bytes),
        /// Log of one attempt.
        log_bytes: ByteSize = ByteSize::new(Limits::default().log_bytes),
        /// HTTP requests of one attempt, heads and bodies.
        sent_bytes: ByteSize = ByteSize::new(Limits::default().sent_bytes),
        /// HTTP responses of one attempt, heads and bodies.
        received_bytes: ByteSize = ByteSize::new(Limits::default().received_bytes),
        /// Calls of the host by one attempt.
        host_calls: u64 = Limits::default().host_calls,
    }
    /// The scheduler and its mailbox.
    engine: EngineSettings {
        /// Waiting tasks kept in memory; the others wait in the database.
        resident_tasks: usize = 20_000,
        /// Bytes of waiting tasks kept in memory.
        resident_bytes: ByteSize = ByteSize::mib(64),
        /// Runs under way at once, of all DAGs; the others wait.
        resident_runs: usize = 10_000,
        /// Instances of one mapped task or group under way at once; the others wait.
        open_instances: usize = 1_000,
        /// Submissions that wait to be applied. Further ones get 429.
        max_waiting_submissions: usize = 50_000,
        /// Changes after which a commit takes no further submissions.
        batch_changes: usize = 2048,
    }
    /// How long what has ended is kept.
    retention: RetentionSettings {
        /// Ended tasks, with their events, logs and results.
        ended_tasks: Span = Span::from_secs(30 * 24 * 3600),
        /// Idempotency keys.
        idempotency_keys: Span = Span::from_secs(24 * 3600),
        /// Tasks looked at in one step, so that removal never holds up work.
        step_tasks: usize = 500,
        /// Pause between two walks over what has ended.
        interval: Span = Span::from_secs(600),
    }
    /// The server's own log, on stderr.
    log: LogSettings {
        /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,tradewind::engine=debug`.
        level: String = "info".to_owned(),
        /// `text` for people, `json` for programs.
        format: LogFormat = LogFormat::Text,
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl LimitSettings {
    /// The limits of a task that names none.
    pub fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.memory_bytes.get(),
            execution_timeout: self.execution_timeout,
            cpu_time: self.cpu_time,
            output_bytes: self.output_bytes.get(),
            log_bytes: self.log_bytes.get(),
            sent_bytes: self.sent_bytes.get(),
            received_bytes: self.received_bytes.get(),
            host_calls: self.host_calls,
        }
    }
}

impl GrantSettings {
    /// What anyone may grant.
    pub fn ceiling(&self) -> Ceiling {
        Ceiling {
            http_hosts: self.http_hosts.0.clone(),
            private_addresses: self.private_addresses,
            scratch_bytes: self.max_scratch_bytes.get(),
        }
    }
}

/// A list in the file; in the environment and on the command line one text with commas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct HostPatterns(pub Vec<HostPattern>);

impl<'de> Deserialize<'de> for HostPatterns {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            List(Vec<String>),
            Text(String),
        }
        let written = match Written::deserialize(deserializer)? {
            Written::List(list) => list,
            Written::Text(text) => {
                text.split(',').map(|part| part.trim().to_owned()).filter(|p| !p.is_empty()).collect()
            }
        };
        let patterns: Result<_, _> = written.iter().map(|text| text.parse()).collect();
        patterns.map(Self).map_err(serde::de::Error::custom)
    }
}

/// A system of the usual limits has mappings for 10 000 waiting guests and 407 others.
fn waiting_beside(slots: usize) -> usize {
    most_guests_here().saturating_sub(slots).min(10_000)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, to be sent and never printed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("••••••")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// One line of the table of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    pub section: &'static str,
    pub key: &'static str,
    pub docs: &'static str,
}

impl Setting {
    /// `worker.slots`
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// `TRADEWIND_WORKER_SLOTS`
    pub fn variable(&self) -> String {
        match self.section {
            "server" | "client" => format!("{PREFIX}{}", self.key.to_uppercase()),
            section => format!("{PREFIX}{}_{}", section.to_uppercase(), self.key.to_uppercase()),
        }
    }
}

/// Where settings are looked for. Gathered at the edge, so that loading is a function of its arguments.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub file: Option<SettingsFile>,
    /// Variables of the environment; others than `TRADEWIND_…` are passed over.
    pub environment: Vec<(String, String)>,
    pub flags: Vec<FlagValue>,
}

#[derive(Debug, Clone)]
pub struct SettingsFile {
    pub path: PathBuf,
    pub text: String,
}

/// A setting given on the command line.
#[derive(Debug, Clone)]
pub struct FlagValue {
    /// As it was written: `--listen`.
    pub flag: &'static str,
    /// `server.listen`
    pub path: String,
    pub value: String,
}

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

impl Sources {
    /// Reads the environment and the file: the one named, else the one that the
    /// environment names, else `tradewind.toml` where there is one.
    pub fn gather(named: Option<&Path>, flags: Vec<FlagValue>) -> Result<Self, SettingsError> {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
                Some((name, value.to_string_lossy().into_owned()))
            })
            .collect();
        let from_environment = environment.iter().find(|(name, _)| name == FILE_VARIABLE).map(|(_, path)| path);
        let must_exist = named.or(from_environment.map(Path::new));
        let path = must_exist.unwrap_or(Path::new(DEFAULT_FILE));
        let file = match std::fs::read_to_string(path) {
            Ok(text) => Some(SettingsFile { path: path.to_owned(), text }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && must_exist.is_none() => None,
            Err(error) => {
                return Err(SettingsError::File { path: path.display().to_string(), reason: error.to_string() });
            }
        };
        Ok(Self { file, environment, flags })
    }
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

/// One value and where it came from; figment keeps the two together.
struct Layer {
    origin: String,
    setting: Setting,
    value: Value,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let section = Dict::from([(self.setting.key.to_owned(), self.value.clone())]);
        Ok(Profile::Default.collect(Dict::from([(self.setting.section.to_owned(), section.into())])))
    }
}

fn file_layers(file: &SettingsFile) -> Result<Vec<Layer>, SettingsError> {
    let path = file.path.display().to_string();
    let in_file = |reason: String| SettingsError::File { path: path.clone(), reason };
    let place = |offset: usize| {
        let line = file.text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("file {path}, line {line}")
    };
    let values: toml::Table = toml::from_str(&file.text).map_err(|error| in_file(error.to_string()))?;
    // The same text once more, for the places of its keys.
    let spans = toml::de::DeTable::parse(&file.text).map_err(|error| in_file(error.to_string()))?;
    let mut layers = Vec::new();
    for (section, section_spans) in spans.get_ref() {
        let section_name = section.get_ref().as_ref();
        let section_place = place(section.span().start);
        let (Some(keys), Some(toml::Value::Table(section_values))) =
            (section_spans.get_ref().as_table(), values.get(section_name))
        else {
            return Err(unknown(section_name, section_place));
        };
        if !SETTINGS.iter().any(|setting| setting.section == section_name) {
            return Err(unknown(section_name, section_place));
        }
        for (key, _) in keys {
            let name = key.get_ref().as_ref();
            let origin = place(key.span().start);
            let setting = find(&format!("{section_name}.{name}"), &origin)?;
            let value =
                section_values.get(name).map(Value::serialize).transpose().map_err(|e| in_file(e.to_string()))?;
            layers.extend(value.map(|value| Layer { origin, setting, value }));
        }
    }
    Ok(layers)
}

fn environment_layers(environment: &[(String, String)]) -> Result<Vec<Layer>, SettingsError> {
    let mut layers = Vec::new();
    for (name, value) in environment {
        if !name.starts_with(PREFIX) || name == FILE_VARIABLE || is_service_link(name, value) {
            continue;
        }
        let origin = format!("environment {name}");
        let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == *name) else {
            let known = SETTINGS.iter().map(Setting::variable);
            let suggestion = nearest(name, known);
            return Err(SettingsError::Unknown { key: name.clone(), place: "the environment".to_owned(), suggestion });
        };
        layers.push(Layer { origin, setting: *setting, value: Value::String(Tag::Default, value.clone()) });
    }
    Ok(layers)
}

/// Whether a variable is one of those that Kubernetes and Docker give to every
/// container beside a service called `tradewind`: `TRADEWIND_SERVICE_HOST`,
/// `TRADEWIND_PORT_8080_TCP`. Refusing those would keep our own pods from starting.
fn is_service_link(name: &str, value: &str) -> bool {
    let parts: Vec<&str> = name.split('_').collect();
    let service = parts.windows(2).any(|pair| matches!(pair, ["SERVICE", "HOST" | "PORT"]));
    let port =
        parts.windows(3).any(|three| matches!(three, ["PORT", number, "TCP" | "UDP"] if number.parse::<u16>().is_ok()));
    service || port || (parts.last() == Some(&"PORT") && value.contains("://"))
}

fn flag_layers(flags: &[FlagValue]) -> Result<Vec<Layer>, SettingsError> {
    flags
        .iter()
        .map(|flag| {
            let origin = format!("flag {}", flag.flag);
            let setting = find(&flag.path, &origin)?;
            Ok(Layer { origin, setting, value: Value::String(Tag::Default, flag.value.clone()) })
        })
        .collect()
}

fn find(path: &str, place: &str) -> Result<Setting, SettingsError> {
    let found = SETTINGS.iter().find(|setting| setting.path() == path);
    found.copied().ok_or_else(|| unknown(path, place.to_owned()))
}

fn unknown(key: &str, place: String) -> SettingsError {
    let known: Vec<String> = SETTINGS.iter().map(Setting::path).collect();
    let bare_key = key.rsplit('.').next().unwrap_or(key);
    // A key that only stands in the wrong section, or in none, is known by its last part.
    let elsewhere = SETTINGS.iter().find(|setting| setting.key == bare_key).map(Setting::path);
    let sections = SETTINGS.iter().map(|setting| setting.section.to_owned());
    let suggestion = elsewhere.or_else(|| nearest(key, known.into_iter().chain(sections)));
    SettingsError::Unknown { key: key.to_owned(), place, suggestion }
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

/// The known name that takes the fewest edits, if those are few.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let (edits, nearest) = known.map(|candidate| (edits(name, &candidate), candidate)).min()?;
    (edits <= 1 + name.len() / 4).then_some(nearest)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Option<SettingsFile> {
        Some(SettingsFile { path: "tradewind.toml".into(), text: text.to_owned() })
    }

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn flag(path: &str, value: &str) -> Vec<FlagValue> {
        vec![FlagValue { flag: "--set", path: path.to_owned(), value: value.to_owned() }]
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let mut sources = Sources { file: file("[worker]\n\nslots = 3\n"), ..Sources::default() };
        let seen = |sources: &Sources| {
            let loaded = Loaded::from(sources).expect("good settings");
            (loaded.settings.worker.slots, loaded.origin("worker.slots").to_owned())
        };
        assert_eq!(seen(&Sources::default()), (8 * cores(), "default".to_owned()));
        assert_eq!(seen(&sources), (3, "file tradewind.toml, line 3".to_owned()));
        sources.environment = environment(&[("TRADEWIND_WORKER_SLOTS", "4"), ("PATH", "/bin")]);
        assert_eq!(seen(&sources), (4, "environment TRADEWIND_WORKER_SLOTS".to_owned()));
        sources.flags = flag("worker.slots", "5");
        assert_eq!(seen(&sources), (5, "flag --set".to_owned()));
    }

    #[test]
    fn every_form_of_value_is_read() {
        let sources = Sources {
            file: file(
                "[server]\nlisten = \"0.0.0.0:9000\"\nmax_task_body_bytes = 1000\ngraceful_stop = \"1m30s\"\n\
                 [log]\nformat = \"json\"\n[sandbox]\nmax_memory_bytes = \"2GiB\"\n",
            ),
            environment: environment(&[("TRADEWIND_DATA_DIR", "1234"), ("TRADEWIND_MAX_MODULE_BYTES", "1048576")]),
            ..Sources::default()
        };
        let settings = Loaded::from(&sources).expect("good settings").settings;
        assert_eq!(settings.server.listen, SocketAddr::from(([0, 0, 0, 0], 9000)));
        assert_eq!(settings.server.max_task_body_bytes, ByteSize::new(1000));
        assert_eq!(settings.server.max_module_bytes, ByteSize::mib(1));
        assert_eq!(settings.server.graceful_stop, Span::from_secs(90));
        assert_eq!(settings.server.data_dir, PathBuf::from("1234"));
        assert_eq!(settings.log.format, LogFormat::Json);
        assert_eq!(settings.sandbox.max_memory_bytes, ByteSize::mib(2048));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_a_suggestion() {
        let refusal = |sources: Sources| Loaded::from(&sources).expect_err("unknown").to_string();
        assert_eq!(
            refusal(Sources { file: file("[server]\nlisten = \"127.0.0.1:1\"\nlisen = 2\n"), ..Sources::default() }),
            "setting `server.lisen` in file tradewind.toml, line 3 is not known; did you mean `server.listen`?"
        );
        assert_eq!(
            refusal(Sources { file: file("slots = 2\n"), ..Sources::default() }),
            "setting `slots` in file tradewind.toml, line 1 is not known; did you mean `worker.slots`?"
        );
        assert_eq!(
            refusal(Sources { file: file("[wroker]\nslots = 2\n"), ..Sources::default() }),
            "setting `wroker` in file tradewind.toml, line 1 is not known; did you mean `worker`?"
        );
        assert_eq!(
            refusal(Sources { environment: environment(&[("TRADEWIND_LISTN", "x")]), ..Sources::default() }),
            "setting `TRADEWIND_LISTN` in the environment is not known; did you mean `TRADEWIND_LISTEN`?"
        );
        assert_eq!(
            refusal(Sources { flags: flag("nothing.like_it", "x"), ..Sources::default() }),
            "setting `nothing.like_it` in flag --set is not known; `tradewind config show` lists them all"
        );
    }

    #[test]
    fn a_bad_value_is_refused_with_its_key_and_place() {
        let refusal = |text: &str| {
            Loaded::from(&Sources { file: file(text), ..Sources::default() }).expect_err("bad value").to_string()
        };
        for (text, key, reason) in [
            ("[worker]\nslots = \"many\"", "worker.slots", "string \"many\" is not usize"),
            ("[worker]\nslots = -1", "worker.slots", "-1"),
            ("[worker]\nslots = 0", "worker.slots", "0 would stop all work"),
            ("[server]\ngraceful_stop = \"soon\"", "server.graceful_stop", "`soon` is not a length of time"),
            ("[server]\nlisten = \"here\"", "server.listen", "invalid socket address"),
            ("[limits]\nmemory_bytes = \"9GiB\"", "limits.memory_bytes", "more than `sandbox.max_memory_bytes`"),
            ("[sandbox]\nmax_memory_bytes = \"1MiB\"", "sandbox.max_memory_bytes", "less than `limits.memory_bytes`"),
            ("[sandbox]\ncompile_memory_bytes = \"1MiB\"", "sandbox.compile_memory_bytes", "needs 128MiB"),
            ("[sandbox]\ncompile_cpu_time = \"0s\"", "sandbox.compile_cpu_time", "1s or more"),
            ("[log]\nformat = \"xml\"", "log.format", "none of text, json"),
            ("[log]\nlevel = \"tradewind=loud\"", "log.level", "write for example info"),
        ] {
            let said = refusal(text);
            let start = format!("setting `{key}` from file tradewind.toml, line 2 cannot be used: ");
            assert!(said.starts_with(&start) && said.contains(reason), "{said}");
        }
        assert!(refusal("[worker\nslots = 0").contains("tradewind.toml"));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let sources = Sources { environment: environment(&[("TRADEWIND_TOKEN", "hush-hush")]), ..Sources::default() };
        let loaded = Loaded::from(&sources).expect("good settings");
        assert_eq!(loaded.settings.client.token.as_ref().map(Secret::expose), Some("hush-hush"));
        let shown = format!("{loaded:?} {}", serde_json::to_string(&loaded.settings).expect("settings are JSON"));
        assert!(!shown.contains("hush") && shown.contains("••••••"), "{shown}");
    }

    #[test]
    fn variables_of_a_kubernetes_service_of_our_name_are_passed_over() {
        let links = [
            ("TRADEWIND_SERVICE_HOST", "10.0.0.1"),
            ("TRADEWIND_SERVICE_PORT_HTTP", "8080"),
            ("TRADEWIND_PORT", "tcp://10.0.0.1:8080"),
            ("TRADEWIND_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("TRADEWIND_UI_PORT", "tcp://10.0.0.1:80"),
        ];
        let sources = Sources { environment: environment(&links), ..Sources::default() };
        assert_eq!(Loaded::from(&sources).expect("ignored").settings, Settings::default());
        let sources = Sources { environment: environment(&[("TRADEWIND_PORT", "8080")]), ..Sources::default() };
        assert!(Loaded::from(&sources).is_err());
    }
}
