//! Decides who asks, and whether the request was meant for us at all.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::problem::{Kind, Problem};

/// Who asks. Made from a token, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: Arc<str>,
}

impl Principal {
    /// Shown as `by` in the history.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthorized)
    }
}

/// The tokens that open the API, by their sha256: the tokens themselves are not kept.
#[derive(Clone, Default)]
pub struct Tokens(Vec<([u8; 32], Principal)>);

impl Tokens {
    /// Lets whoever has the token of this sha256 in as `name`.
    pub fn with(mut self, sha256: [u8; 32], name: &str) -> Self {
        self.0.push((sha256, Principal { name: name.into() }));
        self
    }

    /// Takes as long for a wrong token as for a right one.
    fn principal(&self, token: &[u8]) -> Option<&Principal> {
        let presented: [u8; 32] = Sha256::digest(token).into();
        let mut found = u32::MAX;
        for (index, (known, _)) in self.0.iter().enumerate() {
            let same: Choice = known.ct_eq(&presented);
            found.conditional_assign(&(index as u32), same);
        }
        self.0.get(found as usize).map(|(_, principal)| principal)
    }

    pub fn admit(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        let value = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).ok_or_else(unauthorized)?;
        let (scheme, token) = value.split_at_checked(7).ok_or_else(unauthorized)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(unauthorized());
        }
        self.principal(token.trim_ascii()).cloned().ok_or_else(unauthorized)
    }
}

fn unauthorized() -> Problem {
    Problem::new(
        Kind::Unauthorized,
        "the request",
        "it carries no token that is known here",
        "send `Authorization: Bearer TOKEN`; the first token lies in admin.token in the server's data directory",
    )
}

/// Which Host and Origin a request may carry.
///
/// A page in a local browser can make its own name resolve to 127.0.0.1 and then
/// talk to us with the user's network position (DNS rebinding). It cannot change
/// the Host and Origin the browser sends with that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// We listen on loopback at this port: only loopback names are ours.
    Loopback { port: u16 },
    /// We listen to the outside, where our names are not known to us.
    Any,
}

impl Hosts {
    pub fn of(listening: std::net::SocketAddr) -> Self {
        if listening.ip().is_loopback() { Self::Loopback { port: listening.port() } } else { Self::Any }
    }

    pub fn admit(self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let Self::Loopback { port } = self else { return Ok(()) };
        let host = headers.get(header::HOST).map(|host| host.as_bytes());
        // A request to an absolute address names its host twice; both must be ours.
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        let named = [host, authority];
        if !named.iter().flatten().all(|host| is_ours(host, port)) || named.iter().all(Option::is_none) {
            return Err(Problem::new(
                Kind::ForeignHost,
                "the Host of the request",
                "this server listens on loopback only and answers to no other name",
                format!("address it as http://127.0.0.1:{port}, or listen on another address (`listen`)"),
            ));
        }
        for origin in headers.get_all(header::ORIGIN) {
            let ours = origin.as_bytes().strip_prefix(b"http://").is_some_and(|host| is_ours(host, port));
            if !ours {
                return Err(Problem::new(
                    Kind::ForeignOrigin,
                    "the Origin of the request",
                    "pages of other sites may not talk to this server",
                    "call it from a program, or from its own pages",
                ));
            }
        }
        Ok(())
    }
}

fn is_ours(host: &[u8], port: u16) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let (name, explicit) = match host.rsplit_once(':') {
        // The colons within [::1] are not a port's.
        Some((name, digits)) if !digits.ends_with(']') => match digits.parse::<u16>() {
            Ok(explicit) => (name, explicit),
            Err(_) => return false,
        },
        _ => (host, 80),
    };
    explicit == port && (name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_with_our_port_are_ours() {
        for ours in ["localhost:8080", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080"] {
            assert!(is_ours(ours.as_bytes(), 8080), "{ours}");
        }
        for foreign in
            ["", "localhost", "localhost:80801", "evil.example:8080", "127.0.0.1.evil.example:8080", "::1:8080"]
        {
            assert!(!is_ours(foreign.as_bytes(), 8080), "{foreign}");
        }
        assert!(is_ours(b"localhost", 80) && is_ours(b"[::1]", 80));
    }

    #[test]
    fn a_token_is_known_by_its_hash_only() {
        let tokens = Tokens::default()
            .with(Sha256::digest(b"one").into(), "first")
            .with(Sha256::digest(b"two").into(), "second");
        assert_eq!(tokens.principal(b"two").map(|p| p.name().to_string()), Some("second".to_owned()));
        assert_eq!(tokens.principal(b"three"), None);
        assert_eq!(Tokens::default().principal(b""), None);
    }
}
