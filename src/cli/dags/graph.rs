//! `tradewind dags graph`: draws a DAG that the server has, or a file.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::error::CliError;
use super::super::findings::Mistake;
use super::super::graph::{self, Drawing};
use super::super::output::Output;
use super::super::{Context, apply, connect, draft, drawing, text};
use super::{find_version, graph_of};

const EXAMPLES: &str = "\
Examples:
  tradewind dags graph etl
  tradewind dags graph etl --svg etl.svg
  tradewind dags graph dags/etl.yaml            draw a file, without a server

A file with mistakes is drawn as far as it can be read.";

/// Draw a DAG.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct GraphCommand {
    /// A DAG that the server has, or a DAG file
    #[arg(value_name = "NAME|FILE")]
    dag: String,
    /// This version of it, by the beginning of its digest [default: the current one]
    #[arg(long, value_name = "DIGEST")]
    version: Option<String>,
    /// Write an SVG file instead, or - for stdout
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl GraphCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        if names_file(&self.dag) {
            return self.of_file(&context.output);
        }
        let client = connect::client(&context.loaded.settings)?;
        let version = match &self.version {
            Some(beginning) => Some(find_version(&client, &self.dag, beginning).await?),
            None => None,
        };
        let answer = client.dag_version(&self.dag, version).await?;
        show(&context.output, &drawing::of_definition(&graph_of(&answer)?), self.svg.as_deref())
    }

    fn of_file(&self, output: &Output) -> Result<(), CliError> {
        if self.version.is_some() {
            return Err(CliError::Usage(format!("{} is a file, which has no versions", self.dag)));
        }
        let file = apply::read_file(Path::new(&self.dag))?;
        let (drafts, findings) = draft::read(file.content.as_bytes());
        if self.svg.is_some() && drafts.len() > 1 {
            return Err(CliError::Usage(format!("{} holds several DAGs; an SVG file shows one", self.dag)));
        }
        for draft in &drafts {
            if drafts.len() > 1 {
                output.line(&format!("{}:", draft.dag_id.as_ref().map_or("?", |id| id.as_str())))?;
            }
            show(output, &drawing::of_draft(draft), self.svg.as_deref())?;
        }
        if findings.is_empty() {
            return Ok(());
        }
        let mistakes: Vec<Mistake> = findings.iter().map(|finding| Mistake::found(&file.path, finding)).collect();
        apply::tell(&mistakes, std::slice::from_ref(&file), output.width());
        Err(CliError::Usage(format!("{} is drawn only as far as it can be read", file.path)))
    }
}

/// Draws on stdout, or into an SVG file.
pub(in crate::cli) fn show(output: &Output, drawing: &Drawing, svg: Option<&Path>) -> Result<(), CliError> {
    let Some(path) = svg else {
        let drawn = output.drawing(drawing);
        return match output.is_json() {
            // Who wants data has `dags show`; a drawing is a text.
            true => output.line(&text::json(&serde_json::json!(drawn).to_string())),
            false => output.bytes(drawn.as_bytes()),
        };
    };
    let drawn = graph::svg(drawing);
    if path.as_os_str() == "-" {
        return output.bytes(drawn.as_bytes());
    }
    std::fs::write(path, drawn)
        .map_err(|error| CliError::Usage(format!("{} cannot be written: {error}", path.display())))?;
    eprintln!("{} written", path.display());
    Ok(())
}

/// Whether the argument is a file rather than a DAG: it looks like nothing but a path, or is one that is there.
pub(super) fn names_file(argument: &str) -> bool {
    let path = Path::new(argument);
    argument.contains(std::path::MAIN_SEPARATOR) || apply::is_dag_file(path) || path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_names_are_told_apart() {
        for (argument, file) in
            [("etl", false), ("sales.daily", false), ("etl.yaml", true), ("./etl", true), ("dags/etl.json", true)]
        {
            assert_eq!(names_file(argument), file, "{argument}");
        }
    }
}
