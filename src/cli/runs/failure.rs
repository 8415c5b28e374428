//! Tells in one place all that is known of a failed task: why, what it said last, what it might do and what it used.

use std::fmt::Write;

use super::super::follow::log_line;
use super::super::tasks::granted;
use super::super::text;
use super::full_name;
use crate::client::{LogLine, RunTask};

/// Lines of the log that are shown.
const LOG_LINES: usize = 10;

/// Characters of a value that are shown.
const DATA_CHARS: usize = 4_000;

/// `log`: the last try's, or why it cannot be shown.
pub(super) fn failure(task: &RunTask, log: &Result<Vec<LogLine>, String>) -> String {
    let mut out = String::new();
    let mut put = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("a String takes all");
    put(format_args!("{} {}\n", headline(task), text::line(&task.id)));
    if let Some(error) = &task.error {
        put(format_args!("  {}\n", text::lines(&error.message).replace('\n', "\n  ")));
        if let Some(data) = &error.data {
            put(format_args!("  data: {}\n", shortened(data.as_str())));
        }
        if let Some(code) = error.exit_code {
            put(format_args!("  exit code {code}\n"));
        }
        for call in &error.denied_calls {
            put(format_args!("  denied: {}\n", text::line(call)));
        }
        for frame in &error.backtrace {
            put(format_args!("    at {}\n", text::line(frame)));
        }
    }
    if task.try_number == 0 {
        // It never began, so it logged and used nothing.
        return out;
    }
    match log {
        Err(reason) => put(format_args!("  log: {}\n", text::line(reason))),
        Ok(lines) if lines.is_empty() => put(format_args!("  log: empty\n")),
        Ok(lines) => {
            let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
            match lines.len() - last.len() {
                0 => put(format_args!("  log:\n")),
                more => put(format_args!("  log, after {more} lines more:\n")),
            }
            for line in last {
                put(format_args!("    {}\n", log_line(line).replace('\n', "\n    ")));
            }
        }
    }
    let grants = granted(task.grants.as_ref()).unwrap_or_else(|| "nothing".to_owned());
    put(format_args!("  granted: {}\n", text::line(&grants)));
    if let Some(used) = used(task) {
        put(format_args!("  used: {used}\n"));
    }
    out
}

/// `parse[3] (b.csv) failed: trapped, try 2, after 1.23s`
pub(super) fn headline(task: &RunTask) -> String {
    // `failed: failed` says nothing more.
    let outcome = task.outcome.filter(|outcome| outcome.as_str() != task.state.as_str());
    let outcome = outcome.map(|outcome| format!(": {outcome}")).unwrap_or_default();
    let length = task.duration_ms.map(|ms| format!(", after {}", text::milliseconds(ms))).unwrap_or_default();
    let name = text::line(&full_name(task));
    match task.try_number {
        0 => format!("{name} {} before its first try", task.state),
        number => format!("{name} {}{outcome}, try {number}{length}", task.state),
    }
}

/// With the limits it had: often one of them says why.
fn used(task: &RunTask) -> Option<String> {
    let usage = task.usage?;
    let of = |limit: Option<String>| limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let limits = task.limits.as_ref();
    let cpu = text::milliseconds(usage.cpu_us as f64 / 1e3);
    let memory = text::size(usage.peak_memory_bytes);
    Some(format!(
        "{cpu}{} processor, {memory}{} memory, {}{} log, {} in and out, {} of the host{}",
        of(limits.map(|limits| limits.cpu_time.to_string())),
        of(limits.map(|limits| text::size(limits.memory_bytes))),
        text::size(usage.log_bytes),
        of(limits.map(|limits| text::size(limits.log_bytes))),
        text::size(usage.host_bytes),
        text::plural(usage.host_calls, "call"),
        limits.map(|limits| format!("; at most {} a try", limits.execution_timeout)).unwrap_or_default(),
    ))
}

fn shortened(data: &str) -> String {
    let mut shown: String = data.chars().take(DATA_CHARS).collect();
    if shown.len() < data.len() {
        shown.push('…');
    }
    text::line(&shown)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures;
    use super::*;
    use crate::model::Limits;

    fn log(lines: usize) -> Vec<LogLine> {
        let line = |seq: usize| {
            json!({"seq": seq, "at": "2026-11-23T08:15:30.5Z", "stream": "log", "level": "info",
                "message": format!("line {seq}")})
        };
        (1..=lines).map(|seq| serde_json::from_value(line(seq)).expect("a line")).collect()
    }

    #[test]
    fn everything_about_a_failure_is_in_one_place() {
        let mut task = fixtures::task_json("parse", 3, "failed");
        let more = json!({"outcome": "failed", "rendered_map_index": "b.csv", "try_number": 2, "duration_ms": 1234.0,
            "error": {"message": "row 7\nis torn", "data": {"row": 7}, "exit_code": 3, "backtrace": ["parse", "main"],
                "denied_calls": ["GET http://10.0.0.1/"]},
            "grants": {"env": {"SECRET": "hush"}, "scratch": {"bytes": 1048576}}, "limits": Limits::default(),
            "usage": {"cpu_us": 420, "peak_memory_bytes": 1048576, "host_bytes": 10, "log_bytes": 20, "host_calls": 1}});
        task.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
        let task: RunTask = serde_json::from_value(task).expect("a task");
        insta::assert_snapshot!(failure(&task, &Ok(log(12))), @r#"
        parse[3] (b.csv) failed, try 2, after 1.23s task_parse[3]
          row 7
            is torn
          data: {"row":7}
          exit code 3
          denied: GET http://10.0.0.1/
            at parse
            at main
          log, after 2 lines more:
            08:15:30.500 INFO   line 3
            08:15:30.500 INFO   line 4
            08:15:30.500 INFO   line 5
            08:15:30.500 INFO   line 6
            08:15:30.500 INFO   line 7
            08:15:30.500 INFO   line 8
            08:15:30.500 INFO   line 9
            08:15:30.500 INFO   line 10
            08:15:30.500 INFO   line 11
            08:15:30.500 INFO   line 12
          granted: env SECRET, scratch 1.0 MiB
          used: 0.42ms of 1h processor, 1.0 MiB of 256.0 MiB memory, 20 B of 10.0 MiB log, 10 B in and out, 1 call of the host; at most 1h a try
        "#);
    }

    #[test]
    fn a_failure_of_which_little_is_known_is_told_all_the_same() {
        let told = failure(&fixtures::task("a", -1, "failed"), &Err("gone".to_owned()));
        assert_eq!(told, "a failed, try 1 task_a\n  log: gone\n  granted: nothing\n");
    }

    #[test]
    fn of_a_task_that_never_began_there_is_only_the_reason() {
        let mut task = fixtures::task_json("parse", -1, "failed");
        let more =
            json!({"try_number": 0, "error": {"message": "`expand` is not a list"}, "limits": Limits::default()});
        task.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
        let task: RunTask = serde_json::from_value(task).expect("a task");
        assert_eq!(
            failure(&task, &Ok(vec![])),
            "parse failed before its first try task_parse\n  `expand` is not a list\n"
        );
    }
}
