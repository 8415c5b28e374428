//! Outputs as inputs, templates and their names, variables, params.

use serde_json::json;

use super::{House, message};

#[tokio::test]
async fn an_output_is_the_input_of_the_next_and_keeps_its_type() {
    let house = House::new().await;
    let run = house
        .run(
            r#"
            tasks:
              first: {function: echo, input: {number: 41, list: [1, 2.5, null], text: "grüß"}}
              next:
                upstream: first
                function: echo
                input:
                  sum: "{{ tasks.first.output.number + 1 }}"
                  list: "{{ tasks.first.output.list }}"
                  nothing: "{{ tasks.first.output.list[2] }}"
                  is_large: "{{ tasks.first.output.number > 40 }}"
                  text: "{{ tasks.first.output.text }}, {{ tasks.first.output.number }}"
                  literal: [1, "two"]
              last: {upstream: [next], function: echo, input: "{{ tasks.next.output }}"}
            "#,
        )
        .await
        .ended("success");
    let expected = json!({
        "sum": 42, "list": [1, 2.5, null], "nothing": null, "is_large": true, "text": "grüß, 41", "literal": [1, "two"]
    });
    assert_eq!((run.output("next"), run.output("last")), (&expected, &expected));
    assert_eq!(run.tries(), json!({"first": 1, "next": 1, "last": 1}));
}

#[tokio::test]
async fn a_template_knows_the_names_of_its_run_and_so_does_the_task() {
    let house = House::new().await;
    house
        .dag(
            "named",
            r#"
            params: {city: Ames}
            tasks:
              shown:
                function: echo
                input:
                  ds: "{{ ds }}"
                  ds_nodash: "{{ ds_nodash }}"
                  ts: "{{ ts }}"
                  run_id: "{{ run_id }}"
                  dag: "{{ dag.dag_id }}"
                  task: "{{ task_instance.task_id }} {{ ti.map_index }} {{ ti.try_number }}"
                  city: "{{ params.city }}"
                  conf: "{{ conf }}"
              context: {function: context}
            "#,
        )
        .await;
    let asked = json!({"run_id": "nightly-7", "logical_date": "2026-03-01T06:00:00Z", "conf": {"more": [1]}});
    let id = house.begin("named", asked).await;
    let run = house.end_of_run(&id).await.ended("success");
    let expected = json!({
        "ds": "2026-03-01", "ds_nodash": "20260301", "ts": "2026-03-01T06:00:00+00:00", "run_id": "nightly-7",
        "dag": "named", "task": "shown -1 1", "city": "Ames", "conf": {"more": [1]},
    });
    assert_eq!(run.output("shown"), &expected);
    let seen = run.output("context");
    let words = ["task_id", "run_id", "dag_id", "try_number", "map_index", "params"].map(|word| seen[word].clone());
    let id = &run.task("context")["id"];
    assert_eq!(json!(words), json!([id, "nightly-7", "named", 1, null, {"city": "Ames"}]));
    let logical_date: jiff::Timestamp = super::at(&seen["logical_date"]);
    assert_eq!(logical_date, "2026-03-01T06:00:00Z".parse().unwrap());
}

#[tokio::test]
async fn a_template_that_cannot_be_rendered_fails_its_task_and_says_why() {
    let house = House::new().await;
    let run = house
        .run(
            r#"
            tasks:
              first: {function: echo, input: {a: 1}}
              missing: {upstream: first, function: echo, input: {x: {y: "{{ tasks.first.output.b }}"}}}
              wrong: {upstream: first, function: echo, input: "{{ tasks.first.output.a + 'text' }}"}
              unset: {function: echo, input: "{{ var.value.nowhere }}"}
              undated: {function: echo, input: "{{ ds }}"}
              unfit: {upstream: first, function: sleep, input: {ms: "{{ tasks.first.output }}"}}
              after: {upstream: missing, function: echo}
            "#,
        )
        .await
        .ended("failed");
    let states = json!({
        "first": "success", "missing": "failed", "wrong": "failed", "unset": "failed", "undated": "failed",
        "unfit": "failed", "after": "upstream_failed",
    });
    assert_eq!(run.states(), states);
    for (task, said) in [
        ("missing", &["`input` of task `missing`", "/x/y", "output.b` is not defined"][..]),
        ("wrong", &["`input` of task `wrong`"]),
        ("unset", &["`input` of task `unset`", "nowhere"]),
        ("undated", &["`input` of task `undated`", "`ds`"]),
        ("unfit", &["ms"]),
    ] {
        for words in said {
            assert!(message(&run, task).contains(words), "{words} is not in: {}", message(&run, task));
        }
        assert_eq!(run.task(task)["outcome"], "failed", "{task}");
    }
}

#[tokio::test]
async fn variables_are_read_when_a_task_starts() {
    let house = House::new().await;
    let set = |key: &str, value: &str| {
        let (path, body) = (format!("/api/v1/variables/{key}"), json!({"value": value, "description": "of a test"}));
        let client = house.client.clone();
        async move { client.put(&path, &body).await }
    };
    let city = set("city", "Ames").await.expect(201);
    assert_eq!(json!([city["key"], city["value"], city["description"]]), json!(["city", "Ames", "of a test"]));
    set("limits.v1", r#"{"most": 3}"#).await.expect(201);
    let rest = r#"
        tasks:
          read:
            function: echo
            input: {city: "{{ var.value.city }}", most: "{{ var.json['limits.v1'].most }}"}
          unless: {function: echo, when: "{{ var.value.city == 'Ames' }}"}
    "#;
    let run = house.run(rest).await.ended("success");
    assert_eq!(run.output("read"), &json!({"city": "Ames", "most": 3}));
    assert_eq!(run.states(), json!({"read": "success", "unless": "success"}));

    assert_eq!(set("city", "Oslo").await.expect(200)["value"], "Oslo");
    let run = house.run_dag("it", json!({})).await.ended("success");
    assert_eq!(run.output("read")["city"], "Oslo");
    assert_eq!(run.task("unless")["state"], "skipped");

    let keys: Vec<_> = house.items("/api/v1/variables").await.iter().map(|item| item["key"].clone()).collect();
    assert_eq!(json!(keys), json!(["city", "limits.v1"]));
    assert_eq!(house.delete("/api/v1/variables/city").await.status, 204);
    house.get("/api/v1/variables/city").await.unwrap().refused(404, "variable_not_found");
    house.run_dag("it", json!({})).await.ended("failed");
}

#[tokio::test]
async fn large_outputs_go_into_the_next_task_and_are_kept_beside_the_database() {
    let house = House::new().await;
    let run = house
        .run(
            r#"
            tasks:
              big: {function: big_output, input: {bytes: 2097152}}
              next: {upstream: big, function: echo, input: "{{ tasks.big.output }}"}
              inside: {upstream: big, function: echo, input: {text: "{{ tasks.big.output }}", length: "{{ tasks.big.output | length }}"}}
              mapped: {upstream: big, function: echo, input: {text: "{{ tasks.big.output }}"}, expand: {n: [1, 2]}}
              all: {upstream: mapped, function: echo, input: "{{ tasks.mapped.output | map(attribute='n') | list }}"}
            "#,
        )
        .await
        .ended("success");
    let big = &run.task("big")["result_ref"];
    assert_eq!((run.output("big"), &big["bytes"]), (&json!(null), &json!((2 << 20) + 2)), "{big}");
    assert_eq!(&run.task("next")["result_ref"], big, "the same bytes");
    let inside = format!("{}/result", super::address(&run, "inside"));
    let inside = house.json(&inside).await;
    assert_eq!(inside["length"], 2 << 20);
    assert_eq!(inside["text"].as_str().map(str::len), Some(2 << 20));
    assert_eq!(run.output("all"), &json!([1, 2]));
}

#[tokio::test]
async fn params_have_defaults_that_conf_overrides_and_both_are_checked() {
    let house = House::new().await;
    house
        .dag(
            "report",
            r#"
            params:
              city: {default: Ames, schema: {type: string}}
              day: {schema: {type: integer, minimum: 1}, description: which day}
              list: {default: [1, 2]}
            tasks:
              show: {function: echo, input: {city: "{{ params.city }}", day: "{{ params.day }}", list: "{{ params.list }}"}}
            "#,
        )
        .await;
    let refused = house.trigger("report", &json!({}), "").await.refused(422, "invalid_params");
    assert_eq!(refused["errors"][0]["path"], "/conf/day", "{refused}");
    let wrong = json!({"conf": {"day": 0, "city": 5}});
    let refused = house.trigger("report", &wrong, "").await.refused(422, "invalid_params");
    let paths: Vec<_> = refused["errors"].as_array().unwrap().iter().map(|place| place["path"].clone()).collect();
    assert_eq!(json!(paths), json!(["/conf/city", "/conf/day"]));
    assert!(house.items("/api/v1/dags/report/runs").await.is_empty(), "what was refused leaves no run");

    let run = house.run_dag("report", json!({"day": 3, "unknown": true})).await.ended("success");
    assert_eq!(run.output("show"), &json!({"city": "Ames", "day": 3, "list": [1, 2]}));
    assert_eq!(run.run["params"], json!({"city": "Ames", "day": 3, "list": [1, 2]}));
    assert_eq!(run.run["conf"], json!({"day": 3, "unknown": true}));
    let run = house.run_dag("report", json!({"day": 3, "city": "Oslo"})).await.ended("success");
    assert_eq!(run.output("show")["city"], "Oslo");
}
