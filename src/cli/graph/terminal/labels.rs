//! Says what stands for a task: its state as a symbol, its id, and what else there is to say.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::graph::Drawing;
use crate::cli::text;

#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) unicode: bool,
    pub(super) colour: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    #[default]
    Plain,
    Faint,
    /// The colour's number in ANSI's escape codes.
    Colour(u8),
}

/// A text of one line, in pieces.
#[derive(Debug, Clone, Default)]
pub(super) struct Label(pub(super) Vec<(String, Tone)>);

impl Label {
    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(text, _)| text.width()).sum()
    }
}

/// State, symbol, the same in ASCII, colour.
const STATES: [(&str, &str, &str, u8); 11] = [
    ("success", "✔", "+", 32),
    ("failed", "✘", "x", 31),
    ("upstream_failed", "⊘", "!", 33),
    ("running", "●", "*", 36),
    ("up_for_retry", "↻", "~", 33),
    ("deferred", "◔", "=", 35),
    ("queued", "◌", ".", 90),
    ("scheduled", "◦", ":", 90),
    ("skipped", "○", "-", 35),
    ("cancelled", "⊗", "#", 31),
    ("removed", "∅", "0", 90),
];

fn symbol(state: &str, style: Style) -> (&'static str, Tone) {
    match STATES.iter().find(|known| known.0 == state) {
        Some(&(_, symbol, ascii, colour)) => (if style.unicode { symbol } else { ascii }, Tone::Colour(colour)),
        None => ("?", Tone::Plain),
    }
}

/// What stands for the task. `longest` is how many columns the id may take.
pub(super) fn label(drawing: &Drawing, task: usize, with_text: bool, longest: usize, style: Style) -> Label {
    let drawn = &drawing.tasks[task];
    let mut pieces = Vec::new();
    let mut tone = Tone::Plain;
    if let Some(state) = &drawn.state {
        let (symbol, colour) = symbol(state, style);
        tone = colour;
        pieces.push((format!("{symbol} "), tone));
    }
    let id = clean(&drawn.id, style);
    pieces.push((shorten(&id, longest, style), tone));
    if let Some(instances) = drawn.kind.instances(style.unicode) {
        pieces.push((format!(" {instances}"), tone));
    }
    let text = drawn.label.as_deref().filter(|text| with_text && !text.is_empty()).map(|text| clean(text, style));
    let said: Vec<&str> = drawn.kind.word().into_iter().chain(text.as_deref()).collect();
    if !said.is_empty() {
        pieces.push((format!(" ({})", said.join(", ")), Tone::Faint));
    }
    Label(pieces)
}

/// The states that occur, with their symbols, or nothing.
pub(super) fn legend(drawing: &Drawing, width: usize, style: Style) -> String {
    let states: Vec<&str> = drawing.tasks.iter().filter_map(|task| task.state.as_deref()).collect();
    let known = STATES.iter().map(|known| known.0).filter(|known| states.contains(known));
    let unknown = states.iter().any(|state| STATES.iter().all(|known| known.0 != *state)).then_some("unknown");
    let entry = |state| {
        let (symbol, tone) = symbol(state, style);
        Label(vec![(format!("{symbol} {state}"), tone)])
    };
    flow(known.chain(unknown).map(entry), width, style).map(|line| format!("\n{line}")).unwrap_or_default()
}

/// The labels side by side, as many to a line as fit. None if there are none, or one is too wide.
pub(super) fn flow(labels: impl Iterator<Item = Label>, width: usize, style: Style) -> Option<String> {
    let mut text = String::new();
    let mut used = 0;
    for label in labels {
        let room = label.width();
        if room > width {
            return None;
        }
        let fits = used + 2 + room <= width;
        text.push_str(match used {
            0 => "",
            _ if fits => "  ",
            _ => "\n",
        });
        used = if used > 0 && fits { used + 2 + room } else { room };
        text.extend(label.0.iter().map(|(piece, tone)| paint(piece, *tone, style)));
    }
    (!text.is_empty()).then(|| text + "\n")
}

pub(super) fn paint(text: &str, tone: Tone, style: Style) -> String {
    match tone {
        _ if !style.colour => text.to_owned(),
        Tone::Plain => text.to_owned(),
        Tone::Faint => format!("\x1b[2m{text}\x1b[0m"),
        Tone::Colour(colour) => format!("\x1b[{colour}m{text}\x1b[0m"),
    }
}

/// The text on one line, every character with a width of its own.
fn clean(text: &str, style: Style) -> String {
    let keep = |character: char| match character {
        '\t' => Some(' '),
        _ if character.width().unwrap_or(0) == 0 => None,
        _ if !style.unicode && !character.is_ascii() => Some('?'),
        _ => Some(character),
    };
    text::line(text).chars().filter_map(keep).collect()
}

/// At most so many columns, with a sign where something is left out.
pub(super) fn shorten(text: &str, longest: usize, style: Style) -> String {
    if text.width() <= longest {
        return text.to_owned();
    }
    let sign = if style.unicode { "…" } else { "..." };
    let mut short = String::new();
    let mut used = sign.width();
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > longest {
            break;
        }
        short.push(character);
    }
    short + &sign[..if longest < sign.width() && !style.unicode { longest } else { sign.len() }]
}
