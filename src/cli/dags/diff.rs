//! `tradewind dags diff`: what changed between two versions of a DAG, or would with a file.

use std::fmt::Display;
use std::path::Path;

use clap::Args;
use similar::TextDiff;

use super::super::error::CliError;
use super::super::output::{Output, Tone};
use super::super::tasks::short_digest;
use super::super::{Context, apply, draft, text};
use super::{find_version, graph::names_file};
use crate::client::{Client, DagContent};
use crate::model::Digest;

const EXAMPLES: &str = "\
Examples:
  tradewind dags diff etl                       the current version against the one before
  tradewind dags diff etl 9f86d08               the current version against that one
  tradewind dags diff etl 9f86d08 60303ae       the second against the first
  tradewind dags diff dags/etl.yaml             what applying the file would change";

/// Compare versions of a DAG, or a file with the current version.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct DiffCommand {
    /// A DAG, or a DAG file
    #[arg(value_name = "NAME|FILE")]
    dag: String,
    /// Versions by the beginnings of their digests: the old one, then the new one
    #[arg(value_name = "VERSION", num_args = 0..=2)]
    versions: Vec<String>,
}

/// A text, and what it is called.
struct Side {
    name: String,
    text: String,
}

impl DiffCommand {
    pub(super) async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let (old, new) = match names_file(&self.dag) {
            true => self.of_file(client).await?,
            false => self.of_versions(client).await?,
        };
        show(&context.output, &old, &new)
    }

    async fn of_file(&self, client: &Client) -> Result<(Side, Side), CliError> {
        if !self.versions.is_empty() {
            return Err(CliError::Usage(
                "a file is compared with the current version only; name the DAG instead".into(),
            ));
        }
        let file = apply::read_file(Path::new(&self.dag))?;
        let (drafts, _) = draft::read(file.content.as_bytes());
        let name = match drafts.as_slice() {
            [draft] => draft.dag_id.as_ref(),
            [] => None,
            _ => return Err(CliError::Usage(format!("{} holds several DAGs; compare one at a time", file.path))),
        };
        let name = name.ok_or_else(|| {
            CliError::Usage(format!("{} does not say which DAG it is; see `tradewind apply --dry-run`", file.path))
        })?;
        let current: DagContent = client.dag(name.as_str()).await?.read()?;
        let old = Side { name: side_name(name, current.version), text: current.source };
        Ok((old, Side { name: file.path, text: file.content }))
    }

    async fn of_versions(&self, client: &Client) -> Result<(Side, Side), CliError> {
        let name = self.dag.as_str();
        let (old_version, new_version) = match self.versions.as_slice() {
            [file] if names_file(file) => {
                let reason = format!("{file} is no version but a file\nto mend it: tradewind dags diff {file}");
                return Err(CliError::Usage(reason));
            }
            [] => (self.version_before(client).await?, None),
            [old] => (find_version(client, name, old).await?, None),
            [old, new, ..] => (find_version(client, name, old).await?, Some(find_version(client, name, new).await?)),
        };
        let old: DagContent = client.dag_version(name, Some(old_version)).await?.read()?;
        let new: DagContent = client.dag_version(name, new_version).await?.read()?;
        let new_version = new_version.or(new.version);
        let (old_name, new_name) = (side_name(name, Some(old_version)), side_name(name, new_version));
        if old.source != new.source || new_version == Some(old_version) {
            return Ok((Side { name: old_name, text: old.source }, Side { name: new_name, text: new.source }));
        }
        eprintln!("the files are the same; these are their definitions, in which tags are resolved:");
        let pretty = |content: &DagContent| {
            let value = content.definition.to_value().unwrap_or_default();
            format!("{value:#}\n")
        };
        Ok((Side { name: old_name, text: pretty(&old) }, Side { name: new_name, text: pretty(&new) }))
    }

    async fn version_before(&self, client: &Client) -> Result<Digest, CliError> {
        // Newest first.
        let versions = client.dag_versions(&self.dag).await?;
        let current = versions.iter().position(|version| version.current).unwrap_or(0);
        let before = versions.get(current + 1).map(|version| version.version);
        before.ok_or_else(|| {
            let dag = &self.dag;
            CliError::Usage(format!(
                "there is no version of {dag} before the current one\nto mend it: `tradewind dags diff FILE` compares a file with it"
            ))
        })
    }
}

fn side_name(name: impl Display, version: Option<Digest>) -> String {
    let version = version.map_or_else(|| "current".to_owned(), |version| short_digest(&version.to_string()));
    format!("{name}@{version}")
}

fn show(output: &Output, old: &Side, new: &Side) -> Result<(), CliError> {
    let diff = unified(old, new);
    if output.is_json() {
        let whole = serde_json::json!({ "old": old.name, "new": new.name, "diff": diff });
        return output.line(&text::json(&whole.to_string()));
    }
    if diff.is_empty() {
        eprintln!("{} and {} do not differ", old.name, new.name);
        return Ok(());
    }
    if !output.has_colour() {
        return output.text(&diff);
    }
    diff.lines().try_for_each(|line| {
        let shown = text::line(line);
        match tone(line) {
            Some(tone) => output.line(&tone.paint(&shown)),
            None => output.line(&shown),
        }
    })
}

fn tone(line: &str) -> Option<Tone> {
    match line.as_bytes().first() {
        Some(b'+') => Some(Tone::Good),
        Some(b'-') => Some(Tone::Bad),
        Some(b'@') => Some(Tone::Busy),
        _ => None,
    }
}

/// Empty where the texts are the same.
fn unified(old: &Side, new: &Side) -> String {
    let diff = TextDiff::from_lines(&old.text, &new.text);
    diff.unified_diff().context_radius(3).header(&old.name, &new.name).to_string()
}

#[cfg(test)]
mod tests {
    use axum::extract::Path as Segment;
    use axum::routing::get;
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::client::stub;

    fn side(name: &str, text: &str) -> Side {
        Side { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let old = side("etl@1", "dag_id: etl\na: 1\nb: 2\nc: 3\nd: 4\ne: 5\n");
        let new = side("etl.yaml", "dag_id: etl\na: 1\nb: 2\nc: 3\nd: 5\ne: 5\n");
        insta::assert_snapshot!(unified(&old, &new), @r"
        --- etl@1
        +++ etl.yaml
        @@ -2,5 +2,5 @@
         a: 1
         b: 2
         c: 3
        -d: 4
        +d: 5
         e: 5
        ");
        assert_eq!(unified(&old, &old), "");
    }

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        diff: DiffCommand,
    }

    /// Three versions, of which the newest two have the same file.
    async fn server() -> Client {
        let digest = |number: usize| Digest::of(&[number as u8]);
        let content = move |number: usize| {
            let source = ["first\n", "second\n", "second\n"][number];
            axum::Json(json!({"version": digest(number), "source": source, "definition": {"number": number}}))
        };
        let version = |number: usize| {
            let current = number == 2;
            json!({"version": digest(number), "created_at": "2026-11-23T08:15:30Z", "current": current})
        };
        let versions = json!({"items": [version(2), version(1), version(0)]});
        let of_digest = move |Segment(wanted): Segment<String>| async move {
            content((0..3).find(|number| digest(*number).to_string() == wanted).expect("a version"))
        };
        let app = axum::Router::new()
            .route("/api/v1/dags/etl", get(move || async move { content(2) }))
            .route("/api/v1/dags/etl/versions", get(move || async move { axum::Json(versions) }))
            .route("/api/v1/dags/etl/versions/{digest}", get(of_digest));
        Client::new(&stub::serve(app).await, None).expect("a client")
    }

    #[tokio::test]
    async fn versions_are_compared_by_file_and_where_only_tags_moved_by_definition() {
        let client = server().await;
        let first = Digest::of(&[0]).to_string();
        for (versions, expected) in [
            (vec![], ("{\n  \"number\": 1\n}\n", "{\n  \"number\": 2\n}\n")),
            (vec![first[..15].to_owned()], ("first\n", "second\n")),
            (vec![first.clone(), first[..15].to_owned()], ("first\n", "first\n")),
        ] {
            let words = ["diff", "etl"].map(str::to_owned).into_iter().chain(versions.clone());
            let command = Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).diff;
            let (old, new) = command.of_versions(&client).await.unwrap_or_else(|error| panic!("{error:?}"));
            assert_eq!((old.text.as_str(), new.text.as_str()), expected, "{versions:?}");
        }
    }
}
