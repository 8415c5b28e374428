//! What needs a grant. Each capability is linked for every module, checks its grant
//! at each call, and names what it denies in the attempt's [meter](super::meter::Meter).

pub(super) mod http;
pub(super) mod scratch;
pub(super) mod sockets;
