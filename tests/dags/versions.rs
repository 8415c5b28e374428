//! Versions of a DAG: what a run is pinned to, what stays, what cannot be taken away.

use serde_json::{Value, json};

use super::support::{dag, guests};
use super::{House, message};

#[tokio::test]
async fn each_content_is_a_version_and_the_same_content_is_none() {
    let house = House::new().await;
    let file = |rest: &str| dag(&house.module, "it", rest);
    let one = "tasks: {a: {function: echo, input: 1}}";
    let first = house.put_dag(&file(one), "").await.expect(201);
    assert_eq!(json!([first["created"], first["tasks"], first["dry_run"]]), json!([true, 1, false]));
    // How it is written makes no difference.
    let again =
        house.put_dag(&file("# The same.\ntasks:\n  a:\n    input: 1\n    function: echo\n"), "").await.expect(200);
    assert_eq!((&again["version"], &again["created"]), (&first["version"], &json!(false)));
    let two = "tasks: {a: {function: echo, input: 2}}";
    let dry = house.put_dag(&file(two), "?dry_run=true").await.expect(200);
    assert_eq!((&dry["created"], &dry["dry_run"]), (&json!(true), &json!(true)));
    assert_eq!(house.json("/api/v1/dags/it").await["version"], first["version"], "nothing was changed");
    let second = house.put_dag(&file(two), "").await.expect(201);
    assert_eq!(second["version"], dry["version"]);
    // Back again: a version that there is becomes the current one.
    let back = house.put_dag(&file(one), "").await.expect(201);
    assert_eq!(back["version"], first["version"]);

    let versions = house.items("/api/v1/dags/it/versions").await;
    let current: Vec<Value> = versions.iter().map(|version| json!([version["version"], version["current"]])).collect();
    assert_eq!(json!(current), json!([[second["version"], false], [first["version"], true]]));
    let path = format!("/api/v1/dags/it/versions/{}", second["version"].as_str().unwrap());
    let shown = house.json(&path).await;
    assert_eq!((&shown["dag_id"], &shown["source"]), (&json!("it"), &json!(file(two))));
}

#[tokio::test]
async fn a_run_keeps_the_version_that_it_began_with() {
    let house = House::new().await;
    let rest = |output: &str| {
        format!(
            "
            tasks:
              first: {{function: sleep, input: {{ms: 300}}}}
              next: {{upstream: first, function: echo, input: {output}}}
            "
        )
    };
    let old = house.dag("it", &rest("old")).await["version"].clone();
    let run = house.begin("it", json!({})).await;
    house.run_when_task(&run, "first", "running").await;
    // Paused, so that the new version is there before the run goes on.
    house.patch("/api/v1/dags/it", &json!({"is_paused": true})).await.expect(200);
    let queued = house.begin("it", json!({})).await;
    house.run_when_task(&run, "first", "success").await;
    let new = house.dag("it", &rest("new").replace("next:", "other:")).await["version"].clone();
    assert_ne!(old, new);
    house.patch("/api/v1/dags/it", &json!({"is_paused": false})).await.expect(200);
    for run in [&run, &queued] {
        let ended = house.end_of_run(run).await.ended("success");
        assert_eq!((&ended.run["dag_version"], ended.output("next")), (&old, &json!("old")));
    }
    // What is done again is of the old version too.
    house.clear(&run, json!({"task_ids": ["next"]})).await;
    let ended = house.end_of_run(&run).await.ended("success");
    assert_eq!((ended.output("next"), &ended.task("next")["try_number"]), (&json!("old"), &json!(2)));
    let fresh = house.run_dag("it", json!({})).await.ended("success");
    assert_eq!((&fresh.run["dag_version"], fresh.output("other")), (&new, &json!("new")));
}

#[tokio::test]
async fn a_tag_is_resolved_when_a_dag_is_applied() {
    let house = House::new().await;
    let tag = "/api/v1/modules?name=guests&tag=1";
    house.post(tag, guests::tasks().to_vec()).await.unwrap().expect(200);
    let file = "dag_id: it\ntasks: {only: {module: \"guests:1\", function: echo, input: 1}}\n";
    house.apply(file).await;
    house.post(tag, tradewind::sandbox::guests::noop()).await.unwrap().expect(201);
    let run = house.run_dag("it", json!({})).await.ended("success");
    assert_eq!(run.task("only")["module"], json!(house.module));
    let refused = house.put_dag(file, "").await.refused(422, "invalid_dag");
    assert_eq!(refused["errors"][0]["code"], "function_not_found", "{refused}");
}

#[tokio::test]
async fn a_module_that_a_dag_names_cannot_be_deleted() {
    let house = House::new().await;
    house.dag("keeper", "tasks: {only: {function: echo}}").await;
    let path = format!("/api/v1/modules/{}", house.module);
    let refused = house.delete(&path).await.refused(409, "module_in_use");
    assert!(refused["reason"].as_str().unwrap().contains("keeper"), "{refused}");
    house.run_dag("keeper", json!({})).await.ended("success");
}

#[tokio::test]
async fn a_dag_goes_when_none_of_its_runs_is_under_way_and_they_stay_readable() {
    let house = House::new().await;
    let applied = house.dag("it", "tasks: {only: {function: sleep, input: {ms: 600000}}}").await;
    let run = house.begin("it", json!({})).await;
    house.run_when_task(&run, "only", "running").await;
    house.delete("/api/v1/dags/it").await.refused(409, "dag_busy");
    house.cancel_run(&run).await.expect(200);
    house.end_of_run(&run).await.ended("cancelled");
    assert_eq!(house.delete("/api/v1/dags/it").await.status, 204);

    house.get("/api/v1/dags/it").await.unwrap().refused(404, "dag_not_found");
    house.trigger("it", &json!({}), "").await.refused(404, "dag_not_found");
    house.delete("/api/v1/dags/it").await.refused(404, "dag_not_found");
    assert!(house.items("/api/v1/dags").await.is_empty());
    assert_eq!(house.run_now(&run).await.states(), json!({"only": "cancelled"}));
    assert_eq!(house.items("/api/v1/dags/it/runs").await.len(), 1);
    let path = format!("/api/v1/dags/it/versions/{}", applied["version"].as_str().unwrap());
    assert_eq!(house.json(&path).await["current"], false);
    // A new one of this name takes up where it was.
    house.dag("it", "tasks: {only: {function: fail, input: {message: again}}}").await;
    let run = house.run_dag("it", json!({})).await.ended("failed");
    assert_eq!(message(&run, "only"), "again");
}
