//! `tradewind push`: uploads modules that the server does not have yet.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use sha2::{Digest as _, Sha256};

use super::error::CliError;
use super::{Context, connect, progress, text};
use crate::client::{Client, ClientError, Module, Upload};
use crate::model::{Digest, Json, ModuleName, Tag};

const EXAMPLES: &str = "\
Examples:
  tradewind push hello.wasm
  tradewind push etl.wasm --name etl --tag 1.4
  tradewind push build/*.wasm --output json";

/// Upload modules: Wasm components, each named by its digest and, where asked, by a name and a tag.
///
/// A module that the server has already is not sent again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PushCommand {
    /// Wasm components
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Name it; one file only
    #[arg(long)]
    name: Option<ModuleName>,
    /// The tag of the name [default: latest]
    #[arg(long, requires = "name")]
    tag: Option<Tag>,
}

impl PushCommand {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        if self.name.is_some() && self.files.len() > 1 {
            return Err(CliError::Usage(
                "--name names one module, but there are several files; push them one by one".into(),
            ));
        }
        let client = connect::client(&context.loaded.settings)?;
        let tag = self.tag.as_ref().map_or("latest", Tag::as_str);
        let name_and_tag = self.name.as_ref().map(|name| (name.as_str(), tag));
        for file in &self.files {
            let pushed = push(&client, file, name_and_tag).await?;
            if context.output.is_json() {
                context.output.json(&pushed.json)?;
                continue;
            }
            context.output.line(&pushed.module.digest.to_string())?;
            let note = if pushed.sent { "pushed" } else { "known already, not sent" };
            eprintln!("{}: {note}, {}", file.display(), text::size(pushed.module.size_bytes));
            super::modules::functions_table(&context.output, &pushed.module)?;
        }
        Ok(())
    }
}

/// A module that the server now has.
pub(super) struct Pushed {
    pub(super) json: Json,
    pub(super) module: Module,
    /// Whether its bytes had to be sent.
    pub(super) sent: bool,
}

/// Makes sure that the server has the module in `file`, and knows it by name and tag.
pub(super) async fn push(client: &Client, file: &Path, name_and_tag: Option<(&str, &str)>) -> Result<Pushed, CliError> {
    let (digest, bytes) = digest_of(file)?;
    if let Some(answer) = client.module(&digest.to_string()).await? {
        // A tag may have to move though the bytes are known.
        let named = match name_and_tag {
            None => true,
            Some((name, tag)) => match client.module(&format!("{name}:{tag}")).await? {
                Some(answer) => answer.read::<Module>()?.digest == digest,
                None => false,
            },
        };
        if named {
            return Ok(Pushed { json: answer.json()?, module: answer.read()?, sent: false });
        }
    }
    let shown = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    let bar = progress::UploadBar::new(&shown, bytes);
    let leaving = bar.clone();
    let upload = Upload { path: file.to_owned(), bytes, progress: Arc::new(move |sent| leaving.sent(sent)) };
    let answer = client.upload_module(upload, name_and_tag, |progress| bar.at(&progress)).await;
    bar.end();
    let answer = answer.map_err(|error| about(error, file))?;
    let module: Module = answer.read()?;
    if module.digest != digest {
        return Err(CliError::Usage(format!(
            "{} changed while it was pushed: the server now has {}; push it again",
            file.display(),
            module.digest
        )));
    }
    Ok(Pushed { json: answer.json()?, module, sent: true })
}

/// The server knows the upload only as "the module"; the user knows it as a file.
fn about(mut error: ClientError, file: &Path) -> ClientError {
    if let ClientError::Refused(problem) = &mut error {
        problem.thing = file.display().to_string();
    }
    error
}

fn digest_of(path: &Path) -> Result<(Digest, u64), CliError> {
    let unreadable = |error: std::io::Error| CliError::Usage(format!("{} cannot be read: {error}", path.display()));
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut piece).map_err(unreadable)?;
        if read == 0 {
            return Ok((Digest::from_bytes(hasher.finalize().into()), bytes));
        }
        hasher.update(&piece[..read]);
        bytes += read as u64;
    }
}
