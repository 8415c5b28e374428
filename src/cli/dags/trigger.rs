//! `tradewind dags trigger`: starts a run, and waits for it or follows it where asked.

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::error::CliError;
use super::super::run::read_json;
use super::super::runs::{self, LinesTo};
use super::super::{Context, text};
use super::graph_of;
use crate::client::{Client, Run};
use crate::dag::finding::did_you_mean;
use crate::model::{DagId, Json, RunName, Span, Timestamp};

const EXAMPLES: &str = "\
Examples:
  tradewind dags trigger etl --follow           see the run as it goes
  tradewind dags trigger etl --param city=Oslo --param days=3
  tradewind dags trigger etl --conf @conf.json --run-id nightly-7 --wait 30s

The id of the run goes to stdout, at once. With --follow what happens is told on
stderr, or, where stdout is a terminal, drawn there below the id. With --output json
the run as an object goes to stdout, of --follow as it was at its end.

A second run with the same --run-id is not started: the first is shown, or followed,
and the conf of the second is not used. With --wait and --follow the exit code is 1
when the run has failed.";

/// Start a run of a DAG.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct TriggerCommand {
    /// The DAG
    name: DagId,
    /// A name for the run, unique within the DAG [default: manual__ and the time]
    #[arg(long, value_name = "NAME")]
    run_id: Option<RunName>,
    /// A JSON object of params and whatever else the run should know, @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    conf: Option<String>,
    /// One param of the DAG, over what --conf says for it: JSON, else text; may be repeated
    #[arg(long = "param", short = 'p', value_name = "KEY=VALUE", value_parser = param)]
    params: Vec<(String, Value)>,
    /// What the run is for, RFC 3339
    #[arg(long, value_name = "TIME")]
    logical_date: Option<Timestamp>,
    /// A remark for people
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Wait so long for the end of the run, at most 60s
    #[arg(long, value_name = "DURATION", group = "until")]
    wait: Option<Span>,
    /// Show the run until it has ended
    #[arg(long, short, group = "until")]
    follow: bool,
}

/// What is sent. Only what was asked for: the server knows the defaults.
#[derive(Serialize)]
struct TriggerRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logical_date: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conf: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

impl TriggerCommand {
    pub(super) async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let request = self.request()?;
        let output = &context.output;
        self.check_params(client).await?;
        let answer = client.trigger(self.name.as_str(), &request, self.wait).await?;
        let run: Run = answer.read()?;
        // Without a name of its own, there was a run only if this very request had come through before.
        if answer.status == reqwest::StatusCode::OK && self.run_id.is_some() {
            eprintln!("{}", self.existed(&run));
        }
        let id = text::line(&run.id);
        if self.follow {
            if !output.is_json() {
                output.line(&id)?;
            }
            return runs::follow(client, output, &run, LinesTo::Stderr).await;
        }
        match output.is_json() {
            true => output.json(&answer.json()?)?,
            false => output.line(&id)?,
        }
        if self.wait.is_none() || !run.state.is_final() {
            let why = runs::why_queued(client, &run).await?.map(|why| format!(": {why}")).unwrap_or_default();
            eprintln!("run {} of {} is {}{why}", text::line(&run.run_id), text::line(&run.dag_id), run.state);
            return Ok(());
        }
        runs::tell_end(client, &run).await?;
        runs::result(run.state)
    }

    fn request(&self) -> Result<Json, CliError> {
        let request = TriggerRequest {
            run_id: self.run_id.as_ref().map(RunName::as_str),
            logical_date: self.logical_date,
            conf: self.conf()?,
            note: self.note.as_deref(),
        };
        Json::of(&request).map_err(|error| CliError::Usage(format!("the run cannot be written as JSON: {error}")))
    }

    /// What is told of a run that there was before: also what was said now, and does not hold for it.
    fn existed(&self, run: &Run) -> String {
        let (dag, run_id) = (text::line(&run.dag_id), text::line(&run.run_id));
        let mut said = format!("{dag} has a run {run_id} already, from {}: none was started", run.queued_at);
        let holds = |given: &Option<Map<String, Value>>| {
            let before = run.conf.as_ref().and_then(|conf| conf.to_value().ok());
            given.is_none() || before == given.clone().map(Value::Object)
        };
        let conf =
            self.conf.as_ref().map(|_| "--conf").into_iter().chain((!self.params.is_empty()).then_some("--param"));
        // Stdin can be read but once, and then it was.
        let same_conf = self.conf.as_deref() != Some("-") && self.conf().is_ok_and(|given| holds(&given));
        let mut unused: Vec<&str> = if same_conf { Vec::new() } else { conf.collect() };
        let differs = |given: bool, same: bool, option| (given && !same).then_some(option);
        unused.extend(differs(self.logical_date.is_some(), self.logical_date == run.logical_date, "--logical-date"));
        unused.extend(differs(self.note.is_some(), self.note == run.note, "--note"));
        if !unused.is_empty() {
            said += &format!("; not used: {}", unused.join(", "));
        }
        said
    }

    /// Refuses params that the DAG does not have: in `--conf` anything may stand, here it is a slip.
    async fn check_params(&self, client: &Client) -> Result<(), CliError> {
        if self.params.is_empty() {
            return Ok(());
        }
        let dag = graph_of(&client.dag(self.name.as_str()).await?)?;
        let known: Vec<&str> = dag.params.keys().map(String::as_str).collect();
        match self.params.iter().find(|(name, _)| !dag.params.contains_key(name)) {
            Some((name, _)) => Err(CliError::Usage(unknown_param(self.name.as_str(), name, &known))),
            None => Ok(()),
        }
    }

    fn conf(&self) -> Result<Option<Map<String, Value>>, CliError> {
        let said = self.conf.as_deref().map(|conf| read_json("--conf", conf)).transpose()?;
        let mut conf = match said.map(|said| said.to_value()) {
            None if self.params.is_empty() => return Ok(None),
            None => Map::new(),
            Some(Ok(Value::Object(conf))) => conf,
            Some(_) => return Err(CliError::Usage("--conf is not a JSON object: write '{\"key\": …}'".into())),
        };
        conf.extend(self.params.iter().cloned());
        Ok(Some(conf))
    }
}

fn unknown_param(dag: &str, name: &str, known: &[&str]) -> String {
    let instead = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| match known {
        [] => "it has none".to_owned(),
        known => format!("it has {}", known.join(", ")),
    });
    format!(
        "DAG {dag} has no param `{name}`; {instead}\nto mend it: what is no param goes into --conf, as '{{\"{name}\": …}}'"
    )
}

/// `days=3` is a number, `city=Oslo` a text; a text that is JSON needs quotes of its own: `zip='"01234"'`.
fn param(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok((key.to_owned(), value))
        }
        _ => Err("write KEY=VALUE, for example city=Oslo".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        trigger: TriggerCommand,
    }

    fn request(words: &[&str]) -> Result<Value, CliError> {
        command(words).request().map(|request| request.to_value().expect("JSON"))
    }

    #[test]
    fn only_what_was_asked_for_is_sent() {
        assert_eq!(request(&[]).expect("a request"), json!({}));
        let words = ["--run-id", "r1", "--logical-date", "2026-11-23T00:00:00Z", "--note", "again", "--wait", "30s"];
        let expected = json!({"run_id": "r1", "logical_date": "2026-11-23T00:00:00.000000Z", "note": "again"});
        assert_eq!(request(&words).expect("a request"), expected);
    }

    #[test]
    fn params_go_over_conf_and_keep_their_types() {
        let conf = r#"{"city": "Ames", "other": [1]}"#;
        let words = ["--conf", conf, "-p", "city=Oslo", "-p", "days=3", "-p", "zip=\"01234\"", "--param", "a=b=c"];
        let expected = json!({"city": "Oslo", "other": [1], "days": 3, "zip": "01234", "a": "b=c"});
        assert_eq!(request(&words).expect("a request"), json!({ "conf": expected }));
    }

    fn command(words: &[&str]) -> TriggerCommand {
        let words = ["trigger", "etl"].iter().chain(words);
        Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).trigger
    }

    #[test]
    fn of_a_run_that_there_was_it_is_said_what_does_not_hold_for_it() {
        let mut run = runs::fixtures::run_json("success");
        run["conf"] = json!({"city": "Ames"});
        run["note"] = json!("first");
        let run: Run = serde_json::from_value(run).expect("a run");
        let head = "etl has a run nightly-7 already, from 2026-11-23T08:15:30.000000Z: none was started";
        for (words, tail) in [
            (&["--run-id", "nightly-7"][..], ""),
            (&["--conf", r#"{"city": "Ames"}"#, "--note", "first"], ""),
            (&["-p", "city=Ames"], ""),
            (&["-p", "city=Oslo", "--note", "second"], "; not used: --param, --note"),
            (&["--conf", "{}", "-p", "city=Oslo"], "; not used: --conf, --param"),
            (&["--logical-date", "2026-11-23T00:00:00Z"], "; not used: --logical-date"),
        ] {
            assert_eq!(command(words).existed(&run), format!("{head}{tail}"), "{words:?}");
        }
    }

    #[tokio::test]
    async fn a_param_that_the_dag_does_not_have_is_a_slip() {
        async fn dag() -> axum::Json<Value> {
            axum::Json(json!({"version": crate::model::Digest::of(b""), "source": "",
                "definition": {"dag_id": "etl", "params": {"states": {"default": null}, "city": {}}}}))
        }
        let app = axum::Router::new().route("/api/v1/dags/etl", axum::routing::get(dag));
        let client = Client::new(&crate::client::stub::serve(app).await, None).expect("a client");
        command(&["-p", "states=[]"]).check_params(&client).await.unwrap_or_else(|error| panic!("{error:?}"));
        for (words, said) in [
            (["-p", "stats=5"], "DAG etl has no param `stats`; did you mean `states`?"),
            (["-p", "other=5"], "it has city, states"),
        ] {
            let error = command(&words).check_params(&client).await.expect_err("refused");
            assert_eq!(error.exit_code(), 2);
            let error = error.said().expect("a reason");
            assert!(error.contains(said), "{error}");
        }
        assert!(unknown_param("etl", "a", &[]).contains("it has none"));
    }

    #[test]
    fn conf_is_an_object() {
        for wrong in ["[1]", "7", "null"] {
            let said = request(&["--conf", wrong]).expect_err(wrong).said().expect("a reason");
            assert!(said.contains("not a JSON object"), "{said}");
        }
        let said = request(&["--conf", "{"]).expect_err("torn").said().expect("a reason");
        assert!(said.contains("--conf is not JSON"), "{said}");
    }
}
