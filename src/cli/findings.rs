//! Shows mistakes in DAG files where they are: the message, the line, and a caret below it.

use std::collections::BTreeSet;
use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

use super::output::Tone;
use super::refusal::in_commands;
use super::text;
use crate::client::{DagFile, ProblemPlace};
use crate::dag::Located;

/// One mistake, and the file it is in.
#[derive(Debug, PartialEq)]
pub(super) struct Mistake {
    file: Option<String>,
    /// Line and column, from 1, the column in characters.
    place: Option<(u64, u64)>,
    message: String,
    code: String,
}

impl From<&ProblemPlace> for Mistake {
    fn from(place: &ProblemPlace) -> Self {
        // `etl.yaml#/tasks/parse`: an older server may say the file only so.
        let of_path = || place.path.as_deref().and_then(|path| path.split_once('#')).map(|(file, _)| file.to_owned());
        let remedy = place.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        Self {
            file: place.file.clone().or_else(of_path),
            place: place.line.map(|line| (line, place.column.unwrap_or(1))),
            message: in_commands(&place.code, &format!("{}{remedy}", place.message)),
            code: place.code.clone(),
        }
    }
}

impl Mistake {
    /// Of a file read here.
    pub(super) fn found(file: &str, located: &Located) -> Self {
        let remedy = located.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        Self {
            file: Some(file.to_owned()),
            place: Some((located.line.into(), located.column.into())),
            message: format!("{}{remedy}", located.message),
            code: located.code.to_string(),
        }
    }
}

/// All mistakes, one below the other, then how many there are. `files` are those that were sent.
pub(super) fn shown(mistakes: &[Mistake], files: &[DagFile], width: usize, colour: bool) -> String {
    let mut out = String::new();
    for mistake in mistakes {
        let file = mistake.file.as_deref().unwrap_or("?");
        let place = mistake.place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        let code = if mistake.code.is_empty() { String::new() } else { format!(" [{}]", text::line(&mistake.code)) };
        put(&mut out, format_args!("{}{place}: {}{code}\n", text::line(file), text::lines(&mistake.message)));
        let content = files.iter().find(|sent| sent.path == file).map(|sent| sent.content.as_str());
        if let (Some((line, column)), Some(content)) = (mistake.place, content) {
            out.push_str(&pointed(content, line, column, width, colour));
        }
    }
    let wrong_files: BTreeSet<_> = mistakes.iter().map(|mistake| &mistake.file).collect();
    put(&mut out, format_args!("{}", text::plural(mistakes.len() as u64, "mistake")));
    if wrong_files.len() > 1 {
        put(&mut out, format_args!(" in {}", text::plural(wrong_files.len() as u64, "file")));
    }
    out + "\n"
}

/// The line of the file, and below it carets from `column` to the end of the word there.
fn pointed(content: &str, line: u64, column: u64, width: usize, colour: bool) -> String {
    let nth = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    // Other than with `lines`, an empty file has a first line, on which something is missing.
    let Some(written) = content.split('\n').nth(nth) else { return String::new() };
    let written = written.strip_suffix('\r').unwrap_or(written);
    let at = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
    let margin = line.to_string().len().max(4);
    let room = width.saturating_sub(margin + 3).max(20);

    // Of a long line, what is around the place. A character is shown with its width in mind: a tab has none of its
    // own, and some must not reach a terminal.
    let shown = |character: char| match character {
        '\t' => " ".to_owned(),
        character => text::line(character.encode_utf8(&mut [0; 4])),
    };
    let skipped = at.saturating_sub(room);
    let near: Vec<char> = written.chars().skip(skipped).take(2 * room).collect();
    let cells: Vec<String> = near.iter().map(|character| shown(*character)).collect();
    let at = (at - skipped).min(cells.len());
    let columns = |cells: &[String]| cells.iter().map(|cell| columns(cell)).sum::<usize>();
    let word = near[at..].iter().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')).count();
    let mut first = 0;
    while columns(&cells[first..at]) + 1 > room * 2 / 3 {
        first += 1;
    }
    let mut last = first;
    while last < cells.len() && columns(&cells[first..=last]) <= room {
        last += 1;
    }
    let before = columns(&cells[first..at]);
    let end = (at + word).min(last).max(at);
    let carets = "^".repeat(columns(&cells[at..end]).max(1));
    let carets = if colour { Tone::Bad.paint(&carets) } else { carets };
    let source = cells[first..last].concat();
    format!("{line:>margin$} | {source}\n{:margin$} | {:before$}{carets}\n", "", "")
}

fn columns(text: &str) -> usize {
    text.chars().map(|character| character.width().unwrap_or(0)).sum()
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &str) -> DagFile {
        DagFile { path: path.to_owned(), content: content.to_owned() }
    }

    fn mistakes(places: serde_json::Value) -> Vec<Mistake> {
        let places: Vec<ProblemPlace> = serde_json::from_value(places).expect("places");
        places.iter().map(Mistake::from).collect()
    }

    #[test]
    fn a_mistake_is_shown_in_its_line() {
        let files = [
            file("etl.yaml", "dag_id: etl\ntasks:\n  parse:\n    upstream: [extarct]\n"),
            file("b.yaml", "dag_id: b c\n"),
        ];
        let mistakes = mistakes(serde_json::json!([
            {"file": "etl.yaml", "path": "etl.yaml#/tasks/parse/upstream/0", "line": 4, "column": 16,
             "code": "unknown_task", "message": "there is no task `extarct`", "remedy": "did you mean `extract`?"},
            {"path": "b.yaml#/dag_id", "line": 1, "column": 9, "code": "not_a_name", "message": "`b c` is no name"},
            {"file": "etl.yaml", "line": 99, "column": 1, "code": "x", "message": "beyond the end"},
            {"message": "somewhere"},
        ]));
        let shown = shown(&mistakes, &files, 80, false);
        insta::assert_snapshot!(shown, @r"
        etl.yaml:4:16: there is no task `extarct`; did you mean `extract`? [unknown_task]
           4 |     upstream: [extarct]
             |                ^^^^^^^
        b.yaml:1:9: `b c` is no name [not_a_name]
           1 | dag_id: b c
             |         ^
        etl.yaml:99:1: beyond the end [x]
        ?: somewhere
        4 mistakes in 3 files
        ");
    }

    #[test]
    fn carets_stand_below_the_word_whatever_is_before_it() {
        for (line, column, expected) in [
            ("a: b", 4, "   1 | a: b\n     |    ^\n"),
            ("\tkey: x", 2, "   1 |  key: x\n     |  ^^^\n"),
            ("名前: x", 5, "   1 | 名前: x\n     |       ^\n"),
            ("\u{1b}[2J: x", 7, "   1 | \\u{1b}[2J: x\n     |            ^\n"),
            ("", 1, "   1 | \n     | ^\n"),
            ("ab", 9, "   1 | ab\n     |   ^\n"),
        ] {
            assert_eq!(pointed(line, 1, column, 80, false), expected, "{line:?}");
        }
        assert_eq!(pointed("a: b", 1, 4, 80, true), "   1 | a: b\n     |    \x1b[31m^\x1b[0m\n");
    }

    #[test]
    fn of_a_long_line_the_place_is_shown() {
        let line = format!("{}here{}", "x ".repeat(200), " y".repeat(200));
        let shown = pointed(&line, 1, 401, 60, false);
        let (source, carets) = shown.split_once('\n').expect("two lines");
        assert!(source.len() <= 60, "{source}");
        assert_eq!(source.find("here"), carets.find("^^^^"), "{shown}");
    }
}
