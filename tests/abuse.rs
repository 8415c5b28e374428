//! Guests that try everything they should not: each ends with the outcome of the contract, and
//! other tasks go on meanwhile.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod support;

use serde_json::{Value, json};
use support::{Client, TestServer, guests, setup, task};

/// What an abuser's attempt may use, unless its case says otherwise.
fn modest() -> Value {
    json!({"memory_bytes": 64 << 20, "execution_timeout": "20s", "cpu_time": "20s", "log_bytes": 65_536})
}

struct Case {
    function: &'static str,
    input: Value,
    limits: Value,
    outcome: &'static str,
    /// Part of what the task's error says.
    says: &'static str,
}

fn cases() -> Vec<Case> {
    let case = |function, input, limits, outcome, says| Case { function, input, limits, outcome, says };
    vec![
        case("call_the_host", json!(null), json!({"host_calls": 100_000}), "trapped", "host_calls"),
        case("call_the_host", json!(null), json!({"cpu_time": "100ms"}), "timed_out", "cpu_time"),
        case("write_nothing", json!(null), json!({"host_calls": 100_000}), "trapped", "host_calls"),
        case("flood_stdout", json!(null), json!({"execution_timeout": "200ms"}), "timed_out", "execution_timeout"),
        case("flood_the_log", json!(null), json!({"execution_timeout": "200ms"}), "timed_out", "execution_timeout"),
        case("hoard_handles", json!(null), json!({}), "trapped", "table"),
        case("nap_between_work", json!(null), json!({"execution_timeout": "300ms"}), "timed_out", "execution_timeout"),
        case("wait_for_ever", json!(null), json!({"execution_timeout": "100ms"}), "timed_out", "execution_timeout"),
        case("drain_randomness", json!(null), json!({}), "trapped", ""),
        case(
            "fill_memory",
            json!({"mib": 900, "rounds": 100_000}),
            json!({"memory_bytes": 1 << 30, "execution_timeout": "300ms"}),
            "timed_out",
            "execution_timeout",
        ),
        case("fill_memory", json!({"mib": 900, "rounds": 1}), json!({}), "out_of_memory", "memory_bytes"),
        case("recurse", json!(null), json!({}), "trapped", ""),
        case("open_tcp", json!(null), json!({}), "denied", "TCP socket"),
        case("open_udp", json!(null), json!({}), "denied", "UDP socket"),
        case("look_up", json!("example.org"), json!({}), "denied", "example.org"),
        case("fail_deeply", json!(100), json!({}), "failed", "deep"),
        case("fail_deeply", json!(100), json!({"output_bytes": 50}), "output_too_large", "output_bytes"),
    ]
}

async fn server() -> (TestServer, Client, String, String) {
    let server = setup().with_setting("worker.slots", 16).start().await;
    let client = server.client();
    let abuse = client.push(guests::abuse()).await;
    let noop = client.push(&tradewind::sandbox::guests::noop()).await;
    (server, client, abuse, noop)
}

fn abuser(module: &str, case: &Case) -> Value {
    let mut abuser = task(module, case.function, case.input.clone());
    let mut limits = modest();
    limits.as_object_mut().unwrap().extend(case.limits.as_object().unwrap().clone());
    abuser["limits"] = limits;
    abuser
}

#[tokio::test]
async fn every_abuser_ends_with_its_outcome_while_others_go_on() {
    let (server, client, abuse, noop) = server().await;
    let cases = cases();
    // All at once, then each is waited for.
    let mut started = Vec::new();
    for case in &cases {
        let answer = client.submit(&abuser(&abuse, case)).await;
        started.push(answer["id"].as_str().unwrap().to_owned());
    }
    for _ in 0..200 {
        let ended = client.run(&json!({"module": noop, "input": {"input": ""}})).await;
        assert_eq!(ended["state"], "success", "{ended}");
    }
    for (case, id) in cases.iter().zip(&started) {
        let ended = client.end_of(id).await;
        assert_eq!(ended["outcome"], case.outcome, "{}: {ended}", case.function);
        let message = ended["error"]["message"].as_str().unwrap();
        assert!(message.contains(case.says), "{}: {message}", case.function);
        let denied = ended["error"]["denied_calls"].as_array().unwrap();
        assert_eq!(!denied.is_empty(), case.outcome == "denied", "{}: {ended}", case.function);
        assert!(ended["usage"]["log_bytes"].as_u64().unwrap() <= 66_000, "{}: {ended}", case.function);
    }
    // The largest memory of an ended guest went back at once.
    let resident = support::resident_bytes(server.pid());
    assert!(resident < 400 << 20, "the server holds {} MiB after all of them", resident >> 20);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn a_refusal_is_no_failure_of_a_guest_that_lives_without() {
    let (_server, client, abuse, _) = server().await;
    let ended = client.run(&task(&abuse, "live_without_a_socket", json!(null))).await;
    assert_eq!((&ended["state"], &ended["result"]), (&json!("success"), &json!("well")), "{ended}");
}

#[tokio::test]
async fn a_guest_finds_an_empty_world_but_for_what_it_is_granted() {
    let (_server, client, abuse, _) = server().await;
    let ended = client.run(&task(&abuse, "look_around", json!(null))).await;
    assert_eq!(ended["result"], json!({"env": [], "args": [], "files": []}), "{ended}");
    let mut granted = task(&abuse, "look_around", json!(null));
    granted["grants"] = json!({"env": {"CITY": "Ames", "EMPTY": ""}});
    let ended = client.run(&granted).await;
    assert_eq!(ended["result"]["env"], json!(["CITY=Ames", "EMPTY="]), "{ended}");
    assert_eq!(ended["grants"], json!({"env": {"CITY": "Ames", "EMPTY": ""}}), "{ended}");
}

#[tokio::test]
async fn a_json_bomb_is_refused_at_the_door_or_passes_through_harmless() {
    let (_server, client, abuse, noop) = server().await;
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let numbers = format!("[{}1]", "1e999,".repeat(100_000));
    for input in [
        deep(100_000),
        numbers,
        format!("\"{}\"", "\\u0000".repeat(100_000)),
        format!("{{{}\"a\":1}}", "\"a\":1,".repeat(50_000)),
    ] {
        for (module, function) in [(&abuse, "look_up"), (&noop, "run")] {
            let body = format!(r#"{{"module": "{module}", "function": "{function}", "input": {input}}}"#);
            let answer = client.post("/api/v1/tasks?wait=30s", body).await;
            let status = answer.as_ref().ok().map(|answer| answer.status);
            let refused_or_ended = match status {
                Some(400 | 413 | 422) => true,
                Some(201) => answer.unwrap().json()["outcome"].is_string(),
                _ => false,
            };
            assert!(refused_or_ended, "{function} {input:.40}: {status:?}");
        }
    }
    let ended = client.run(&json!({"module": noop, "input": {"input": ""}})).await;
    assert_eq!(ended["state"], "success");
}
