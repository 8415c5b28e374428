//! Keeps the connections that all attempts share, apart by where they may lead.

use std::sync::{Arc, Once};
use std::time::Duration;

use reqwest::Client;
use tokio::sync::{OnceCell, Semaphore};
use wasmtime_wasi_http::Error;

use super::addresses::{Access, Place};
use super::names::{CheckedNames, Lookup, SystemLookup};
use super::timeouts::MAX_CONNECT;

/// Requests under way of the whole server, that none of its attempts together can
/// take all file descriptors. Further ones wait, within their connect timeout.
const MAX_REQUESTS: usize = 1_024;

/// Connections kept for the next request to the same host and port.
const MAX_IDLE_PER_HOST: usize = 8;

/// How long they are kept. Short: with a grant for all hosts, each may be another one.
const IDLE: Duration = Duration::from_secs(15);

/// Clients for the requests of all attempts. Cheap to clone; made once a sandbox.
#[derive(Clone)]
pub(in crate::sandbox) struct HttpClients(Arc<Inner>);

struct Inner {
    lookup: Arc<dyn Lookup>,
    /// Its connections lead to public addresses.
    public: OnceCell<Client>,
    /// Its connections may lead to private ones: no attempt without that grant
    /// ever meets one of them in the pool.
    private: OnceCell<Client>,
    room: Arc<Semaphore>,
}

impl Default for HttpClients {
    fn default() -> Self {
        Self::with(Arc::new(SystemLookup::default()))
    }
}

impl HttpClients {
    pub(super) fn with(lookup: Arc<dyn Lookup>) -> Self {
        Self(Arc::new(Inner {
            lookup,
            public: OnceCell::new(),
            private: OnceCell::new(),
            room: Arc::new(Semaphore::new(MAX_REQUESTS)),
        }))
    }

    /// What kind of place an address is.
    pub(super) fn place_of(&self, address: std::net::IpAddr) -> Place {
        self.0.lookup.place_of(address)
    }

    /// One permit for each request under way.
    pub(super) fn room(&self) -> &Arc<Semaphore> {
        &self.0.room
    }

    /// Made at the first request, which reads the system's certificates.
    pub(super) async fn client(&self, access: Access) -> Result<Client, Error> {
        // No name leads to metadata, whatever is granted: these are asked by address.
        let (client, access) = match access {
            Access::Public => (&self.0.public, Access::Public),
            Access::Private | Access::Named => (&self.0.private, Access::Private),
        };
        let make = || async {
            let names = Arc::new(CheckedNames { lookup: self.0.lookup.clone(), access });
            tokio::task::spawn_blocking(move || build(&names)).await.ok().flatten()
        };
        client.get_or_try_init(|| async { make().await.ok_or(Error::ConfigurationError) }).await.cloned()
    }
}

fn build(names: &Arc<CheckedNames>) -> Option<Client> {
    static PROVIDER: Once = Once::new();
    // An error says that some other part of the process was first, which is as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let builder = || {
        Client::builder()
            // GHSA-f8mm: of HTTP/2, empty frames are buffered without end.
            .http1_only()
            // The guest follows, and each of its requests is checked anew.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(MAX_CONNECT)
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
            .pool_idle_timeout(IDLE)
            .dns_resolver(names.clone())
    };
    let made = builder().build().or_else(|error| {
        tracing::warn!(%error, "no certificates of authorities; tasks can reach http:// only");
        builder().tls_certs_only([]).build()
    });
    made.inspect_err(|error| tracing::error!(%error, "no HTTP client for tasks")).ok()
}
