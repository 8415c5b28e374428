//! `tradewind bench`: how many tasks a second this server runs, and how long one takes.
//!
//! Every answer is looked at: each task must have ended as `success` and have an
//! id of its own. Times are taken at the client; what happens inside the server
//! (accepted, started) is by its clock, which is ours when it is on this machine.

mod calibration;
mod load;
mod payload;
mod process;
mod queue_first;
mod recorder;
mod report;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use parking_lot::Mutex;

use super::connect::LocalServer;
use super::error::CliError;
use super::{Context, connect, progress, push};
use crate::client::{Client, Module};
use crate::model::{Digest, Span, Timestamp};
use crate::sandbox::guests;
use load::{Load, Shape};
use payload::Payload;
use process::ServerProcess;
use recorder::Recorder;
use report::Report;

const EXAMPLES: &str = "\
Examples:
  tradewind bench                               one request each, 256 in flight
  tradewind bench --tasks 100000 --batch 500
  tradewind bench --idle                        latency of one task after the other
  tradewind bench --rate 2000 --tasks 20000     2 000 a second, whatever the server says
  tradewind bench --queue-first --hold 60s --tasks 1000000 --batch 500

submit_ms: sent → accepted; start_ms: accepted → the guest starts; done_ms: sent → result.
With --queue-first, submit_ms is the time of the acknowledgement.";

/// Measure how fast tasks run: pushes a guest that does nothing and submits it many times.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BenchCommand {
    /// Tasks to run [default: 10000; with --idle 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tasks: Option<u64>,
    /// Tasks submitted and not yet answered [default: 256; four batches]
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    in_flight: Option<u64>,
    /// Tasks in one request [default: one request each]
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batch: Option<u64>,
    /// Tasks run before the measurement
    #[arg(long, value_name = "N", default_value_t = 0)]
    warm_up: u64,
    /// Submit so many tasks a second, also when the server falls behind (open loop)
    #[arg(long, value_name = "R", conflicts_with_all = ["batch", "idle", "queue_first"], value_parser = rate)]
    rate: Option<f64>,
    /// One task after the other on one connection
    #[arg(long, conflicts_with_all = ["in_flight", "batch", "queue_first"])]
    idle: bool,
    /// Submit without waiting, then wait until all have ended
    #[arg(long)]
    queue_first: bool,
    /// With --queue-first: no task may start before so long from now
    #[arg(long, value_name = "DURATION", requires = "queue_first")]
    hold: Option<Span>,
    /// Log lines of each task: 0 or 1
    #[arg(long, value_name = "K", default_value_t = 0, conflicts_with = "module", value_parser = clap::value_parser!(u8).range(0..=1))]
    log_lines: u8,
    /// Another guest than our own
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// The function of that guest [default: its only one]
    #[arg(long, requires = "module")]
    function: Option<String>,
    /// Size of each task's input
    #[arg(long, value_name = "N", default_value_t = 0)]
    input_bytes: usize,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("write tasks per second, for example 2000".to_owned()),
    }
}

impl BenchCommand {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let settings = &context.loaded.settings;
        let client = connect::client(settings)?;
        let wire = wire::Wire::to(&client).await?;
        let guest = if self.log_lines > 0 { guests::one_line() } else { guests::noop() };
        let module = self.push_guest(&client, &guest).await?;
        let not_before = self.hold.map(|hold| Timestamp::now() + hold.get());
        let payload = Payload::new(&module, self.function.as_deref(), self.input_bytes, not_before)?;
        let server = LocalServer::find(&connect::data_dir(settings)).filter(|_| client.is_local());

        let spinner = progress::spinner("calibrating");
        let calibration = calibration::measure(server.map(|_| connect::data_dir(settings)).as_deref());
        spinner.finish_and_clear();

        let warm_up = Payload::new(&module, self.function.as_deref(), self.input_bytes, None)?;
        self.drive(&wire, &warm_up, self.warm_up, true, "warming up", self.recorder(&client)).await?;

        let recorder = self.recorder(&client);
        let process = ServerProcess::watch(server.map(|server| server.pid));
        let client_cpu = process::own_cpu();
        let first_sent = (Instant::now(), Timestamp::now());
        let tasks = self.tasks();
        self.drive(&wire, &payload, tasks, !self.queue_first, "tasks", recorder.clone()).await?;
        let last_answer = Timestamp::now();
        // That of submitting: what follows is waiting and checking.
        let client_cpu = process::own_cpu().saturating_sub(client_cpu);
        if self.queue_first {
            queue_first::wait_until_empty(&client, &recorder).await?;
        }
        let server_cpu = process.cpu();
        let (elapsed, queue) = if self.queue_first {
            let from = not_before.map_or(last_answer, |earliest| earliest.max(last_answer));
            let queue = queue_first::check(&client, &recorder, last_answer, from).await?;
            (queue.last_end.since(first_sent.1), Some(queue))
        } else {
            (recorder.lock().last_done.unwrap_or(first_sent.0) - first_sent.0, None)
        };
        let report = Report {
            tasks,
            elapsed,
            queue: queue.map(|queue| report::Queue {
                submit_s: last_answer.since(first_sent.1).as_secs_f64(),
                left_at_last_submit: queue.left_at_last_submit,
                drain_tasks_per_s: queue.drain_tasks_per_s,
            }),
            server_cpu,
            server_memory: process.memory(),
            client_cpu,
            calibration,
        };
        let recorder = recorder.lock();
        report.print(&recorder, &context.output)?;
        recorder.verdict(tasks)
    }

    fn tasks(&self) -> u64 {
        self.tasks.unwrap_or(if self.idle { 1_000 } else { 10_000 })
    }

    fn recorder(&self, client: &Client) -> Arc<Mutex<Recorder>> {
        Arc::new(Mutex::new(Recorder::new(client.is_local(), self.queue_first)))
    }

    async fn push_guest(&self, client: &Client, guest: &[u8]) -> Result<Module, CliError> {
        if let Some(file) = &self.module {
            return Ok(push::push(client, file, None).await?.module);
        }
        if let Some(known) = client.module(&Digest::of(guest).to_string()).await? {
            return Ok(known.read()?);
        }
        Ok(client.upload_wasm(Bytes::copy_from_slice(guest)).await?.read()?)
    }

    async fn drive(
        &self,
        wire: &wire::Wire,
        payload: &Payload,
        tasks: u64,
        until_ended: bool,
        what: &str,
        recorder: Arc<Mutex<Recorder>>,
    ) -> Result<(), CliError> {
        // Batches on fewer than four connections leave the server idle while one is read.
        let by_default = self.batch.map_or(256, |size| 4 * size);
        let in_flight = if self.idle { 1 } else { self.in_flight.unwrap_or(by_default) };
        let shape = match (self.batch, self.rate) {
            (Some(size), _) => Shape::Batches { size },
            (None, Some(tasks_per_s)) => Shape::Paced { tasks_per_s },
            (None, None) => Shape::Singles,
        };
        let bar = progress::tasks(tasks, what);
        bar.set_draw_target(indicatif::ProgressDrawTarget::stderr_with_hz(5));
        let load = Load { wire, payload, tasks, in_flight, shape, until_ended };
        let driven = load.drive(recorder, &bar).await;
        bar.finish_and_clear();
        driven
    }
}

/// How long each calibration lasts.
const CALIBRATION: Duration = Duration::from_millis(500);
