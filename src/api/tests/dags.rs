//! DAGs are taken in whole or refused with every mistake, and shown as they are.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Answer, TestApi, request};

const ETL: &str = "\
# Moves data.
dag_id: etl
description: moves data
tags: [nightly]
params: {city: {default: QW1lcw==, schema: {type: string}}, day: {default: 1, schema: {type: integer}}}
default_args: {module: \"noop:1\"}
tasks:
  first: {input: {input: \"{{ params.city }}\"}}
  second: {upstream: [first], input: {input: \"{{ tasks.first.output }}\"}}
";

impl TestApi {
    pub(super) async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        self.answer(request(method, path).body(body.into()).expect("a request")).await
    }

    /// With the no-op and the DAG `etl`, which calls it twice.
    pub(super) async fn with_etl() -> Self {
        let (api, _) = Self::with_noop().await;
        let put = api.send("PUT", "/api/v1/dags/etl", ETL).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
        api
    }
}

pub(super) fn files(files: &[(&str, &str)]) -> String {
    let files: Vec<Value> = files.iter().map(|(path, content)| json!({"path": path, "content": content})).collect();
    json!({ "files": files }).to_string()
}

#[tokio::test]
async fn a_dag_is_put_shown_paused_and_deleted() {
    let (api, _) = TestApi::with_noop().await;
    let tried = api.send("PUT", "/api/v1/dags/etl?dry_run=true", ETL).await;
    assert_eq!(tried.status, StatusCode::OK, "{}", tried.text());
    assert_eq!((tried.json()["created"].as_bool(), tried.json()["dry_run"].as_bool()), (Some(true), Some(true)));
    assert_eq!(api.get("/api/v1/dags/etl").await.problem().1, "dag_not_found");

    let put = api.send("PUT", "/api/v1/dags/etl", ETL).await;
    assert_eq!((put.status, put.header("location")), (StatusCode::CREATED, Some("/api/v1/dags/etl")), "{}", put.text());
    let version = put.json()["version"].clone();
    assert_eq!(version, tried.json()["version"]);
    let expected = json!({"dag_id": "etl", "version": version, "created": true, "existed": false, "dry_run": false,
        "tasks": 2, "is_paused": false});
    assert_eq!(put.json(), expected);
    let again = api.send("PUT", "/api/v1/dags/etl", ETL).await;
    assert_eq!((again.status, again.json()["created"].as_bool()), (StatusCode::OK, Some(false)));

    let shown = api.get("/api/v1/dags/etl").await.json();
    let module = api.get("/api/v1/modules/noop:1").await.json()["digest"].clone();
    assert_eq!(
        (&shown["source"], &shown["version"], &shown["definition"]["tasks"][0]["module"]),
        (&json!(ETL), &version, &module)
    );
    let listed = api.get("/api/v1/dags").await.json()["items"][0].clone();
    for (key, value) in [
        ("dag_id", json!("etl")),
        ("is_paused", json!(false)),
        ("description", json!("moves data")),
        ("tags", json!(["nightly"])),
        ("schedule", Value::Null),
        ("max_active_runs", json!(16)),
        ("tasks", json!(2)),
    ] {
        assert_eq!((&listed[key], &shown[key]), (&value, &value), "{key}");
    }

    let paused = api.send("PATCH", "/api/v1/dags/etl", r#"{"is_paused":true}"#).await;
    assert_eq!(
        (paused.status, paused.json()["is_paused"].as_bool()),
        (StatusCode::OK, Some(true)),
        "{}",
        paused.text()
    );
    assert_eq!(api.send("PUT", "/api/v1/dags/etl", ETL).await.json()["is_paused"], true);
    assert_eq!(api.send("DELETE", "/api/v1/dags/etl", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.send("DELETE", "/api/v1/dags/etl", "").await.problem().1, "dag_not_found");
    assert_eq!(api.get("/api/v1/dags").await.json()["items"], json!([]));
}

#[tokio::test]
async fn other_content_is_another_version_and_the_old_one_stays() {
    let api = TestApi::with_etl().await;
    let first = api.get("/api/v1/dags/etl").await.json()["version"].clone();
    let changed = ETL.replace("nightly", "daily");
    assert_eq!(api.send("PUT", "/api/v1/dags/etl", changed).await.status, StatusCode::CREATED);
    let versions = api.get("/api/v1/dags/etl/versions").await.json();
    let versions = versions["items"].as_array().expect("items");
    assert_eq!(versions.len(), 2);
    assert_eq!((versions[0]["current"].as_bool(), versions[1]["current"].as_bool()), (Some(true), Some(false)));
    assert_eq!((&versions[1]["version"], versions[1]["created_by"].as_str()), (&first, Some("admin")));
    let old = api.get(&format!("/api/v1/dags/etl/versions/{}", first.as_str().expect("a digest"))).await.json();
    assert_eq!((&old["source"], &old["definition"]["tags"]), (&json!(ETL), &json!(["nightly"])));
    // Back to the first: no third version.
    let back = api.send("PUT", "/api/v1/dags/etl", ETL).await;
    assert_eq!((back.status, &back.json()["version"]), (StatusCode::CREATED, &first));
    let page = api.get("/api/v1/dags/etl/versions?limit=1").await.json();
    assert_eq!(page["items"][0]["current"], false);
    let next = page["next_cursor"].as_str().expect("a cursor");
    let page = api.get(&format!("/api/v1/dags/etl/versions?limit=1&cursor={next}")).await.json();
    assert_eq!((page["items"][0]["current"].as_bool(), page["next_cursor"].is_null()), (Some(true), true));
}

#[tokio::test]
async fn a_module_that_a_dag_names_stays() {
    let api = TestApi::with_etl().await;
    let module = api.get("/api/v1/modules/noop:1").await.json()["digest"].as_str().expect("a digest").to_owned();
    assert_eq!(api.send("DELETE", "/api/v1/modules/noop:1", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.send("DELETE", &format!("/api/v1/modules/{module}"), "").await.problem().1, "module_in_use");
    // The tag is gone, and the version goes on without it.
    let run = api.post("/api/v1/dags/etl/runs?wait=30s", "").await.json();
    assert_eq!(run["state"], "success", "{run}");
}

const MISTAKES: &str = r#"dag_id: a
timezone: Mars/Olympus
max_active_runs: 0
discription: x
params: {city: {default: 5, schema: {type: string}}}
tasks:
  one: {module: "noop:1", retries: 1001, input: {input: ""}}
  two: {module: "noop:1", upstream: [oen], input: {input: ""}}
  three: {module: "noop:1", trigger_rule: all_sucess, input: {input: ""}}
  four: {module: "noop:1", functoin: run, input: {input: ""}}
  five: {module: "noop:1", input: {inptu: ""}}
  six: {module: "noop:1", input: {input: "{{ parms.city }}"}}
  seven: {module: "noop:1", when: "x == 1", input: {input: ""}}
  eight: {module: "nothing:1"}
  nine: {module: "noop:1", queue: "a b", input: {input: ""}}
  ten: {module: "noop:1", limits: {memory_bytes: 0}, input: {input: ""}}
  eleven: {module: "noop:1", grants: {sql: []}, input: {input: ""}}
  twelve: {module: "noop:1", args: [x], input: {input: ""}}
  thirteen: {module: "noop:1", labels: {"a:b": c}, input: {input: ""}}
  fourteen: {input: {input: ""}}
  fifteen: {module: "noop:1", upstream: fifteen, input: {input: ""}}
  sixteen: {module: "noop:1", retry_on: [success], input: {input: ""}}
  seventeen: {module: "noop:1", function: nope, input: {input: ""}}
  eighteen: {module: "noop:1", execution_timeout: 25h, input: {input: ""}}
  nineteen: {module: "noop:1", retries: many, queue: "c d", labels: {x: 5}, input: {input: ""}}
"#;

#[tokio::test]
async fn every_mistake_of_all_files_is_told_at_once_and_nothing_is_applied() {
    let (api, _) = TestApi::with_noop().await;
    let well = "dag_id: b\ntasks: {one: {module: 'noop:1', input: {input: ''}}}";
    let body = files(&[("a.yaml", MISTAKES), ("b.yaml", well), ("sub/c.yaml", well), ("d.yaml", "dag_id: [")]);
    let answer = api.post("/api/v1/dags/apply", body).await;
    assert_eq!((answer.problem().0, answer.problem().1.as_str()), (422, "invalid_dag"), "{}", answer.text());
    let problem = answer.json();
    let errors = problem["errors"].as_array().expect("errors");
    let text = |error: &Value, key: &str| error[key].as_str().unwrap_or_default().to_owned();
    let found: Vec<String> = errors
        .iter()
        .filter(|error| error["file"] != "d.yaml")
        .map(|error| format!("{} {} {}", error["line"], text(error, "code"), text(error, "path")))
        .collect();
    assert_eq!(
        found,
        [
            "2 bad_timezone a.yaml#/timezone",
            "3 out_of_range a.yaml#/max_active_runs",
            "4 unknown_key a.yaml#/discription",
            "5 default_not_valid a.yaml#/params/city/default",
            "7 invalid_request a.yaml#/tasks/one/retries",
            "8 unknown_upstream a.yaml#/tasks/two/upstream/0",
            "9 unknown_trigger_rule a.yaml#/tasks/three/trigger_rule",
            "10 unknown_key a.yaml#/tasks/four/functoin",
            "11 missing_field a.yaml#/tasks/five/input",
            "11 unknown_field a.yaml#/tasks/five/input/inptu",
            "12 unknown_name a.yaml#/tasks/six/input/input",
            "13 wrong_type a.yaml#/tasks/seven/when",
            "14 module_not_found a.yaml#/tasks/eight/module",
            "15 invalid_request a.yaml#/tasks/nine/queue",
            "16 invalid_request a.yaml#/tasks/ten/limits/memory_bytes",
            "17 grant_not_offered a.yaml#/tasks/eleven/grants/sql",
            "18 invalid_request a.yaml#/tasks/twelve/args",
            "19 invalid_request a.yaml#/tasks/thirteen/labels/a:b",
            "20 missing_module a.yaml#/tasks/fourteen",
            "21 self_dependency a.yaml#/tasks/fifteen/upstream",
            "22 invalid_request a.yaml#/tasks/sixteen/retry_on/0",
            "23 function_not_found a.yaml#/tasks/seventeen/function",
            "24 invalid_request a.yaml#/tasks/eighteen/execution_timeout",
            "25 invalid_request a.yaml#/tasks/nineteen/retries",
            "25 invalid_request a.yaml#/tasks/nineteen/queue",
            "25 invalid_request a.yaml#/tasks/nineteen/labels/x",
            "1 duplicate_dag sub/c.yaml#/dag_id",
        ],
        "{problem:#}"
    );
    assert!(errors.iter().any(|error| error["file"] == "d.yaml"), "{problem:#}");
    for error in errors {
        assert!(error["column"].as_u64() >= Some(1) && error["line"].as_u64() >= Some(1), "{error}");
        assert!(!text(error, "message").is_empty() && error.get("remedy").is_none(), "{error}");
    }
    let missing = errors.iter().find(|error| error["code"] == "function_not_found").expect("it is told");
    assert_eq!(text(missing, "message"), "function `nope`: module noop:1 does not have it; call one of run");
    assert_eq!(api.get("/api/v1/dags").await.json()["items"], json!([]));
}

#[tokio::test]
async fn many_files_are_applied_in_one_go() {
    let api = TestApi::with_etl().await;
    let task = "tasks: {one: {module: 'noop:1', input: {input: ''}}}";
    let two = format!("dag_id: b\n{task}\n---\ndag_id: c\n{task}\n");
    let body = files(&[("etl.yaml", ETL), ("two.yaml", &two)]);
    let tried = api.post("/api/v1/dags/apply?dry_run=true", body.clone()).await.json();
    let created = |answer: &Value| -> Vec<(String, String, bool)> {
        let dags = answer["dags"].as_array().expect("dags").iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        dags.map(|dag| (text(&dag["path"]), text(&dag["dag_id"]), dag["created"] == true)).collect()
    };
    let expected = [("etl.yaml", "etl", false), ("two.yaml", "b", true), ("two.yaml", "c", true)];
    let expected: Vec<_> = expected.map(|(path, dag, new)| (path.to_owned(), dag.to_owned(), new)).into();
    assert_eq!(created(&tried), expected);
    assert_eq!(api.get("/api/v1/dags/b").await.problem().1, "dag_not_found");
    assert_eq!(created(&api.post("/api/v1/dags/apply", body).await.json()), expected);
    let listed = api.get("/api/v1/dags?limit=2").await.json();
    assert_eq!((&listed["items"][0]["dag_id"], &listed["items"][1]["dag_id"]), (&json!("b"), &json!("c")));
    let next = listed["next_cursor"].as_str().expect("a cursor");
    let listed = api.get(&format!("/api/v1/dags?limit=2&cursor={next}")).await.json();
    assert_eq!((&listed["items"][0]["dag_id"], listed["next_cursor"].is_null()), (&json!("etl"), true));
    let source = api.get("/api/v1/dags/c").await.json()["source"].clone();
    assert_eq!(source, format!("---\ndag_id: c\n{task}\n"));
}

#[tokio::test]
async fn what_cannot_be_asked_of_dags_is_refused() {
    let api = TestApi::with_etl().await;
    let digest = format!("sha256:{}", "0".repeat(64));
    let other = ETL.replace("dag_id: etl", "dag_id: other");
    let many: String = (0..1_001).map(|n| format!(r#"{{"path":"{n}","content":""}},"#)).collect();
    let many = format!(r#"{{"files":[{}]}}"#, many.trim_end_matches(','));
    let cases: &[(&str, &str, &str, u16, &str, &str)] = &[
        ("GET", "/api/v1/dags/nothing", "", 404, "dag_not_found", ""),
        ("GET", "/api/v1/dags/a%20b", "", 422, "invalid_request", "name"),
        ("GET", "/api/v1/dags/nothing/versions", "", 404, "dag_not_found", ""),
        ("GET", &format!("/api/v1/dags/etl/versions/{digest}"), "", 404, "version_not_found", ""),
        ("GET", "/api/v1/dags/etl/versions/1", "", 422, "invalid_request", "digest"),
        ("GET", "/api/v1/dags?cursor=!", "", 422, "invalid_request", "cursor"),
        ("GET", "/api/v1/dags?limit=0", "", 422, "invalid_request", "limit"),
        ("GET", "/api/v1/dags/nothing/runs", "", 404, "dag_not_found", ""),
        ("GET", "/api/v1/dags/etl/runs?state=well", "", 422, "invalid_request", "state"),
        ("PUT", "/api/v1/dags/a%20b", ETL, 422, "invalid_request", "name"),
        ("PUT", "/api/v1/dags/etl?dry_run=maybe", ETL, 422, "invalid_request", "dry_run"),
        ("PUT", "/api/v1/dags/etl", "", 422, "invalid_dag", ""),
        ("PUT", "/api/v1/dags/etl", &other, 422, "invalid_dag", "/dag_id"),
        ("PUT", "/api/v1/dags/apply", &ETL.replace("dag_id: etl", "dag_id: apply"), 405, "method_not_allowed", ""),
        ("PUT", "/api/v1/dags/etl", &format!("{ETL}---\n{other}"), 422, "invalid_dag", ""),
        ("PATCH", "/api/v1/dags/nothing", r#"{"is_paused":true}"#, 404, "dag_not_found", ""),
        ("PATCH", "/api/v1/dags/etl", r#"{"paused":true}"#, 422, "unknown_key", "/paused"),
        ("PATCH", "/api/v1/dags/etl", "{}", 422, "invalid_request", ""),
        ("DELETE", "/api/v1/dags/nothing", "", 404, "dag_not_found", ""),
        ("DELETE", "/api/v1/dags/etl?force=1", "", 422, "unknown_key", "force"),
        ("POST", "/api/v1/dags/apply", "", 400, "malformed_json", ""),
        ("POST", "/api/v1/dags/apply", r#"{"files":[]}"#, 422, "invalid_request", "/files"),
        ("POST", "/api/v1/dags/apply", &many, 422, "invalid_request", "/files"),
        (
            "POST",
            "/api/v1/dags/apply",
            r#"{"files":[{"path":"","content":""}]}"#,
            422,
            "invalid_request",
            "/files/0/path",
        ),
        ("POST", "/api/v1/dags/nothing/runs", "", 404, "dag_not_found", ""),
        ("POST", "/api/v1/dags/etl/runs?wait=61s", "", 422, "invalid_request", "wait"),
        ("POST", "/api/v1/dags/etl/runs", "x", 400, "malformed_json", ""),
        ("POST", "/api/v1/dags/etl/runs", r#"{"confg":{}}"#, 422, "unknown_key", "/confg"),
        ("POST", "/api/v1/dags/etl/runs", r#"{"conf":[]}"#, 422, "invalid_request", "/conf"),
        ("POST", "/api/v1/dags/etl/runs", r#"{"conf":{"city":5}}"#, 422, "invalid_params", "/conf/city"),
        ("POST", "/api/v1/dags/etl/runs", r#"{"run_id":"a b"}"#, 422, "invalid_request", "/run_id"),
        ("POST", "/api/v1/dags/etl/runs", r#"{"logical_date":"today"}"#, 422, "invalid_request", "/logical_date"),
    ];
    for (method, path, body, status, code, place) in cases {
        let answer = api.send(method, path, body.to_string()).await;
        let expected = (*status, code.to_string(), place.to_string());
        assert_eq!(answer.problem(), expected, "{method} {path} {body:.100}\n{}", answer.text());
    }
    let note = json!({"note": "x".repeat(1_001)}).to_string();
    let answer = api.post("/api/v1/dags/etl/runs", note).await;
    assert_eq!(answer.problem(), (422, "invalid_request".into(), "/note".into()));
    assert_eq!(api.get("/api/v1/runs").await.json()["items"], json!([]));
}
