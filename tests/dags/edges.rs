//! Where features meet: empty groups, shorter lists, clearing while others run, cancelled instances, restarts in between.

use serde_json::{Value, json};

use super::{House, address};

#[tokio::test]
async fn a_group_mapped_over_nothing_is_skipped_as_a_whole() {
    let rest = r#"
        tasks:
          list: {function: echo, input: []}
          all: {upstream: g, trigger_rule: none_failed, function: echo, input: "{{ tasks.g.b.output }}"}
        groups:
          g:
            upstream: list
            expand: {n: "{{ tasks.list.output }}"}
            tasks: {a: {function: echo}, b: {upstream: a, function: echo}}
    "#;
    let run = House::new().await.run(rest).await.ended("success");
    assert_eq!(run.states(), json!({"list": "success", "g.a": "skipped", "g.b": "skipped", "all": "success"}));
    assert_eq!(run.output("all"), &json!([]));
}

#[tokio::test]
async fn a_list_that_is_made_anew_may_be_shorter_or_longer() {
    let house = House::new().await;
    let rest = r#"
        tasks:
          list: {function: echo, input: "{{ range([3, 1, 4][ti.try_number - 1]) | list }}"}
          each: {upstream: list, function: echo, expand: {n: "{{ tasks.list.output }}"}}
          all: {upstream: each, function: echo, input: "{{ tasks.each.output | map(attribute='n') | list }}"}
    "#;
    let run = house.run(rest).await.ended("success");
    assert_eq!(run.output("all"), &json!([0, 1, 2]));
    let again = json!({"task_ids": ["list"], "include_downstream": true});
    house.clear(run.id(), again.clone()).await;
    let shorter = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(shorter.output("all"), &json!([0]));
    house.clear(run.id(), again).await;
    let longer = house.end_of_run(run.id()).await.ended("success");
    assert_eq!(longer.output("all"), &json!([0, 1, 2, 3]));
    assert_eq!(longer.each("each", "state"), json!(vec!["success"; 4]));
    assert_eq!(longer.each("each", "try_number"), json!([3, 2, 2, 1]));
    assert_eq!(shorter.each("each", "state"), json!(["success", "removed", "removed"]));
}

#[tokio::test]
async fn each_instance_of_a_mapped_group_has_its_own_setup_and_teardown() {
    let house = House::new().await;
    let rest = r#"
        groups:
          g:
            expand: {at: [1, 9]}
            tasks:
              up: {setup: true, function: echo, input: "{{ at }}"}
              work: {upstream: up, function: flaky, input: {succeeds_at: "{{ at }}"}}
              next: {upstream: work, function: echo}
              down: {upstream: next, teardown: [up], function: echo, input: "{{ tasks.g.up.output }}"}
    "#;
    let run = house.run(rest).await.ended("failed");
    let states = json!({
        "g.up": ["success", "success"], "g.work": ["success", "failed"], "g.next": ["success", "upstream_failed"],
        "g.down": ["success", "success"],
    });
    assert_eq!(run.states(), states);
    assert_eq!(run.each("g.down", "result"), json!([1, 9]));

    let work = r#"function: flaky, input: {succeeds_at: "{{ at }}"}"#;
    let slow = rest.replace(work, "function: sleep, input: {ms: 600000}");
    house.dag("it", &slow).await;
    let id = house.begin("it", json!({})).await;
    house
        .run_when(&id, |run| {
            run.tasks.iter().filter(|task| task["task_id"] == "g.work" && task["state"] == "running").count() == 2
        })
        .await;
    house.cancel_run(&id).await.expect(200);
    let run = house.end_of_run(&id).await.ended("cancelled");
    assert_eq!(run.each("g.down", "state"), json!(["success", "success"]));
}

#[tokio::test]
async fn an_instance_that_is_cancelled_by_itself_counts_as_failed() {
    let house = House::new().await;
    let rest = "
        tasks:
          long: {function: sleep, input: {ms: 600000}, retries: 3}
          next: {upstream: long, function: echo}
          instead: {upstream: long, trigger_rule: one_failed, function: echo}
    ";
    house.dag("it", rest).await;
    let id = house.begin("it", json!({})).await;
    let run = house.run_when_task(&id, "long", "running").await;
    assert_eq!(house.cancel(run.task("long")["id"].as_str().unwrap()).await.expect(200)["state"], "cancelled");
    let run = house.end_of_run(&id).await.ended("failed");
    assert_eq!(run.states(), json!({"long": "cancelled", "next": "upstream_failed", "instead": "success"}));
}

#[tokio::test]
async fn what_has_ended_is_done_again_while_the_run_is_under_way() {
    let house = House::new().await;
    let rest = r#"
        tasks:
          first: {function: echo, input: "{{ ti.try_number }}"}
          long: {function: sleep, input: {ms: 600000}}
          last: {upstream: [first, long], trigger_rule: all_done, function: echo, input: "{{ tasks.first.output }}"}
    "#;
    house.dag("it", rest).await;
    let id = house.begin("it", json!({})).await;
    house.run_when(&id, |run| run.task("first")["state"] == "success" && run.task("long")["state"] == "running").await;
    house.clear(&id, json!({"task_ids": ["first"]})).await;
    let run = house.run_when(&id, |run| run.task("first")["try_number"] == 2).await;
    assert_eq!(run.state(), "running");
    house.cancel(run.task("long")["id"].as_str().unwrap()).await.expect(200);
    let run = house.end_of_run(&id).await.ended("success");
    assert_eq!((run.output("last"), run.tries()), (&json!(2), json!({"first": 2, "long": 1, "last": 1})));
}

#[tokio::test]
async fn a_failure_that_ends_the_run_takes_those_between_two_tries_along() {
    let rest = "
        fail_fast: true
        tasks:
          waits: {function: flaky, input: {succeeds_at: 9}, retries: 5, retry_delay: 10m}
          bad: {function: sleep, input: {ms: 100}}
          worse: {upstream: bad, function: fail, input: {}}
    ";
    let run = House::new().await.run(rest).await.ended("failed");
    assert_eq!(run.states(), json!({"waits": "cancelled", "bad": "success", "worse": "failed"}));
}

#[tokio::test]
async fn a_retry_that_is_far_off_outlives_the_server_and_can_be_cancelled() {
    let mut house = House::new().await;
    let rest = "
        tasks:
          waits: {function: flaky, input: {succeeds_at: 9}, retries: 5, retry_delay: 10m}
          next: {upstream: waits, function: echo}
    ";
    house.dag("it", rest).await;
    let id = house.begin("it", json!({})).await;
    house.run_when_task(&id, "waits", "up_for_retry").await;
    house.server.restart().await;
    house.client = house.server.client();
    let run = house.run_now(&id).await;
    assert_eq!((run.state(), &run.task("waits")["state"]), ("running", &json!("up_for_retry")));
    house.cancel_run(&id).await.expect(200);
    let run = house.end_of_run(&id).await.ended("cancelled");
    assert_eq!(run.states(), json!({"waits": "cancelled", "next": "skipped"}));
}

#[tokio::test]
async fn a_cleared_run_gets_its_whole_time_again() {
    let house = House::new().await;
    let rest = r#"
        dagrun_timeout: 400ms
        tasks:
          long: {function: sleep, input: {ms: "{{ 600000 if ti.try_number == 1 else 1 }}"}}
          next: {upstream: long, function: echo}
    "#;
    let run = house.run(rest).await.ended("failed");
    assert_eq!(run.states(), json!({"long": "cancelled", "next": "skipped"}));
    house.clear(run.id(), json!({})).await;
    house.end_of_run(run.id()).await.ended("success");
}

#[tokio::test]
async fn a_run_that_waits_holds_its_dag_and_cannot_be_marked() {
    let house = House::new().await;
    house.dag("it", "tasks: {only: {function: echo}}").await;
    house.patch("/api/v1/dags/it", &json!({"is_paused": true})).await.expect(200);
    let id = house.begin("it", json!({})).await;
    house.delete("/api/v1/dags/it").await.refused(409, "dag_busy");
    let run = house.run_now(&id).await;
    assert_eq!(run.states(), json!({"only": "scheduled"}));
    house.patch(&address(&run, "only"), &json!({"state": "success"})).await.refused(409, "run_queued");
    let cleared = house.clear(&id, json!({})).await;
    assert_eq!((&cleared["cleared"], &cleared["run"]["state"]), (&json!([]), &json!("queued")));
    let waited = house.trigger("it", &json!({}), "?wait=100ms").await.expect(201);
    assert_eq!(waited["state"], "queued");
}

#[tokio::test]
async fn outputs_of_many_instances_may_be_large_together() {
    let house = House::new().await;
    let rest = r#"
        tasks:
          each: {function: big_output, expand: {bytes: [1048576, 1048577, 1048578]}}
          all: {upstream: each, function: echo, input: "{{ tasks.each.output }}"}
    "#;
    let run = house.run(rest).await.ended("success");
    let all: Value = house.json(&format!("{}/result", address(&run, "all"))).await;
    let lengths: Vec<usize> = all.as_array().unwrap().iter().map(|text| text.as_str().unwrap().len()).collect();
    assert_eq!(lengths, [1 << 20, (1 << 20) + 1, (1 << 20) + 2]);
}

#[tokio::test]
async fn depending_on_the_past_follows_the_order_of_runs_and_takes_a_skip_for_well() {
    let house = House::new().await;
    let rest = r#"
        max_active_runs: 5
        tasks:
          bound: {function: sleep, input: {ms: "{{ conf.ms }}"}, when: "{{ conf.ms != 0 }}", depends_on_past: true}
    "#;
    house.dag("it", rest).await;
    let first = house.begin("it", json!({"conf": {"ms": 600_000}})).await;
    house.run_when_task(&first, "bound", "running").await;
    let second = house.begin("it", json!({"conf": {"ms": 1}})).await;
    let third = house.begin("it", json!({"conf": {"ms": 0}})).await;
    let fourth = house.begin("it", json!({"conf": {"ms": 1}})).await;
    for run in [&second, &third, &fourth] {
        assert_eq!(house.run_now(run).await.states(), json!({"bound": "scheduled"}));
    }
    // Cancelled is not well: the second waits on until it is mended.
    house.cancel_run(&first).await.expect(200);
    let first = house.end_of_run(&first).await.ended("cancelled");
    assert_eq!(house.run_now(&second).await.states(), json!({"bound": "scheduled"}));
    house.patch(&address(&first, "bound"), &json!({"state": "success"})).await.expect(200);
    house.end_of_run(&second).await.ended("success");
    assert_eq!(house.end_of_run(&third).await.ended("success").states(), json!({"bound": "skipped"}));
    house.end_of_run(&fourth).await.ended("success");
}
