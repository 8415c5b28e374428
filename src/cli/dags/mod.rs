//! `tradewind dags`.

mod diff;
mod graph;
mod trigger;

use clap::{Args, Subcommand};

use super::each::Each;
use super::error::CliError;
use super::output::Field;
use super::tasks::{PageArgs, pages, short_digest};
use super::{Context, connect, drawing, text};
use crate::client::{Answer, Client, ClientError, Dag, DagContent, DagGraph};
use crate::model::{DagId, Digest, Json};

pub(super) use graph::show as show_drawing;

#[derive(Debug, Subcommand)]
pub(super) enum DagsCommand {
    List(ListCommand),
    Show(ShowCommand),
    Versions(VersionsCommand),
    Diff(diff::DiffCommand),
    Graph(graph::GraphCommand),
    Trigger(trigger::TriggerCommand),
    Pause(PauseCommand),
    Unpause(UnpauseCommand),
    Delete(DeleteCommand),
}

/// List DAGs by name.
#[derive(Debug, Args)]
pub(super) struct ListCommand {
    #[command(flatten)]
    page: PageArgs,
}

/// Show one DAG: what it takes and its tasks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tradewind dags show etl
  tradewind dags show etl --version 9f86d08 --source > etl-before.yaml")]
pub(super) struct ShowCommand {
    /// The DAG
    name: DagId,
    /// This version of it, by the beginning of its digest [default: the current one]
    #[arg(long, value_name = "DIGEST")]
    version: Option<String>,
    /// Print the file that it was made of
    #[arg(long)]
    source: bool,
}

/// List the versions of a DAG, newest first.
#[derive(Debug, Args)]
pub(super) struct VersionsCommand {
    /// The DAG
    name: DagId,
    #[command(flatten)]
    page: PageArgs,
}

/// Let DAGs start nothing: runs and their tasks wait until they are unpaused.
///
/// Tasks that run go on to their end.
#[derive(Debug, Args)]
pub(super) struct PauseCommand {
    /// The DAGs
    #[arg(required = true)]
    names: Vec<DagId>,
}

/// Let DAGs start what waits, and what comes.
#[derive(Debug, Args)]
pub(super) struct UnpauseCommand {
    /// The DAGs
    #[arg(required = true)]
    names: Vec<DagId>,
}

/// Delete DAGs with their versions. Refused while a run is under way.
#[derive(Debug, Args)]
pub(super) struct DeleteCommand {
    /// The DAGs
    #[arg(required = true)]
    names: Vec<DagId>,
}

impl DagsCommand {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        // A file is drawn without a server.
        let command = match self {
            Self::Graph(command) => return command.run(context).await,
            command => command,
        };
        let client = connect::client(&context.loaded.settings)?;
        match command {
            Self::List(command) => command.run(context, &client).await,
            Self::Show(command) => command.run(context, &client).await,
            Self::Versions(command) => command.run(context, &client).await,
            Self::Diff(command) => command.run(context, &client).await,
            Self::Trigger(command) => command.run(context, &client).await,
            Self::Pause(command) => pause(context, &client, &command.names, true).await,
            Self::Unpause(command) => pause(context, &client, &command.names, false).await,
            Self::Delete(command) => command.run(&client).await,
            Self::Graph(_) => Ok(()),
        }
    }
}

impl ListCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let list = pages(client, &["dags"], Vec::new(), &self.page).await?;
        if context.output.is_json() {
            return context.output.json_list(&list.items, list.next_cursor.as_deref());
        }
        let rows = list.read::<Dag>()?.into_iter().map(|dag| {
            vec![
                dag.dag_id.into(),
                if dag.is_paused { "paused" } else { "active" }.into(),
                dag.tasks.into(),
                short_digest(&dag.version.to_string()).into(),
                dag.updated_at.into(),
                Field::or_dash((!dag.tags.is_empty()).then(|| dag.tags.join(", "))),
                dag.description.unwrap_or_default().into(),
            ]
        });
        context.output.table(&["DAG", "STATE", "TASKS", "VERSION", "CHANGED", "TAGS", ""], rows.collect())?;
        list.tell_of_more();
        Ok(())
    }
}

impl ShowCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let name = self.name.as_str();
        let output = &context.output;
        let version = match &self.version {
            Some(beginning) => Some(find_version(client, name, beginning).await?),
            None => None,
        };
        let answer = client.dag_version(name, version).await?;
        if self.source {
            let source = answer.read::<DagContent>()?.source;
            return match output.is_json() {
                true => output.line(&text::json(&serde_json::json!(source).to_string())),
                false => output.text(&source),
            };
        }
        if output.is_json() {
            return output.json(&answer.json()?);
        }
        match version {
            Some(version) => output.pairs(vec![("dag", name.into()), ("version", version.into())])?,
            None => {
                let dag: Dag = answer.read()?;
                output.pairs(vec![
                    ("dag", dag.dag_id.into()),
                    ("description", Field::or_dash(dag.description)),
                    ("tags", Field::or_dash((!dag.tags.is_empty()).then(|| dag.tags.join(", ")))),
                    ("state", if dag.is_paused { "paused" } else { "active" }.into()),
                    ("runs at once", Field::or_dash(dag.max_active_runs)),
                    ("version", dag.version.into()),
                    ("created", dag.created_at.into()),
                    ("changed", dag.updated_at.into()),
                ])?;
            }
        }
        let dag = graph_of(&answer)?;
        if !dag.params.is_empty() {
            output.line("")?;
            let rows = dag.params.iter().map(|(name, param)| {
                let default = param.default.as_ref().map(ToString::to_string);
                let kind = param.schema.as_ref().map(|schema| match &schema["type"] {
                    serde_json::Value::String(kind) => kind.clone(),
                    _ => schema.to_string(),
                });
                let default = default.unwrap_or_else(|| "must be given".to_owned());
                vec![
                    name.into(),
                    default.into(),
                    Field::or_dash(kind),
                    param.description.as_deref().unwrap_or_default().into(),
                ]
            });
            output.table(&["PARAM", "DEFAULT", "TYPE", ""], rows.collect())?;
        }
        output.line("")?;
        let order = drawing::of_definition(&dag).order();
        let rows = order.into_iter().map(|place| &dag.tasks[place]).map(|task| {
            vec![
                format!("{}{}", task.id, if task.is_mapped() { " […]" } else { "" }).into(),
                task.function.as_str().into(),
                short_digest(&task.module).into(),
                task.trigger_rule.as_deref().unwrap_or("all_success").into(),
                Field::or_dash((!task.upstream.is_empty()).then(|| task.upstream.join(", "))),
            ]
        });
        output.table(&["TASK", "FUNCTION", "MODULE", "TRIGGER RULE", "UPSTREAM"], rows.collect())
    }
}

impl VersionsCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let list = pages(client, &["dags", self.name.as_str(), "versions"], Vec::new(), &self.page).await?;
        if context.output.is_json() {
            return context.output.json_list(&list.items, list.next_cursor.as_deref());
        }
        let rows = list.read::<crate::client::DagVersion>()?.into_iter().map(|version| {
            vec![
                version.version.into(),
                version.created_at.into(),
                Field::or_dash(version.created_by),
                if version.current { "current" } else { "" }.into(),
            ]
        });
        context.output.table(&["VERSION", "CREATED", "BY", ""], rows.collect())?;
        list.tell_of_more();
        Ok(())
    }
}

impl DeleteCommand {
    async fn run(self, client: &Client) -> Result<(), CliError> {
        let mut each = Each::default();
        for name in &self.names {
            if let Some(_answer) = each.of(name.as_str(), client.delete(&["dags", name.as_str()]).await)? {
                eprintln!("{name} deleted");
            }
        }
        each.end()
    }
}

async fn pause(context: &Context, client: &Client, names: &[DagId], is_paused: bool) -> Result<(), CliError> {
    let mut each = Each::default();
    for name in names {
        match each.of(name.as_str(), client.pause_dag(name.as_str(), is_paused).await)? {
            Some(answer) if context.output.is_json() => context.output.json(&answer.json()?)?,
            Some(_) => context.output.line(&format!("{name} {}", if is_paused { "paused" } else { "unpaused" }))?,
            None => {}
        }
    }
    each.end()
}

/// The definition that an answer holds, as far as it is drawn and listed.
pub(super) fn graph_of(answer: &Answer) -> Result<DagGraph, CliError> {
    let content: DagContent = answer.read()?;
    read_graph(&content.definition)
}

fn read_graph(definition: &Json) -> Result<DagGraph, CliError> {
    serde_json::from_str(definition.as_str()).map_err(|error| {
        CliError::Client(ClientError::NotUnderstood {
            base: "the server".to_owned(),
            call: "the question for a DAG's definition".to_owned(),
            reason: error.to_string(),
        })
    })
}

/// The version whose digest begins so, with or without `sha256:`.
async fn find_version(client: &Client, name: &str, beginning: &str) -> Result<Digest, CliError> {
    // Written out in full it need not be looked for.
    if let Ok(digest) = beginning.parse() {
        return Ok(digest);
    }
    let versions = client.dag_versions(name).await?;
    let digests: Vec<Digest> = versions.iter().map(|version| version.version).collect();
    pick_version(name, &digests, beginning)
}

fn pick_version(name: &str, versions: &[Digest], beginning: &str) -> Result<Digest, CliError> {
    let wanted = beginning.strip_prefix("sha256:").unwrap_or(beginning).to_lowercase();
    let begins = |digest: &&Digest| {
        let text = digest.to_string();
        !wanted.is_empty() && text.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(&wanted))
    };
    let mut found = versions.iter().filter(begins);
    match (found.next(), found.next()) {
        (Some(digest), None) => Ok(*digest),
        (Some(_), Some(_)) => Err(CliError::Usage(format!(
            "several versions of {name} begin with `{beginning}`; write more of the digest"
        ))),
        (None, _) => Err(CliError::Usage(format!(
            "no version of {name} begins with `{beginning}`; see `tradewind dags versions {name}`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_by_the_beginning_of_its_digest() {
        let digests = [Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"c")];
        let hex = digests[1].to_string()["sha256:".len()..].to_owned();
        for beginning in [hex.as_str(), &hex[..8], &format!("sha256:{}", &hex[..8]), &hex[..8].to_uppercase()] {
            assert_eq!(pick_version("etl", &digests, beginning).ok(), Some(digests[1]), "{beginning}");
        }
        for (beginning, said) in [("", "no version of etl"), ("sha256:", "no version"), ("xyz", "begins with `xyz`")] {
            let error = pick_version("etl", &digests, beginning).expect_err(beginning).said().expect("a reason");
            assert!(error.contains(said), "{error}");
        }
        let twice = [digests[0], digests[0]];
        let error = pick_version("etl", &twice, &digests[0].to_string()).expect_err("several").said();
        assert!(error.is_some_and(|error| error.contains("write more")));
    }
}
