//! Turns what is wrong with DAG files into the words of an answer.

use std::borrow::Cow;

use crate::api::bounds::MAX_MISTAKES;
use crate::api::problem::{Kind, Place, Problem};
use crate::dag::{Finding, Located};

/// What is wrong with one task's keys, with paths into the task: each place of the problem is a finding.
pub(super) fn of_problem(problem: &Problem) -> Vec<Finding> {
    let (thing, reason, remedy) = problem.words();
    let code = problem.kind().code_text();
    match problem.places() {
        [] => vec![Finding::new("/module", code, format!("{thing}: {reason}")).remedy(remedy)],
        [only] if only.code != Kind::UnknownKey.code_text() => {
            vec![Finding::new(&*only.path, code_of(only, code), format!("{thing}: {reason}")).remedy(remedy)]
        }
        several => several.iter().map(|place| of_place(place, code, remedy)).collect(),
    }
}

fn of_place(place: &Place, code: &'static str, remedy: &str) -> Finding {
    // The messages of some places say what to do.
    let (reason, own) = match place.message.split_once("; ") {
        Some((reason, remedy)) => (reason, Some(remedy)),
        None => (&*place.message, None),
    };
    let key = place.path.trim_start_matches('/').replace('/', ".");
    Finding::new(&*place.path, code_of(place, code), format!("`{key}`: {reason}"))
        .remedy(place.remedy.as_deref().or(own).unwrap_or(remedy))
}

fn code_of(place: &Place, or: &'static str) -> &'static str {
    match place.code {
        Cow::Borrowed(code) => code,
        Cow::Owned(_) => or,
    }
}

/// A mistake and the file it is in; none where there is only one.
pub(super) struct Mistake<'a> {
    pub(super) file: Option<&'a str>,
    pub(super) located: Located,
}

/// The refusal of everything that was sent, because of these.
pub(super) fn refusal(thing: String, mistakes: Vec<Mistake<'_>>) -> Problem {
    let count = mistakes.len();
    let first = mistakes.first().map_or_else(String::new, |mistake| {
        let file = mistake.file.map(|file| format!("{file}:")).unwrap_or_default();
        let Located { line, column, message, .. } = &mistake.located;
        format!("{file}{line}:{column}: {message}")
    });
    let reason = match count {
        1 => format!("there is a mistake in it, at {first}"),
        _ => format!("there are {count} mistakes in it, the first at {first}"),
    };
    let mut places: Vec<Place> = mistakes.into_iter().take(MAX_MISTAKES).map(place).collect();
    if count > MAX_MISTAKES {
        let message = format!("{} more mistakes are not listed; correct these first", count - MAX_MISTAKES);
        places.push(Place::new("", "too_many_findings", message));
    }
    Problem::new(Kind::InvalidDag, thing, reason, "correct what `errors` names, and send it again; nothing was changed")
        .at(places)
}

fn place(mistake: Mistake<'_>) -> Place {
    let Located { line, column, path, code, message, remedy } = mistake.located;
    let message = match remedy {
        Some(remedy) => format!("{message}; {remedy}"),
        None => message,
    };
    let file = mistake.file.map(str::to_owned);
    let path = match &file {
        Some(file) => format!("{file}#{path}"),
        None => path,
    };
    let (line, column) = (Some(line as usize), Some(column as usize));
    Place { file, path, line, column, code, message, remedy: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_of_a_problem_says_what_to_do() {
        let place = |path: &str, message: &str| Place::new(path, "unknown_key", message);
        let problem =
            Problem::new(Kind::UnknownKey, "key `limits.a`", "it is not known here", "did you mean `b`?").at(vec![
                place("/limits/a", "it is not known here; did you mean `b`?"),
                place("/limits/c", "it is not known here; remove it"),
            ]);
        let found: Vec<String> = of_problem(&problem)
            .into_iter()
            .map(|finding| format!("{} {} {}", finding.path, finding.message, finding.remedy.unwrap_or_default()))
            .collect();
        assert_eq!(
            found,
            [
                "/limits/a `limits.a`: it is not known here did you mean `b`?",
                "/limits/c `limits.c`: it is not known here remove it"
            ]
        );
        let invalid = of_problem(&Problem::invalid("/retries", "1001 is more than 1000", "ask for fewer"));
        assert_eq!(
            invalid,
            [Finding::new("/retries", "invalid_request", "`retries`: 1001 is more than 1000").remedy("ask for fewer")]
        );
    }

    #[test]
    fn a_mistake_in_one_of_several_files_names_it() {
        let located = Finding::new("/tasks/a", "x", "wrong").remedy("right").located(crate::dag::finding::Place::START);
        let problem = refusal("the files".into(), vec![Mistake { file: Some("etl.yaml"), located }]);
        let place = &problem.places()[0];
        assert_eq!((place.file.as_deref(), &*place.path), (Some("etl.yaml"), "etl.yaml#/tasks/a"));
        assert_eq!((place.line, place.column, &*place.message), (Some(1), Some(1), "wrong; right"));
    }
}
