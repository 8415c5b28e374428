//! Runs guests: bytes, grants and limits in; an outcome out. Knows nothing of leases, HTTP or SQL.
