//! The smallest guests, for measuring: what is left is the cost of the sandbox.

/// Exports `run: func(input: list<u8>) -> result<list<u8>, string>` and answers with its input.
pub fn noop() -> Vec<u8> {
    wat::parse_str(include_str!("guests/noop.wat")).expect("the text of the guest is well-formed")
}

/// The same, but writes one line to its log first.
pub fn one_line() -> Vec<u8> {
    wat::parse_str(include_str!("guests/one_line.wat")).expect("the text of the guest is well-formed")
}

/// Exports `fibonacci: func(n: u32) -> u64`, which computes and imports nothing.
pub fn fibonacci() -> Vec<u8> {
    wat::parse_str(include_str!("guests/fibonacci.wat")).expect("the text of the guest is well-formed")
}
