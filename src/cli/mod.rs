//! The command line: one binary for the server and for everyone who speaks to it.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 well, 1 the
//! task or run failed, 2 wrong usage, 3 the server refused, 4 the server was
//! not reached.

mod apply;
mod bench;
mod compile_module;
mod config;
mod connect;
mod dags;
mod draft;
mod drawing;
mod each;
mod error;
mod findings;
mod follow;
pub mod graph;
mod modules;
mod named;
mod output;
mod progress;
mod push;
mod refusal;
mod run;
mod runs;
mod server;
mod tasks;
mod text;
mod variables;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{FlagValue, Loaded, Sources};
use error::CliError;
use output::{Format, Output};

const EXAMPLES: &str = "\
Examples:
  tradewind server                              start a server in ./tradewind-data
  tradewind run hello.wasm greet -i '{\"name\": \"Ada\"}'
                                                push, run, see log and result
  tradewind push etl.wasm --name etl --tag 1.4  upload a module and name it
  tradewind tasks list --state failed           what went wrong
  tradewind apply dags/                         create or change DAGs
  tradewind dags trigger etl --follow           start a run, see it as it goes
  tradewind runs show etl/nightly-7             its graph, and what went wrong
  tradewind bench --tasks 20000                 how fast it is here

The server is found by TRADEWIND_URL and TRADEWIND_TOKEN;
without them it is the one on this machine.

Exit codes: 0 well, 1 the task or run failed, 2 wrong usage,
3 the server refused, 4 the server was not reached.";

/// A durable task runtime where every task is a sandboxed WebAssembly component.
#[derive(Debug, Parser)]
#[command(name = "tradewind", version, after_help = EXAMPLES, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct GlobalArgs {
    /// Settings file [default: tradewind.toml where there is one] [env: TRADEWIND_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server's data directory [default: tradewind-data] [env: TRADEWIND_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of the server [default: the local server] [env: TRADEWIND_URL]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// What stdout is for: people (table) or programs (json)
    #[arg(long, short, global = true, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server.
    Server(server::ServerCommand),
    /// Upload modules.
    Push(push::PushCommand),
    /// Run one task and follow it to its end.
    Run(Box<run::RunCommand>),
    /// See and steer tasks.
    #[command(subcommand)]
    Tasks(tasks::TasksCommand),
    /// Create DAGs, or change them.
    Apply(apply::ApplyCommand),
    /// See, start and steer DAGs.
    #[command(subcommand)]
    Dags(dags::DagsCommand),
    /// See and steer runs of DAGs.
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// See and change the variables that DAGs read.
    #[command(subcommand)]
    Variables(variables::VariablesCommand),
    /// See and remove modules.
    #[command(subcommand)]
    Modules(modules::ModulesCommand),
    /// Measure how fast tasks run.
    Bench(bench::BenchCommand),
    /// See the settings in force.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print completions for a shell.
    Completions(CompletionsCommand),
    #[command(hide = true)]
    CompileModule(compile_module::CompileModuleCommand),
}

/// Print completions for a shell.
#[derive(Debug, Args)]
struct CompletionsCommand {
    /// Which shell
    shell: clap_complete::Shell,
}

/// What every command may use.
struct Context {
    output: Output,
    loaded: Loaded,
}

/// Parses the arguments, does as they say, and tells how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for and come out well; anything else is wrong usage.
            let code = if error.use_stderr() { error::WRONG_USAGE } else { 0 };
            // Nobody is left to be told that stdout or stderr is closed.
            drop(error.print());
            return code.into();
        }
    };
    // Before settings are read: this process is bound to its one module first of all.
    if let Command::CompileModule(command) = cli.command {
        return command.run();
    }
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(said) = error.said() {
                eprintln!("error: {}", text::lines(&said));
            }
            error.exit_code().into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), CliError> {
    let mut flags = cli.global.flags();
    match &cli.command {
        Command::Server(command) => flags.extend(command.settings.flags()?),
        Command::Config(config::ConfigCommand::Show(command)) => flags.extend(command.settings.flags()?),
        _ => {}
    }
    if let Command::Completions(command) = &cli.command {
        return completions(command);
    }
    let loaded = Loaded::from(&Sources::gather(cli.global.config.as_deref(), flags)?)?;
    let mut context = Context { output: Output::new(cli.global.output), loaded };
    match cli.command {
        Command::Server(command) => command.run(context),
        Command::Config(command) => command.run(&mut context),
        Command::Completions(_) | Command::CompileModule(_) => Ok(()),
        // One thread is enough to speak to a server, and leaves it the others.
        Command::Push(command) => on_one_thread(command.run(&mut context)),
        Command::Run(command) => on_one_thread(command.run(&mut context)),
        Command::Tasks(command) => on_one_thread(command.run(&mut context)),
        Command::Apply(command) => on_one_thread(command.run(&mut context)),
        Command::Dags(command) => on_one_thread(command.run(&mut context)),
        Command::Runs(command) => on_one_thread(command.run(&mut context)),
        Command::Variables(command) => on_one_thread(command.run(&mut context)),
        Command::Modules(command) => on_one_thread(command.run(&mut context)),
        Command::Bench(command) => on_one_thread(command.run(&mut context)),
    }
}

fn on_one_thread(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?.block_on(work)
}

fn completions(command: &CompletionsCommand) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Cli::command(), "tradewind", &mut script);
    Output::new(Format::Table).bytes(&script)
}

impl GlobalArgs {
    fn flags(&self) -> Vec<FlagValue> {
        let data_dir = self.data_dir.as_ref().map(|dir| dir.display().to_string());
        [("--data-dir", "server.data_dir", data_dir), ("--url", "client.url", self.url.clone())]
            .into_iter()
            .filter_map(|(flag, path, value)| Some(FlagValue { flag, path: path.to_owned(), value: value? }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_parse_or_are_refused_as_wrong_usage() {
        for (line, good) in [
            ("server", true),
            ("server --data-dir d --listen 127.0.0.1:0 --slots 4 --set log.format=json", true),
            ("server --listen", false),
            ("push a.wasm b.wasm", true),
            ("push a.wasm --name etl --tag 1.4", true),
            ("push", false),
            ("push a.wasm --tag 1.4", false),
            ("run a.wasm", true),
            ("run etl:1.4 load --input {} --memory 256MiB --timeout 5m --label team=a --label x:y --wait", true),
            ("run etl:1.4 --detach --wait", false),
            ("run etl:1.4 --memory much", false),
            ("run etl:1.4 --timeout soon", false),
            ("run etl:1.4 --label team", false),
            ("tasks list --state failed --limit 10 --output json", true),
            ("tasks list --state broken", false),
            ("tasks list --limit 0", false),
            ("tasks show task_1", true),
            ("tasks show", false),
            ("tasks logs task_1 --try 2", true),
            ("tasks logs etl/nightly-7/parse[3] --follow", true),
            ("tasks result etl/parse", false),
            ("tasks cancel task_1 run_1/load.copy", true),
            ("tasks logs task_1 --follow --try 2", false),
            ("tasks mark task_1 success --note checked", true),
            ("tasks mark task_1 running", false),
            ("apply etl.yaml dags - --dry-run", true),
            ("apply", false),
            ("dags list", true),
            ("dags show etl --version sha256:9f86 --source", true),
            ("dags show e/tl", false),
            ("dags diff etl a b", true),
            ("dags diff etl a b c", false),
            ("dags pause a b", true),
            ("dags delete", false),
            ("dags trigger etl --run-id x --conf {} --param a=1 --note n --logical-date 2026-11-23T00:00:00Z", true),
            ("dags trigger etl --follow --output json", true),
            ("dags trigger etl --follow --wait 30s", false),
            ("dags trigger etl --param a", false),
            ("dags trigger etl --logical-date yesterday", false),
            ("dags graph etl.yaml --svg -", true),
            ("runs list --dag etl --state failed --limit 5", true),
            ("runs list --state broken", false),
            ("runs show etl/nightly-7 --svg run.svg", true),
            ("runs show run_1 --follow --svg run.svg", false),
            ("runs cancel run_1 etl/x", true),
            ("runs clear run_1 --task a --task b --downstream --upstream --failed --dry-run", true),
            ("runs clear run_1 --task parse[3] --task load.b", true),
            ("runs clear run_1 --task parse[three]", false),
            ("runs note run_1 text", true),
            ("runs note run_1", false),
            ("variables set city Oslo --description where", true),
            ("variables set city", false),
            ("modules tags etl", true),
            ("modules download etl:1.4 -f x.wasm", true),
            ("bench --tasks 10 --in-flight 2 --batch 5 --output json", true),
            ("bench --tasks 10 --rate 100 --batch 5", false),
            ("bench --idle --tasks 5", true),
            ("bench --idle --in-flight 5", false),
            ("config show -o json", true),
            ("config show -o yaml", false),
            ("completions bash", true),
            ("brew coffee", false),
        ] {
            let words = std::iter::once("tradewind").chain(line.split(' '));
            match Cli::try_parse_from(words) {
                Ok(_) => assert!(good, "{line} was taken"),
                Err(error) => assert!(!good && error.exit_code() == 2, "{line}: {error}"),
            }
        }
    }
}
