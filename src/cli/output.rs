//! What goes to stdout: tables for people, JSON for programs.

use std::io::{IsTerminal, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use super::error::CliError;
use super::text;
use crate::model::{Json, TaskState};

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
        // https://no-color.org: any value but the empty one.
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, terminal, colour: terminal && !unwanted }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
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

#[derive(Debug, Clone, Copy)]
pub(super) enum Tone {
    Good,
    Bad,
    Busy,
    Waiting,
}

/// One cell: a text, perhaps coloured.
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
}
