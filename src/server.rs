//! The server: everything wired together, from the lock on the data directory to the last commit.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::auth::{Hosts, Tokens};
use crate::api::bounds::{Bounds, TaskBounds};
use crate::api::{self, Parts};
use crate::artifacts::Artifacts;
use crate::config::Settings;
use crate::coordinator::{
    Coordinator, CoordinatorSettings, InputSource, Modules, ModulesSettings, RetentionSettings, Running, StartError,
};
use crate::engine::EngineConfig;
use crate::files;
use crate::metrics::Metrics;
use crate::model::Digest;
use crate::sandbox::{
    self, CacheBounds, CompileLimits, CompiledStore, Compiler, ModuleCache, Sandbox, SandboxError, SandboxSettings,
};
use crate::store::{DataDirectory, OpenError, Reads, Swept};
use crate::worker::{LiveAttempts, LocalWorker, Segments};

/// Connections that answer reads. They block threads, so few are enough for two processors.
const READERS: usize = 4;

/// Requests still being answered when everything else has ended get this long.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Who asks with the first token.
const ADMIN: &str = "admin";

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Data(#[from] OpenError),
    #[error("cannot listen on {address}: {error}; choose another address with --listen")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("cannot use {path}: {error}; check its owner and mode, and the space on its disk")]
    File { path: PathBuf, error: io::Error },
    #[error("the sandbox cannot start: {0}")]
    Sandbox(#[from] SandboxError),
    #[error("the coordinator cannot start: {0}")]
    Coordinator(#[from] StartError),
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
}

/// Serves until SIGTERM or SIGINT; then stops gracefully. A second signal ends the process at once.
pub async fn run(settings: Settings) -> Result<(), ServerError> {
    // Whatever is created from here on is the server's alone: the database holds inputs and results.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    allow_many_files();
    let mut signals = Signals::listen()?;
    let server = Server::start(settings).await?;
    signals.next().await;
    tracing::info!("stopping: what runs may end first; a second signal stops at once");
    tokio::select! {
        () = server.stop() => Ok(()),
        () = signals.next() => std::process::exit(130),
    }
}

/// Timers, sockets and files of guests, on threads of their own: nicer than the server's, and however many
/// calls of the system guests wait for, reads and uploads do not wait behind them.
struct GuestIo(Option<tokio::runtime::Runtime>);

impl GuestIo {
    /// Threads for calls that block: reading and writing scratch files, looking up names.
    const MAX_BLOCKING_THREADS: usize = 64;

    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(Self::MAX_BLOCKING_THREADS)
            .thread_name("guest-io")
            .on_thread_start(sandbox::be_nice)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        self.0.as_ref().expect("there until it is dropped").handle()
    }
}

impl Drop for GuestIo {
    /// Without waiting: a runtime may not be waited for on another's thread.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// As many open files as the system lets us have: connections, and scratch files of guests.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    coordinator: Coordinator,
    running: Running,
    sandbox: Sandbox,
    _guest_io: GuestIo,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    pid_file: PathBuf,
    _data: DataDirectory,
}

impl Server {
    pub async fn start(settings: Settings) -> Result<Self, ServerError> {
        let data = DataDirectory::open(&settings.server.data_dir)?;
        let address = settings.server.listen;
        let listening = |error| ServerError::Listen { address, error };
        let listener = TcpListener::bind(address).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;

        let metrics = Arc::new(Metrics::default());
        let (unnamed, to_remove) = mpsc::unbounded_channel();
        let coordinator_settings = coordinator_settings(&settings, unnamed);
        let coordinator = Coordinator::new(&coordinator_settings, metrics.clone());
        // Makes the schema, so that readers find one.
        let mut writer = data.writer()?;
        let token_hash = first_token(data.path(), &mut writer)?;
        let reads = data.reads(READERS)?;

        let file = |path: PathBuf| move |error| ServerError::File { path, error };
        let artifacts_path = data.path().join("artifacts");
        let artifacts = Artifacts::local(&artifacts_path).map_err(file(artifacts_path))?;
        let logs_path = data.path().join("logs");
        let segments = Segments::open(&logs_path).map_err(file(logs_path))?;
        let guest_io = GuestIo::start().map_err(SandboxError::from)?;
        let sandbox = Sandbox::new(&sandbox_settings(&settings, data.path()), guest_io.handle())?;
        let modules = modules(&settings, &data, &sandbox, &artifacts, &reads, &coordinator)?;
        let live = LiveAttempts::default();
        let worker = LocalWorker::new(
            sandbox.clone(),
            modules.clone(),
            InputSource::new(reads.clone(), artifacts.clone()),
            artifacts.clone(),
            segments.clone(),
            coordinator.reports(),
            live.clone(),
        );
        tokio::spawn(remove_unnamed(to_remove, artifacts.clone(), segments.clone(), reads.clone()));
        let running = coordinator.start(coordinator_settings, writer, &data, reads.clone(), worker)?;

        let bounds = bounds(&settings);
        let parts = Parts {
            coordinator: coordinator.clone(),
            modules,
            artifacts,
            segments,
            live,
            reads,
            metrics,
            readiness: coordinator.readiness(),
            bounds: bounds.clone(),
        };
        let tokens = Tokens::default().with(token_hash, ADMIN);
        let edge = Arc::new(api::edge(parts, tokens, Hosts::of(address)));
        let shutdown = CancellationToken::new();
        let serving = {
            let shutdown = shutdown.clone();
            tokio::spawn(async move { api::serve::serve(listener, edge, &bounds, shutdown, LAST_ANSWERS).await })
        };
        let pid_file = data.path().join("server.pid");
        let pid = format!("{}\n{address}\n", std::process::id());
        std::fs::write(&pid_file, pid).map_err(file(pid_file.clone()))?;
        tracing::info!(
            %address, data = %data.path().display(), slots = settings.worker.slots, waiting = settings.worker.waiting,
            "ready; the first token lies in admin.token in the data directory"
        );
        sandbox.prepare();
        Ok(Self {
            address,
            coordinator,
            running,
            sandbox,
            _guest_io: guest_io,
            shutdown,
            serving,
            pid_file,
            _data: data,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, lets attempts end or hands them back, answers who waits, closes the store.
    pub async fn stop(self) {
        self.coordinator.stop();
        let running = self.running;
        // A panic in there has been reported already; the rest is stopped all the same.
        let _ = tokio::task::spawn_blocking(move || running.join()).await;
        self.shutdown.cancel();
        let _ = self.serving.await;
        let sandbox = self.sandbox;
        let _ = tokio::task::spawn_blocking(move || sandbox.shut_down()).await;
        let _ = std::fs::remove_file(&self.pid_file);
        tracing::info!("stopped");
    }
}

fn coordinator_settings(settings: &Settings, unnamed: mpsc::UnboundedSender<Swept>) -> CoordinatorSettings {
    let keys = settings.retention.idempotency_keys.get();
    CoordinatorSettings {
        engine: EngineConfig {
            resident_tasks: settings.engine.resident_tasks,
            resident_bytes: settings.engine.resident_bytes.get() as usize,
            resident_runs: settings.engine.resident_runs,
            open_lanes: settings.engine.open_instances,
            remember_keys: keys,
            ..EngineConfig::default()
        },
        slots: u32::try_from(settings.worker.slots).unwrap_or(u32::MAX),
        waiting: u32::try_from(settings.worker.waiting).unwrap_or(u32::MAX),
        max_waiting_submissions: settings.engine.max_waiting_submissions,
        batch_changes: settings.engine.batch_changes,
        max_task_bytes: settings.server.max_task_body_bytes.get() as usize,
        graceful_stop: settings.server.graceful_stop.get(),
        retention: RetentionSettings {
            ended_tasks: settings.retention.ended_tasks.get(),
            step: settings.retention.step_tasks,
            interval: settings.retention.interval.get(),
            keys,
            unnamed: Some(unnamed),
        },
    }
}

fn sandbox_settings(settings: &Settings, data: &Path) -> SandboxSettings {
    SandboxSettings {
        slots: settings.worker.slots,
        waiting: settings.worker.waiting,
        max_memory_bytes: settings.sandbox.max_memory_bytes.get(),
        guest_threads: settings.worker.guest_threads,
        scratch: Some(data.join("scratch")),
        compiler: Compiler::Child {
            // Also after the file has been replaced by a newer one: ours is still this.
            program: PathBuf::from("/proc/self/exe"),
            limits: CompileLimits {
                memory: settings.sandbox.compile_memory_bytes,
                cpu_time: settings.sandbox.compile_cpu_time,
            },
        },
    }
}

fn bounds(settings: &Settings) -> Bounds {
    Bounds {
        max_body_bytes: settings.server.max_task_body_bytes.get() as usize,
        max_batch_bytes: settings.server.max_batch_body_bytes.get() as usize,
        max_requests_in_flight: settings.server.max_in_flight_requests,
        max_batches_in_flight: settings.server.max_batches_in_flight,
        max_connections: settings.server.max_connections,
        max_header_bytes: settings.server.max_header_bytes.get() as usize,
        header_timeout: settings.server.header_timeout.get(),
        body_timeout: settings.server.body_timeout.get(),
        tasks: TaskBounds {
            default_limits: settings.limits.limits(),
            max_memory_bytes: settings.sandbox.max_memory_bytes.get(),
            max_execution_timeout: settings.sandbox.max_execution_timeout,
            max_output_bytes: settings.sandbox.max_output_bytes.get(),
            max_log_bytes: settings.sandbox.max_log_bytes.get(),
            max_sent_bytes: settings.sandbox.max_sent_bytes.get(),
            max_received_bytes: settings.sandbox.max_received_bytes.get(),
            max_host_calls: settings.sandbox.max_host_calls,
            ceiling: settings.grants.ceiling(),
            ..TaskBounds::default()
        },
        ..Bounds::default()
    }
}

fn modules(
    settings: &Settings,
    data: &DataDirectory,
    sandbox: &Sandbox,
    artifacts: &Artifacts,
    reads: &Reads,
    coordinator: &Coordinator,
) -> Result<Modules, ServerError> {
    let key_path = data.path().join("compiled.key");
    let key = installation_key(&key_path).map_err(|error| ServerError::File { path: key_path, error })?;
    let path = data.path().join("compiled");
    let file = |error| ServerError::File { path: path.clone(), error };
    let compiled = Arc::new(CompiledStore::open(&path, sandbox.compatibility(), key).map_err(file)?);
    let bounds = CacheBounds { bytes: settings.worker.module_cache_bytes.get(), ..CacheBounds::default() };
    let modules_settings = ModulesSettings {
        incoming: data.path().join("incoming"),
        max_bytes: settings.server.max_module_bytes.get(),
        uploads: settings.worker.uploads,
    };
    Modules::new(
        modules_settings,
        sandbox.clone(),
        compiled.clone(),
        ModuleCache::new(sandbox.clone(), compiled, bounds),
        artifacts.clone(),
        reads.clone(),
        coordinator.clone(),
    )
    .map_err(file)
}

/// The sha256 of the first token. The token itself is written to `admin.token`
/// once, for the operator alone, and kept nowhere else.
fn first_token(directory: &Path, writer: &mut crate::store::Writer) -> Result<[u8; 32], ServerError> {
    const KEY: &str = "admin_token_sha256";
    if let Some(known) = writer.meta(KEY).and_then(|text| text.parse::<Digest>().ok()) {
        return Ok(*known.as_bytes());
    }
    let path = directory.join("admin.token");
    let file = |error| ServerError::File { path: path.clone(), error };
    let token = format!("tw_{}", BASE64_URL_SAFE_NO_PAD.encode(random_bytes().map_err(file)?));
    files::write_secret(&path, format!("{token}\n").as_bytes()).map_err(file)?;
    let hash = Digest::of(token.as_bytes());
    writer.set_meta(KEY, &hash.to_string()).map_err(StartError::from)?;
    Ok(*hash.as_bytes())
}

/// The key under which compiled code is ours. Whoever has it can have code
/// loaded; a new one makes every module be compiled anew.
fn installation_key(path: &Path) -> io::Result<[u8; 32]> {
    match File::open(path) {
        Ok(mut file) => {
            let mut key = [0; 32];
            file.read_exact(&mut key)?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = random_bytes()?;
            files::write_secret(path, &key)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

fn random_bytes() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Removes files that retention has left without a name, and first those that a
/// former life left so. A segment that cannot be removed now is met again at the
/// next start; a result or a list that cannot is left, and the log says so.
async fn remove_unnamed(
    mut swept: mpsc::UnboundedReceiver<Swept>,
    artifacts: Artifacts,
    segments: Segments,
    reads: Reads,
) {
    let left = segments.closed().unwrap_or_default();
    match reads.run(move |reader| reader.unnamed_segments(left)).await {
        Ok(unnamed) => segments.remove(&unnamed),
        Err(error) => tracing::warn!(%error, "log segments of a former life could not be looked through"),
    }
    while let Some(Swept { artifacts: tasks, runs, segments: emptied, .. }) = swept.recv().await {
        segments.remove(&emptied);
        for (task, last_fence) in tasks {
            if let Err(error) = artifacts.delete_results(task, last_fence).await {
                tracing::warn!(%task, %error, "a result could not be removed");
            }
        }
        for run in runs {
            if let Err(error) = artifacts.delete_lists(run).await {
                tracing::warn!(%run, %error, "the lists of a run could not be removed");
            }
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, ServerError> {
        let listen = |kind| signal(kind).map_err(ServerError::Signals);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
