//! The parent of the child that compiles: starts it, watches it, and tells how it ended.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::child::{Orders, REFUSED, Refusal, SUBCOMMAND};
use super::turns::Turn;
use super::{CompileStage, Refused, TELL_INTERVAL, TellCompileStage, UploadError};
use crate::model::{ByteSize, Span};
use crate::sandbox::SandboxError;
use crate::sandbox::compiled::{CompiledStore, Written};

/// The allocator otherwise reserves a gigabyte of address space in one go, which the
/// limit would count although nothing is in it.
const ENVIRONMENT: [(&str, &str); 2] = [("MIMALLOC_ARENA_RESERVE", "32M"), ("MALLOC_ARENA_MAX", "1")];

/// What the child may say on stderr; a refusal is far shorter.
const MAX_SAID_BYTES: u64 = 64 << 10;

/// Wall time of a compilation, in terms of the processor time it may take: it runs
/// beside guests, at a lower priority.
const WALL_FACTOR: u32 = 2;
const WALL_MARGIN: Duration = Duration::from_secs(60);

/// Exit code of a Rust program that panicked.
const PANICKED: i32 = 101;

/// How a child ended.
struct Ended {
    status: ExitStatus,
    said: Vec<u8>,
    code: Written,
}

/// Has `program` compile `wasm` into a new file of `store`. The turn ends when the
/// child is gone. Dropping the future kills it.
pub(super) async fn compile(
    program: &Path,
    orders: Orders,
    wasm: File,
    store: &Arc<CompiledStore>,
    turn: Turn,
    tell: TellCompileStage<'_>,
) -> Result<Written, UploadError> {
    let cpu_limit = Duration::from_secs(orders.cpu_seconds());
    tell(CompileStage::Compiling { cpu: Duration::ZERO, cpu_limit });
    let code = store.begin().map_err(SandboxError::io("make a file for compiled code"))?;
    let command = command(program, &orders, wasm, &code).map_err(SandboxError::io("start the compiler"))?;
    let (started, start) = oneshot::channel();
    let (ended, end) = oneshot::channel();
    // A thread of its own, which lasts as long as the child: a child with a death
    // signal is killed when the thread that started it ends, not only the process.
    let overseer = std::thread::Builder::new().name("compile".to_owned()).spawn(move || {
        let _ = ended.send(oversee(command, code, started));
        drop(turn);
    });
    overseer.map_err(SandboxError::from)?;
    // `None`: it was not started.
    let process = start.await.ok();
    let mut end = end;
    let wall = cpu_limit * WALL_FACTOR + WALL_MARGIN;
    let too_late = sleep_until(Instant::now() + wall);
    tokio::pin!(too_late);
    let mut tick = interval(TELL_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tokio::select! {
            ended = &mut end => {
                let ended = ended.map_err(|_| SandboxError::Panicked("on the thread `compile`".to_owned()))?;
                return outcome(ended.map_err(SandboxError::io("run the compiler"))?, &orders);
            }
            _ = tick.tick() => {
                let cpu = process.as_ref().and_then(|process| process.cpu_time()).unwrap_or_default();
                tell(CompileStage::Compiling { cpu, cpu_limit });
            }
            () = &mut too_late => {
                let reason = format!("it did not end within {}; the machine is busy", Span::from(wall));
                return Err(SandboxError::Engine { doing: "compile a module", reason }.into());
            }
        }
    }
}

fn command(program: &Path, orders: &Orders, wasm: File, code: &Written) -> io::Result<Command> {
    let mut command = Command::new(program);
    command
        .arg0("tradewind")
        .arg(SUBCOMMAND)
        .arg(serde_json::to_string(orders)?)
        .env_clear()
        .envs(ENVIRONMENT)
        // An interrupt from the terminal is for the server, which then decides.
        .process_group(0)
        // Every other file of ours closes itself at exec.
        .stdin(wasm)
        .stdout(code.file()?)
        .stderr(Stdio::piped());
    Ok(command)
}

/// Starts the child and waits for its end, whatever it is. Blocks.
fn oversee(mut command: Command, code: Written, started: oneshot::Sender<Process>) -> io::Result<Ended> {
    let mut child = command.spawn()?;
    // Our ends of its files.
    drop(command);
    let watched = Process::of(&child).and_then(|process| {
        // Where nobody waits for it any more, it is dropped here, and killed by that.
        let _ = started.send(process);
        let mut said = Vec::new();
        let stderr = child.stderr.take().map(|stderr| stderr.take(MAX_SAID_BYTES));
        stderr.map_or(Ok(0), |mut stderr| stderr.read_to_end(&mut said))?;
        Ok(said)
    });
    if watched.is_err() {
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok(Ended { status, said: watched?, code })
}

fn outcome(ended: Ended, orders: &Orders) -> Result<Written, UploadError> {
    let Ended { status, said, code } = ended;
    if status.success() {
        return Ok(code);
    }
    if status.code() == Some(PANICKED) {
        let said = super::shortened(String::from_utf8_lossy(&said).trim().to_owned());
        tracing::error!(said, "the compiler panicked");
        let reason = "makes the compiler panic: the module is damaged, or the compiler has a defect";
        return Err(
            Refused::module("invalid_component", reason, "build it anew; report it if that does not help").into()
        );
    }
    if status.code() == Some(REFUSED.into()) {
        let refusal = serde_json::from_slice::<Refusal>(&said).ok().and_then(Refusal::into_refused);
        return Err(match refusal {
            Some(refused) if refused.code == "too_costly" => too_costly("ran out of memory", orders).into(),
            Some(refused) => refused.into(),
            None => broke(status, &said).into(),
        });
    }
    let Some(signal) = status.signal().and_then(Signal::from_named_raw) else {
        return Err(broke(status, &said).into());
    };
    let met = match signal {
        Signal::XCPU => "took too much processor time",
        // How a process ends that gets no memory: by an abort, or on its stack.
        Signal::ABORT | Signal::SEGV | Signal::BUS => "took too much memory, or broke the compiler",
        Signal::XFSZ => "became too large",
        // Somebody meant to stop it, or the machine ran out of memory; the module may be a good one.
        _ => return Err(broke(status, &said).into()),
    };
    Err(too_costly(met, orders).into())
}

fn too_costly(met: &str, orders: &Orders) -> Refused {
    let (memory, cpu_time) = (ByteSize::new(orders.memory_bytes()), Span::from_secs(orders.cpu_seconds()));
    Refused::module(
        "too_costly",
        format!(
            "{met} while it was compiled; the limits are {memory} of memory (`sandbox.compile_memory_bytes`) and \
             {cpu_time} of processor time (`sandbox.compile_cpu_time`)"
        ),
        "make it smaller, or raise the limit",
    )
}

fn broke(status: ExitStatus, said: &[u8]) -> SandboxError {
    let said = super::shortened(String::from_utf8_lossy(said).trim().to_owned());
    tracing::error!(%status, said, "the compiler ended early");
    SandboxError::Engine { doing: "compile a module", reason: format!("the compiler ended early, {status}") }
}

/// Names a process also when its number has been given to another. Killed when dropped.
struct Process {
    pid: u32,
    pidfd: OwnedFd,
}

impl Process {
    fn of(child: &Child) -> io::Result<Self> {
        // It has not been waited for, so the number is still its own.
        let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        Ok(Self { pid: child.id(), pidfd })
    }

    /// Processor time of all its threads so far.
    fn cpu_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        cpu_ticks(&stat).map(|ticks| Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has mostly ended by itself, which is the only way this can fail.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// User and system time in /proc/PID/stat. What stands before them is the name of the
/// program in brackets, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 30 10 2";
        assert_eq!(cpu_ticks(stat), Some(200));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn an_end_is_told_by_its_signal() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = CompiledStore::open(dir.path(), "x1", [1; 32]).expect("a store");
        let orders = Orders::new(super::super::CompileLimits::default(), 1 << 30);
        let end = |raw: i32, said: &[u8]| {
            let code = store.begin().expect("a file");
            outcome(Ended { status: ExitStatus::from_raw(raw), said: said.to_vec(), code }, &orders)
        };
        let nothing: &[u8] = b"";
        let code = |end: Result<Written, UploadError>| match end {
            Ok(_) => "compiled",
            Err(UploadError::Refused(refused)) => refused.code,
            Err(UploadError::Failed(_)) => "failed",
        };
        let refusal: &[u8] = br#"{"code": "not_wasm", "thing": "a", "reason": "b", "remedy": "c"}"#;
        let of_its_own: &[u8] = br#"{"code": "mine", "thing": "a", "reason": "b", "remedy": "c"}"#;
        for (raw, said, expected) in [
            (0, nothing, "compiled"),
            (3 << 8, refusal, "not_wasm"),
            (3 << 8, of_its_own, "failed"),
            (3 << 8, nothing, "failed"),
            (1 << 8, nothing, "failed"),
            (101 << 8, nothing, "invalid_component"),
            (24, nothing, "too_costly"),
            (6, nothing, "too_costly"),
            (9, nothing, "failed"),
            (11, nothing, "too_costly"),
            (15, nothing, "failed"),
        ] {
            assert_eq!(code(end(raw, said)), expected, "{raw}");
        }
        let told = end(24, b"").err().expect("refused").to_string();
        for named in ["2GiB", "sandbox.compile_memory_bytes", "5m", "sandbox.compile_cpu_time"] {
            assert!(told.contains(named), "{told}");
        }
        drop(store);
        assert_eq!(std::fs::read_dir(dir.path().join("x1")).expect("a directory").count(), 0, "nothing is left behind");
    }
}
