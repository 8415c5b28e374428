//! Done again and set right by hand: clearing, marking, notes. Nothing that was is erased.

use serde_json::{Value, json};

use super::{House, address};

/// `a → b → c`, and `d` behind `a` besides.
const CHAIN: &str = r#"
    tasks:
      a: {function: echo, input: 1}
      b: {upstream: a, function: flaky, input: {succeeds_at: "{{ conf.at }}"}}
      c: {upstream: b, function: echo, input: "{{ tasks.b.output }}"}
      d: {upstream: a, function: echo}
"#;

async fn with_chain() -> House {
    let house = House::new().await;
    house.dag("it", CHAIN).await;
    house
}

fn cleared(answer: &Value) -> Value {
    let tasks = answer["cleared"].as_array().unwrap();
    let mut tasks: Vec<Value> =
        tasks.iter().map(|task| json!([task["task_id"], task["map_index"], task["state"]])).collect();
    tasks.sort_by_key(Value::to_string);
    json!(tasks)
}

#[tokio::test]
async fn one_task_is_done_again_and_nothing_else() {
    let house = with_chain().await;
    let run = house.run_dag("it", json!({"at": 1})).await.ended("success");
    let answer = house.clear(run.id(), json!({"task_ids": ["b"]})).await;
    assert_eq!(cleared(&answer), json!([["b", -1, "success"]]));
    assert_eq!((&answer["dry_run"], &answer["run"]["state"]), (&json!(false), &json!("running")));
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(again.tries(), json!({"a": 1, "b": 2, "c": 1, "d": 1}));
    assert_eq!((again.output("b"), again.output("c")), (&json!(2), &json!(1)), "c is as it was");
    assert_eq!(again.task("b")["id"], run.task("b")["id"]);
    assert_eq!(again.task("c"), run.task("c"));
}

#[tokio::test]
async fn a_task_is_done_again_with_what_is_behind_it_or_before_it() {
    let house = with_chain().await;
    let run = house.run_dag("it", json!({"at": 1})).await.ended("success");
    let answer = house.clear(run.id(), json!({"task_ids": ["b"], "include_downstream": true})).await;
    assert_eq!(cleared(&answer), json!([["b", -1, "success"], ["c", -1, "success"]]));
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(again.tries(), json!({"a": 1, "b": 2, "c": 2, "d": 1}));
    assert_eq!(again.output("c"), 2, "it read the new output");
    house.clear(run.id(), json!({"task_ids": ["b"], "include_upstream": true})).await;
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(again.tries(), json!({"a": 2, "b": 3, "c": 2, "d": 1}));
    house.clear(run.id(), json!({})).await;
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(again.tries(), json!({"a": 3, "b": 4, "c": 3, "d": 2}));
}

#[tokio::test]
async fn what_failed_is_done_again_and_its_history_stays() {
    let house = with_chain().await;
    let run = house.run_dag("it", json!({"at": 2})).await.ended("failed");
    assert_eq!(run.states(), json!({"a": "success", "b": "failed", "c": "upstream_failed", "d": "success"}));
    let only_failed = json!({"only_failed": true, "dry_run": true});
    let answer = house.clear(run.id(), only_failed).await;
    assert_eq!((&answer["dry_run"], &answer["run"]["state"]), (&json!(true), &json!("failed")));
    assert_eq!(cleared(&answer), json!([["b", -1, "failed"], ["c", -1, "upstream_failed"]]));
    assert_eq!(house.run_now(run.id()).await.tasks, run.tasks, "a dry run changes nothing");

    house.clear(run.id(), json!({"only_failed": true})).await;
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(again.tries(), json!({"a": 1, "b": 2, "c": 1, "d": 1}));
    assert_eq!((again.output("b"), &again.task("b")["error"]), (&json!(2), &Value::Null));
    let attempts = house.items(&format!("{}/attempts", address(&again, "b"))).await;
    let told: Vec<Value> = attempts
        .iter()
        .map(|attempt| json!([attempt["try_number"], attempt["outcome"], attempt["error"]["message"]]))
        .collect();
    assert_eq!(json!(told), json!([[1, "failed", "try 1 fails"], [2, "success", null]]));
    let events = house.all_items(&format!("/api/v1/runs/{}/events", run.id())).await;
    let of_run: Vec<&Value> =
        events.iter().filter(|event| event["task"].is_null()).map(|event| &event["event"]).collect();
    assert_eq!(json!(of_run), json!(["run_queued", "run_started", "run_ended", "run_cleared", "run_ended"]));
}

#[tokio::test]
async fn each_try_keeps_its_log_and_retries_are_counted_anew() {
    let house = House::new().await;
    let rest = r#"
        tasks:
          says: {function: log_lines, input: {lines: 2, bytes: 4, to: [log]}}
          tries: {function: flaky, input: {succeeds_at: 4}, retries: 1}
    "#;
    let run = house.run(rest).await.ended("failed");
    assert_eq!(run.tries(), json!({"says": 1, "tries": 2}));
    house.clear(run.id(), json!({})).await;
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(again.tries(), json!({"says": 2, "tries": 4}), "two more tries, as it had at first");
    let id = again.task("says")["id"].as_str().unwrap();
    for number in ["?try_number=1", "?try_number=2", ""] {
        let lines = house.log_lines(id, number).await;
        let lines: Vec<&Value> = lines.iter().map(|line| &line["message"]).collect();
        assert_eq!(json!(lines), json!(["0 xx", "1 xx"]), "{number}");
    }
    let path = format!("{}/log?try_number=3", address(&again, "says"));
    house.get(&path).await.unwrap().refused(404, "try_not_found");
}

#[tokio::test]
async fn one_instance_of_a_mapped_task_is_done_again() {
    let house = House::new().await;
    let rest = r#"
        tasks:
          list: {function: echo, input: [1, 2, 1]}
          each: {upstream: list, function: flaky, expand: {succeeds_at: "{{ tasks.list.output }}"}}
          all: {upstream: each, function: echo, input: "{{ tasks.each.output }}"}
    "#;
    let run = house.run(rest).await.ended("failed");
    assert_eq!(
        run.states(),
        json!({"list": "success", "each": ["success", "failed", "success"], "all": "upstream_failed"})
    );
    let what = json!({"task_ids": [["each", 1]], "include_downstream": true});
    assert_eq!(
        cleared(&house.clear(run.id(), what).await),
        json!([["all", -1, "upstream_failed"], ["each", 1, "failed"]])
    );
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(again.tries(), json!({"list": 1, "each": [1, 2, 1], "all": 1}));
    assert_eq!(again.output("all"), &json!([1, 2, 1]));
    // The instance under its own address, alone.
    let path = format!("/api/v1/tasks/{}/rerun", again.instance("each", 0)["id"].as_str().unwrap());
    house.post(&path, "").await.unwrap().expect(200);
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(again.tries(), json!({"list": 1, "each": [2, 2, 1], "all": 1}));
    // With another list there are other instances.
    house.clear(run.id(), json!({"task_ids": ["list"], "include_downstream": true})).await;
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(again.tries(), json!({"list": 2, "each": [3, 3, 2], "all": 2}));
    assert_eq!(again.output("all"), &json!([3, 3, 2]));
}

#[tokio::test]
async fn a_cleared_task_is_set_up_and_cleaned_up_after_again() {
    let house = House::new().await;
    let rest = "
        tasks:
          up: {setup: true, function: echo}
          work: {upstream: up, function: flaky, input: {succeeds_at: 2}}
          down: {upstream: work, teardown: [up], function: echo}
          free: {function: echo}
    ";
    let run = house.run(rest).await.ended("failed");
    assert_eq!(run.states(), json!({"up": "success", "work": "failed", "down": "success", "free": "success"}));
    house.clear(run.id(), json!({"task_ids": ["work"]})).await;
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(again.tries(), json!({"up": 2, "work": 2, "down": 2, "free": 1}));
}

#[tokio::test]
async fn a_branch_that_is_done_again_may_go_the_other_way() {
    let house = House::new().await;
    let rest = r#"
        tasks:
          choose: {function: echo, input: "{{ 'left' if ti.try_number == 1 else 'right' }}", branch: true}
          left: {upstream: choose, function: echo}
          right: {upstream: choose, function: echo}
    "#;
    let run = house.run(rest).await.ended("success");
    assert_eq!(run.states(), json!({"choose": "success", "left": "success", "right": "skipped"}));
    house.clear(run.id(), json!({"task_ids": ["choose"], "include_downstream": true})).await;
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(again.states(), json!({"choose": "success", "left": "skipped", "right": "success"}));
}

#[tokio::test]
async fn a_run_that_was_cancelled_goes_on_when_it_is_cleared() {
    let house = House::new().await;
    let rest = r#"
        tasks:
          long: {function: sleep, input: {ms: "{{ 600000 if ti.try_number == 1 else 0 }}"}}
          next: {upstream: long, function: echo}
    "#;
    house.dag("it", rest).await;
    let run = house.begin("it", json!({})).await;
    house.run_when_task(&run, "long", "running").await;
    let active = house.post(&format!("/api/v1/runs/{run}/clear"), "").await.unwrap();
    active.refused(409, "task_not_ended");
    house.cancel_run(&run).await.expect(200);
    house.end_of_run(&run).await.ended("cancelled");
    house.clear(&run, json!({})).await;
    let again = house.end_of_run(&run).await.ended("success");
    assert_eq!(again.tries(), json!({"long": 2, "next": 1}));
}

#[tokio::test]
async fn clearing_outlives_the_server() {
    let mut house = House::new().await;
    let rest = r#"
        tasks:
          long: {function: sleep, input: {ms: "{{ 0 if ti.try_number == 1 else 800 }}"}}
          next: {upstream: long, function: echo, input: "{{ ti.try_number }}"}
    "#;
    let run = house.run(rest).await.ended("success");
    house.clear(run.id(), json!({})).await;
    house.run_when_task(run.id(), "long", "running").await;
    house.server.restart().await;
    house.client = house.server.client();
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!((again.tries(), again.output("next")), (json!({"long": 2, "next": 2}), &json!(2)));
}

#[tokio::test]
async fn a_task_marked_as_a_success_lets_the_others_go_on() {
    let house = with_chain().await;
    let run = house.run_dag("it", json!({"at": 9})).await.ended("failed");
    let marked =
        house.patch(&address(&run, "b"), &json!({"state": "success", "note": "mended by hand"})).await.expect(200);
    assert_eq!(json!([marked["state"], marked["note"]]), json!(["success", "mended by hand"]));
    let again = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(again.states(), json!({"a": "success", "b": "success", "c": "success", "d": "success"}));
    assert_eq!((again.output("c"), &again.task("b")["try_number"]), (&Value::Null, &json!(1)), "it has no output");
    let attempts = house.items(&format!("{}/attempts", address(&again, "b"))).await;
    assert_eq!((attempts.len(), &attempts[0]["outcome"]), (1, &json!("failed")), "its history stays");
}

#[tokio::test]
async fn a_task_marked_as_failed_makes_the_run_fail() {
    let house = with_chain().await;
    let run = house.run_dag("it", json!({"at": 1})).await.ended("success");
    house.patch(&address(&run, "c"), &json!({"state": "failed"})).await.expect(200);
    let again = house.end_of_run(run.id()).await.ended("failed");
    assert_eq!(again.states(), json!({"a": "success", "b": "success", "c": "failed", "d": "success"}));
    assert_eq!(again.output("c"), &Value::Null, "what failed has no output");
    house.patch(&address(&run, "c"), &json!({"state": "skipped"})).await.expect(200);
    house.end_of_run(run.id()).await.ended("success");
}

#[tokio::test]
async fn a_task_that_is_to_come_can_be_marked_and_one_that_runs_cannot() {
    let house = House::new().await;
    let rest = "
        tasks:
          long: {function: sleep, input: {ms: 1000}}
          next: {upstream: long, function: fail, input: {}}
          last: {upstream: next, function: echo}
          choose: {upstream: long, function: echo, branch: true}
          chosen: {upstream: choose, function: echo}
    ";
    house.dag("it", rest).await;
    let id = house.begin("it", json!({})).await;
    let run = house.run_when_task(&id, "long", "running").await;
    let mark = async |task: &str, state: &str| {
        house.patch(&address(&run, task), &json!({"state": state, "note": "by hand"})).await
    };
    mark("long", "success").await.refused(409, "task_not_ended");
    mark("choose", "success").await.refused(409, "cannot_mark");
    let next = mark("next", "success").await.expect(200);
    assert_eq!(json!([next["state"], next["note"]]), json!(["success", "by hand"]), "it had no row before");
    let ended = house.end_of_run(&id).await.ended("success");
    assert_eq!(json!([ended.states()["next"], ended.states()["last"]]), json!(["success", "success"]));
    assert_eq!(ended.task("next")["try_number"], 0, "nobody tried it");
    assert_eq!(json!([ended.task("long")["note"], ended.task("choose")["note"]]), json!([null, null]), "refused");

    let single = house.client.run(&super::support::task(&house.module, "echo", json!(1))).await;
    let path = format!("/api/v1/tasks/{}", single["id"].as_str().unwrap());
    house.patch(&path, &json!({"state": "failed"})).await.refused(409, "not_of_a_run");
    assert_eq!(house.patch(&path, &json!({"note": "n"})).await.expect(200)["note"], "n");
}

#[tokio::test]
async fn notes_are_written_and_taken_away() {
    let mut house = with_chain().await;
    let run = house.run_dag("it", json!({"at": 1})).await.ended("success");
    let (of_run, of_task) = (format!("/api/v1/runs/{}", run.id()), address(&run, "a"));
    for path in [&of_run, &of_task] {
        assert_eq!(house.patch(path, &json!({"note": "looked at: ✓"})).await.expect(200)["note"], "looked at: ✓");
        let long = json!({"note": "x".repeat(1_001)});
        house.patch(path, &long).await.refused(422, "invalid_request");
        house.patch(path, &json!({})).await.refused(422, "invalid_request");
    }
    house.server.restart().await;
    house.client = house.server.client();
    for path in [&of_run, &of_task] {
        assert_eq!(house.json(path).await["note"], "looked at: ✓");
        assert_eq!(house.patch(path, &json!({"note": null})).await.expect(200)["note"], Value::Null);
    }
    assert_eq!(house.run_now(run.id()).await.state(), "success", "a note changes nothing else");
}

#[tokio::test]
async fn an_instance_that_is_done_again_is_read_as_it_is_now() {
    let house = House::new().await;
    let rest = r#"
        tasks:
          each: {function: flaky, expand: {succeeds_at: [1, 1, 1]}}
          first: {upstream: each, function: echo, input: "{{ tasks.each.output }}"}
          second: {upstream: [each, first], function: echo, input: "{{ tasks.each.output }}"}
    "#;
    house.dag("it", rest).await;
    let run = house.run_dag("it", json!({})).await.ended("success");
    assert_eq!((run.output("first"), run.output("second")), (&json!([1, 1, 1]), &json!([1, 1, 1])));
    house.clear(run.id(), json!({"task_ids": [["each", 1]], "include_downstream": true})).await;
    let run = house.end_of_run(run.id()).await.ended("success");
    assert_eq!((run.output("first"), run.output("second")), (&json!([1, 2, 1]), &json!([1, 2, 1])));
}
