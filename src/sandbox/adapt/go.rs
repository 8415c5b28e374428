//! Finds room for the adapter in the memory of a program that Go built.
//!
//! The adapter keeps its state in the program's memory and would take it by
//! `memory.grow`. But Go takes every address from the end of its data on for its
//! own, whoever has grown the memory, so its heap runs over that state. (Go 1.21
//! to 1.26: `runtime/mem_sbrk.go`, `mem_wasm.go`, `cmd/link/internal/wasm/asm.go`.)
//! So the end of its data is moved up, and what is between is the adapter's.
//!
//! Where the data ends is a word of `runtime.firstmoduledata`, which the runtime
//! reads once, at its start. It is found by its neighbours: the section boundaries
//! of the linker, in their order.

use std::ops::Range;

use wasmparser::{DataKind, Operator, Parser, Payload};

use super::super::Refused;

/// Named so by Go's linker.
pub(super) const BUILD_ID_SECTION: &str = "go:buildid";

/// What the adapter takes: its state and its stack, a page each, and as much again.
const ROOM_PAGES: u64 = 4;
const PAGE: u64 = 64 << 10;

/// The linker gives the memory so much beyond the data, and rounds down to pages.
const SLACK: u64 = 1 << 20;

/// No address is lower.
const FIRST_ADDRESS: u64 = 4096;

/// Words of module data that are looked at: `noptrdata` to `end`.
const BOUNDARIES: usize = 8;

/// Larger data is not searched.
const MAX_DATA: u64 = 256 << 20;

/// What is changed in a program so that the adapter has room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    /// The adapter's part of the memory.
    pub(super) bytes: Range<u32>,
    /// Pages that the memory begins with besides.
    pub(super) more_pages: u64,
    /// Where the program looks up where its data ends, and what it finds there from now on.
    pub(super) end_at: u32,
    pub(super) end: u64,
}

/// Room after the data of a program that Go built.
pub(super) fn room(wasm: &[u8]) -> Result<Room, Refused> {
    let (pages, data) = memory(wasm).map_err(|error| super::malformed(&error))?;
    let unknown = || {
        Refused::module(
            "core_module",
            "is a Go program whose memory is laid out in a way that is not known here",
            "build it with Go 1.21 to 1.26, or as a component with TinyGo",
        )
    };
    let lowest = (pages * PAGE).checked_sub(SLACK).ok_or_else(unknown)?;
    let (place, end) = find_end(&data, lowest..lowest + PAGE).ok_or_else(unknown)?;
    let begin = end.next_multiple_of(16);
    let moved = begin + ROOM_PAGES * PAGE;
    let bytes = u32::try_from(begin).ok().zip(u32::try_from(moved).ok());
    let (begin, moved_end) = bytes.ok_or_else(unknown)?;
    let end_at = u32::try_from(place).map_err(|_| unknown())?;
    Ok(Room { bytes: begin..moved_end, more_pages: ROOM_PAGES + 1, end_at, end: moved })
}

/// The pages a module's memory begins with, and what its data makes of them.
fn memory(wasm: &[u8]) -> wasmparser::Result<(u64, Vec<u8>)> {
    let (mut pages, mut image) = (0, Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::MemorySection(memories) => {
                for memory in memories {
                    pages = memory?.initial;
                }
            }
            Payload::DataSection(segments) => {
                for segment in segments {
                    let segment = segment?;
                    let DataKind::Active { offset_expr, .. } = segment.kind else { continue };
                    let Operator::I32Const { value } = offset_expr.get_operators_reader().read()? else { continue };
                    let begin = value as u32 as usize;
                    let end = begin + segment.data.len();
                    if end as u64 > MAX_DATA {
                        continue;
                    }
                    if image.len() < end {
                        image.resize(end, 0);
                    }
                    image[begin..end].copy_from_slice(segment.data);
                }
            }
            _ => {}
        }
    }
    Ok((pages, image))
}

/// The one place that holds the end of the data: a word within `expected`, after
/// boundaries that do not decrease, and before a smaller one.
fn find_end(data: &[u8], expected: Range<u64>) -> Option<(u64, u64)> {
    let words: Vec<u64> =
        data.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes"))).collect();
    let mut found = words.windows(BOUNDARIES + 1).enumerate().filter(|(_, window)| {
        let (boundaries, next) = (&window[..BOUNDARIES], window[BOUNDARIES]);
        let end = boundaries[BOUNDARIES - 1];
        expected.contains(&end) && next < end && boundaries[0] >= FIRST_ADDRESS && boundaries.is_sorted()
    });
    let (first, window) = found.next()?;
    let only = found.next().is_none();
    only.then(|| ((first + BOUNDARIES - 1) as u64 * 8, window[BOUNDARIES - 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in a program of Go 1.26, after words that look a little alike.
    const MODULE_DATA: [u64; 16] = [
        0x9000, 0x195560, 0x19d780, 0x19d780, 0x1a2750, 0x1a2760, 0x1b0d68, 0x1b0d80, 0x1c67e0, 0x1c67e0, 0x1c67e0,
        0x1c67e0, 0x40f98, 0x4103e, 0x1c67e0, 0x8e20,
    ];

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn the_end_of_the_data_is_found_by_its_neighbours() {
        assert_eq!(find_end(&bytes(&MODULE_DATA), 0x1c0000..0x1d0000), Some((11 * 8, 0x1c67e0)));
        assert_eq!(find_end(&bytes(&MODULE_DATA), 0x1d0000..0x1e0000), None, "not where the linker would put it");
    }

    #[test]
    fn what_is_not_found_once_is_not_found() {
        let twice = [MODULE_DATA, MODULE_DATA].concat();
        assert_eq!(find_end(&bytes(&twice), 0x1c0000..0x1d0000), None);
        assert_eq!(find_end(&[0; 1 << 10], 0x1c0000..0x1d0000), None);
    }
}
