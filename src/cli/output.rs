//! What goes to stdout: tables for people, JSON for programs.

use std::io::{IsTerminal, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use super::error::CliError;
use super::graph::{self, Drawing};
use super::text;
use crate::model::{Json, RunState, TaskState};

/// Where there is no terminal to ask.
const PAGE_COLUMNS: usize = 120;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

pub(super) struct Output {
    format: Format,
    terminal: bool,
    colour: bool,
}

impl Output {
    pub(super) fn new(format: Format) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self { format, terminal, colour: terminal && !colour_is_unwanted() }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether somebody looks at stdout.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(super) fn has_colour(&self) -> bool {
        self.colour
    }

    /// Columns and rows of the terminal.
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok().filter(|_| self.terminal)?;
        let size = (usize::from(size.ws_col), usize::from(size.ws_row));
        (size.0 > 0 && size.1 > 0).then_some(size)
    }

    /// Columns that a line may take: those of the terminal, and a page's elsewhere.
    pub(super) fn width(&self) -> usize {
        self.size().map_or(PAGE_COLUMNS, |(columns, _)| columns)
    }

    /// A DAG as text.
    pub(super) fn drawing(&self, drawing: &Drawing) -> String {
        graph::terminal(drawing, self.width(), self.colour, !self.terminal || locale_has_unicode())
    }

    /// A text of several lines: harmless on a terminal, as it came elsewhere.
    pub(super) fn text(&self, text: &str) -> Result<(), CliError> {
        if !self.terminal {
            return self.bytes(text.as_bytes());
        }
        text.lines().try_for_each(|line| self.line(&text::line(line)))
    }

    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(CliError::Output)
    }

    pub(super) fn line(&self, line: &str) -> Result<(), CliError> {
        self.bytes(format!("{line}\n").as_bytes())
    }

    /// One value on one line. What could steer a terminal is written as `\u009b`, which is the same value.
    pub(super) fn json(&self, value: &Json) -> Result<(), CliError> {
        self.line(&text::json(value.as_str()))
    }

    /// A list in the form the API has for it.
    pub(super) fn json_list(&self, items: &[Json], next_cursor: Option<&str>) -> Result<(), CliError> {
        let list = serde_json::json!({ "items": items, "next_cursor": next_cursor });
        self.line(&text::json(&list.to_string()))
    }

    /// A value for whoever looks: set out and harmless on a terminal, as it came elsewhere.
    pub(super) fn value(&self, value: &Json) -> Result<(), CliError> {
        if !self.terminal || self.is_json() {
            return self.json(value);
        }
        // A program's text, say: without quotes, and with its line ends.
        if let Ok(whole) = serde_json::from_str::<String>(value.as_str()) {
            return self.line(&text::lines(whole.trim_end_matches('\n')));
        }
        let shown = value
            .to_value()
            .and_then(|value| serde_json::to_string_pretty(&value))
            .unwrap_or_else(|_| value.as_str().to_owned());
        for line in shown.lines() {
            self.line(&text::line(line))?;
        }
        Ok(())
    }

    /// Rows below a header. Cells are made harmless.
    pub(super) fn table(&self, header: &[&str], rows: Vec<Vec<Field>>) -> Result<(), CliError> {
        let mut table = self.plain_table();
        let bold = |title: &&str| match self.colour {
            true => Cell::new(title).add_attribute(Attribute::Bold),
            false => Cell::new(title),
        };
        table.set_header(header.iter().map(bold).collect::<Vec<_>>());
        for row in rows {
            table.add_row(row.into_iter().map(|field| self.cell(field)).collect::<Vec<_>>());
        }
        self.print(table)
    }

    /// Names and values, one pair a row.
    pub(super) fn pairs(&self, pairs: Vec<(&str, Field)>) -> Result<(), CliError> {
        let mut table = self.plain_table();
        for (name, field) in pairs {
            table.add_row(vec![Cell::new(name), self.cell(field)]);
        }
        self.print(table)
    }

    fn print(&self, mut table: Table) -> Result<(), CliError> {
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.line(&table.trim_fmt())
    }

    fn plain_table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if self.terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table
    }

    fn cell(&self, field: Field) -> Cell {
        let cell = Cell::new(text::line(&field.text));
        match field.tone.filter(|_| self.colour) {
            Some(Tone::Good) => cell.fg(Color::Green),
            Some(Tone::Bad) => cell.fg(Color::Red),
            Some(Tone::Busy) => cell.fg(Color::Cyan),
            Some(Tone::Waiting) => cell.fg(Color::Yellow),
            None => cell,
        }
    }
}

/// Whether stderr is for people's eyes and may have colours.
pub(super) fn stderr_has_colour() -> bool {
    std::io::stderr().is_terminal() && !colour_is_unwanted()
}

/// https://no-color.org: any value but the empty one.
fn colour_is_unwanted() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Only a locale that says otherwise is taken to have no more than ASCII: in containers there is often none.
fn locale_has_unicode() -> bool {
    let said = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| {
        std::env::var_os(name).map(|value| value.to_string_lossy().to_lowercase()).filter(|value| !value.is_empty())
    });
    said.is_none_or(|locale| locale.contains("utf"))
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Tone {
    Good,
    Bad,
    Busy,
    Waiting,
}

impl Tone {
    /// For what is no cell of a table.
    pub(super) fn paint(self, text: &str) -> String {
        let number = match self {
            Self::Good => 32,
            Self::Bad => 31,
            Self::Busy => 36,
            Self::Waiting => 33,
        };
        format!("\x1b[{number}m{text}\x1b[0m")
    }
}

/// One cell: a text, perhaps coloured.
#[derive(Debug, PartialEq)]
pub(super) struct Field {
    text: String,
    tone: Option<Tone>,
}

impl<T: ToString> From<T> for Field {
    fn from(text: T) -> Self {
        Self { text: text.to_string(), tone: None }
    }
}

impl Field {
    pub(super) fn or_dash(text: Option<impl ToString>) -> Self {
        text.map_or_else(|| Self::from("–"), Self::from)
    }

    pub(super) fn state(state: TaskState) -> Self {
        let tone = match state {
            TaskState::Success => Some(Tone::Good),
            TaskState::Failed | TaskState::UpstreamFailed => Some(Tone::Bad),
            TaskState::Running => Some(Tone::Busy),
            TaskState::Scheduled | TaskState::Queued | TaskState::UpForRetry | TaskState::Deferred => {
                Some(Tone::Waiting)
            }
            TaskState::Skipped | TaskState::Removed | TaskState::Cancelled => None,
        };
        Self { text: state.to_string(), tone }
    }

    pub(super) fn run_state(state: RunState) -> Self {
        let tone = match state {
            RunState::Success => Some(Tone::Good),
            RunState::Failed => Some(Tone::Bad),
            RunState::Running => Some(Tone::Busy),
            RunState::Queued => Some(Tone::Waiting),
            RunState::Cancelled => None,
        };
        Self { text: state.to_string(), tone }
    }
}
