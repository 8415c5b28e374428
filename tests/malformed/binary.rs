//! Takes the binary format apart only as far as is needed to put something wrong in it.

use crate::random::Random;

/// Magic, version and layer.
const HEADER: usize = 8;

const CUSTOM: u8 = 0;
/// A whole core module, where the layer is a component.
const CORE_MODULE: u8 = 1;

/// One section: its id and its content, without the length between them.
#[derive(Clone)]
pub struct Section {
    pub id: u8,
    pub content: Vec<u8>,
}

/// The sections of a well-formed module or component; `None` for anything else.
pub fn sections(wasm: &[u8]) -> Option<Vec<Section>> {
    let mut rest = wasm.get(HEADER..)?;
    let mut sections = Vec::new();
    while let Some((&id, after)) = rest.split_first() {
        let (length, after) = read_leb(after)?;
        let content = after.get(..length)?;
        sections.push(Section { id, content: content.to_vec() });
        rest = &after[length..];
    }
    Some(sections)
}

/// The reverse, under the header of `of`.
pub fn assemble(of: &[u8], sections: &[Section]) -> Vec<u8> {
    let mut wasm = of[..HEADER].to_vec();
    for Section { id, content } in sections {
        wasm.push(*id);
        write_leb(&mut wasm, content.len() as u64);
        wasm.extend_from_slice(content);
    }
    wasm
}

/// The core modules that lie directly in a component.
pub fn core_modules(component: &[u8]) -> Vec<Vec<u8>> {
    let sections = sections(component).unwrap_or_default().into_iter();
    sections.filter(|section| section.id == CORE_MODULE).map(|section| section.content).collect()
}

/// The component with its `n`th core module replaced.
pub fn with_core_module(component: &[u8], n: usize, core: &[u8]) -> Vec<u8> {
    let mut sections = sections(component).expect("a well-formed component");
    let mut modules = sections.iter_mut().filter(|section| section.id == CORE_MODULE);
    modules.nth(n).expect("that many core modules").content = core.to_vec();
    assemble(component, &sections)
}

/// Damages bytes without knowing what they mean.
pub fn damage(wasm: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.index(wasm.len().max(1)).min(wasm.len());
    let most = if random.chance(70) { 8 } else { 2_000 };
    let length = 1 + random.index(most);
    let end = (at + length).min(wasm.len());
    match random.below(8) {
        0 if at < wasm.len() => wasm[at] ^= 1 << random.below(8),
        1 if at < wasm.len() => wasm[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff, 0x40, 0x60, 0x0b]),
        2 => drop(wasm.drain(at..end)),
        3 => {
            let piece = wasm[at..end].to_vec();
            wasm.splice(at..at, piece);
        }
        4 => wasm.truncate(at),
        5 => {
            let noise: Vec<u8> = (0..length.min(64)).map(|_| random.next() as u8).collect();
            wasm.splice(at..at, noise);
        }
        6 => {
            // The head of one, the tail of the other.
            wasm.truncate(at);
            wasm.extend_from_slice(&other[random.index(other.len())..]);
        }
        _ => {
            let from = random.index(other.len());
            let piece = &other[from..(from + length).min(other.len())];
            wasm.splice(at..end, piece.iter().copied());
        }
    }
}

/// Moves whole sections about, lies about their lengths, and adds custom ones.
pub fn disarrange(wasm: &[u8], other: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut sections = sections(wasm)?;
    let n = random.index(sections.len());
    let m = random.index(sections.len());
    match random.below(8) {
        0 => sections.swap(n, m),
        1 => drop(sections.remove(n)),
        2 => sections.insert(m, sections.get(n)?.clone()),
        3 => sections.push(self::sections(other)?.swap_remove(0)),
        4 => return Some(with_false_length(wasm, &sections, n, random)),
        5 => sections.get_mut(n)?.id = random.below(16) as u8,
        // A module in itself, or a component in a core module.
        6 => sections.insert(m, Section { id: 1 + 3 * random.below(2) as u8, content: other.to_vec() }),
        _ => sections.insert(m, custom_section(random)),
    }
    Some(assemble(wasm, &sections))
}

fn with_false_length(wasm: &[u8], sections: &[Section], n: usize, random: &mut Random) -> Vec<u8> {
    let mut falsified = assemble(wasm, &sections[..n]);
    let Section { id, content } = &sections[n];
    falsified.push(*id);
    match random.below(4) {
        // As many bytes as such a number may have, and one more.
        0 => falsified.extend([content.len() as u8 | 0x80, 0x80, 0x80, 0x80, 0x00]),
        1 => falsified.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]),
        2 => write_leb(&mut falsified, *random.pick(&[0, 0x7fff_ffff, 0xffff_ffff, 1 << 40])),
        _ => write_leb(
            &mut falsified,
            (content.len() as u64).wrapping_add(random.below(5)).wrapping_sub(2) & 0xffff_ffff,
        ),
    }
    falsified.extend_from_slice(content);
    falsified.extend_from_slice(&assemble(wasm, &sections[n + 1..])[HEADER..]);
    falsified
}

/// Sections that are read for people: names of functions in a backtrace, producers, a guess at DWARF.
pub fn custom_section(random: &mut Random) -> Section {
    let name: &[u8] = random.pick::<&[u8]>(&[
        b"name",
        b"name",
        b"component-name",
        b"producers",
        b".debug_info",
        b".debug_line",
        b"target_features",
        b"linking",
        b"dylink.0",
        b"",
        b"\xff\xfe",
        b"tradewind",
    ]);
    let mut content = Vec::new();
    write_leb(&mut content, if random.chance(5) { 1 << 31 } else { name.len() as u64 });
    content.extend_from_slice(name);
    match random.below(3) {
        0 => content.extend((0..random.below(500)).map(|_| random.next() as u8)),
        1 => content.extend(function_names(random)),
        _ => content.extend(vec![0x80; random.index(4_000)]),
    }
    Section { id: CUSTOM, content }
}

/// The subsection of function names, well-formed, with names nobody should print.
fn function_names(random: &mut Random) -> Vec<u8> {
    const NAMES: &[&str] =
        &["", "\u{1b}[2J\u{7}", "\u{202e}txt", "_ZN4core3fmt9Formatter3pad17h", "_R", "\0", "a\nb", "<&T as X>::y"];
    let mut list = Vec::new();
    let count = 1 + random.below(20);
    write_leb(&mut list, count);
    for index in 0..count {
        let mut name = (*random.pick(NAMES)).to_owned();
        if random.chance(10) {
            name = name.repeat(1_000);
        }
        write_leb(&mut list, index);
        write_leb(&mut list, name.len() as u64);
        list.extend_from_slice(name.as_bytes());
    }
    let mut subsection = vec![1];
    write_leb(&mut subsection, list.len() as u64);
    subsection.extend(list);
    subsection
}

fn read_leb(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for (n, &byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[n + 1..]));
        }
    }
    None
}

fn write_leb(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}
