//! `tradewind run`: pushes where needed, submits, follows, and ends as the task did.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::error::CliError;
use super::{Context, connect, follow, push, text};
use crate::client::Task;
use crate::model::grants::{HttpGrant, NotAHost, ScratchGrant};
use crate::model::{ByteSize, Grants, Json, QueueName, Span, Timestamp};

const EXAMPLES: &str = "\
Examples:
  tradewind run hello.wasm                      push, run its only function, show log and result
  tradewind run etl:1.4 load --input '{\"day\": \"2026-11-23\"}' --retries 3 --timeout 10m
  tradewind run stats.wasm mean --input @numbers.json --memory 512MiB
  jq .orders export.json | tradewind run etl:1.4 parse --input - > parsed.json
  tradewind run etl:1.4 nightly --detach        print the id and leave
  tradewind run ripgrep.wasm --input @book.json --arg=-c --arg=whale --arg=-
  tradewind run fetch.wasm --allow-http api.example.org --env LANG=en --scratch 64MiB

The log goes to stderr, the result to stdout.
Exit code 0 when the task succeeded, 1 when it did not.";

/// How long a submit waits for the end before the log is looked at.
const FIRST_LOOK: Span = Span::from_millis(200);

const LONGEST_WAIT: Span = Span::from_secs(60);

/// Run one task and follow it to its end.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunCommand {
    /// A Wasm component to push first, or a module that the server has: sha256:… or name:tag
    #[arg(value_name = "FILE|MODULE")]
    module: String,
    /// Optional where the module has one
    function: Option<String>,
    /// JSON, @FILE, or - for stdin
    #[arg(long, short, value_name = "JSON")]
    input: Option<String>,

    /// Follow the log and wait for the result; this is the default
    #[arg(long, group = "until")]
    follow: bool,
    /// Wait for the result, without the log
    #[arg(long, group = "until")]
    wait: bool,
    /// Print the id as soon as the task is accepted
    #[arg(long, group = "until")]
    detach: bool,

    /// An argument of a command-line program; may be repeated
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    args: Vec<String>,
    /// Grant HTTP requests to a host, `*.example.org` or `*`, with `:PORT` for another port than 80 and 443; may be repeated
    #[arg(long = "allow-http", value_name = "HOST[:PORT]", value_parser = http_grant)]
    http: Vec<HttpGrant>,
    /// Grants of HTTP lead to private and loopback addresses too
    #[arg(long, requires = "http")]
    allow_private: bool,
    /// Set a variable of the guest's environment; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Grant a directory /scratch of this size, gone after the try
    #[arg(long, value_name = "SIZE")]
    scratch: Option<ByteSize>,
    /// Tries after the first [default: 0]
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// Pause before the second try; grows from try to try [default: 5m]
    #[arg(long, value_name = "DURATION")]
    retry_delay: Option<Span>,
    /// Wall time of one try [default: 1h]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    /// Processor time of one try [default: 1h]
    #[arg(long, value_name = "DURATION")]
    cpu_time: Option<Span>,
    /// Memory of one try [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Not before this moment, RFC 3339
    #[arg(long, value_name = "TIME")]
    not_before: Option<Timestamp>,
    /// Queue to wait in [default: default]
    #[arg(long, value_name = "NAME")]
    queue: Option<QueueName>,
    /// Higher goes first [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// A label, as in team=a; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Submit at most once for this key within 24 hours [default: a random one]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// What is sent. Only what was asked for: the server knows the defaults.
#[derive(Serialize)]
struct TaskRequest<'a> {
    module: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Json>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    args: &'a [String],
    #[serde(skip_serializing_if = "Grants::is_empty")]
    grants: Grants,
    #[serde(skip_serializing_if = "LimitsRequest::is_empty")]
    limits: LimitsRequest,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_delay: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'a QueueName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority_weight: Option<i32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a str, &'a str>,
}

#[derive(Default, PartialEq, Serialize)]
struct LimitsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<ByteSize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_timeout: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_time: Option<Span>,
}

impl LimitsRequest {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl RunCommand {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        // Read before anything is pushed, so that wrong usage leaves no trace.
        let input = self.input.as_deref().map(|input| read_json("--input", input)).transpose()?;
        let client = connect::client(&context.loaded.settings)?;
        let module = match names_file(&self.module) {
            true => push::push(&client, Path::new(&self.module), None).await?.module.digest.to_string(),
            false => self.module.clone(),
        };
        let request = self.request(&module, input)?;
        let wait = match (self.detach, self.wait) {
            (true, _) => None,
            (_, true) => Some(LONGEST_WAIT),
            // Short enough that the log of a long task is soon seen, long enough that a short task needs no second look.
            _ => Some(FIRST_LOOK),
        };
        let answer = client.submit(&request, self.idempotency_key.clone(), wait).await?;
        if answer.replayed {
            eprintln!("the idempotency key was used before; this is the task of then");
        }
        let output = &context.output;
        if self.detach {
            return match output.is_json() {
                true => output.json(&answer.json()?),
                false => output.line(&text::line(&answer.read::<Task>()?.id)),
            };
        }
        let (answer, task) = follow::to_end(&client, answer, !self.wait).await?;
        follow::tell(&client, output, &answer, &task).await
    }

    fn request(&self, module: &str, input: Option<Json>) -> Result<Json, CliError> {
        let request = TaskRequest {
            module,
            function: self.function.as_deref(),
            input,
            args: &self.args,
            grants: self.grants(),
            limits: LimitsRequest {
                memory_bytes: self.memory,
                execution_timeout: self.timeout,
                cpu_time: self.cpu_time,
            },
            retries: self.retries,
            retry_delay: self.retry_delay,
            not_before: self.not_before,
            queue: self.queue.as_ref(),
            priority_weight: self.priority,
            labels: self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        };
        Json::of(&request).map_err(|error| CliError::Usage(format!("the task cannot be written as JSON: {error}")))
    }
}

impl RunCommand {
    fn grants(&self) -> Grants {
        let private_addresses = self.allow_private;
        Grants {
            http: self.http.iter().map(|grant| HttpGrant { private_addresses, ..grant.clone() }).collect(),
            env: self.env.iter().cloned().collect(),
            scratch: self.scratch.map(|size| ScratchGrant { bytes: size.get() }),
        }
    }
}

/// `api.example.org`, `*.example.org:8443`, `[::1]:8080`.
fn http_grant(text: &str) -> Result<HttpGrant, String> {
    // An IPv6 address has colons of its own; brackets tell it from its port.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && (!host.contains(':') || host.ends_with(']')) => (host, Some(port)),
        _ => (text, None),
    };
    let host = host.parse().map_err(|error: NotAHost| error.to_string())?;
    let ports = match port {
        None => vec![80, 443],
        Some(port) => vec![port.parse().map_err(|_| format!("`{port}` is no port: write a number from 1 to 65535"))?],
    };
    Ok(HttpGrant { host, ports, methods: None, private_addresses: false })
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, for example LANG=en".to_owned()),
    }
}

/// Whether the argument is a file rather than a module: it is there, or it looks like nothing but a path.
fn names_file(module: &str) -> bool {
    if module.starts_with("sha256:") {
        return false;
    }
    module.contains(std::path::MAIN_SEPARATOR) || module.ends_with(".wasm") || Path::new(module).is_file()
}

/// The value of an option that is JSON, @FILE, or - for stdin.
pub(super) fn read_json(option: &str, argument: &str) -> Result<Json, CliError> {
    let (text, place) = match argument.strip_prefix('@') {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| CliError::Usage(format!("{option} @{path} cannot be read: {error}")))?;
            (text, format!("the file {path}"))
        }
        None if argument == "-" => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| CliError::Usage(format!("{option} - cannot be read: {error}")))?;
            (text, "stdin".to_owned())
        }
        None => (argument.to_owned(), option.to_owned()),
    };
    Json::parse(text).map_err(|error| {
        CliError::Usage(format!("{place} is not JSON: {error}; a text needs quotes of its own: {option} '\"text\"'"))
    })
}

/// `team=a`, or `team:a` as the filters of the API have it.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once(['=', ':']) {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, for example team=a".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        run: RunCommand,
    }

    fn request(line: &str) -> serde_json::Value {
        let run = Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}")).run;
        let input = run.input.as_deref().map(|input| read_json("--input", input)).transpose().expect("JSON");
        run.request(&run.module, input).expect("a request").to_value().expect("JSON")
    }

    #[test]
    fn only_what_was_asked_for_is_sent() {
        assert_eq!(request("run etl:1.4"), serde_json::json!({"module": "etl:1.4"}));
        assert_eq!(
            request(
                "run etl:1.4 load -i {\"day\":1} --memory 1GiB --timeout 90s --retries 2 --label a=b --label c:d --priority -3"
            ),
            serde_json::json!({
                "module": "etl:1.4", "function": "load", "input": {"day": 1}, "retries": 2, "priority_weight": -3,
                "limits": {"memory_bytes": 1_073_741_824, "execution_timeout": "1m30s"}, "labels": {"a": "b", "c": "d"}
            })
        );
    }

    #[test]
    fn grants_are_written_as_flags() {
        assert_eq!(
            request(
                "run fetch --arg=-v --arg x --allow-http api.example.org --allow-http [::1]:8080 --allow-private \
                 --env LANG=en --scratch 1MiB"
            ),
            serde_json::json!({
                "module": "fetch", "args": ["-v", "x"],
                "grants": {
                    "http": [{"host": "api.example.org", "ports": [80, 443], "private_addresses": true},
                             {"host": "::1", "ports": [8080], "private_addresses": true}],
                    "env": {"LANG": "en"}, "scratch": {"bytes": 1_048_576}
                }
            })
        );
        for wrong in ["a b", "http://a", "a:port", "a:99999"] {
            assert!(http_grant(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn input_comes_from_the_argument_or_a_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input.json");
        std::fs::write(&path, "[1, 2]").expect("written");
        let said = |argument: &str| match read_json("--input", argument) {
            Ok(json) => json.as_str().to_owned(),
            Err(error) => error.said().expect("a reason"),
        };
        assert_eq!(said("{}"), "{}");
        assert_eq!(said(&format!("@{}", path.display())), "[1, 2]");
        assert!(said("Ada").starts_with("--input is not JSON: "));
        assert!(said("@nowhere.json").contains("cannot be read"));
    }

    #[test]
    fn files_and_modules_are_told_apart() {
        for (argument, file) in [
            ("hello.wasm", true),
            ("./hello", true),
            ("etl:1.4", false),
            ("etl", false),
            ("sha256:00", false),
            ("Cargo.toml", true),
        ] {
            assert_eq!(names_file(argument), file, "{argument}");
        }
    }
}
