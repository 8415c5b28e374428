//! The server: everything wired together, from the signal to start to the last commit.

use crate::config::Settings;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServerError(pub String);

/// Serves until it is told to stop.
pub async fn run(settings: Settings) -> Result<(), ServerError> {
    Err(ServerError(format!("no server at {} yet", settings.server.listen)))
}
