//! `tradewind server`.

use std::net::SocketAddr;

use clap::Args;

use super::Context;
use super::error::CliError;
use crate::config::{FlagValue, LogFormat};
use crate::{server, telemetry};

const EXAMPLES: &str = "\
Examples:
  tradewind server
  tradewind server --data-dir /var/lib/tradewind --listen 127.0.0.1:9000
  tradewind server --set retention.ended_tasks=168h --set log.format=json

DIR/admin.token holds the first token. `tradewind config show` lists every setting.";

/// Start the server.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServerCommand {
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

/// Settings on the command line: the common ones by name, any by `--set`.
#[derive(Debug, Default, Args)]
pub(super) struct SettingsArgs {
    /// Address and port to listen on [default: 127.0.0.1:8080] [env: TRADEWIND_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Attempts that compute at once [default: 8 for each core] [env: TRADEWIND_WORKER_SLOTS]
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
    /// error, warn, info, debug or trace [default: info] [env: TRADEWIND_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Form of the server's own log [default: text] [env: TRADEWIND_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Any setting, as in worker.slots=4; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SettingsArgs {
    pub(super) fn flags(&self) -> Result<Vec<FlagValue>, CliError> {
        let log_format = self.log_format.map(|format| match format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        });
        let named = [
            ("--listen", "server.listen", self.listen.map(|listen| listen.to_string())),
            ("--slots", "worker.slots", self.slots.map(|slots| slots.to_string())),
            ("--log-level", "log.level", self.log_level.clone()),
            ("--log-format", "log.format", log_format),
        ];
        let mut flags: Vec<FlagValue> = named
            .into_iter()
            .filter_map(|(flag, path, value)| Some(FlagValue { flag, path: path.to_owned(), value: value? }))
            .collect();
        for pair in &self.set {
            let Some((path, value)) = pair.split_once('=') else {
                return Err(CliError::Usage(format!("--set {pair}: no value; write for example --set worker.slots=4")));
            };
            flags.push(FlagValue { flag: "--set", path: path.to_owned(), value: value.to_owned() });
        }
        Ok(flags)
    }
}

impl ServerCommand {
    pub(super) fn run(self, context: Context) -> Result<(), CliError> {
        let settings = context.loaded.settings;
        if let Err(error) = telemetry::init(&settings.log) {
            eprintln!("warning: no log: {error}");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::Runtime)?;
        runtime.block_on(server::run(settings)).map_err(CliError::Server)
    }
}
