//! A whole Tradewind for a test in one line: the real binary on a directory of its own, and a client for it.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

pub mod client;
pub mod dags;
pub mod guests;
pub mod history;
pub mod target;

use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::OnceCell;

#[allow(unused_imports, reason = "each test binary uses its own part of this")]
pub use client::{Answer, Client, task};
#[allow(unused_imports, reason = "each test binary uses its own part of this")]
pub use dags::{Run, dag};

/// What takes longer than this hangs.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How a server is started: `setup().with_arg("--slots").with_arg("1").start()`.
pub struct Setup {
    directory: Directory,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

enum Directory {
    Temporary(TempDir),
    Given(PathBuf),
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Given(path) => path,
        }
    }
}

pub fn setup() -> Setup {
    let directory = Directory::Temporary(tempfile::tempdir().expect("a temporary directory"));
    Setup { directory, arguments: Vec::new(), environment: Vec::new() }
}

impl Setup {
    pub fn with_arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// `with_setting("worker.slots", 1)`
    pub fn with_setting(self, key: &str, value: impl std::fmt::Display) -> Self {
        self.with_arg("--set").with_arg(&format!("{key}={value}"))
    }

    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Keeps everything below `path`, which is not removed afterwards.
    pub fn in_directory(mut self, path: &Path) -> Self {
        self.directory = Directory::Given(path.to_owned());
        self
    }

    pub async fn start(self) -> TestServer {
        let command = self.command();
        self.start_as(command).await
    }

    /// The command that starts such a server.
    pub fn command(&self) -> Command {
        let mut command = tradewind();
        command.current_dir(self.directory.path());
        command.args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir(self.directory.path()));
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A server that knows the test guests, its client, and their digest. They are
    /// compiled once for all tests of a process: later servers begin with a copy
    /// of the directory of the first.
    pub async fn start_with_guests(self) -> (TestServer, Client, String) {
        self.start_with_guests_as(|command| command).await
    }

    /// The same, started by a command that ends up as the server's process or its parent.
    pub async fn start_with_guests_as(self, by: impl FnOnce(Command) -> Command) -> (TestServer, Client, String) {
        static TEMPLATE: OnceCell<(Vec<StoredFile>, String)> = OnceCell::const_new();
        let make = async || {
            let mut first = TestServer::start().await;
            let module = first.client().push(guests::tasks()).await;
            assert!(first.stop().await.success(), "the server did not stop well");
            (StoredFile::all(&first.data()), module)
        };
        let (files, module) = TEMPLATE.get_or_init(make).await;
        for file in files {
            file.store(&data_dir(self.directory.path()));
        }
        let command = by(self.command());
        let server = self.start_as(command).await;
        let client = server.client();
        (server, client, module.clone())
    }

    async fn start_as(self, command: Command) -> TestServer {
        let mut server =
            TestServer { setup: self, process: None, pid: 0, client: Client::new("http://127.0.0.1:0", "") };
        server.spawn(command).await;
        server
    }
}

/// A file of a data directory, in memory.
struct StoredFile {
    path: PathBuf,
    mode: u32,
    bytes: Vec<u8>,
}

impl StoredFile {
    fn all(root: &Path) -> Vec<Self> {
        let mut files = Vec::new();
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let mode = path.metadata().unwrap().permissions().mode();
                let bytes = std::fs::read(&path).unwrap();
                files.push(Self { path: path.strip_prefix(root).unwrap().to_owned(), mode, bytes });
            }
        }
        files
    }

    fn store(&self, root: &Path) {
        let path = root.join(&self.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &self.bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(self.mode)).unwrap();
    }
}

/// The program, with nothing of the tester's own environment in its settings.
pub fn tradewind() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tradewind"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRADEWIND_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn data_dir(directory: &Path) -> PathBuf {
    directory.join("data")
}

/// A server process. Killed when dropped.
pub struct TestServer {
    setup: Setup,
    process: Option<Child>,
    /// Of the server itself, which may be a child of `process`.
    pid: u32,
    client: Client,
}

impl TestServer {
    pub async fn start() -> Self {
        setup().start().await
    }

    /// Where the server keeps everything.
    pub fn data(&self) -> PathBuf {
        data_dir(self.setup.directory.path())
    }

    /// A client with the first token.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub fn address(&self) -> String {
        self.client.base().to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal(self.pid, rustix::process::Signal::KILL);
            let _ = process.kill();
            process.wait().expect("a child can be waited for");
        }
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        signal(self.pid, rustix::process::Signal::TERM);
    }

    /// SIGTERM, and waits until the process has ended.
    pub async fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the server was started");
        poll("the server to end", async || process.try_wait().expect("a child can be waited for")).await
    }

    /// Starts again on the same directory, and returns how long it took until it was ready.
    pub async fn restart(&mut self) -> Duration {
        self.kill();
        let begun = Instant::now();
        self.spawn(self.setup.command()).await;
        begun.elapsed()
    }

    /// What the server has written to its own log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.setup.directory.path().join("server.log")).unwrap_or_default()
    }

    async fn spawn(&mut self, mut command: Command) {
        let log = OpenOptions::new().create(true).append(true).open(self.setup.directory.path().join("server.log"));
        command.stdout(Stdio::null()).stderr(log.expect("a log file"));
        // A new life is told from the last one by its process.
        let old_pid = self.pid;
        let process = self.process.insert(command.spawn().expect("the server can be started"));
        let data = data_dir(self.setup.directory.path());
        let started = async || {
            if let Some(status) = process.try_wait().expect("a child can be waited for") {
                return Some(Err(status));
            }
            let text = std::fs::read_to_string(data.join("server.pid")).ok()?;
            // The last line is whole when its end is there.
            let (pid, address) = text.strip_suffix('\n')?.split_once('\n')?;
            let pid = pid.parse().ok().filter(|pid| *pid != old_pid)?;
            Some(Ok((pid, address.to_owned())))
        };
        let (pid, address) = match poll("the server to start", started).await {
            Ok(started) => started,
            Err(status) => panic!("the server ended at once ({status}):\n{}", self.log()),
        };
        self.pid = pid;
        let token = std::fs::read_to_string(self.data().join("admin.token")).expect("the first token");
        self.client = Client::new(&format!("http://{address}"), token.trim());
        let ready = async || self.client.get("/readyz").await.ok().filter(|answer| answer.status == 200);
        poll("the server to be ready", ready).await;
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("-- the end of the server's log");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Memory of a process that is in RAM now.
pub fn resident_bytes(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("the process is there");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("resident pages");
    pages * rustix::param::page_size() as u64
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Asks again and again until there is an answer. For what can only be asked for:
/// another process, or a state that nothing announces.
pub async fn poll<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "waited {DEADLINE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}
