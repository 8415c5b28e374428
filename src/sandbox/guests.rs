//! Guests that Tradewind brings itself, for its benchmark and tests.

/// A component with one function that takes nothing, does nothing and returns nothing.
pub fn noop() -> Vec<u8> {
    Vec::new()
}

/// The same with one log line.
pub fn noop_logging() -> Vec<u8> {
    Vec::new()
}
