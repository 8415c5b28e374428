//! What each route refuses, and with which words.

use reqwest::Method;
use serde_json::json;

use super::House;
use super::support::client::send;
use super::support::dag;

#[tokio::test]
async fn every_route_refuses_what_is_not_there_or_not_allowed() {
    let house = House::new().await;
    house.dag("it", "params: {n: {default: 1, schema: {type: integer}}}\ntasks: {a: {function: echo}, b: {function: echo, expand: {n: [1]}}}").await;
    let run = house.run_dag("it", json!({})).await.ended("success");
    let (id, task) = (run.id(), run.task("a")["id"].as_str().unwrap());
    let none = "run_0000000000000";
    let version = format!("sha256:{}", "0".repeat(64));
    let long = "x".repeat(251);
    let cases: Vec<(&str, String, &str, u16, &str)> = vec![
        ("GET", "/dags/none".into(), "", 404, "dag_not_found"),
        ("GET", "/dags/none/versions".into(), "", 404, "dag_not_found"),
        ("GET", format!("/dags/it/versions/{version}"), "", 404, "version_not_found"),
        ("GET", "/dags/it/versions/latest".into(), "", 422, "invalid_request"),
        ("GET", "/dags/none/runs".into(), "", 404, "dag_not_found"),
        ("GET", "/dags?limit=0".into(), "", 422, "invalid_request"),
        ("GET", "/dags?limit=1001".into(), "", 422, "invalid_request"),
        ("GET", "/dags/it/runs?state=asleep".into(), "", 422, "invalid_request"),
        ("PUT", "/dags/it".into(), "", 422, "invalid_dag"),
        ("PUT", "/dags/it?dry=true".into(), "{}", 422, "unknown_key"),
        ("PUT", "/dags/other".into(), "dag_id: it\ntasks: {}", 422, "invalid_dag"),
        ("POST", "/dags/apply".into(), "{", 400, "malformed_json"),
        ("POST", "/dags/apply".into(), "{}", 422, "invalid_request"),
        ("POST", "/dags/apply".into(), r#"{"files": []}"#, 422, "invalid_request"),
        ("POST", "/dags/apply".into(), r#"{"files": [{"path": "a", "content": ""}]}"#, 422, "invalid_dag"),
        ("POST", "/dags/apply".into(), r#"{"files": [], "more": 1}"#, 422, "unknown_key"),
        ("PATCH", "/dags/none".into(), r#"{"is_paused": true}"#, 404, "dag_not_found"),
        ("PATCH", "/dags/it".into(), r#"{}"#, 422, "invalid_request"),
        ("PATCH", "/dags/it".into(), r#"{"is_paused": 1}"#, 422, "invalid_request"),
        ("PATCH", "/dags/it".into(), r#"{"paused": true}"#, 422, "unknown_key"),
        ("DELETE", "/dags/none".into(), "", 404, "dag_not_found"),
        ("POST", "/dags/none/runs".into(), "{}", 404, "dag_not_found"),
        ("POST", "/dags/it/runs".into(), "[", 400, "malformed_json"),
        ("POST", "/dags/it/runs".into(), r#"{"config": {}}"#, 422, "unknown_key"),
        ("POST", "/dags/it/runs".into(), r#"{"conf": [1]}"#, 422, "invalid_request"),
        ("POST", "/dags/it/runs".into(), r#"{"conf": {"n": "x"}}"#, 422, "invalid_params"),
        ("POST", "/dags/it/runs".into(), r#"{"run_id": "a b"}"#, 422, "invalid_request"),
        ("POST", "/dags/it/runs".into(), r#"{"logical_date": "yesterday"}"#, 422, "invalid_request"),
        ("POST", "/dags/it/runs?wait=61s".into(), "{}", 422, "invalid_request"),
        ("GET", format!("/runs/{none}"), "", 404, "run_not_found"),
        ("GET", "/runs/nonsense".into(), "", 404, "run_not_found"),
        ("GET", format!("/runs/{none}/tasks"), "", 404, "run_not_found"),
        ("GET", format!("/runs/{none}/events"), "", 404, "run_not_found"),
        ("GET", "/runs?state=asleep".into(), "", 422, "invalid_request"),
        ("GET", "/runs?dags=it".into(), "", 422, "unknown_key"),
        ("GET", format!("/runs/{id}/tasks?limit=0"), "", 422, "invalid_request"),
        ("PATCH", format!("/runs/{none}"), r#"{"note": "x"}"#, 404, "run_not_found"),
        ("PATCH", format!("/runs/{id}"), r#"{"state": "failed"}"#, 422, "unknown_key"),
        ("POST", format!("/runs/{none}/cancel"), "", 404, "run_not_found"),
        ("POST", format!("/runs/{id}/cancel"), "", 409, "run_ended"),
        ("POST", format!("/runs/{none}/clear"), "{}", 404, "run_not_found"),
        ("POST", format!("/runs/{id}/clear"), r#"{"task_ids": ["none"]}"#, 422, "invalid_request"),
        ("POST", format!("/runs/{id}/clear"), r#"{"task_ids": [["b"]]}"#, 422, "invalid_request"),
        ("POST", format!("/runs/{id}/clear"), r#"{"tasks": ["a"]}"#, 422, "unknown_key"),
        ("PATCH", format!("/tasks/{task}"), r#"{"state": "running"}"#, 422, "invalid_request"),
        ("PATCH", format!("/tasks/{task}"), r#"{}"#, 422, "invalid_request"),
        ("PATCH", "/tasks/task_0000000000000".into(), r#"{"state": "failed"}"#, 404, "task_not_found"),
        ("GET", "/variables/none".into(), "", 404, "variable_not_found"),
        ("PUT", "/variables/a%20b".into(), r#"{"value": "x"}"#, 422, "invalid_request"),
        ("PUT", format!("/variables/{long}"), r#"{"value": "x"}"#, 422, "invalid_request"),
        ("PUT", "/variables/a".into(), r#"{"value": 1}"#, 422, "invalid_request"),
        ("PUT", "/variables/a".into(), r#"{"value": "x", "secret": true}"#, 422, "unknown_key"),
        ("DELETE", "/variables/none".into(), "", 404, "variable_not_found"),
        ("POST", "/dags/it".into(), "{}", 405, "method_not_allowed"),
        ("DELETE", format!("/runs/{id}"), "", 405, "method_not_allowed"),
    ];
    let mut wrong = Vec::new();
    for (method, path, body, status, code) in cases {
        let request = house.request(method.parse().unwrap(), &format!("/api/v1{path}")).body(body.to_owned());
        let answer = send(request).await.unwrap();
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if (answer.status, &said["code"]) != (status, &json!(code)) {
            wrong.push(format!("{method} {path} {body}: {} {}, not {status} {code}", answer.status, said["code"]));
            continue;
        }
        answer.refused(status, code);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let large = json!({"value": "x".repeat((64 << 10) + 1)});
    house.put("/api/v1/variables/large", &large).await.refused(422, "invalid_request");
    let stranger = house.client.with_token("tw_wrong");
    for path in ["/api/v1/dags", "/api/v1/runs", "/api/v1/variables"] {
        stranger.get(path).await.unwrap().refused(401, "unauthorized");
    }
    assert_eq!(house.run_now(id).await.tasks, run.tasks, "nothing has changed");
}

#[tokio::test]
async fn a_dag_with_mistakes_is_refused_with_the_place_of_each() {
    let house = House::new().await;
    let file = dag(
        &house.module,
        "it",
        "
        tasks:
          a: {function: ecko}
          b: {upstream: [aa], function: echo}
          c:
            function: sleep
            input: {ms: soon}
        ",
    );
    let refused = house.put_dag(&file, "").await.refused(422, "invalid_dag");
    let places: Vec<_> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| json!([place["line"], place["path"], place["code"]]))
        .collect();
    let expected = json!([
        [4, "/tasks/a/function", "function_not_found"],
        [5, "/tasks/b/upstream/0", "unknown_upstream"],
        [8, "/tasks/c/input/ms", "invalid_input"],
    ]);
    assert_eq!(json!(places), expected, "{refused:#}");
    house.get("/api/v1/dags/it").await.unwrap().refused(404, "dag_not_found");
}

#[tokio::test]
async fn a_file_too_large_is_refused() {
    let house = House::new().await;
    let file = format!("dag_id: it\n# {}\ntasks: {{}}\n", "x".repeat(1 << 20));
    let answer = send(house.request(Method::PUT, "/api/v1/dags/it").body(file)).await.unwrap();
    assert!(matches!(answer.status, 413 | 422), "{}", answer.text());
}
