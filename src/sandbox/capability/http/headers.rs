//! Says which headers are ours, and what a head weighs.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, ForbiddenHeaderFilter};

/// Besides those of the library: a guest neither frames its requests itself nor
/// says for whom they are or through whom they came. Those that start so, too.
const FORBIDDEN: &[&str] = &["te", "via", "forwarded", "x-real-ip"];
const FORBIDDEN_BEGINNINGS: &[&str] = &["proxy-", "x-forwarded-"];

/// Bytes of one field on the wire besides its name and value: `: ` and the line's end.
const FIELD_BYTES: usize = 4;

/// Of the first line besides method and target, and of the empty last one.
pub(super) const LINE_BYTES: usize = 16;

pub(super) fn forbidden() -> ForbiddenHeaderFilter {
    Arc::new(is_forbidden)
}

pub(super) fn is_forbidden(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name)
        || FORBIDDEN.contains(&name.as_str())
        || FORBIDDEN_BEGINNINGS.iter().any(|beginning| name.as_str().starts_with(beginning))
}

/// About what the fields take on the wire.
pub(super) fn bytes_of(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_and_origin_are_not_the_guests_to_say() {
        for (name, forbidden) in [
            ("Host", true),
            ("connection", true),
            ("transfer-encoding", true),
            ("keep-alive", true),
            ("upgrade", true),
            ("http2-settings", true),
            ("te", true),
            ("proxy-authorization", true),
            ("proxy-anything", true),
            ("forwarded", true),
            ("x-forwarded-for", true),
            ("X-Forwarded-Host", true),
            ("x-real-ip", true),
            ("via", true),
            ("authorization", false),
            ("content-length", false),
            ("accept", false),
            ("x-forward", false),
        ] {
            assert_eq!(is_forbidden(&name.parse().expect("a name")), forbidden, "{name}");
        }
    }
}
