//! What anyone may grant at most: the operator's word, checked when a task is accepted.

use super::Grants;
use super::grants::{HostPattern, HttpGrant};

/// The most that a task's grants may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    /// Hosts that may be granted. Default all.
    pub http_hosts: Vec<HostPattern>,
    /// Whether addresses that are not public may be granted. Default true.
    pub private_addresses: bool,
    /// Files of one attempt. Default 1 GiB.
    pub scratch_bytes: u64,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self { http_hosts: vec![HostPattern::Any], private_addresses: true, scratch_bytes: 1 << 30 }
    }
}

/// A grant that is not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotGranted {
    /// JSON pointer into the task: `/grants/http/0/host`.
    pub path: String,
    pub reason: String,
    pub remedy: String,
}

const MAX_HTTP_GRANTS: usize = 64;
const MAX_PORTS: usize = 64;
const MAX_METHODS: usize = 32;
const MAX_METHOD_BYTES: usize = 32;
const MAX_VARIABLES: usize = 256;
const MAX_ENVIRONMENT_BYTES: usize = 64 << 10;

impl Ceiling {
    /// Everything in `grants` that is malformed or beyond the ceiling.
    pub fn check(&self, grants: &Grants) -> Vec<NotGranted> {
        let mut found = Vec::new();
        let mut refuse = |path: String, reason: String, remedy: &str| {
            found.push(NotGranted { path, reason, remedy: remedy.to_owned() });
        };
        if grants.http.len() > MAX_HTTP_GRANTS {
            let reason = format!("there are {}, more than {MAX_HTTP_GRANTS}", grants.http.len());
            refuse("/grants/http".to_owned(), reason, "grant a pattern such as *.example.org instead");
        }
        for (place, grant) in grants.http.iter().take(MAX_HTTP_GRANTS).enumerate() {
            self.check_http(grant, |key, reason, remedy| refuse(format!("/grants/http/{place}/{key}"), reason, remedy));
        }
        check_environment(grants, &mut refuse);
        if let Some(scratch) = grants.scratch {
            if scratch.bytes == 0 {
                refuse(
                    "/grants/scratch/bytes".to_owned(),
                    "it is 0".to_owned(),
                    "leave the grant out, or ask for more",
                );
            } else if scratch.bytes > self.scratch_bytes {
                let reason = format!("{} is more than {}", scratch.bytes, self.scratch_bytes);
                let remedy = "ask for less, or raise the setting `grants.max_scratch_bytes` of the server";
                refuse("/grants/scratch/bytes".to_owned(), reason, remedy);
            }
        }
        found
    }

    fn check_http(&self, grant: &HttpGrant, mut refuse: impl FnMut(&str, String, &str)) {
        if !self.http_hosts.iter().any(|allowed| allowed.covers(&grant.host)) {
            let allowed: Vec<String> = self.http_hosts.iter().map(HostPattern::to_string).collect();
            let reason = match allowed.as_slice() {
                [] => "this server grants no host".to_owned(),
                some => format!("`{}` is not within {}", grant.host, some.join(", ")),
            };
            refuse("host", reason, "ask the operator to widen the setting `grants.http_hosts` of the server");
        }
        if grant.private_addresses && !self.private_addresses {
            let remedy = "leave it out, or ask the operator for the setting `grants.private_addresses` of the server";
            refuse("private_addresses", "this server grants public addresses only".to_owned(), remedy);
        }
        if grant.ports.is_empty() || grant.ports.len() > MAX_PORTS || grant.ports.contains(&0) {
            let reason = format!("there have to be 1 to {MAX_PORTS} ports from 1 to 65535");
            refuse("ports", reason, "leave them out for 80 and 443");
        }
        let method = |method: &String| {
            (1..=MAX_METHOD_BYTES).contains(&method.len())
                && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_')
        };
        if let Some(methods) = &grant.methods
            && (methods.is_empty() || methods.len() > MAX_METHODS || !methods.iter().all(method))
        {
            let reason = format!("there have to be 1 to {MAX_METHODS} methods in capital letters");
            refuse("methods", reason, "write [\"GET\", \"POST\"], or leave them out for all");
        }
    }
}

fn check_environment(grants: &Grants, refuse: &mut impl FnMut(String, String, &str)) {
    let bytes: usize = grants.env.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
    if grants.env.len() > MAX_VARIABLES || bytes > MAX_ENVIRONMENT_BYTES {
        let reason = format!(
            "{} variables of {bytes} bytes are more than {MAX_VARIABLES} or {MAX_ENVIRONMENT_BYTES} bytes",
            grants.env.len()
        );
        refuse("/grants/env".to_owned(), reason, "pass large data as input");
    }
    let unusable = |key: &str, value: &str| key.is_empty() || key.contains(['=', '\0']) || value.contains('\0');
    for (key, _) in grants.env.iter().filter(|(key, value)| unusable(key, value)) {
        let shown: String = key.chars().take(100).collect();
        let reason = "a name is not empty and has no `=`, and neither it nor the value has a NUL".to_owned();
        refuse(format!("/grants/env/{shown}"), reason, "rename it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(json: &str) -> Grants {
        serde_json::from_str(json).expect("grants")
    }

    fn refused(ceiling: &Ceiling, json: &str) -> Vec<String> {
        ceiling.check(&grants(json)).into_iter().map(|refusal| refusal.path).collect()
    }

    #[test]
    fn each_grant_is_held_to_the_ceiling() {
        let ceiling = Ceiling {
            http_hosts: vec!["*.example.org".parse().expect("a pattern")],
            private_addresses: false,
            scratch_bytes: 1_000,
        };
        for (json, paths) in [
            (r#"{}"#, vec![]),
            (r#"{"http": [{"host": "api.example.org"}], "env": {"K": "v"}, "scratch": {"bytes": 1000}}"#, vec![]),
            (r#"{"http": [{"host": "a.example.org"}, {"host": "*"}]}"#, vec!["/grants/http/1/host"]),
            (
                r#"{"http": [{"host": "a.example.org", "private_addresses": true}]}"#,
                vec!["/grants/http/0/private_addresses"],
            ),
            (r#"{"http": [{"host": "a.example.org", "ports": []}]}"#, vec!["/grants/http/0/ports"]),
            (r#"{"http": [{"host": "a.example.org", "ports": [0]}]}"#, vec!["/grants/http/0/ports"]),
            (r#"{"http": [{"host": "a.example.org", "methods": ["get"]}]}"#, vec!["/grants/http/0/methods"]),
            (
                r#"{"env": {"A=B": "v", "": "v", "C": "\u0000"}}"#,
                vec!["/grants/env/", "/grants/env/A=B", "/grants/env/C"],
            ),
            (r#"{"scratch": {"bytes": 1001}}"#, vec!["/grants/scratch/bytes"]),
            (r#"{"scratch": {"bytes": 0}}"#, vec!["/grants/scratch/bytes"]),
        ] {
            assert_eq!(refused(&ceiling, json), paths, "{json}");
        }
    }

    #[test]
    fn the_environment_is_bounded() {
        let mut many = Grants::default();
        many.env.insert("K".to_owned(), "v".repeat(MAX_ENVIRONMENT_BYTES));
        assert_eq!(Ceiling::default().check(&many)[0].path, "/grants/env");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        for json in
            [r#"{"sql": {}}"#, r#"{"http": [{"host": "a", "port": 1}]}"#, r#"{"scratch": {"bytes": 1, "x": 1}}"#]
        {
            assert!(serde_json::from_str::<Grants>(json).is_err(), "{json}");
        }
    }
}
