//! Finds the server to speak to, and the right to speak to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::CliError;
use crate::client::{Client, is_loopback};
use crate::config::{Secret, Settings};

/// The file in the data directory that holds the first token.
pub(super) const TOKEN_FILE: &str = "admin.token";

/// The file in the data directory in which a running server says who it is: its
/// process id, and on a second line the address it listens on.
pub(super) const SERVER_FILE: &str = "server.pid";

/// A server on this machine, as its data directory tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LocalServer {
    pub(super) pid: u32,
    pub(super) listen: Option<SocketAddr>,
}

impl LocalServer {
    /// The server that runs on `data_dir` now. The file may outlive its server, hence the look at the process.
    pub(super) fn find(data_dir: &Path) -> Option<Self> {
        let server = Self::parse(&std::fs::read_to_string(data_dir.join(SERVER_FILE)).ok()?)?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(server.pid).ok()?)?;
        match rustix::process::test_kill_process(pid) {
            Ok(()) | Err(rustix::io::Errno::PERM) => Some(server),
            Err(_) => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        Some(Self { pid, listen: lines.next().and_then(|line| line.trim().parse().ok()) })
    }
}

/// A client of the server that the settings name, else of the one on this machine.
///
/// The local token is sent to this machine only: an address given by hand must not collect it.
pub(super) fn client(settings: &Settings) -> Result<Client, CliError> {
    let data_dir = data_dir(settings);
    let base = match &settings.client.url {
        Some(url) => url.clone(),
        None => local_base(settings, &data_dir),
    };
    let loopback = base.parse().is_ok_and(|url| is_loopback(&url));
    let token = match &settings.client.token {
        Some(token) => Some(token.clone()),
        None if loopback => local_token(&data_dir)?,
        None => None,
    };
    Ok(Client::new(&base, token)?)
}

/// The data directory of the local server: where the settings say, or, where they
/// say it relative and it is not here, in a directory above, as with git.
pub(super) fn data_dir(settings: &Settings) -> PathBuf {
    let named = &settings.server.data_dir;
    if named.is_absolute() || named.exists() {
        return named.clone();
    }
    let here = std::env::current_dir().unwrap_or_default();
    let above = here.ancestors().skip(1).map(|above| above.join(named)).find(|dir| is_ours(dir));
    above.unwrap_or_else(|| named.clone())
}

/// Whether we made the directory: another user's may pretend to be a server's.
fn is_ours(dir: &Path) -> bool {
    dir.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw())
}

fn local_base(settings: &Settings, data_dir: &Path) -> String {
    let running = LocalServer::find(data_dir).and_then(|server| server.listen);
    let mut address = running.unwrap_or(settings.server.listen);
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

/// `None` where there is no such file: the server then says that it wants a token.
fn local_token(data_dir: &Path) -> Result<Option<Secret>, CliError> {
    let path = data_dir.join(TOKEN_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Secret::new(text.trim().to_owned())).filter(|token| !token.expose().is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::Usage(format!(
            "the token in {} cannot be read: {error}; ask who runs the server for a token and set TRADEWIND_TOKEN",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(data_dir: &Path) -> Settings {
        let mut settings = Settings::default();
        settings.server.data_dir = data_dir.to_owned();
        settings
    }

    #[test]
    fn the_local_server_and_its_token_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut settings = settings(dir.path());
        let found = client(&settings).expect("a client");
        assert_eq!((found.base().as_str(), found.token()), ("http://127.0.0.1:8080/", None));

        std::fs::write(dir.path().join(TOKEN_FILE), "hush\n").expect("written");
        std::fs::write(dir.path().join(SERVER_FILE), format!("{}\n0.0.0.0:9123\n", std::process::id()))
            .expect("written");
        let found = client(&settings).expect("a client");
        assert_eq!(found.base().as_str(), "http://127.0.0.1:9123/");
        assert_eq!(found.token().map(Secret::expose), Some("hush"));

        settings.client.token = Some(Secret::new("mine".to_owned()));
        assert_eq!(client(&settings).expect("a client").token().map(Secret::expose), Some("mine"));
    }

    #[test]
    fn the_local_token_does_not_leave_this_machine() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(TOKEN_FILE), "hush").expect("written");
        let mut settings = settings(dir.path());
        settings.client.url = Some("https://tradewind.example.org".to_owned());
        assert_eq!(client(&settings).expect("a client").token(), None);
    }

    #[test]
    fn a_server_that_has_gone_is_not_found() {
        let dir = tempfile::tempdir().expect("a directory");
        for (text, found) in [("", false), ("x", false), ("0", false), ("4194304\n127.0.0.1:1", false)] {
            std::fs::write(dir.path().join(SERVER_FILE), text).expect("written");
            assert_eq!(LocalServer::find(dir.path()).is_some(), found, "{text}");
        }
    }
}
