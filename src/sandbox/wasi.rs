//! WASI 0.2 for one attempt: clocks, randomness and its standard streams, and of
//! all else only what it was granted. No socket, ever.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::capability::scratch::Files;
use super::host::Host;
use super::log::LogStream;
use super::stdio::{Printer, Prompt, Stdio};

/// Random bytes a guest may ask for in one call.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

/// Streams, pollables and other handles a guest may hold at once.
pub(super) const MAX_HANDLES: usize = 4_096;

/// What a program finds as its name, before its arguments.
const PROGRAM_NAME: &str = "program";

/// The variable that names a directory for temporary files.
const TEMPORARY: &str = "TMPDIR";

/// One attempt's WASI.
pub(super) struct Wasi {
    ctx: WasiCtx,
    pub(super) table: ResourceTable,
    stdout: Printer,
    stderr: Printer,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.meter.call();
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

impl Host {
    /// Made at the first call: most guests import all of WASI, and many call nothing.
    pub(super) fn wasi(&mut self) -> &mut Wasi {
        if self.wasi.is_none() {
            self.wasi = Some(Box::new(Wasi::of(self)));
        }
        self.wasi.as_mut().expect("made above")
    }

    /// For a call of `wasi:filesystem`.
    pub(super) fn files(&mut self) -> Files<'_> {
        self.meter.call();
        self.wasi();
        let Wasi { ctx, table, .. } = &mut **self.wasi.as_mut().expect("made above");
        Files { ctx: ctx.filesystem(), table, scratch: self.scratch.as_deref_mut(), meter: &self.meter }
    }
}

impl Wasi {
    fn of(host: &mut Host) -> Self {
        let stdout = Printer::new(LogStream::Stdout, &host.log);
        let stderr = Printer::new(LogStream::Stderr, &host.log);
        let mut ctx = host.scratch.as_mut().map_or_else(WasiCtxBuilder::new, |scratch| scratch.take_prepared());
        ctx.max_random_size(MAX_RANDOM_BYTES)
            // Denied by the crate's default too; said here because it is a promise.
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .stderr(Prompt(stderr.clone()));
        match &host.stdio {
            Stdio::Log => ctx.stdout(Prompt(stdout.clone())),
            Stdio::Program { input, output } => ctx
                .stdin(MemoryInputPipe::new(input.clone()))
                .stdout(Prompt(output.clone()))
                .arg(PROGRAM_NAME)
                .args(&host.args),
        };
        for (name, value) in &host.grants.env {
            ctx.env(name, value);
        }
        if host.scratch.is_some() && !host.grants.env.contains_key(TEMPORARY) {
            ctx.env(TEMPORARY, "/tmp");
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self { ctx: ctx.build(), table, stdout, stderr }
    }

    /// Hands on what the guest printed without a line break at its end.
    pub(super) fn flush(&self) {
        self.stdout.flush_line();
        self.stderr.flush_line();
    }
}
