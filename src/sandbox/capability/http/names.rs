//! Leads names to addresses that were checked, and connections nowhere else.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::addresses::{Access, Place, place_of};
use super::failure::Failure;

/// Names that are looked up at once. The system's resolver holds a thread for
/// each, for as long as the name's own servers please.
const MAX_LOOKUPS: usize = 64;

/// Finds the addresses of a name.
pub(super) trait Lookup: Send + Sync {
    fn lookup(&self, name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

    /// What kind of place an address is. Another answer is for tests only, which
    /// have no public addresses.
    fn place_of(&self, address: IpAddr) -> Place {
        place_of(address)
    }
}

/// The resolver of the operating system.
pub(super) struct SystemLookup(Arc<Semaphore>);

impl Default for SystemLookup {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LOOKUPS)))
    }
}

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let turns = self.0.clone();
        Box::pin(async move {
            let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = tokio::task::spawn_blocking(move || {
                // Nobody may wait any more; the thread is taken until it ends.
                let _turn = turn;
                Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}

/// Answers with those addresses of a name that `access` permits. What it answers
/// is what is connected to: there is no second look-up that could differ.
pub(super) struct CheckedNames {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) access: Access,
}

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, access) = (self.lookup.clone(), self.access);
        Box::pin(async move {
            let found = lookup.lookup(name.as_str().to_owned()).await.map_err(|error| {
                tracing::debug!(%error, "a name was not found");
                Failure::NoSuchName
            })?;
            let permitted = permitted(&found, access, |address| lookup.place_of(address))?;
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

fn permitted(found: &[IpAddr], access: Access, place_of: impl Fn(IpAddr) -> Place) -> Result<Vec<SocketAddr>, Failure> {
    let permitted: Vec<SocketAddr> = found
        .iter()
        .filter(|address| access.permits(place_of(**address)))
        // Port 0 stands for the one of the URL.
        .map(|address| SocketAddr::new(*address, 0))
        .collect();
    match found.first() {
        None => Err(Failure::NoSuchName),
        Some(address) if permitted.is_empty() => Err(Failure::Prohibited(*address)),
        Some(_) => Ok(permitted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_permitted_addresses_are_answered() {
        let addresses =
            |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|text| text.parse().expect("an address")).collect() };
        for (found, access, expected) in [
            (&["8.8.8.8", "10.0.0.1"][..], Access::Public, Ok(&["8.8.8.8"][..])),
            (&["8.8.8.8", "10.0.0.1"], Access::Private, Ok(&["8.8.8.8", "10.0.0.1"])),
            (&["10.0.0.1", "::1"], Access::Public, Err(Failure::Prohibited(addresses(&["10.0.0.1"])[0]))),
            (&["169.254.169.254"], Access::Private, Err(Failure::Prohibited(addresses(&["169.254.169.254"])[0]))),
            (&[], Access::Private, Err(Failure::NoSuchName)),
        ] {
            let permitted = permitted(&addresses(found), access, place_of);
            let permitted = permitted.map(|some| some.iter().map(SocketAddr::ip).collect::<Vec<_>>());
            assert_eq!(permitted, expected.map(addresses), "{found:?}");
        }
    }
}
