//! `--queue-first`: waits until everything queued has ended, then reads in the change feed how.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;

use super::recorder::Recorder;
use crate::cli::error::CliError;
use crate::cli::progress;
use crate::client::{Client, ClientError};
use crate::model::{Json, TaskId, TaskState, Timestamp};

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// States in which a task has still to be waited for.
const WAITING: [TaskState; 4] = [TaskState::Scheduled, TaskState::Queued, TaskState::Running, TaskState::UpForRetry];

pub(super) struct Drained {
    pub(super) last_end: Timestamp,
    /// Tasks that had not ended when the last submit was answered.
    pub(super) left_at_last_submit: u64,
    /// How fast those went.
    pub(super) drain_tasks_per_s: Option<f64>,
}

/// One entry of the change feed.
#[derive(Deserialize)]
struct Event {
    seq: u64,
    at: Timestamp,
    task: Option<TaskId>,
    state: Option<String>,
    outcome: Option<String>,
}

/// Reads how everything went, once nothing waits any more. The queue began to
/// drain at `from`: the last submit, or the moment before which nothing might start.
pub(super) async fn check(
    client: &Client,
    recorder: &Mutex<Recorder>,
    last_submit: Timestamp,
    from: Timestamp,
) -> Result<Drained, CliError> {
    let ends = ends(client, recorder).await?;
    let mut recorder = recorder.lock();
    let recorder = &mut *recorder;
    let unended = recorder.ids.len() as u64 - ends.len() as u64;
    recorder.fail_because(unended, "no end of it in the change feed");
    for (id, end) in &ends {
        if end.times > 1 {
            recorder.fail_because(1, &format!("{id} ended {} times", end.times));
        } else if !end.success {
            recorder.fail_because(1, &format!("{id} did not succeed"));
        }
        if let Some(sent) = recorder.ids.get(id) {
            recorder.done.add(end.at.since(*sent));
        }
    }
    let last_end = ends.values().map(|end| end.at).max().unwrap_or(last_submit);
    let left = ends.values().filter(|end| end.at > last_submit).count() as u64;
    let draining = last_end.since(from).as_secs_f64();
    Ok(Drained {
        last_end,
        left_at_last_submit: left,
        drain_tasks_per_s: (left > 0 && draining > 0.0).then(|| left as f64 / draining),
    })
}

pub(super) async fn wait_until_empty(client: &Client, recorder: &Mutex<Recorder>) -> Result<(), CliError> {
    let newest = recorder.lock().ids.keys().max().copied();
    let spinner = progress::spinner("waiting for the queue to empty");
    // The newest is among the last to end, and looking at one task costs the server nothing.
    while let Some(newest) = newest
        && !has_ended(client, newest).await?
    {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    while any_waiting(client).await? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    spinner.finish_and_clear();
    Ok(())
}

async fn has_ended(client: &Client, id: TaskId) -> Result<bool, CliError> {
    #[derive(Deserialize)]
    struct State {
        state: TaskState,
    }
    let state: State = client.task(&id.to_string()).await?.read()?;
    Ok(state.state.is_final())
}

async fn any_waiting(client: &Client) -> Result<bool, ClientError> {
    for state in WAITING {
        let mut cursor = None;
        loop {
            let mut query = vec![("state", state.to_string()), ("limit", "1".to_owned())];
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page = client.page(&["tasks"], query).await?;
            if !page.items.is_empty() {
                return Ok(true);
            }
            // Empty, and yet perhaps not the last page.
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
    }
    Ok(false)
}

struct End {
    at: Timestamp,
    success: bool,
    times: u32,
}

/// How each of our tasks ended, by the change feed from the first of them on.
async fn ends(client: &Client, recorder: &Mutex<Recorder>) -> Result<HashMap<TaskId, End>, CliError> {
    let (first, count) = {
        let recorder = recorder.lock();
        (recorder.ids.keys().min().copied(), recorder.ids.len() as u64)
    };
    let Some(first) = first else { return Ok(HashMap::new()) };
    let id = first.to_string();
    let page = client.page(&["tasks", &id, "events"], Vec::new()).await?;
    let mut after = events(client, page.items)?.iter().map(|event| event.seq).min().unwrap_or(0).saturating_sub(1);

    let bar = progress::tasks(count, "checking the change feed");
    let mut ends: HashMap<TaskId, End> = HashMap::with_capacity(count as usize);
    loop {
        let query = vec![("after", after.to_string()), ("limit", "1000".to_owned())];
        let page = events(client, client.page(&["events"], query).await?.items)?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        let recorder = recorder.lock();
        for event in page {
            let (Some(id), Some(_)) = (event.task, &event.outcome) else { continue };
            let ended = event.state.as_deref().and_then(|state| state.parse::<TaskState>().ok());
            if !ended.is_some_and(TaskState::is_final) || !recorder.ids.contains_key(&id) {
                continue;
            }
            let success = event.outcome.as_deref() == Some("success");
            let end = ends.entry(id).or_insert(End { at: event.at, success, times: 0 });
            end.times += 1;
        }
        bar.set_position(ends.len() as u64);
    }
    bar.finish_and_clear();
    Ok(ends)
}

fn events(client: &Client, items: Vec<Json>) -> Result<Vec<Event>, ClientError> {
    let read = |item: &Json| {
        serde_json::from_str(item.as_str()).map_err(|error| ClientError::NotUnderstood {
            base: client.base().to_string(),
            call: "the change feed".to_owned(),
            reason: error.to_string(),
        })
    };
    items.iter().map(read).collect()
}
