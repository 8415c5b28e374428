//! Runs one guest in one store, from instantiation to its end, within its bounds.
//!
//! A guest is stopped in two ways that together leave no gap: one that computes
//! gives way at the end of its time slice, and is only continued within its
//! bounds; one that waits is woken by the stop signal or the timer. In both cases
//! its future is dropped, its store with it, and nothing of it runs again.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, InstancePre, Val};
use wasmtime_wasi::I32Exit;

use super::SandboxError;
use super::host::{Descriptor, Host, Interruption};
use super::meter::Meter;
use super::stop::StopSignal;
use super::ticker::SLICE;
use super::values::{InputProblem, LiftError, Returned, Signature};
use super::wait::{Remembering, WaitListener};
use super::wasi::MAX_HANDLES;
use crate::model::Json;

/// What one guest may use. Its memory is bounded by its [`Host`].
pub(super) struct Bounds {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    /// Size of what it answers, as JSON.
    pub(super) answer_bytes: usize,
}

/// What is asked of the guest.
pub(super) enum Call<'a> {
    /// An exported function with value types.
    Function { export: &'a ComponentExportIndex, signature: &'a Signature, input: &'a Json },
    /// A task of the SDK world.
    Task { run: &'a ComponentExportIndex, name: &'a str, input: &'a Json },
    /// A command-line program. What it prints is in its host's [`Stdio`](super::stdio::Stdio).
    Program { run: &'a ComponentExportIndex },
    /// Which tasks it has.
    ListTasks { list_tasks: &'a ComponentExportIndex },
}

/// What the guest answered.
pub(super) enum Answer {
    Returned(Result<Returned, LiftError>),
    /// It was not asked: the input does not fit.
    InputRefused(Vec<InputProblem>),
    Task(Result<String, Interruption>),
    /// A program's exit code.
    Exited(i32),
    Descriptors(Vec<Descriptor>),
}

/// How the guest ended.
pub(super) enum End {
    Answered(Answer),
    /// It trapped, exited, or answered what cannot be read.
    Broke(wasmtime::Error),
    Stopped(Stopped),
}

/// Why the guest was ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    BySignal,
    WallTime,
    CpuTime,
    HostCalls,
}

pub(super) struct Attempt {
    pub(super) end: End,
    pub(super) cpu: Duration,
    pub(super) peak_memory_bytes: u64,
    /// Whether it was ever refused memory.
    pub(super) memory_denied: bool,
}

/// Room for 128 MiB of values at most: a list of bytes takes 32 of the host's for each of its own.
const MOST_VALUE_BYTES: usize = 128 << 20;
const LEAST_VALUE_BYTES: usize = 16 << 20;

/// Whom an attempt listens to, and whom it tells.
pub(super) struct Outside<'a> {
    pub(super) stop: &'a StopSignal,
    pub(super) on_wait: Option<&'a dyn WaitListener>,
}

pub(super) async fn attempt(
    instance: &InstancePre<Host>,
    host: Host,
    call: Call<'_>,
    bounds: &Bounds,
    outside: Outside<'_>,
) -> Result<Attempt, SandboxError> {
    let mut watch = Watch::start(bounds, outside, host.meter.clone());
    let mut store = Store::try_new(instance.engine(), host).map_err(SandboxError::engine("make a store"))?;
    store.limiter(|host| &mut host.memory);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    store.set_max_component_handles(MAX_HANDLES);
    let most = MOST_VALUE_BYTES.max(bounds.answer_bytes);
    store.set_hostcall_fuel(bounds.answer_bytes.saturating_mul(8).clamp(LEAST_VALUE_BYTES, most));

    let polled = {
        let mut guest = pin!(Some(enter(&mut store, instance, call, bounds.answer_bytes)));
        let polled = poll_fn(|cx| watch.poll(cx, guest.as_mut())).await;
        // A guest stopped half-way is unwound here.
        caught(|| guest.set(None)).and(polled)
    };
    if let Some(wasi) = &store.data().wasi {
        wasi.flush();
    }
    let end = polled?;
    let (peak_memory_bytes, memory_denied) = (store.data().memory.peak(), store.data().memory.denied());
    caught(move || drop(store))?;
    let end = match end {
        Polled::Ended(Ok(answer)) => End::Answered(answer),
        Polled::Ended(Err(Failure::Guest(error))) => End::Broke(error),
        Polled::Ended(Err(Failure::Instantiation(error))) if memory_denied || is_the_guests(&error) => {
            End::Broke(error)
        }
        Polled::Ended(Err(Failure::Instantiation(error))) => {
            return Err(SandboxError::engine("make an instance")(error));
        }
        Polled::Stopped(why) => End::Stopped(why),
    };
    Ok(Attempt { end, cpu: watch.cpu_spent(), peak_memory_bytes, memory_denied })
}

enum Failure {
    Instantiation(wasmtime::Error),
    Guest(wasmtime::Error),
}

async fn enter(
    store: &mut Store<Host>,
    instance: &InstancePre<Host>,
    call: Call<'_>,
    answer_bytes: usize,
) -> Result<Answer, Failure> {
    // What does not fit is not even instantiated.
    let parameters = match &call {
        Call::Function { signature, input, .. } => match signature.lower(input.as_str()) {
            Ok(parameters) => parameters,
            Err(problems) => return Ok(Answer::InputRefused(problems)),
        },
        Call::Task { .. } | Call::Program { .. } | Call::ListTasks { .. } => Vec::new(),
    };
    let instance = instance.instantiate_async(&mut *store).await.map_err(Failure::Instantiation)?;
    let answer = async {
        match call {
            Call::Function { export, signature, .. } => {
                let function = instance.get_func(&mut *store, export).ok_or_else(missing)?;
                let mut results = [const { Val::Bool(false) }; 1];
                let results = &mut results[..signature.result_count().min(1)];
                function.call_async(&mut *store, &parameters, results).await?;
                Ok(Answer::Returned(signature.lift(results, answer_bytes)))
            }
            Call::Task { run, name, input } => {
                let run = instance.get_typed_func::<(&str, &str), (Result<String, Interruption>,)>(&mut *store, run)?;
                let (answer,) = run.call_async(&mut *store, (name, input.as_str())).await?;
                Ok(Answer::Task(answer))
            }
            Call::Program { run } => {
                let run = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, run)?;
                let code = match run.call_async(&mut *store, ()).await {
                    Ok((Ok(()),)) => 0,
                    Ok((Err(()),)) => 1,
                    Err(error) => error.downcast_ref::<I32Exit>().map(|exit| exit.0).ok_or(error)?,
                };
                Ok(Answer::Exited(code))
            }
            Call::ListTasks { list_tasks } => {
                let list_tasks = instance.get_typed_func::<(), (Vec<Descriptor>,)>(&mut *store, list_tasks)?;
                let (descriptors,) = list_tasks.call_async(&mut *store, ()).await?;
                Ok(Answer::Descriptors(descriptors))
            }
        }
    };
    answer.await.map_err(Failure::Guest)
}

fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("the export is not a function")
}

/// Whether an error comes from what the guest did, not from making room for it.
fn is_the_guests(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::Trap>() || error.is::<wasmtime::WasmBacktrace>() || error.is::<I32Exit>()
}

enum Polled {
    Ended(Result<Answer, Failure>),
    Stopped(Stopped),
}

/// Looks after one guest's bounds, and whether it waits.
struct Watch<'a> {
    outside: Outside<'a>,
    meter: Arc<Meter>,
    /// Only where somebody wants to know whether the guest waits.
    remembering: Option<Arc<Remembering>>,
    /// Whether it was told last that the guest waits.
    parked: bool,
    /// What it has computed since.
    cpu_parked: Duration,
    deadline: Option<Instant>,
    /// Only made when the guest first waits: most never do.
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    cpu_limit: Duration,
    cpu_before: Duration,
    /// The thread's processor time when this slice began.
    slice_began: Duration,
    /// Whether the guest gave way before; the first slice began with the attempt.
    continued: bool,
}

impl<'a> Watch<'a> {
    fn start(bounds: &Bounds, outside: Outside<'a>, meter: Arc<Meter>) -> Self {
        Self {
            outside,
            meter,
            remembering: None,
            parked: false,
            cpu_parked: Duration::ZERO,
            // None is so far away that it never comes.
            deadline: Instant::now().checked_add(bounds.wall),
            timer: None,
            cpu_limit: bounds.cpu,
            cpu_before: Duration::ZERO,
            slice_began: thread_cpu_time(),
            continued: false,
        }
    }

    fn poll<F>(&mut self, cx: &mut Context<'_>, guest: Pin<&mut Option<F>>) -> Poll<Result<Polled, SandboxError>>
    where
        F: Future<Output = Result<Answer, Failure>>,
    {
        if self.continued {
            self.slice_began = thread_cpu_time();
        }
        if let Some(why) = self.exceeded() {
            return Poll::Ready(Ok(Polled::Stopped(why)));
        }
        let guest = guest.as_pin_mut().expect("a guest is polled until it ends");
        let waker = self.guests_waker(cx.waker());
        match caught(|| guest.poll(&mut Context::from_waker(waker.as_ref().unwrap_or(cx.waker())))) {
            Err(panicked) => Poll::Ready(Err(panicked)),
            Ok(Poll::Ready(ended)) => Poll::Ready(Ok(Polled::Ended(ended))),
            Ok(Poll::Pending) => {
                let slice = thread_cpu_time().saturating_sub(self.slice_began);
                self.cpu_before += slice;
                self.slice_began = Duration::ZERO;
                self.continued = true;
                self.tell(slice);
                self.wait(cx)
            }
        }
    }

    /// What the guest is polled with, where it is not the attempt's own.
    fn guests_waker(&mut self, attempt: &Waker) -> Option<Waker> {
        self.outside.on_wait?;
        match &self.remembering {
            Some(remembering) if remembering.is_for(attempt) => remembering.forget(),
            _ => self.remembering = Some(Remembering::new(attempt)),
        }
        self.remembering.clone().map(Waker::from)
    }

    /// The guest has left its thread: to wait, or to go on at its next turn. One that waits
    /// again and again but computes between takes its slot by turns.
    fn tell(&mut self, slice: Duration) {
        let (Some(listener), Some(remembering)) = (self.outside.on_wait, &self.remembering) else { return };
        self.cpu_parked += slice;
        let waits = !remembering.was_woken() && (!self.parked || self.cpu_parked < SLICE);
        if std::mem::replace(&mut self.parked, waits) != waits {
            self.cpu_parked = Duration::ZERO;
            if waits { listener.parked() } else { listener.resumed() }
        }
    }

    fn exceeded(&self) -> Option<Stopped> {
        if self.outside.stop.is_stopped() {
            Some(Stopped::BySignal)
        } else if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            Some(Stopped::WallTime)
        } else if self.cpu_before >= self.cpu_limit {
            Some(Stopped::CpuTime)
        } else if self.meter.too_many_calls() {
            Some(Stopped::HostCalls)
        } else {
            None
        }
    }

    /// Makes sure that whatever ends the wait wakes the attempt.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<Polled, SandboxError>> {
        if self.outside.stop.is_stopped_or_wakes(cx.waker()) {
            return Poll::Ready(Ok(Polled::Stopped(Stopped::BySignal)));
        }
        if let Some(deadline) = self.deadline {
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Polled::Stopped(Stopped::WallTime)));
            }
        }
        Poll::Pending
    }

    /// Processor time so far. Called on the thread of the last slice, in it.
    fn cpu_spent(&self) -> Duration {
        let slice = if self.slice_began.is_zero() {
            Duration::ZERO
        } else {
            thread_cpu_time().saturating_sub(self.slice_began)
        };
        self.cpu_before + slice
    }
}

/// Processor time of the calling thread.
fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A panic under a guest is an error of this attempt, and of no other.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, SandboxError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a message".to_owned());
        SandboxError::Panicked(message)
    })
}
