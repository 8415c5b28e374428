//! How a command ends other than well, and the exit code that says so.

use std::io;

use super::refusal;
use crate::client::ClientError;
use crate::config::SettingsError;
use crate::server::ServerError;

pub(super) const FAILED: u8 = 1;
pub(super) const WRONG_USAGE: u8 = 2;
pub(super) const REFUSED: u8 = 3;
pub(super) const NOT_REACHED: u8 = 4;

#[derive(Debug)]
pub(super) enum CliError {
    /// The task or run did not succeed. Already told.
    TaskFailed,
    /// The server found mistakes in what it was sent. Already told.
    Mistakes,
    /// What was asked cannot be done as it was asked.
    Usage(String),
    Settings(SettingsError),
    Client(ClientError),
    /// Our own server ended with an error.
    Server(ServerError),
    /// What was measured is not what was promised.
    Bench(String),
    Output(io::Error),
    Runtime(io::Error),
}

impl CliError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::TaskFailed | Self::Server(_) | Self::Bench(_) | Self::Runtime(_) => FAILED,
            Self::Usage(_) | Self::Settings(_) => WRONG_USAGE,
            Self::Client(ClientError::Setup(_) | ClientError::File { .. }) => WRONG_USAGE,
            Self::Mistakes | Self::Client(ClientError::Refused(_) | ClientError::NotUnderstood { .. }) => REFUSED,
            Self::Client(ClientError::Unreachable { .. }) => NOT_REACHED,
            // `| head` has seen enough; that is not a failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => FAILED,
        }
    }

    /// What to tell the user; `None` where nothing is left to tell.
    pub(super) fn said(&self) -> Option<String> {
        match self {
            Self::TaskFailed | Self::Mistakes => None,
            Self::Usage(said) | Self::Bench(said) => Some(said.clone()),
            Self::Settings(error) => Some(error.to_string()),
            Self::Client(ClientError::Refused(problem)) => Some(refusal::said(problem)),
            Self::Client(error) => Some(error.to_string()),
            Self::Server(error) => Some(error.to_string()),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => None,
            Self::Output(error) => Some(format!("stdout cannot be written: {error}")),
            Self::Runtime(error) => Some(format!("no threads or timers to work with: {error}")),
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<SettingsError> for CliError {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_say_whose_fault_it_was() {
        let refused = ClientError::Refused(Box::default());
        let unreachable = ClientError::Unreachable { base: String::new(), reason: String::new(), remedy: "" };
        let unknown = SettingsError::Unknown { key: String::new(), place: String::new(), suggestion: None };
        for (error, code) in [
            (CliError::TaskFailed, 1),
            (CliError::Mistakes, 3),
            (CliError::Usage(String::new()), 2),
            (CliError::Settings(unknown), 2),
            (CliError::Client(ClientError::Setup(String::new())), 2),
            (CliError::Client(refused), 3),
            (CliError::Client(unreachable), 4),
            (CliError::Output(io::ErrorKind::BrokenPipe.into()), 0),
            (CliError::Output(io::ErrorKind::StorageFull.into()), 1),
        ] {
            assert_eq!(error.exit_code(), code, "{error:?}");
        }
    }
}
