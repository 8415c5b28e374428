//! What a guest may reach: by grant, each checked at each call, or never.
//!
//! All of it is linked for every module, because ordinary components import it. What is
//! denied is named in the attempt's [meter](super::meter::Meter).

pub(super) mod http;
pub(super) mod scratch;
/// Denied to all.
pub(super) mod sockets;
