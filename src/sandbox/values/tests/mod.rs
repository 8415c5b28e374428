//! The mapping, kept by tests through a real guest, by a table of refusals and by random types.

mod echo;
mod properties;
mod refusals;
mod signatures;
mod table;
