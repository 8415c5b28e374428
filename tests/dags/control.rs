//! What holds runs back and what stops them: pauses, cancelling, time-outs, limits, the past.

use serde_json::json;

use super::House;

#[tokio::test]
async fn a_paused_dag_begins_no_run_and_no_task() {
    let house = House::new().await;
    let rest = "
        tasks:
          first: {function: sleep, input: {ms: 300}}
          next: {upstream: first, function: echo}
    ";
    house.dag("it", rest).await;
    let under_way = house.begin("it", json!({})).await;
    house.run_when_task(&under_way, "first", "running").await;
    assert_eq!(house.patch("/api/v1/dags/it", &json!({"is_paused": true})).await.expect(200)["is_paused"], true);
    let waits = house.begin("it", json!({})).await;
    let run = house.run_when_task(&under_way, "first", "success").await;
    // A run of another DAG passes both.
    house.dag("other", "tasks: {only: {function: echo}}").await;
    house.run_dag("other", json!({})).await.ended("success");
    assert_eq!((run.state(), &run.task("next")["state"]), ("running", &json!("scheduled")));
    let queued = house.run_now(&waits).await;
    assert_eq!((queued.state(), &queued.run["start_date"]), ("queued", &json!(null)));
    assert_eq!(house.run_now(&under_way).await.task("next")["state"], "scheduled");
    // A new version leaves it paused.
    assert_eq!(house.dag("it", &format!("        description: new{rest}")).await["is_paused"], true);

    assert_eq!(house.patch("/api/v1/dags/it", &json!({"is_paused": false})).await.expect(200)["is_paused"], false);
    house.end_of_run(&under_way).await.ended("success");
    house.end_of_run(&waits).await.ended("success");
}

#[tokio::test]
async fn a_pause_outlives_the_server_and_what_waits_can_be_cancelled() {
    let mut house = House::new().await;
    house.dag("it", "tasks: {only: {function: echo}}").await;
    house.patch("/api/v1/dags/it", &json!({"is_paused": true})).await.expect(200);
    let (first, second) = (house.begin("it", json!({})).await, house.begin("it", json!({})).await);
    house.server.restart().await;
    house.client = house.server.client();
    assert_eq!(house.run_now(&first).await.state(), "queued");
    assert_eq!(house.cancel_run(&first).await.expect(200)["state"], "cancelled");
    house.patch("/api/v1/dags/it", &json!({"is_paused": false})).await.expect(200);
    house.end_of_run(&second).await.ended("success");
    assert_eq!(house.run_now(&first).await.states(), json!({"only": "skipped"}));
}

#[tokio::test]
async fn cancelling_a_run_stops_its_work_and_leaves_it_to_its_teardowns() {
    let house = House::new().await;
    let rest = "
        tasks:
          up: {setup: true, function: echo}
          long: {upstream: up, function: sleep, input: {ms: 600000}}
          spins: {upstream: up, function: spin}
          mapped: {upstream: up, function: sleep, input: {ms: 600000}, expand_kwargs: [{}, {}, {}], max_active_tis_per_dagrun: 2}
          next: {upstream: long, trigger_rule: all_done, function: echo}
          down: {upstream: [next, spins, mapped], teardown: [up], function: echo, input: cleaned}
    ";
    house.dag("it", rest).await;
    let run = house.begin("it", json!({})).await;
    house
        .run_when(&run, |run| {
            let running = |task: &str| run.instances(task).iter().filter(|task| task["state"] == "running").count();
            running("long") + running("spins") + running("mapped") == 4
        })
        .await;
    house.cancel_run(&run).await.expect(200);
    let ended = house.end_of_run(&run).await.ended("cancelled");
    let states = ended.states();
    assert_eq!(
        json!([states["up"], states["long"], states["spins"], states["next"], states["down"]]),
        json!(["success", "cancelled", "cancelled", "skipped", "success"])
    );
    assert_eq!(json!([states["mapped"][0], states["mapped"][1]]), json!(["cancelled", "cancelled"]));
    house.cancel_run(&run).await.refused(409, "run_ended");
}

#[tokio::test]
async fn cancelling_twice_stops_the_teardowns_too() {
    let house = House::new().await;
    let rest = "
        tasks:
          up: {setup: true, function: echo}
          work: {upstream: up, function: sleep, input: {ms: 600000}}
          down: {upstream: work, teardown: [up], function: sleep, input: {ms: 600000}}
    ";
    house.dag("it", rest).await;
    let run = house.begin("it", json!({})).await;
    house.run_when_task(&run, "work", "running").await;
    assert_eq!(house.cancel_run(&run).await.expect(200)["state"], "running");
    house.run_when_task(&run, "down", "running").await;
    house.cancel_run(&run).await.expect(200);
    let ended = house.end_of_run(&run).await.ended("cancelled");
    assert_eq!(ended.states(), json!({"up": "success", "work": "cancelled", "down": "cancelled"}));
}

#[tokio::test]
async fn a_run_that_takes_too_long_fails_behind_its_teardowns() {
    let house = House::new().await;
    let run = house
        .run(
            "
            dagrun_timeout: 300ms
            tasks:
              up: {setup: true, function: echo}
              long: {upstream: up, function: sleep, input: {ms: 600000}}
              next: {upstream: long, function: echo}
              down: {upstream: next, teardown: [up], function: sleep, input: {ms: 400}}
            ",
        )
        .await
        .ended("failed");
    let states = json!({"up": "success", "long": "cancelled", "next": "skipped", "down": "success"});
    assert_eq!(run.states(), states);
    let events = house.all_items(&format!("/api/v1/runs/{}/events", run.id())).await;
    assert!(events.iter().any(|event| event["event"] == "run_timed_out"), "{events:?}");
}

#[tokio::test]
async fn no_more_runs_are_under_way_than_may() {
    let house = House::new().await;
    house.dag("it", "max_active_runs: 2\ntasks: {only: {function: sleep, input: {ms: 600000}}}").await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(house.begin("it", json!({})).await);
    }
    for run in &runs[..2] {
        house.run_when_task(run, "only", "running").await;
    }
    for run in &runs[2..] {
        assert_eq!(house.run_now(run).await.state(), "queued");
    }
    house.cancel_run(&runs[0]).await.expect(200);
    house.run_when_task(&runs[2], "only", "running").await;
    assert_eq!(house.run_now(&runs[3]).await.state(), "queued", "first come, first served");
    for run in &runs[1..] {
        house.cancel_run(run).await.expect(200);
        house.end_of_run(run).await.ended("cancelled");
    }
}

#[tokio::test]
async fn a_task_that_depends_on_the_past_waits_for_its_former_self() {
    let house = House::new().await;
    let rest = r#"
        tasks:
          free: {function: echo}
          bound: {function: flaky, input: {succeeds_at: "{{ conf.at }}"}, depends_on_past: true}
          next: {upstream: bound, function: echo}
    "#;
    house.dag("it", rest).await;
    let first = house.run_dag("it", json!({"at": 9})).await.ended("failed");
    let second = house.begin("it", json!({"conf": {"at": 1}})).await;
    let waits = house.run_when_task(&second, "free", "success").await;
    assert_eq!((waits.state(), &waits.task("bound")["state"]), ("running", &json!("scheduled")));
    // Mended, it lets the next one go.
    house.patch(&super::address(&first, "bound"), &json!({"state": "success"})).await.expect(200);
    house.end_of_run(first.id()).await.ended("success");
    house.end_of_run(&second).await.ended("success");
    house.run_dag("it", json!({"at": 1})).await.ended("success");
}

#[tokio::test]
async fn a_task_that_waits_for_downstream_looks_behind_its_former_self() {
    let house = House::new().await;
    let rest = r#"
        tasks:
          bound: {function: echo, wait_for_downstream: true}
          next: {upstream: bound, function: flaky, input: {succeeds_at: "{{ conf.at }}"}}
    "#;
    house.dag("it", rest).await;
    let first = house.run_dag("it", json!({"at": 2})).await.ended("failed");
    let second = house.begin("it", json!({"conf": {"at": 1}})).await;
    let waits = house.run_when(&second, |run| run.state() == "running").await;
    assert_eq!(waits.task("bound")["state"], "scheduled");
    house.clear(first.id(), json!({"only_failed": true})).await;
    house.end_of_run(first.id()).await.ended("success");
    house.end_of_run(&second).await.ended("success");
}
