//! A sheet of character cells on which lines meet, cross and turn.

use unicode_width::UnicodeWidthChar;

use super::labels::{Label, Style, Tone, paint};

/// Where the drawing runs. `along` counts that way, `across` to the side: down, or to the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Right,
    Down,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    /// Bits 1, 2, 4, 8: a line leaves the cell upward, to the right, downward, to the left.
    ways: u8,
    /// The bundles whose lines run along and across here. They meet if they are the same, and else they cross.
    along: Option<usize>,
    across: Option<usize>,
    text: Option<char>,
    tone: Tone,
    /// Taken by the wide character before.
    covered: bool,
}

pub(super) struct Canvas {
    direction: Direction,
    width: usize,
    cells: Vec<Cell>,
}

const UP: u8 = 1;
const RIGHT: u8 = 2;
const DOWN: u8 = 4;
const LEFT: u8 = 8;

const LINES: [char; 16] = [' ', '│', '─', '╰', '│', '│', '╭', '├', '─', '╯', '─', '┴', '╮', '┤', '┬', '┼'];
const ASCII: [char; 16] = [' ', '|', '-', '+', '|', '|', '+', '+', '-', '+', '-', '+', '+', '+', '+', '+'];

impl Canvas {
    pub(super) fn new(direction: Direction, along: usize, across: usize) -> Self {
        let (width, height) = match direction {
            Direction::Right => (along, across),
            Direction::Down => (across, along),
        };
        Self { direction, width, cells: vec![Cell::default(); width * height] }
    }

    fn cell(&mut self, along: usize, across: usize) -> &mut Cell {
        let (x, y) = match self.direction {
            Direction::Right => (along, across),
            Direction::Down => (across, along),
        };
        &mut self.cells[y * self.width + x]
    }

    /// A line of the bundle from one cell to another, both included. At its ends it goes on to the next cell if so asked.
    pub(super) fn along(&mut self, from: usize, to: usize, across: usize, bundle: usize, (enter, leave): (bool, bool)) {
        let (back, forth) = match self.direction {
            Direction::Right => (LEFT, RIGHT),
            Direction::Down => (UP, DOWN),
        };
        for at in from..=to {
            let cell = self.cell(at, across);
            cell.ways |= if at > from || enter { back } else { 0 } | if at < to || leave { forth } else { 0 };
            cell.along = Some(bundle);
        }
    }

    pub(super) fn across(&mut self, along: usize, from: usize, to: usize, bundle: usize) {
        let (less, more) = match self.direction {
            Direction::Right => (UP, DOWN),
            Direction::Down => (LEFT, RIGHT),
        };
        for at in from..=to {
            let cell = self.cell(along, at);
            cell.ways |= if at > from { less } else { 0 } | if at < to { more } else { 0 };
            cell.across = Some(bundle);
        }
    }

    /// Lets lines of several bundles flow together; `across` are the cells they arrive at and leave from.
    pub(super) fn merge(&mut self, along: usize, from: usize, to: usize) {
        self.across(along, from, to, 0);
        for at in from..=to {
            let cell = self.cell(along, at);
            cell.across = None;
        }
    }

    pub(super) fn arrow(&mut self, along: usize, across: usize, style: Style) {
        let arrow = match (self.direction, style.unicode) {
            (Direction::Right, true) => '▶',
            (Direction::Right, false) => '>',
            (Direction::Down, true) => '▼',
            (Direction::Down, false) => 'v',
        };
        self.cell(along, across).text = Some(arrow);
    }

    /// Writes to the right, whatever the direction of the drawing.
    pub(super) fn write(&mut self, along: usize, across: usize, label: &Label) {
        let (mut x, y) = match self.direction {
            Direction::Right => (along, across),
            Direction::Down => (across, along),
        };
        for (text, tone) in &label.0 {
            for character in text.chars() {
                let width = character.width().unwrap_or(0);
                for (column, cell) in self.cells[y * self.width + x..][..width].iter_mut().enumerate() {
                    *cell = Cell { text: Some(character), tone: *tone, covered: column > 0, ..Cell::default() };
                }
                x += width;
            }
        }
    }

    pub(super) fn print(&self, style: Style) -> String {
        let mut out = String::new();
        for row in self.cells.chunks(self.width) {
            let mut pieces: Vec<(String, Tone)> = Vec::new();
            for cell in row.iter().filter(|cell| !cell.covered) {
                let tone = if cell.text.is_some() { cell.tone } else { Tone::Plain };
                let character = cell.text.unwrap_or_else(|| cell.line(style));
                match pieces.last_mut().filter(|piece| piece.1 == tone) {
                    Some(piece) => piece.0.push(character),
                    None => pieces.push((character.to_string(), tone)),
                }
            }
            while let Some(last) = pieces.last_mut() {
                last.0.truncate(last.0.trim_end().len());
                if !last.0.is_empty() {
                    break;
                }
                pieces.pop();
            }
            out.extend(pieces.iter().map(|(text, tone)| paint(text, *tone, style)));
            out.push('\n');
        }
        out
    }
}

impl Cell {
    fn line(&self, style: Style) -> char {
        let crosses = matches!((self.along, self.across), (Some(along), Some(across)) if along != across);
        // The line across the page passes behind the one down the page.
        let ways = if crosses { UP | DOWN } else { self.ways };
        if style.unicode { LINES[usize::from(ways)] } else { ASCII[usize::from(ways)] }
    }
}
