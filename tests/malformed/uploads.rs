//! Makes uploads that nobody should send, each from the seed and its number alone.

use std::fmt::Write as _;
use std::path::Path;

use arbitrary::Unstructured;
use wasm_mutate::WasmMutate;
use wasm_smith::Config;

use crate::binary::{assemble, core_modules, custom_section, damage, disarrange, sections, with_core_module};
use crate::random::Random;
use crate::support::guests;

/// What an upload is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Components of wasm-smith.
    RandomComponent,
    /// Core modules of wasm-smith, bare.
    RandomModule,
    /// The same with the exports and imports of a program built for wasip1.
    RandomCommand,
    /// The same inside a component that lifts what they answer.
    RandomInside,
    /// A core module of a good component, mutated by wasm-mutate, and put back.
    MutatedInside,
    /// A mutated core module, bare.
    MutatedModule,
    /// A good component with bytes flipped, lost, doubled, cut off, or taken from another.
    Damaged,
    /// A good component whose sections are out of order or lie about their length.
    Disarranged,
    /// A good component with custom sections that are read for people.
    Named,
    /// A module of the SDK world that describes its tasks wrongly.
    Descriptors,
}

/// How often each kind is made, in parts of a hundred.
const PARTS: [(Kind, u64); 10] = [
    (Kind::RandomComponent, 12),
    (Kind::RandomModule, 4),
    (Kind::RandomCommand, 8),
    (Kind::RandomInside, 18),
    (Kind::MutatedInside, 20),
    (Kind::MutatedModule, 3),
    (Kind::Damaged, 14),
    (Kind::Disarranged, 6),
    (Kind::Named, 5),
    (Kind::Descriptors, 10),
];

pub struct Upload {
    pub kind: Kind,
    pub wasm: Vec<u8>,
}

/// Good modules to begin with.
pub struct Bases {
    /// Small ones, and where it is a matter of luck one large one that Rust made.
    components: Vec<Vec<u8>>,
    large: Vec<u8>,
    /// Lifts what the core module inside answers.
    frame: Vec<u8>,
    /// The shape of a program built for wasip1.
    command: Vec<u8>,
}

/// A mutation that is not found within this is given up.
const MUTATION_FUEL: u64 = 300;

impl Bases {
    pub fn gather() -> Self {
        let parse = |text: &str| wat::parse_str(text);
        let frame = parse(include_str!("frame.wat")).expect("a well-formed text");
        let command = parse(include_str!("command.wat")).expect("a well-formed text");
        let mut components =
            vec![tradewind::sandbox::guests::noop(), tradewind::sandbox::guests::one_line(), frame.clone()];
        components.push(descriptors(&mut Random::new(0), true));
        // The guests of the sandbox's own tests; those that need more put into their text are passed over.
        let texts = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sandbox/tests");
        let mut paths: Vec<_> =
            std::fs::read_dir(texts).expect("the sandbox's tests").map(|entry| entry.expect("a file").path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "wat")) {
            let text = std::fs::read_to_string(path).expect("a text").replace("VERSION", "1.0.0");
            components.extend(parse(&text).ok().filter(|wasm| !core_modules(wasm).is_empty()));
        }
        Self { components, large: guests::tasks().to_vec(), frame, command }
    }

    /// The upload of this number.
    pub fn upload(&self, seed: u64, number: u64) -> Upload {
        let random = &mut Random::new(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        let mut part = random.below(100);
        let kind = PARTS.iter().find(|(_, parts)| part.checked_sub(*parts).map(|rest| part = rest).is_none());
        let kind = kind.expect("the parts make a hundred").0;
        let wasm = match kind {
            Kind::RandomComponent => random_component(random),
            Kind::RandomModule => random_module(config(random), random),
            Kind::RandomCommand => {
                let shape = Some(self.command.clone());
                random_module(Config { exports: shape.clone(), available_imports: shape, ..config(random) }, random)
            }
            Kind::RandomInside => {
                let exports = core_modules(&self.frame).pop();
                let config = Config { exports, max_imports: 0, ..config(random) };
                with_core_module(&self.frame, 0, &random_module(config, random))
            }
            Kind::MutatedInside => {
                let base = self.base(random);
                let cores = core_modules(base);
                let n = random.index(cores.len());
                with_core_module(base, n, &mutated(&cores[n], random))
            }
            Kind::MutatedModule => {
                let cores = core_modules(self.base(random));
                let core = if random.chance(50) { &self.command } else { random.pick(&cores) };
                mutated(core, random)
            }
            Kind::Damaged => {
                let mut wasm = self.base(random).to_vec();
                for _ in 0..=random.below(4) {
                    damage(&mut wasm, self.base(random), random);
                }
                wasm
            }
            Kind::Disarranged => {
                let wasm = self.base(random);
                disarrange(wasm, self.base(random), random).unwrap_or_else(|| wasm.to_vec())
            }
            Kind::Named => named(self.base(random), random),
            Kind::Descriptors => descriptors(random, false),
        };
        Upload { kind, wasm }
    }

    fn base(&self, random: &mut Random) -> &[u8] {
        // Compiling it takes as long as a hundred others.
        if random.below(200) == 0 { &self.large } else { random.pick::<Vec<u8>>(&self.components) }
    }
}

/// Half of them within what the engine takes, so that they run; the others with everything.
fn config(random: &mut Random) -> Config {
    let proposals = random.chance(30);
    Config {
        gc_enabled: proposals,
        // Brings `externref`, which needs a GC.
        reference_types_enabled: proposals,
        exceptions_enabled: proposals,
        threads_enabled: proposals,
        memory64_enabled: proposals,
        wide_arithmetic_enabled: proposals,
        shared_everything_threads_enabled: proposals && random.chance(10),
        custom_page_sizes_enabled: proposals && random.chance(10),
        compact_imports_enabled: proposals,
        allow_invalid_funcs: random.chance(5),
        generate_custom_sections: random.chance(20),
        max_memories: if random.chance(10) { 10 } else { 1 },
        max_tables: if proposals && random.chance(30) { 20 } else { 1 },
        // A memory that is too large is refused before anything runs.
        max_memory32_bytes: if random.chance(10) { 1 << 32 } else { 4 << 20 },
        max_table_elements: if random.chance(10) { 1_000_000 } else { 5_000 },
        max_instructions: if random.chance(10) { 2_000 } else { 100 },
        min_uleb_size: 1 + random.below(5) as u8,
        ..Config::default()
    }
}

fn random_component(random: &mut Random) -> Vec<u8> {
    let imports = if random.chance(50) { 0 } else { 10 };
    let config = Config { max_imports: imports, ..config(random) };
    let noise = noise(random);
    let component = wasm_smith::Component::new(config, &mut Unstructured::new(&noise));
    component.map_or(noise, |component| component.to_bytes())
}

fn random_module(config: Config, random: &mut Random) -> Vec<u8> {
    let noise = noise(random);
    let module = wasm_smith::Module::new(config, &mut Unstructured::new(&noise));
    module.map_or(noise, |module| module.to_bytes())
}

fn noise(random: &mut Random) -> Vec<u8> {
    let words = 32 + random.below(1_000);
    (0..words).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// One to three mutations after one another. Where none is found the module stays as it is.
fn mutated(core: &[u8], random: &mut Random) -> Vec<u8> {
    let mut core = core.to_vec();
    for _ in 0..=random.below(3) {
        let mut mutate = WasmMutate::default();
        mutate.seed(random.next()).fuel(MUTATION_FUEL).preserve_semantics(random.chance(20));
        // It gives up with an error, or on some modules with a panic.
        let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            mutate.run(&core).ok().and_then(|mut found| found.next()).and_then(Result::ok)
        }));
        if let Ok(Some(next)) = next {
            core = next;
        }
    }
    core
}

/// Custom sections anywhere, in the component or in its core module.
fn named(component: &[u8], random: &mut Random) -> Vec<u8> {
    let cores = core_modules(component);
    let inside = random.chance(60);
    let n = random.index(cores.len());
    let of = if inside { &cores[n] } else { component };
    let mut sections = sections(of).expect("a well-formed module");
    for _ in 0..=random.below(3) {
        sections.insert(random.index(sections.len() + 1), custom_section(random));
    }
    let with = assemble(of, &sections);
    if inside { with_core_module(component, n, &with) } else { with }
}

/// Where `descriptors.wat` keeps the texts, and how many bytes of them fit.
const TEXTS: u32 = 1_024;
const MOST_TEXTS: usize = 250_000;

/// An SDK module that lists tasks with strange names, schemas and docs, or points at nothing.
fn descriptors(random: &mut Random, good: bool) -> Vec<u8> {
    let count = if good { 1 } else { *random.pick(&[0, 1, 1, 1, 2, 3, 50, 1_200]) };
    let mut texts = Vec::new();
    let mut table = Vec::new();
    let put = |texts: &mut Vec<u8>, table: &mut Vec<u8>, text: &[u8]| {
        let fits = &text[..text.len().min(MOST_TEXTS.saturating_sub(texts.len()))];
        table.extend((TEXTS + texts.len() as u32).to_le_bytes());
        table.extend((fits.len() as u32).to_le_bytes());
        texts.extend_from_slice(fits);
    };
    for n in 0..count {
        let (name, input, output, docs) = if good {
            (b"task".to_vec(), "{}".to_owned(), "{}".to_owned(), b"Docs.".to_vec())
        } else {
            (name(n, random), schema(random), schema(random), docs(random))
        };
        put(&mut texts, &mut table, &name);
        put(&mut texts, &mut table, input.as_bytes());
        put(&mut texts, &mut table, output.as_bytes());
        put(&mut texts, &mut table, &docs);
    }
    if !good && random.chance(20) && !table.is_empty() {
        let other = table.clone();
        damage(&mut table, &other, random);
    }
    // The list itself: where it is and how long; `list-tasks` answers where that is written.
    while texts.len() % 4 != 0 {
        texts.push(0);
    }
    let at = TEXTS + texts.len() as u32;
    texts.extend_from_slice(&table);
    while texts.len() % 4 != 0 {
        texts.push(0);
    }
    let mut list = TEXTS + texts.len() as u32;
    texts.extend(at.to_le_bytes());
    let length = if !good && random.chance(10) { *random.pick(&[u32::MAX, 1 << 28, 1_000_000, 7]) } else { count };
    texts.extend(length.to_le_bytes());
    if !good && random.chance(5) {
        list = *random.pick(&[0, 1, 2, u32::MAX, 393_212, 393_216]);
    }
    let mut escaped = String::with_capacity(3 * texts.len());
    for byte in texts {
        write!(escaped, "\\{byte:02x}").expect("a text takes everything");
    }
    let text = include_str!("descriptors.wat").replace("\"TEXTS\"", &format!("\"{escaped}\""));
    wat::parse_str(text.replace("i32.const LIST", &format!("i32.const {}", list as i32))).expect("a well-formed text")
}

fn name(n: u32, random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => Vec::new(),
        1 => b"\xff\xfe".to_vec(),
        2 => "\u{1b}[31m".into(),
        3 => vec![b'x'; 1 + random.index(300)],
        4 => "same".into(),
        5 => "../../etc/passwd#?%00 ;'\"<script>".into(),
        6 => format!("\u{202e}{n}\u{200b}").into(),
        _ => format!("task-{n}").into(),
    }
}

fn docs(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => vec![b'd'; random.index(100_000)],
        1 => b"\xc3\x28".to_vec(),
        2 => "\u{0}\u{1b}]0;title\u{7}".into(),
        _ => b"Docs.".to_vec(),
    }
}

fn schema(random: &mut Random) -> String {
    const SCHEMAS: &[&str] = &[
        "",
        "{",
        "0",
        "true",
        "null",
        "[]",
        "\"\"",
        "{}",
        "\u{0}",
        "{\"type\": \"nothing\"}",
        "{\"type\": []}",
        r##"{"$ref": "#"}"##,
        r##"{"items": {"$ref": "#"}}"##,
        r##"{"$ref": "#/nowhere"}"##,
        r##"{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}"##,
        r##"{"$dynamicRef": "#x", "$dynamicAnchor": "x"}"##,
        r##"{"$recursiveRef": "#", "$recursiveAnchor": true}"##,
        r#"{"$ref": "http://127.0.0.1:1/x"}"#,
        r#"{"$ref": "file:///etc/passwd"}"#,
        r#"{"$id": "http://[::1", "$ref": "x"}"#,
        r#"{"$schema": "http://example.org/unknown"}"#,
        r#"{"$schema": "http://json-schema.org/draft-04/schema#"}"#,
        r#"{"pattern": "(a+)+$"}"#,
        r#"{"pattern": "(?=a)(?<!b)\\1"}"#,
        r#"{"pattern": "((((x{1000}){1000}){1000}){1000}"}"#,
        r#"{"pattern": "x{2000}{2000}"}"#,
        r#"{"pattern": "("}"#,
        r#"{"patternProperties": {"[": {}}}"#,
        r#"{"pattern": "\\p{L}{900}"}"#,
        r#"{"minItems": -1}"#,
        r#"{"maxLength": 1e400}"#,
        r#"{"multipleOf": 0}"#,
        r#"{"multipleOf": 1e-320}"#,
        r#"{"minimum": 1e999}"#,
        r#"{"minItems": 18446744073709551615}"#,
        r#"{"type": "array", "minItems": 1000000000, "items": {"type": "integer"}}"#,
        r#"{"type": "object", "required": ["a", "a", ""], "properties": {"a": {"const": {"b": [null]}}}}"#,
        r#"{"enum": []}"#,
        r#"{"enum": [{"\u0000": "\ud83d\ude00"}]}"#,
        r#"{"const": 123456789012345678901234567890}"#,
        r#"{"const": "\ud800"}"#,
        r#"{"type": "string", "format": "regex"}"#,
        r#"{"type": "string", "contentEncoding": "base64"}"#,
        r##"{"unevaluatedProperties": false, "allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {"unevaluatedItems": false}}}"##,
        r#"{"a": 1, "a": 2}"#,
    ];
    match random.below(10) {
        0 => {
            let depth = 1 + random.index(20_000);
            format!("{}true{}", r#"{"not":"#.repeat(depth), "}".repeat(depth))
        }
        1 => format!("{{\"allOf\": [{}true]}}", r#"{"type": "integer"},"#.repeat(random.index(10_000))),
        2 => format!(r#"{{"title": "{}"}}"#, "x".repeat(random.index(300_000))),
        3 => format!("{}{}", "[".repeat(random.index(100_000)), "]".repeat(50_000)),
        _ => (*random.pick(SCHEMAS)).to_owned(),
    }
}
