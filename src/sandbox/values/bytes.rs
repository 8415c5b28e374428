//! Takes `list<u8>` from base64 text, and writes it so.
//!
//! A `Val` is many times larger than the byte in it, so the bytes go through a small buffer straight to their place.

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, DecodeSliceError, Engine};
use wasmtime::component::Val;

/// Within a text there is no padding.
const MIDDLE: GeneralPurpose = with_padding(DecodePaddingMode::RequireNone);
/// At its end it may be there or be left out.
const END: GeneralPurpose = with_padding(DecodePaddingMode::Indifferent);

const fn with_padding(mode: DecodePaddingMode) -> GeneralPurpose {
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(mode))
}

/// Of text, a multiple of four; and the bytes that it stands for.
const TEXT_AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = TEXT_AT_ONCE / 4 * 3;

/// Decodes base64 text, calling `take` with one piece after the other. Returns how many bytes there were; `Err` says
/// what is wrong with the text.
pub(super) fn decode(text: &str, mut take: impl FnMut(&[u8])) -> Result<usize, String> {
    let mut buffer = [0; BYTES_AT_ONCE];
    let mut rest = text.as_bytes();
    let mut total = 0;
    while !rest.is_empty() {
        let start = text.len() - rest.len();
        let (piece, after) = rest.split_at(rest.len().min(TEXT_AT_ONCE));
        let engine = if after.is_empty() { &END } else { &MIDDLE };
        let length = engine.decode_slice(piece, &mut buffer).map_err(|error| match error {
            DecodeSliceError::DecodeError(DecodeError::InvalidByte(offset, _)) => {
                format!("byte {} of the text is none of A-Z, a-z, 0-9, + and /", start + offset)
            }
            _ => "the end of the text is cut off or damaged".to_owned(),
        })?;
        take(&buffer[..length]);
        total += length;
        rest = after;
    }
    Ok(total)
}

/// The length of the text for so many bytes.
pub(super) fn encoded_length(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

/// Appends base64 text. `None` where one of the values is no byte.
pub(super) fn encode(values: &[Val], text: &mut Vec<u8>) -> Option<()> {
    let mut bytes = [0; BYTES_AT_ONCE];
    let mut encoded = [0; TEXT_AT_ONCE];
    for piece in values.chunks(BYTES_AT_ONCE) {
        for (byte, value) in bytes.iter_mut().zip(piece) {
            match value {
                Val::U8(value) => *byte = *value,
                _ => return None,
            }
        }
        let length = END.encode_slice(&bytes[..piece.len()], &mut encoded).expect("the buffer holds a whole piece");
        text.extend_from_slice(&encoded[..length]);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        decode(text, |piece| bytes.extend_from_slice(piece)).ok().map(|_| bytes)
    }

    #[test]
    fn every_length_comes_back_with_padding_and_without() {
        for length in (0..20).chain(BYTES_AT_ONCE - 2..BYTES_AT_ONCE + 3).chain([3 * BYTES_AT_ONCE + 1]) {
            let bytes: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            let values: Vec<Val> = bytes.iter().copied().map(Val::U8).collect();
            let mut text = Vec::new();
            encode(&values, &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert_eq!(text, base64::prelude::BASE64_STANDARD.encode(&bytes));
            assert_eq!(text.len(), encoded_length(length));
            assert_eq!(decoded(&text), Some(bytes.clone()));
            assert_eq!(decoded(text.trim_end_matches('=')), Some(bytes));
        }
    }

    #[test]
    fn padding_within_the_text_is_refused_wherever_it_stands() {
        assert_eq!(decoded("AA==AAAA"), None);
        let mut long = "AAAA".repeat(TEXT_AT_ONCE);
        long.replace_range(TEXT_AT_ONCE - 1..TEXT_AT_ONCE, "=");
        assert_eq!(decoded(&long), None);
    }
}
