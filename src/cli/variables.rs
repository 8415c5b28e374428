//! `tradewind variables`: texts that DAGs read as `{{ var.key }}`.

use clap::{Args, Subcommand};

use super::each::Each;
use super::error::CliError;
use super::tasks::{PageArgs, pages};
use super::{Context, connect, text};
use crate::client::{Call, Client, Variable};

#[derive(Debug, Subcommand)]
pub(super) enum VariablesCommand {
    List(ListCommand),
    Get(GetCommand),
    Set(SetCommand),
    Delete(DeleteCommand),
}

/// List variables by key.
#[derive(Debug, Args)]
pub(super) struct ListCommand {
    #[command(flatten)]
    page: PageArgs,
}

/// Print the value of a variable.
#[derive(Debug, Args)]
pub(super) struct GetCommand {
    key: String,
}

/// Create or change a variable.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tradewind variables set city Oslo
  tradewind variables set rules --file rules.json --description 'what is kept'
  generate-rules | tradewind variables set rules --file -")]
pub(super) struct SetCommand {
    key: String,
    /// The value, a text of at most 64 KiB
    #[arg(required_unless_present = "file", conflicts_with = "file", allow_hyphen_values = true)]
    value: Option<String>,
    /// Take the value from a file, or - for stdin
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// Delete variables.
#[derive(Debug, Args)]
pub(super) struct DeleteCommand {
    #[arg(required = true)]
    keys: Vec<String>,
}

impl VariablesCommand {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let client = connect::client(&context.loaded.settings)?;
        match self {
            Self::List(command) => command.run(context, &client).await,
            Self::Get(command) => command.run(context, &client).await,
            Self::Set(command) => command.run(context, &client).await,
            Self::Delete(command) => command.run(&client).await,
        }
    }
}

impl ListCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let list = pages(client, &["variables"], Vec::new(), &self.page).await?;
        if context.output.is_json() {
            return context.output.json_list(&list.items, list.next_cursor.as_deref());
        }
        let rows = list.read::<Variable>()?.into_iter().map(|variable| {
            vec![
                variable.key.into(),
                beginning(&variable.value).into(),
                variable.description.unwrap_or_default().into(),
            ]
        });
        context.output.table(&["KEY", "VALUE", ""], rows.collect())?;
        list.tell_of_more();
        Ok(())
    }
}

impl GetCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let answer = client.call(Call::get(&["variables", &self.key])).await?;
        if context.output.is_json() {
            return context.output.json(&answer.json()?);
        }
        let value = answer.read::<Variable>()?.value;
        match context.output.is_terminal() {
            true => context.output.text(&value),
            // With a line end, as `$(tradewind variables get …)` takes it away again.
            false => context.output.line(&value),
        }
    }
}

impl SetCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let value = self.value()?;
        let answer = client.set_variable(&self.key, &value, self.description.as_deref()).await?;
        if context.output.is_json() {
            return context.output.json(&answer.json()?);
        }
        eprintln!("{} set", text::line(&self.key));
        Ok(())
    }

    fn value(&self) -> Result<String, CliError> {
        let unreadable =
            |file: &str, error: std::io::Error| CliError::Usage(format!("--file {file} cannot be read: {error}"));
        match self.file.as_deref() {
            None => Ok(self.value.clone().unwrap_or_default()),
            Some("-") => std::io::read_to_string(std::io::stdin()).map_err(|error| unreadable("-", error)),
            Some(file) => std::fs::read_to_string(file).map_err(|error| unreadable(file, error)),
        }
    }
}

impl DeleteCommand {
    async fn run(self, client: &Client) -> Result<(), CliError> {
        let mut each = Each::default();
        for key in &self.keys {
            if each.of(key, client.delete(&["variables", key]).await)?.is_some() {
                eprintln!("{} deleted", text::line(key));
            }
        }
        each.end()
    }
}

/// As much of a value as fits in a table.
fn beginning(value: &str) -> String {
    const MOST: usize = 60;
    let mut shown: String = value.chars().take(MOST).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use axum::routing::put;
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::stub;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        set: SetCommand,
    }

    fn value(words: &[&str]) -> String {
        let words = ["set", "key"].iter().chain(words);
        let command = Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).set;
        command.value().unwrap_or_else(|error| panic!("{error:?}"))
    }

    #[test]
    fn a_value_is_given_in_words_or_as_a_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("value.txt");
        std::fs::write(&path, "of a file\n").expect("written");
        assert_eq!(value(&["Oslo"]), "Oslo");
        assert_eq!(value(&["-5"]), "-5");
        assert_eq!(value(&["@x"]), "@x");
        assert_eq!(value(&["--file", path.to_str().expect("UTF-8")]), "of a file\n");
        for wrong in [&["set", "key"][..], &["set", "key", "a", "--file", "b"]] {
            assert!(Line::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_variable_is_sent_under_its_key() {
        async fn set(body: axum::Json<Value>) -> axum::Json<Value> {
            assert_eq!(body.0, json!({"value": "Oslo", "description": "where"}));
            axum::Json(json!({"key": "a.b", "value": "Oslo", "description": "where"}))
        }
        let app = axum::Router::new().route("/api/v1/variables/a.b", put(set));
        let client = Client::new(&stub::serve(app).await, None).expect("a client");
        let variable: Variable =
            client.set_variable("a.b", "Oslo", Some("where")).await.expect("set").read().expect("a variable");
        assert_eq!(variable.key, "a.b");
    }

    #[test]
    fn a_long_value_is_cut_in_a_table() {
        assert_eq!(beginning("short"), "short");
        assert_eq!(beginning(&"é".repeat(100)).chars().count(), 61);
    }
}
