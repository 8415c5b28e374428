//! Decides whether a request is within the grants of its task.

use std::fmt;
use std::net::IpAddr;

use http::{Method, Uri};
use reqwest::Url;

use super::addresses::{Access, Place};
use crate::model::grants::{HostPattern, HttpGrant};

/// What a guest wants to do, in the one form that is checked *and* sent: the URL
/// is parsed once, so that no second reading finds another host in it.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) url: Url,
}

/// Why a request is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("only http and https are offered")]
    Scheme,
    #[error("a name or password in the URL is not sent; use the header `authorization`")]
    UserInfo,
    #[error("a tunnel could lead anywhere")]
    Tunnel,
    #[error("no grant covers this host")]
    Host,
    #[error("no grant for this host covers this port")]
    Port,
    #[error("no grant for this host and port covers this method")]
    Method,
    #[error("{0} is not a public address, and no grant for it says private_addresses")]
    PrivateAddress(IpAddr),
    #[error("{0} is a link-local or metadata address, and no grant with private_addresses has it as its host")]
    MetadataAddress(IpAddr),
}

impl Asked {
    /// None where no host can be read from it.
    pub(super) fn read(method: Method, uri: &Uri) -> Option<Self> {
        let url = Url::parse(&uri.to_string()).ok()?;
        url.host_str().filter(|host| !host.is_empty())?;
        Some(Self { method, url })
    }

    /// The address that stands in place of a name.
    pub(super) fn address(&self) -> Option<IpAddr> {
        address_in(self.host())
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }
}

/// For people, without what may be a secret: neither path nor query nor user.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}://{}:{}", self.method, self.url.scheme(), self.host(), self.port())
    }
}

/// Where several grants cover a request, the one that reaches furthest counts.
pub(super) fn decide(grants: &[HttpGrant], asked: &Asked) -> Result<Access, Denied> {
    if !matches!(asked.url.scheme(), "http" | "https") {
        return Err(Denied::Scheme);
    }
    if !asked.url.username().is_empty() || asked.url.password().is_some() {
        return Err(Denied::UserInfo);
    }
    if asked.method == Method::CONNECT {
        return Err(Denied::Tunnel);
    }
    let mut denied = Denied::Host;
    let mut access = None;
    for grant in grants.iter().filter(|grant| grant.host.matches(asked.host())) {
        if !grant.ports.contains(&asked.port()) {
            denied = denied.or_later(Denied::Port);
        } else if !covers_method(grant, &asked.method) {
            denied = denied.or_later(Denied::Method);
        } else {
            access = access.max(Some(access_by(grant, asked)));
        }
    }
    access.ok_or(denied)
}

/// What keeps a request within its access from an address of this place.
pub(super) fn may_reach(access: Access, address: IpAddr, place: Place) -> Result<(), Denied> {
    match place {
        _ if access.permits(place) => Ok(()),
        Place::Metadata => Err(Denied::MetadataAddress(address)),
        Place::Private | Place::Public => Err(Denied::PrivateAddress(address)),
    }
}

fn covers_method(grant: &HttpGrant, method: &Method) -> bool {
    grant.methods.as_ref().is_none_or(|methods| methods.iter().any(|granted| granted == method.as_str()))
}

fn access_by(grant: &HttpGrant, asked: &Asked) -> Access {
    let is_named = match &grant.host {
        HostPattern::One(host) => asked.address().is_some() && address_in(host) == asked.address(),
        HostPattern::Any | HostPattern::Below(_) => false,
    };
    match (grant.private_addresses, is_named) {
        (false, _) => Access::Public,
        (true, false) => Access::Private,
        (true, true) => Access::Named,
    }
}

fn address_in(host: &str) -> Option<IpAddr> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.parse().ok()
}

impl Denied {
    /// The reason that came closer to a permission says more.
    fn or_later(self, other: Self) -> Self {
        let steps = |denied: &Self| match denied {
            Self::Port => 1,
            Self::Method => 2,
            _ => 0,
        };
        if steps(&other) > steps(&self) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(grants: &str, method: &str, uri: &str) -> Result<Access, Denied> {
        let grants: Vec<HttpGrant> = serde_json::from_str(grants).expect("grants");
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        decide(&grants, &Asked::read(method, &uri.parse().expect("a URI")).expect("a host"))
    }

    #[test]
    fn a_request_needs_a_grant_for_host_port_and_method() {
        const API: &str = r#"[{"host": "api.example.org", "methods": ["GET"]}]"#;
        const TWO: &str = r#"[{"host": "*.example.org", "ports": [8443], "methods": ["POST"]},
                              {"host": "api.example.org", "ports": [8443, 80]}]"#;
        for (grants, method, uri, expected) in [
            (API, "GET", "https://api.example.org/", Ok(Access::Public)),
            (API, "GET", "http://API.example.org./x?y", Ok(Access::Public)),
            (API, "GET", "https://api.example.org:443/", Ok(Access::Public)),
            (API, "GET", "https://api.example.org:8443/", Err(Denied::Port)),
            (API, "GET", "http://api.example.org:0/", Err(Denied::Port)),
            (API, "POST", "https://api.example.org/", Err(Denied::Method)),
            (API, "get", "https://api.example.org/", Err(Denied::Method)),
            (API, "GET", "https://example.org/", Err(Denied::Host)),
            (API, "GET", "https://api.example.org.evil.net/", Err(Denied::Host)),
            (API, "GET", "https://user@api.example.org/", Err(Denied::UserInfo)),
            (API, "GET", "https://api.example.org:80@evil.net/", Err(Denied::UserInfo)),
            (API, "GET", "ftp://api.example.org/", Err(Denied::Scheme)),
            (API, "CONNECT", "https://api.example.org/", Err(Denied::Tunnel)),
            ("[]", "GET", "https://api.example.org/", Err(Denied::Host)),
            (TWO, "POST", "https://www.example.org:8443/", Ok(Access::Public)),
            (TWO, "GET", "https://www.example.org:8443/", Err(Denied::Method)),
            (TWO, "GET", "https://api.example.org:8443/", Ok(Access::Public)),
            (TWO, "GET", "http://www.example.org/", Err(Denied::Port)),
        ] {
            assert_eq!(decided(grants, method, uri), expected, "{method} {uri}");
        }
    }

    #[test]
    fn private_addresses_are_reached_only_where_a_covering_grant_says_so() {
        const ANY: &str = r#"[{"host": "*", "private_addresses": true}]"#;
        const NAMED: &str = r#"[{"host": "169.254.169.254", "private_addresses": true}]"#;
        const SHY: &str = r#"[{"host": "169.254.169.254"}]"#;
        const MIXED: &str = r#"[{"host": "*"}, {"host": "db.internal", "ports": [80], "private_addresses": true}]"#;
        const SIX: &str = r#"[{"host": "fd00:ec2::254", "private_addresses": true}]"#;
        for (grants, uri, expected) in [
            (ANY, "http://a.internal/", Ok(Access::Private)),
            (ANY, "http://169.254.169.254/", Ok(Access::Private)),
            (NAMED, "http://169.254.169.254/", Ok(Access::Named)),
            // Other ways to write the same address.
            (NAMED, "http://0xa9fea9fe/", Ok(Access::Named)),
            (NAMED, "http://2852039166/", Ok(Access::Named)),
            (SHY, "http://0251.254.169.254/", Ok(Access::Public)),
            (SHY, "http://169.254.169.254/", Ok(Access::Public)),
            (MIXED, "http://db.internal/", Ok(Access::Private)),
            (MIXED, "https://db.internal/", Ok(Access::Public)),
            (MIXED, "http://other.internal/", Ok(Access::Public)),
            (SIX, "http://[fd00:ec2:0::254]/", Ok(Access::Named)),
        ] {
            assert_eq!(decided(grants, "GET", uri), expected, "{uri}");
        }
    }

    #[test]
    fn what_is_told_of_a_request_has_no_secret() {
        let asked = Asked::read(Method::GET, &"http://u:p@h.example/path?token=1".parse().expect("a URI"));
        assert_eq!(asked.expect("a host").to_string(), "GET http://h.example:80");
    }
}
