//! The table of all settings, with their defaults, and the types of their values.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

use crate::model::grants::HostPattern;
use crate::model::{ByteSize, Ceiling, Limits, Span};
use crate::sandbox::{CompileLimits, most_guests_here};

use super::PREFIX;

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
pub(super) fn waiting_beside(slots: usize) -> usize {
    most_guests_here().saturating_sub(slots).min(10_000)
}

pub(super) fn cores() -> usize {
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
