//! What results and attempts are bounded by.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{setup, task};
use crate::{at, id, server, with};

// Results and limits

#[tokio::test]
async fn a_large_result_is_an_artifact_that_proves_itself() {
    let (mut server, _, module) = server().await;
    for (bytes, kept_apart) in [(60_000, false), (70_000, true), (5_000_000, true)] {
        let client = server.client();
        let ended = client.run(&task(&module, "big_output", json!({"bytes": bytes}))).await;
        assert_eq!(ended["state"], "success", "{}", ended["error"]);
        let path = format!("/api/v1/tasks/{}/result", id(&ended));
        let result = client.get(&path).await.unwrap();
        assert_eq!((result.status, result.body.len()), (200, bytes + 2));
        assert!(result.body[1..=bytes].iter().all(|byte| *byte == b'x'));
        if kept_apart {
            let digest = format!("sha256:{}", hex::encode(Sha256::digest(&result.body)));
            assert_eq!(ended["result_ref"], json!({"digest": digest, "bytes": bytes + 2}));
            assert_eq!(ended["result"], Value::Null);
            server.restart().await;
            let again = server.client().get(&path).await.unwrap();
            assert!(again.body == result.body, "the same bytes after a crash");
        } else {
            assert_eq!(ended["result_ref"], Value::Null);
        }
        assert_eq!(server.client().task(id(&ended)).await["result_ref"], ended["result_ref"]);
    }
}

#[tokio::test]
async fn an_attempt_ends_at_the_first_limit_it_meets() {
    let (_server, client, module) = server().await;
    let cases = [
        ("alloc", json!({"mib": 200}), json!({"memory_bytes": 32 << 20}), "out_of_memory"),
        ("sleep", json!({"ms": 600_000}), json!({"execution_timeout": "150ms"}), "timed_out"),
        ("spin", json!(null), json!({"execution_timeout": "150ms"}), "timed_out"),
        ("spin", json!(null), json!({"cpu_time": "100ms"}), "timed_out"),
        ("big_output", json!({"bytes": 1_000}), json!({"output_bytes": 1_001}), "output_too_large"),
        ("big_output", json!({"bytes": 1_000}), json!({"output_bytes": 1_002}), "success"),
        ("alloc", json!({"mib": 20}), json!({"memory_bytes": 32 << 20}), "success"),
    ];
    let lines: Vec<Value> = cases
        .iter()
        .map(|(function, input, limits, _)| with(task(&module, function, input.clone()), json!({"limits": limits})))
        .collect();
    let ended = client.batch(&lines, "?wait=60s").await;
    let outcomes: Vec<&Value> = ended.iter().map(|task| &task["outcome"]).collect();
    let expected: Vec<&str> = cases.iter().map(|(.., outcome)| *outcome).collect();
    assert_eq!(json!(outcomes), json!(expected), "{ended:?}");
    for failed in ended.iter().filter(|task| task["outcome"] != "success") {
        assert_eq!(failed["state"], "failed");
        assert!(failed["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{failed}");
    }
}

#[tokio::test]
async fn more_than_the_server_grants_is_refused_at_the_door() {
    let (_server, client, module) = server().await;
    for (limits, place) in [
        (json!({"memory_bytes": 2_u64 << 30}), "/limits/memory_bytes"),
        (json!({"memory_bytes": 0}), "/limits/memory_bytes"),
        (json!({"execution_timeout": "25h"}), "/limits/execution_timeout"),
        (json!({"cpu_time": "0s"}), "/limits/cpu_time"),
        (json!({"output_bytes": 1_u64 << 40}), "/limits/output_bytes"),
        (json!({"log_bytes": 1_u64 << 40}), "/limits/log_bytes"),
    ] {
        let asked = with(task(&module, "echo", json!(1)), json!({"limits": limits}));
        let problem = client.post("/api/v1/tasks", asked.to_string()).await.unwrap().refused(422, "invalid_request");
        assert_eq!(problem["errors"][0]["path"], place);
    }
    let granted = with(task(&module, "echo", json!(1)), json!({"grants": {"sql": {}}}));
    client.post("/api/v1/tasks", granted.to_string()).await.unwrap().refused(422, "grant_not_offered");
    assert_eq!(client.items("/api/v1/tasks").await.len(), 0);
}

#[tokio::test]
async fn a_limit_that_a_task_does_not_name_is_the_setting() {
    let (_server, client, module) = setup()
        .with_setting("limits.memory_bytes", "64MiB")
        .with_setting("limits.log_bytes", 1_000)
        .start_with_guests()
        .await;
    let asked = with(task(&module, "echo", json!(1)), json!({"limits": {"log_bytes": 2_000}}));
    let limits = &client.submit(&asked).await["limits"];
    assert_eq!((&limits["memory_bytes"], &limits["log_bytes"]), (&json!(64 << 20), &json!(2_000)));
    assert_eq!(limits["execution_timeout"], "1h", "the rest as ever: {limits}");
    let ended = client.run(&task(&module, "alloc", json!({"mib": 100}))).await;
    assert_eq!(ended["outcome"], "out_of_memory", "{ended}");
}

#[tokio::test]
async fn a_guest_knows_who_it_is_and_how_long_it_may_run() {
    let (_server, client, module) = server().await;
    let limits = json!({"limits": {"execution_timeout": "10m"}});
    let ended = client.run(&with(task(&module, "context", json!(null)), limits)).await;
    let seen = &ended["result"];
    assert_eq!(seen["task_id"], ended["id"]);
    assert_eq!(
        json!([seen["try_number"], seen["run_id"], seen["dag_id"], seen["map_index"]]),
        json!([1, null, null, null])
    );
    let left = seen["seconds_left"].as_f64().unwrap();
    assert!(left > 500.0 && left <= 600.0, "{left} s of ten minutes");
    assert!(at(&seen["deadline"]) > at(&ended["start_date"]));
}

#[tokio::test]
async fn what_an_attempt_uses_is_metered() {
    let (_server, client, module) = server().await;
    let lines = [
        task(&module, "alloc", json!({"mib": 50})),
        with(task(&module, "spin", json!(null)), json!({"limits": {"cpu_time": "200ms"}})),
        task(&module, "sleep", json!({"ms": 200})),
        task(&module, "log_lines", json!({"lines": 10, "bytes": 50, "to": ["stderr"]})),
    ];
    let ended = client.batch(&lines, "?wait=60s").await;
    let used = |n: usize, what: &str| ended[n]["usage"][what].as_u64().unwrap();
    assert!((50 << 20..100 << 20).contains(&used(0, "peak_memory_bytes")), "{}", ended[0]);
    assert!((150_000..5_000_000).contains(&used(1, "cpu_us")), "{}", ended[1]);
    assert!(used(2, "cpu_us") < 150_000 && ended[2]["duration_ms"].as_f64().unwrap() >= 200.0, "{}", ended[2]);
    assert_eq!(used(3, "log_bytes"), 500);
    assert!(used(3, "host_bytes") >= 500, "{}", ended[3]);
}

#[tokio::test]
async fn the_operators_ceiling_holds_for_everyone() {
    let (_server, client, module) = setup()
        .with_setting("grants.http_hosts", "*.example.org,api.example.net")
        .with_setting("grants.private_addresses", false)
        .with_setting("grants.max_scratch_bytes", 1_000_000)
        .with_setting("sandbox.max_sent_bytes", 300_000_000)
        .with_setting("sandbox.max_host_calls", 200_000_000)
        .start_with_guests()
        .await;
    let asked = |what: Value| with(task(&module, "echo", json!(1)), what).to_string();
    for (granted, place) in [
        (json!({"http": [{"host": "api.example.net"}, {"host": "example.com"}]}), "/grants/http/1/host"),
        (json!({"http": [{"host": "*"}]}), "/grants/http/0/host"),
        (json!({"http": [{"host": "a.example.org", "private_addresses": true}]}), "/grants/http/0/private_addresses"),
        (json!({"scratch": {"bytes": 1_000_001}}), "/grants/scratch/bytes"),
    ] {
        let refused = client.post("/api/v1/tasks", asked(json!({"grants": granted}))).await.unwrap();
        let problem = refused.refused(422, "grant_refused");
        assert_eq!(problem["errors"][0]["path"], place, "{problem}");
    }
    for (limits, place) in [
        (json!({"sent_bytes": 300_000_001}), "/limits/sent_bytes"),
        (json!({"host_calls": 200_000_001}), "/limits/host_calls"),
        (json!({"received_bytes": 1_u64 << 40}), "/limits/received_bytes"),
    ] {
        let refused = client.post("/api/v1/tasks", asked(json!({"limits": limits}))).await.unwrap();
        assert_eq!(refused.refused(422, "invalid_request")["errors"][0]["path"], place);
    }
    assert_eq!(client.items("/api/v1/tasks").await.len(), 0);
    let within = json!({"grants": {"http": [{"host": "a.example.org"}], "scratch": {"bytes": 1_000_000}}});
    assert_eq!(client.post("/api/v1/tasks?wait=30s", asked(within)).await.unwrap().expect(201)["state"], "success");
}

#[tokio::test]
async fn arguments_are_for_programs_and_bounded() {
    let (_server, client, module) = server().await;
    let asked = |args: Value| with(task(&module, "echo", json!(1)), json!({"args": args})).to_string();
    let refused = client.post("/api/v1/tasks", asked(json!(["-x"]))).await.unwrap().refused(422, "invalid_request");
    assert_eq!(refused["errors"][0]["path"], "/args", "{refused}");
}
