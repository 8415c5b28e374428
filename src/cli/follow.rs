//! Follows a task to its end: its log to stderr as it comes, its result to stdout.

use std::time::Duration;

use super::error::CliError;
use super::output::Output;
use super::text;
use crate::client::{Answer, Call, Client, LogLine, Task};
use crate::model::TaskState;

/// How often the log is looked at while the task runs.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Prints log lines of all tries, each once.
pub(super) struct LogPrinter<'a> {
    client: &'a Client,
    id: String,
    try_number: u32,
    /// The last line printed of that try.
    last: Option<u64>,
    /// How the task was when the log was last read: a log that cannot have grown is not read again.
    read_at: Option<(u32, TaskState)>,
}

impl<'a> LogPrinter<'a> {
    pub(super) fn new(client: &'a Client, id: &str, first_try: u32) -> Self {
        Self { client, id: id.to_owned(), try_number: first_try, last: None, read_at: None }
    }

    /// Hands over what is new up to the try that `task` is at.
    pub(super) async fn catch_up(
        &mut self,
        task: &Task,
        print: &mut dyn FnMut(&LogLine) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let now = (task.try_number, task.state);
        if task.state != TaskState::Running && self.read_at == Some(now) {
            return Ok(());
        }
        self.read_at = Some(now);
        while self.try_number <= task.try_number {
            let lines = self.client.log(&self.id, Some(self.try_number)).await?;
            for line in &lines {
                if self.last.is_none_or(|last| line.seq > last) {
                    print(line)?;
                    self.last = Some(line.seq);
                }
            }
            if self.try_number == task.try_number {
                return Ok(());
            }
            self.try_number += 1;
            self.last = None;
            eprintln!("-- try {}", self.try_number);
        }
        Ok(())
    }
}

/// `08:15:30.123 INFO  message`
pub(super) fn log_line(line: &LogLine) -> String {
    let at = line.at.to_string();
    let time = at.split_once('T').map_or(at.as_str(), |(_, time)| time).get(..12).unwrap_or_default();
    let word = line.level.as_deref().filter(|level| !level.is_empty()).unwrap_or(&line.stream).to_uppercase();
    format!("{time} {word:<6} {}", text::lines(line.message.trim_end_matches('\n')))
}

pub(super) fn to_stderr(line: &LogLine) -> Result<(), CliError> {
    eprintln!("{}", log_line(line));
    Ok(())
}

/// Waits until the task that `answer` shows has ended, and returns how it then was.
pub(super) async fn to_end(client: &Client, answer: Answer, with_log: bool) -> Result<(Answer, Task), CliError> {
    let mut answer = answer;
    let mut task: Task = answer.read()?;
    let mut log = LogPrinter::new(client, &task.id, 1);
    loop {
        if with_log {
            log.catch_up(&task, &mut to_stderr).await?;
        }
        if task.state.is_final() {
            return Ok((answer, task));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        answer = client.task(&task.id).await?;
        task = answer.read()?;
    }
}

/// Tells how a task ended: its result on stdout, or its error on stderr.
pub(super) async fn tell(client: &Client, output: &Output, answer: &Answer, task: &Task) -> Result<(), CliError> {
    if output.is_json() {
        output.json(&answer.json()?)?;
    }
    match task.state {
        TaskState::Success => {
            if !output.is_json() {
                result(client, output, task).await?;
            }
            Ok(())
        }
        TaskState::Skipped | TaskState::Removed => {
            eprintln!("task {} {}", task.id, task.state);
            Ok(())
        }
        _ => {
            eprintln!("{}", ending(task));
            Err(CliError::TaskFailed)
        }
    }
}

/// The result on stdout, also where it is kept as an artifact.
pub(super) async fn result(client: &Client, output: &Output, task: &Task) -> Result<(), CliError> {
    match &task.result {
        Some(result) if task.result_ref.is_none() => output.value(result),
        _ => {
            let whole = client.call(Call::get(&["tasks", &task.id, "result"])).await?;
            output.value(&whole.json()?)
        }
    }
}

/// How and why a task did not succeed.
fn ending(task: &Task) -> String {
    let outcome = task.outcome.map_or_else(|| task.state.to_string(), |outcome| outcome.to_string());
    let mut said = format!("task {} ended as {} after {} tries: {outcome}", task.id, task.state, task.try_number);
    if task.try_number == 1 {
        said = said.replace("1 tries", "1 try");
    }
    let Some(error) = &task.error else { return said };
    said += &format!("\n  {}", text::lines(&error.message));
    if let Some(data) = &error.data {
        said += &format!("\n  data: {}", text::line(data.as_str()));
    }
    if let Some(code) = error.exit_code {
        said += &format!("\n  exit code {code}");
    }
    for call in &error.denied_calls {
        said += &format!("\n  denied: {}", text::line(call));
    }
    for frame in &error.backtrace {
        said += &format!("\n    at {}", text::line(frame));
    }
    said
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;
    use axum::routing::get;

    use super::*;
    use crate::client::stub;

    fn task(try_number: u32) -> Task {
        serde_json::from_value(serde_json::json!({
            "id": "task_1", "state": "running", "outcome": null, "try_number": try_number, "module": "m", "function": "f",
            "queued_at": "2026-11-23T08:15:30Z", "start_date": null, "end_date": null, "duration_ms": null
        }))
        .expect("a task")
    }

    #[tokio::test]
    async fn every_line_of_every_try_is_printed_once() {
        /// Three lines for each try, whatever has been read already.
        async fn log(Query(query): Query<std::collections::BTreeMap<String, String>>) -> String {
            let line = |seq| {
                let message = format!("{} of try {}", seq, query["try_number"]);
                serde_json::json!({"seq": seq, "at": "2026-11-23T08:15:30Z", "stream": "log", "level": "info", "message": message})
            };
            [1, 2, 3].map(|seq| format!("{}\n", line(seq))).concat()
        }

        let base = stub::serve(axum::Router::new().route("/api/v1/tasks/{id}/log", get(log))).await;
        let client = Client::new(&base, None).expect("a client");
        let mut printer = LogPrinter::new(&client, "task_1", 1);
        let mut printed = Vec::new();
        for try_number in [0, 1, 1, 2, 2] {
            let mut print = |line: &LogLine| {
                printed.push(line.message.clone());
                Ok(())
            };
            printer.catch_up(&task(try_number), &mut print).await.unwrap_or_else(|error| panic!("{error:?}"));
        }
        let all = [1, 2].map(|n| [1, 2, 3].map(|seq| format!("{seq} of try {n}"))).concat();
        assert_eq!(printed, all);
    }

    #[test]
    fn a_log_line_is_one_line_of_ours() {
        let line: LogLine = serde_json::from_value(serde_json::json!({
            "seq": 1, "at": "2026-11-23T08:15:30.123456Z", "stream": "log", "level": "info",
            "message": "one\n08:15:31.000 ERROR \u{1b}[31mforged\n"
        }))
        .expect("a line");
        assert_eq!(log_line(&line), "08:15:30.123 INFO   one\n  08:15:31.000 ERROR \\u{1b}[31mforged");
    }

    #[test]
    fn a_failure_is_told_with_its_reason() {
        let task: Task = serde_json::from_value(serde_json::json!({
            "id": "task_1", "state": "failed", "outcome": "trapped", "try_number": 1, "module": "m", "function": "f",
            "queued_at": "2026-11-23T08:15:30Z", "start_date": null, "end_date": null, "duration_ms": null,
            "error": {"message": "unreachable", "data": {"a": 1}, "backtrace": ["f", "main"], "denied_calls": []}
        }))
        .expect("a task");
        assert_eq!(
            ending(&task),
            "task task_1 ended as failed after 1 try: trapped\n  unreachable\n  data: {\"a\":1}\n    at f\n    at main"
        );
    }
}
