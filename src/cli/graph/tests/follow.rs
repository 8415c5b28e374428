//! Reads a drawing as a person does: follows every line from a task to the arrows it leads to.

use std::collections::BTreeSet;

use crate::cli::graph::Drawing;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Up,
    Right,
    Down,
    Left,
}

use Way::{Down, Left, Right, Up};

fn ways(line: char) -> &'static [Way] {
    match line {
        '│' => &[Up, Down],
        '─' => &[Right, Left],
        '╰' => &[Up, Right],
        '╭' => &[Right, Down],
        '╯' => &[Up, Left],
        '╮' => &[Down, Left],
        '├' => &[Up, Right, Down],
        '┤' => &[Up, Down, Left],
        '┬' => &[Right, Down, Left],
        '┴' => &[Up, Right, Left],
        '┼' => &[Up, Right, Down, Left],
        _ => &[],
    }
}

fn back(way: Way) -> Way {
    match way {
        Up => Down,
        Right => Left,
        Down => Up,
        Left => Right,
    }
}

/// From task to task, by their numbers.
pub(super) fn edges(drawing: &Drawing, text: &str) -> BTreeSet<(usize, usize)> {
    let sheet: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
    let at = |x: usize, y: usize| sheet.get(y).and_then(|row| row.get(x)).copied().unwrap_or(' ');
    let is_id = |character: char| character.is_ascii_alphanumeric() || character == '_';
    // Where a word lies that has this cell, and which task it is.
    let task_at = |x: usize, y: usize| {
        let row = &sheet[y];
        let start = (0..=x).rev().take_while(|&x| is_id(row[x])).last()?;
        let id: String = row[start..].iter().take_while(|character| is_id(**character)).collect();
        drawing.tasks.iter().position(|task| task.id == id)
    };
    let down = text.contains('▼');
    // No line leads against the direction of the drawing.
    let never = if down { Up } else { Left };
    let mut found = BTreeSet::new();
    for (y, row) in sheet.iter().enumerate() {
        let starts = (0..row.len()).filter(|&x| is_id(row[x]) && (x == 0 || !is_id(row[x - 1])));
        for start in starts {
            let source = task_at(start, y).expect("every word is a task");
            let end = (start..).take_while(|&x| x < row.len() && is_id(row[x])).last().unwrap();
            let mut open: Vec<(usize, usize, Way)> = match down {
                true => (start..=end)
                    .filter(|&x| ways(at(x, y + 1)).contains(&Up) || at(x, y + 1) == '▼')
                    .map(|x| (x, y + 1, Down))
                    .collect(),
                false if at(end + 1, y) == ' ' && !ways(at(end + 2, y)).is_empty() => vec![(end + 2, y, Right)],
                false => Vec::new(),
            };
            let mut seen = BTreeSet::new();
            while let Some((x, y, way)) = open.pop() {
                if !seen.insert((x, y, way)) {
                    continue;
                }
                match at(x, y) {
                    '▶' => drop(found.insert((
                        source,
                        task_at(x + 2, y).unwrap_or_else(|| panic!("an arrow points at no task:\n{text}")),
                    ))),
                    '▼' => drop(found.insert((
                        source,
                        task_at(x, y + 1).unwrap_or_else(|| panic!("an arrow points at no task:\n{text}")),
                    ))),
                    line => {
                        // A line across passes behind one down.
                        let passes = line == '│' && matches!(way, Left | Right);
                        assert!(passes || ways(line).contains(&back(way)), "the line breaks at {x}, {y}:\n{text}");
                        let on = if passes { std::slice::from_ref(&way) } else { ways(line) };
                        for &next in on.iter().filter(|&&next| next != never && next != back(way)) {
                            open.push(match next {
                                Up => (x, y - 1, next),
                                Right => (x + 1, y, next),
                                Down => (x, y + 1, next),
                                Left => (x - 1, y, next),
                            });
                        }
                    }
                }
            }
        }
    }
    found
}
