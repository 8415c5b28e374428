//! Which tasks run: trigger rules, conditions, branches, short circuits, skips, groups, setups and teardowns, the first failure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{House, message};

#[tokio::test]
async fn each_trigger_rule_sees_its_upstreams_as_airflow_does() {
    let cases = [
        ("all_success", "ok", "success"),
        ("all_success", "ok, bad", "upstream_failed"),
        ("all_success", "ok, none", "skipped"),
        ("all_failed", "bad", "success"),
        ("all_failed", "bad, ok", "skipped"),
        ("all_done", "ok, bad, none", "success"),
        ("all_done_min_one_success", "ok, bad", "success"),
        ("all_done_min_one_success", "ok, none", "skipped"),
        ("all_done_setup_success", "bad, none", "success"),
        ("one_success", "ok, bad", "success"),
        ("one_success", "bad", "upstream_failed"),
        ("one_success", "none", "skipped"),
        ("one_failed", "ok, bad", "success"),
        ("one_failed", "ok, none", "skipped"),
        ("one_done", "ok, none", "success"),
        ("none_failed", "ok, none", "success"),
        ("none_failed", "bad, none", "upstream_failed"),
        ("none_skipped", "ok, bad", "success"),
        ("none_skipped", "ok, none", "skipped"),
        ("none_failed_min_one_success", "ok, none", "success"),
        ("none_failed_min_one_success", "none", "skipped"),
        ("all_skipped", "none", "success"),
        ("all_skipped", "ok, none", "skipped"),
        ("always", "bad", "success"),
    ];
    let mut dag = "tasks:\n  ok: {function: echo}\n  bad: {function: fail, input: {}}\n  none: {function: skip, input: nothing}\n".to_owned();
    let mut expected =
        BTreeMap::from([("ok".to_owned(), "success"), ("bad".to_owned(), "failed"), ("none".to_owned(), "skipped")]);
    for (rule, upstream, state) in cases {
        let name = format!("{rule}__{}", upstream.replace(", ", "_"));
        dag += &format!("  {name}: {{upstream: [{upstream}], trigger_rule: {rule}, function: echo}}\n");
        expected.insert(name, state);
    }
    let run = House::new().await.run(&dag).await.ended("failed");
    assert_eq!(run.states(), json!(expected));
    let never_tried: Vec<&Value> = run.tasks.iter().filter(|task| task["state"] == "upstream_failed").collect();
    assert!(never_tried.iter().all(|task| task["try_number"] == 0 && task["outcome"].is_null()), "{never_tried:?}");
}

#[tokio::test]
async fn one_success_does_not_wait_for_the_others() {
    let house = House::new().await;
    house
        .dag(
            "race",
            r#"
            tasks:
              quick: {function: echo}
              slow: {function: sleep, input: {ms: 600000}}
              first: {upstream: [quick, slow], trigger_rule: one_success, function: echo}
            "#,
        )
        .await;
    let id = house.begin("race", json!({})).await;
    let run = house.run_when_task(&id, "first", "success").await;
    assert_eq!((run.state(), &run.task("slow")["state"]), ("running", &json!("running")));
    house.cancel_run(&id).await.expect(200);
    house.end_of_run(&id).await.ended("cancelled");
}

#[tokio::test]
async fn a_condition_decides_whether_a_task_runs() {
    let house = House::new().await;
    let rest = r#"
        params: {go: true}
        tasks:
          first: {function: echo, input: {count: 0}}
          asked: {upstream: first, when: "{{ params.go }}", function: echo}
          counted: {upstream: first, when: "{{ tasks.first.output.count > 0 }}", function: echo}
          never: {when: false, function: echo}
          after: {upstream: asked, function: echo}
          always: {upstream: [asked, counted], trigger_rule: none_failed, function: echo}
          broken: {upstream: first, when: "{{ tasks.first.output.nothing.at_all }}", function: echo}
    "#;
    let run = house.run(rest).await.ended("failed");
    let states = |asked: &str| {
        json!({"first": "success", "asked": asked, "counted": "skipped", "never": "skipped", "after": asked,
               "always": "success", "broken": "failed"})
    };
    assert_eq!(run.states(), states("success"));
    assert!(message(&run, "broken").contains("`when` of task `broken`"), "{}", message(&run, "broken"));
    let run = house.run_dag("it", json!({"go": false})).await.ended("failed");
    assert_eq!(run.states(), states("skipped"));
}

#[tokio::test]
async fn a_branch_names_those_that_follow() {
    let house = House::new().await;
    let rest = r#"
        params: {to: left}
        tasks:
          choose: {function: echo, input: "{{ params.to }}", branch: true}
          left: {upstream: choose, function: echo}
          right: {upstream: choose, function: echo}
          far: {upstream: right, function: echo}
          join: {upstream: [left, far], trigger_rule: none_failed_min_one_success, function: echo}
    "#;
    house.dag("it", rest).await;
    for (to, states) in [
        (json!("left"), ["success", "skipped", "skipped", "success"]),
        (json!("right"), ["skipped", "success", "success", "success"]),
        (json!(["left", "right"]), ["success"; 4]),
        (json!(null), ["skipped"; 4]),
        (json!([]), ["skipped"; 4]),
    ] {
        let run = house.run_dag("it", json!({ "to": to })).await.ended("success");
        let [left, right, far, join] = states;
        let expected = json!({"choose": "success", "left": left, "right": right, "far": far, "join": join});
        assert_eq!(run.states(), expected, "{to}");
    }
    for to in [json!("far"), json!("nowhere"), json!(5)] {
        let run = house.run_dag("it", json!({ "to": to })).await.ended("failed");
        assert_eq!(run.task("choose")["state"], "failed", "{to}");
        assert_eq!(run.task("left")["state"], "upstream_failed", "{to}");
        assert!(message(&run, "choose").contains("branch `choose`"), "{}", message(&run, "choose"));
    }
}

#[tokio::test]
async fn a_short_circuit_skips_all_behind_it_or_only_the_next() {
    let house = House::new().await;
    let rest = r#"
        params: {go: false}
        tasks:
          all: {function: echo, input: "{{ params.go }}", short_circuit: true}
          next: {upstream: all, function: echo}
          done: {upstream: next, trigger_rule: all_done, function: echo}
          one: {function: echo, input: "{{ params.go }}", short_circuit: {ignore_downstream_trigger_rules: false}}
          next_of_one: {upstream: one, function: echo}
          done_of_one: {upstream: next_of_one, trigger_rule: all_done, function: echo}
    "#;
    let run = house.run(rest).await.ended("success");
    let expected = json!({
        "all": "success", "next": "skipped", "done": "skipped",
        "one": "success", "next_of_one": "skipped", "done_of_one": "success",
    });
    assert_eq!(run.states(), expected);
    let run = house.run_dag("it", json!({"go": true})).await.ended("success");
    assert!(run.tasks.iter().all(|task| task["state"] == "success"), "{}", run.states());
}

#[tokio::test]
async fn a_task_skips_itself_and_those_that_need_it() {
    let rest = r#"
        tasks:
          skips: {function: skip, input: "no new files", retries: 3}
          next: {upstream: skips, function: echo}
          anyway: {upstream: next, trigger_rule: none_failed, function: echo}
    "#;
    let run = House::new().await.run(rest).await.ended("success");
    assert_eq!(run.states(), json!({"skips": "skipped", "next": "skipped", "anyway": "success"}));
    assert_eq!(run.tries(), json!({"skips": 1, "next": 0, "anyway": 1}));
    assert_eq!(message(&run, "skips"), "no new files");
}

#[tokio::test]
async fn a_group_is_waited_for_and_waits_as_one() {
    let house = House::new().await;
    let run = house
        .run(
            r#"
            tasks:
              first: {function: echo, input: 1}
              last: {upstream: load, function: echo, input: "{{ tasks.load.deep.z.output }}"}
            groups:
              load:
                upstream: first
                default_args: {labels: {of: group}}
                tasks:
                  x: {function: echo, input: "{{ tasks.first.output + 1 }}"}
                  y: {upstream: x, function: echo, input: "{{ tasks.load.x.output + 1 }}"}
                groups:
                  deep:
                    upstream: y
                    tasks: {z: {function: echo, input: "{{ tasks.load.y.output + 1 }}"}}
            "#,
        )
        .await
        .ended("success");
    let outputs = json!({"first": 1, "load.x": 2, "load.y": 3, "load.deep.z": 4, "last": 4});
    assert_eq!(run.all("result"), outputs);
    let labels = run.all("labels");
    assert_eq!(
        json!([labels["first"], labels["load.x"], labels["load.deep.z"]]),
        json!([{}, {"of": "group"}, {"of": "group"}])
    );
    let order: Vec<_> = ["first", "load.x", "load.y", "load.deep.z", "last"].map(|task| run.task(task)).into();
    for pair in order.windows(2) {
        assert!(super::at(&pair[0]["end_date"]) <= super::at(&pair[1]["start_date"]), "{pair:?}");
    }
}

#[tokio::test]
async fn a_teardown_cleans_up_whatever_became_of_the_work() {
    let house = House::new().await;
    let rest = |work: &str, teardown: &str| {
        format!(
            r#"
            tasks:
              up: {{setup: true, function: echo, input: a room}}
              work: {{upstream: up, {work}}}
              after: {{upstream: work, function: echo}}
              down: {{upstream: after, teardown: {teardown}}}
            "#
        )
    };
    let down = "[up], function: echo, input: \"{{ tasks.up.output }}\"";
    let run = house.run(&rest("function: fail, input: {}", down)).await.ended("failed");
    let states =
        |work: &str, after: &str, down: &str| json!({"up": "success", "work": work, "after": after, "down": down});
    assert_eq!(run.states(), states("failed", "upstream_failed", "success"));
    assert_eq!(run.output("down"), "a room");
    let run = house.run(&rest("function: skip, input: x", down)).await.ended("success");
    assert_eq!(run.states(), states("skipped", "skipped", "success"));

    // It does not decide how the run ended, unless it shall.
    let run = house.run(&rest("function: echo", "[up], function: fail, input: {}")).await.ended("success");
    assert_eq!(run.states(), states("success", "success", "failed"));
    let strict = "{setups: [up], on_failure_fail_dagrun: true}, function: fail, input: {}";
    let run = house.run(&rest("function: echo", strict)).await.ended("failed");
    assert_eq!(run.states(), states("success", "success", "failed"));

    // Without its setup there is nothing to do, and nothing to clean up.
    let failing = rest("function: echo", "[up], function: echo")
        .replace("function: echo, input: a room", "function: fail, input: {}");
    let run = house.run(&failing).await.ended("failed");
    let none = "upstream_failed";
    assert_eq!(run.states(), json!({"up": "failed", "work": none, "after": none, "down": none}));
}

#[tokio::test]
async fn the_first_failure_ends_a_run_that_fails_fast() {
    let rest = r#"
        fail_fast: true
        tasks:
          up: {setup: true, function: echo}
          bad: {upstream: up, function: flaky, input: {succeeds_at: 9}, retries: 1}
          long: {upstream: up, function: sleep, input: {ms: 600000}}
          next: {upstream: long, function: echo}
          down: {upstream: [bad, next], teardown: [up], function: echo}
    "#;
    let run = House::new().await.run(rest).await.ended("failed");
    let expected = json!({"up": "success", "bad": "failed", "long": "cancelled", "next": "skipped", "down": "success"});
    assert_eq!(run.states(), expected);
    assert_eq!(run.task("bad")["try_number"], 2, "what is tried again has not failed yet");
}
