//! `tradewind modules`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;

use super::error::CliError;
use super::output::{Field, Output};
use super::tasks::{PageArgs, pages, whole};
use super::{Context, connect, progress, text};
use crate::client::{Call, Client, ClientError, Module};
use crate::model::{Digest, ModuleName, Timestamp};

#[derive(Debug, Subcommand)]
pub(super) enum ModulesCommand {
    List(ListCommand),
    Show(ShowCommand),
    Tags(TagsCommand),
    Delete(DeleteCommand),
    Download(DownloadCommand),
}

/// List modules, newest first.
#[derive(Debug, Args)]
pub(super) struct ListCommand {
    #[command(flatten)]
    page: PageArgs,
}

/// Show one module: its functions, imports and the grants it needs.
#[derive(Debug, Args)]
pub(super) struct ShowCommand {
    /// sha256:… or name:tag
    module: String,
}

/// List the tags of a name, and what each pointed at since when.
#[derive(Debug, Args)]
pub(super) struct TagsCommand {
    name: ModuleName,
}

/// Delete a module or a tag. Refused while something needs it.
#[derive(Debug, Args)]
pub(super) struct DeleteCommand {
    /// sha256:… or name:tag
    module: String,
}

/// Download the bytes of a module.
#[derive(Debug, Args)]
pub(super) struct DownloadCommand {
    /// sha256:… or name:tag
    module: String,
    /// Where to write it
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
}

impl ModulesCommand {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let client = connect::client(&context.loaded.settings)?;
        match self {
            Self::List(command) => command.run(context, &client).await,
            Self::Show(command) => command.run(context, &client).await,
            Self::Tags(command) => command.run(context, &client).await,
            Self::Delete(command) => command.run(&client).await,
            Self::Download(command) => command.run(&client).await,
        }
    }
}

/// Functions that are named in a list of modules.
const MOST_FUNCTIONS: usize = 4;

fn some(functions: &[String]) -> String {
    let named = functions[..functions.len().min(MOST_FUNCTIONS)].join(", ");
    match functions.len().saturating_sub(MOST_FUNCTIONS) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

impl ListCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        /// One module of a list: without the schemas of its functions.
        #[derive(serde::Deserialize)]
        struct ModuleRow {
            digest: Digest,
            #[serde(default)]
            tags: Vec<String>,
            size_bytes: u64,
            #[serde(default)]
            functions: Vec<String>,
            created_at: Timestamp,
        }

        let list = pages(client, &["modules"], Vec::new(), &self.page).await?;
        if context.output.is_json() {
            return context.output.json_list(&list.items, list.next_cursor.as_deref());
        }
        let rows = list.read::<ModuleRow>()?.into_iter().map(|row| {
            vec![
                row.digest.into(),
                Field::or_dash((!row.tags.is_empty()).then(|| row.tags.join(", "))),
                text::size(row.size_bytes).into(),
                some(&row.functions).into(),
                row.created_at.into(),
            ]
        });
        context.output.table(&["DIGEST", "TAGS", "SIZE", "FUNCTIONS", "UPLOADED"], rows.collect())?;
        list.tell_of_more();
        Ok(())
    }
}

impl ShowCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let answer = client.call(Call::get(&["modules", &self.module])).await?;
        if context.output.is_json() {
            return context.output.json(&answer.json()?);
        }
        let module: Module = answer.read()?;
        let list = |words: &[String]| Field::or_dash((!words.is_empty()).then(|| words.join(", ")));
        context.output.pairs(vec![
            ("digest", module.digest.into()),
            ("name", Field::or_dash(module.name.clone())),
            ("tag", Field::or_dash(module.tag.clone())),
            ("size", text::size(module.size_bytes).into()),
            ("imports", list(&module.imports)),
            ("grants needed", list(&module.grants_needed)),
        ])?;
        context.output.line("")?;
        functions_table(&context.output, &module)
    }
}

impl TagsCommand {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        /// What a tag pointed at from some moment on.
        #[derive(serde::Deserialize)]
        struct TagRow {
            tag: String,
            /// `None`: the tag was taken away.
            digest: Option<Digest>,
            set_at: Timestamp,
            #[serde(default)]
            current: bool,
        }

        let list = whole(client, &["modules", self.name.as_str(), "tags"]).await?;
        if context.output.is_json() {
            return context.output.json_list(&list.items, list.next_cursor.as_deref());
        }
        let rows = list.read::<TagRow>()?.into_iter().map(|row| {
            let digest = row.digest.map_or_else(|| "taken away".to_owned(), |digest| digest.to_string());
            vec![row.tag.into(), digest.into(), row.set_at.into(), if row.current { "now" } else { "" }.into()]
        });
        context.output.table(&["TAG", "DIGEST", "SINCE", ""], rows.collect())?;
        list.tell_of_more();
        Ok(())
    }
}

impl DeleteCommand {
    async fn run(self, client: &Client) -> Result<(), CliError> {
        let path = ["modules", self.module.as_str()];
        client.call(Call { method: Method::DELETE, ..Call::get(&path) }).await?;
        eprintln!("{} deleted", text::line(&self.module));
        Ok(())
    }
}

impl DownloadCommand {
    /// Writes beside the file and renames when the digest is right, so that a torn download is not taken for a module.
    async fn run(self, client: &Client) -> Result<(), CliError> {
        let module: Module = client.call(Call::get(&["modules", &self.module])).await?.read()?;
        let digest = module.digest;
        let name = digest.to_string();
        let path = ["modules", name.as_str(), "content"];
        let mut response = client.stream(Call { accept: "application/wasm", ..Call::get(&path) }).await?;

        let mut part = self.file.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let unwritable =
            |error: std::io::Error| CliError::Usage(format!("{} cannot be written: {error}", part.display()));
        let mut file = tokio::fs::File::create(&part).await.map_err(unwritable)?;
        let bar = progress::bytes(module.size_bytes, &self.module);
        let mut hasher = Sha256::new();
        let lost = |error: reqwest::Error| {
            CliError::Client(ClientError::Unreachable {
                base: client.base().to_string(),
                reason: error.without_url().to_string(),
                remedy: "try again",
            })
        };
        while let Some(piece) = response.chunk().await.map_err(lost)? {
            hasher.update(&piece);
            bar.inc(piece.len() as u64);
            file.write_all(&piece).await.map_err(unwritable)?;
        }
        file.sync_all().await.map_err(unwritable)?;
        bar.finish_and_clear();
        let received = Digest::from_bytes(hasher.finalize().into());
        if received != digest {
            // The torn file is of no use; that it is still there says nothing new.
            let _ = tokio::fs::remove_file(&part).await;
            return Err(CliError::Client(ClientError::NotUnderstood {
                base: client.base().to_string(),
                call: format!("the download of {digest}"),
                reason: format!("its bytes are {received}"),
            }));
        }
        tokio::fs::rename(&part, &self.file).await.map_err(unwritable)?;
        eprintln!("{} written, {}", self.file.display(), text::size(module.size_bytes));
        Ok(())
    }
}

/// What can be called in a module, and what it takes and gives.
pub(super) fn functions_table(output: &Output, module: &Module) -> Result<(), CliError> {
    let rows = module.functions.iter().map(|function| {
        let docs = match &function.not_callable {
            Some(reason) => format!("cannot be called: {reason}"),
            None => function.docs.lines().next().unwrap_or_default().to_owned(),
        };
        vec![
            function.name.as_str().into(),
            parameters(&function.input_schema.to_value().unwrap_or_default()).into(),
            type_name(&function.output_schema.to_value().unwrap_or_default()).into(),
            docs.into(),
        ]
    });
    output.table(&["FUNCTION", "INPUT", "OUTPUT", ""], rows.collect())
}

/// `city: string, days?: integer`
fn parameters(schema: &serde_json::Value) -> String {
    let Some(properties) = schema.get("properties").and_then(|p| p.as_object()) else {
        return type_name(schema);
    };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    let one = |(name, schema): (&String, &serde_json::Value)| {
        let optional = if required.contains(&name.as_str()) { "" } else { "?" };
        format!("{name}{optional}: {}", type_name(schema))
    };
    properties.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn type_name(schema: &serde_json::Value) -> String {
    match (&schema["type"], &schema["items"]) {
        (serde_json::Value::String(name), items) if name == "array" && items.is_object() => {
            format!("[{}]", type_name(items))
        }
        (serde_json::Value::String(name), _) => name.clone(),
        (serde_json::Value::Array(names), _) => {
            names.iter().filter_map(|name| name.as_str()).collect::<Vec<_>>().join("|")
        }
        _ => match schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            Some(name) => name.to_owned(),
            None => "any".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_many_functions_some_are_named() {
        let functions = |count: usize| (0..count).map(|n| format!("f{n}")).collect::<Vec<_>>();
        assert_eq!([0, 2, 4].map(|count| some(&functions(count))), ["", "f0, f1", "f0, f1, f2, f3"]);
        assert_eq!(some(&functions(19)), "f0, f1, f2, f3 and 15 more");
    }

    #[test]
    fn schemas_are_shown_as_parameters() {
        let schema = json!({"type": "object", "required": ["city"], "properties": {
            "city": {"type": "string"}, "days": {"type": ["integer", "null"]}, "tags": {"type": "array", "items": {"$ref": "#/$defs/Tag"}}
        }});
        assert_eq!(parameters(&schema), "city: string, days?: integer|null, tags?: [Tag]");
        assert_eq!(parameters(&json!(true)), "any");
        assert_eq!(parameters(&json!({"type": "object", "properties": {}})), "");
    }
}
