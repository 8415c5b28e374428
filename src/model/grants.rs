//! Permission for one task to use what the host can offer, each within a scope.
//!
//! Context and log are free for everyone and need no grant. What is not granted
//! here, an attempt cannot do.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The grants of one task. Empty unless said otherwise.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Outgoing HTTP requests. One that any of these covers is let through.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
    /// Variables of the guest's environment. The server's own are never readable.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// A directory of the attempt's own, empty at its start and gone after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch: Option<ScratchGrant>,
}

/// Requests to some hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// A host name or address; `*.example.org` for every name below one; `*` for all.
    #[schema(value_type = String, example = "*.example.org")]
    pub host: HostPattern,
    /// Default 80 and 443.
    #[serde(default = "web_ports")]
    pub ports: Vec<u16>,
    /// As in `["GET"]`. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Whether the host's name may lead to a private, loopback or otherwise not public
    /// address. Link-local ones, where clouds keep their metadata, besides have to be
    /// named as the host. Default false.
    #[serde(default)]
    pub private_addresses: bool,
}

/// Files of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScratchGrant {
    /// What the files may hold together.
    pub bytes: u64,
}

impl Grants {
    /// Whether an attempt can be noticed outside this process before it has
    /// ended. One that cannot may start before its acceptance is on disk.
    pub fn reach_outside(&self) -> bool {
        let Self { http, env: _, scratch: _ } = self;
        !http.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Their size in memory, about.
    pub fn bytes(&self) -> usize {
        let http: usize = self.http.iter().map(|grant| 200 + 2 * grant.ports.len()).sum();
        let env: usize = self.env.iter().map(|(name, value)| 100 + name.len() + value.len()).sum();
        http + env
    }
}

/// The values of variables may be secrets: only their names are shown.
impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { http, env, scratch } = self;
        let env: Vec<&String> = env.keys().collect();
        f.debug_struct("Grants").field("http", http).field("env", &env).field("scratch", scratch).finish()
    }
}

fn web_ports() -> Vec<u16> {
    vec![80, 443]
}

/// Which hosts are meant: all, those below a name, or one. In lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    Any,
    /// Names that end in a dot and this one; not the name itself.
    Below(String),
    /// A name, or an address without brackets.
    One(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no host: write a name or an address without port, `*.example.org` for the names below one, or `*`")]
pub struct NotAHost(String);

impl HostPattern {
    /// `host` as a request has it: an IPv6 address may stand in brackets.
    pub fn matches(&self, host: &str) -> bool {
        let host = bare(host).to_ascii_lowercase();
        match self {
            Self::Any => true,
            Self::Below(name) => {
                host.strip_suffix(name.as_str()).is_some_and(|head| head.len() > 1 && head.ends_with('.'))
            }
            Self::One(one) => *one == host,
        }
    }

    /// Whether every host that `other` means is meant by this too.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            (Self::Below(wide), Self::Below(narrow)) => {
                wide == narrow || narrow.strip_suffix(wide.as_str()).is_some_and(|head| head.ends_with('.'))
            }
            (Self::Below(_), Self::One(one)) => self.matches(one),
            (Self::One(_), Self::Below(_)) => false,
            (Self::One(this), Self::One(that)) => this == that,
        }
    }
}

/// Without the brackets of an IPv6 address, and without the dot of the root.
fn bare(host: &str) -> &str {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host)
}

impl FromStr for HostPattern {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let refused = || NotAHost(text.chars().take(300).collect());
        if text == "*" {
            return Ok(Self::Any);
        }
        let bare = bare(text).to_ascii_lowercase();
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::One(address.to_string()));
        }
        let (below, name) = match bare.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, bare.as_str()),
        };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(refused());
        }
        Ok(if below { Self::Below(name.to_owned()) } else { Self::One(name.to_owned()) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::One(one) => f.write_str(one),
        }
    }
}

impl Serialize for HostPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn a_pattern_means_hosts_and_not_their_likes() {
        for (written, host, meant) in [
            ("*", "anything.example", true),
            ("example.org", "example.org", true),
            ("Example.ORG.", "eXample.org", true),
            ("example.org", "example.org.", true),
            ("example.org", "www.example.org", false),
            ("example.org", "notexample.org", false),
            ("*.example.org", "a.b.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
            ("*.example.org", "badexample.org", false),
            ("*.example.org", "example.org.evil.net", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("::1", "[::1]", true),
            ("[0:0:0:0:0:0:0:1]", "[::1]", true),
        ] {
            assert_eq!(pattern(written).matches(host), meant, "{written} {host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for written in ["", "a b", "http://a", "a:80", "*.*.org", "a.*", "**", "*.", ".", "a..b", "ü.de", "[::1", "a/b"]
        {
            assert!(written.parse::<HostPattern>().is_err(), "{written}");
        }
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one() {
        for (wide, narrow, covers) in [
            ("*", "*", true),
            ("*", "a.org", true),
            ("*.a.org", "*", false),
            ("*.a.org", "*.a.org", true),
            ("*.a.org", "*.b.a.org", true),
            ("*.b.a.org", "*.a.org", false),
            ("*.a.org", "*.ba.org", false),
            ("*.a.org", "x.a.org", true),
            ("*.a.org", "a.org", false),
            ("a.org", "a.org", true),
            ("a.org", "*.a.org", false),
        ] {
            assert_eq!(pattern(wide).covers(&pattern(narrow)), covers, "{wide} {narrow}");
        }
    }
}
