//! What a task may send where, through a real server, the real sandbox and a target on the loopback.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::target::Target;
use support::{Client, TestServer, guests, poll, setup, task};

async fn server() -> (TestServer, Client, String) {
    let server = setup().start().await;
    let client = server.client();
    let module = client.push(guests::http()).await;
    (server, client, module)
}

/// A task with a grant, and limits.
fn granted(module: &str, function: &str, input: Value, grant: Value) -> Value {
    let mut task = task(module, function, input);
    task["grants"] = json!({"http": [grant]});
    task
}

/// The grant for a target on the loopback.
fn to(target: &Target) -> Value {
    json!({"host": "127.0.0.1", "ports": [target.port], "private_addresses": true})
}

fn with_limits(mut task: Value, limits: Value) -> Value {
    task["limits"] = limits;
    task
}

/// Error and denied calls of a task that ended as it should.
#[track_caller]
fn ended<'a>(task: &'a Value, outcome: &str) -> &'a Value {
    assert_eq!(task["outcome"], outcome, "{task}");
    &task["error"]
}

#[track_caller]
fn says(error: &Value, words: &str) {
    assert!(error["message"].as_str().unwrap().contains(words), "{error}");
}

// Grants

#[tokio::test]
async fn a_granted_request_is_sent_and_its_response_is_the_guests() {
    let (_server, client, module) = server().await;
    let target = Target::start().await;
    let ask = |input| granted(&module, "http_get", input, to(&target));

    let got = client.run(&ask(json!({"url": target.url("/bytes/100000?q=1")}))).await;
    assert_eq!((&got["result"]["status"], &got["result"]["bytes"]), (&json!(200), &json!(100_000)), "{got}");
    let host_bytes = got["usage"]["host_bytes"].as_u64().unwrap();
    assert!((100_000..101_000).contains(&host_bytes), "{got}");

    let sent = client.run(&ask(json!({"url": target.url("/"), "method": "POST", "body_bytes": 70_000}))).await;
    assert_eq!(sent["result"]["status"], 200, "{sent}");
    let seen = target.seen();
    let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(lines, ["GET /bytes/100000?q=1", "POST /"]);
    assert_eq!(seen[1].body_bytes, Some(70_000));
    assert!(seen[0].headers.get("transfer-encoding").is_none(), "a GET has no body: {seen:?}");
}

#[tokio::test]
async fn host_and_forwarding_headers_are_not_the_guests() {
    let (_server, client, module) = server().await;
    let target = Target::start().await;
    let headers = json!({
        "Host": "evil.example", "X-Forwarded-For": "1.2.3.4", "Forwarded": "for=1.2.3.4", "Via": "1.1 me", "Connection": "upgrade",
        "Transfer-Encoding": "chunked", "X-Mine": "yes",
    });
    let input = json!({"url": target.url("/"), "headers": headers});
    let got = client.run(&granted(&module, "http_get", input, to(&target))).await;
    let refused = json!(["Connection", "Forwarded", "Host", "Transfer-Encoding", "Via", "X-Forwarded-For"]);
    assert_eq!(got["result"]["refused_headers"], refused, "{got}");

    let seen = &target.seen()[0].headers;
    let mut names: Vec<&str> = seen.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "host", "x-mine"]);
    assert_eq!(seen["host"], format!("127.0.0.1:{}", target.port).as_str());
}

#[tokio::test]
async fn a_request_beyond_the_grant_is_denied_and_named() {
    let (_server, client, module) = server().await;
    let (target, other) = (Target::start().await, Target::start().await);
    let granted_port = target.port;
    for (grant, input, reason) in [
        (
            json!({"host": "127.0.0.1", "ports": [granted_port]}),
            json!({"url": target.url("/?secret")}),
            format!("GET http://127.0.0.1:{granted_port}: 127.0.0.1 is not a public address"),
        ),
        (
            json!({"host": "localhost", "ports": [granted_port]}),
            json!({"url": format!("http://localhost:{granted_port}/")}),
            format!("GET http://localhost:{granted_port}: "),
        ),
        (
            to(&target),
            json!({"url": other.url("/")}),
            format!("GET http://127.0.0.1:{}: no grant for this host covers this port", other.port),
        ),
        (
            json!({"host": "127.0.0.1", "ports": [granted_port], "methods": ["GET"], "private_addresses": true}),
            json!({"url": target.url("/"), "method": "POST"}),
            format!("POST http://127.0.0.1:{granted_port}: no grant for this host and port covers this method"),
        ),
        (
            json!({"host": "*.example.org", "ports": [granted_port], "private_addresses": true}),
            json!({"url": target.url("/")}),
            format!("GET http://127.0.0.1:{granted_port}: no grant covers this host"),
        ),
        (
            json!({"host": "*", "private_addresses": true}),
            json!({"url": "http://169.254.169.254/latest/meta-data/"}),
            "GET http://169.254.169.254:80: 169.254.169.254 is a link-local or metadata address".to_owned(),
        ),
    ] {
        let ended_task = client.run(&granted(&module, "http_get", input, grant)).await;
        let error = ended(&ended_task, "denied");
        let calls = error["denied_calls"].as_array().unwrap();
        assert!(calls.len() == 1 && calls[0].as_str().unwrap().starts_with(&reason), "{reason}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert!(target.seen().is_empty() && other.seen().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_redirect_is_followed_by_the_guest_and_checked_again() {
    let (_server, client, module) = server().await;
    let (target, other) = (Target::start().await, Target::start().await);
    let url = |to: &str| target.url(&format!("/redirect?{to}"));

    let input = json!({"url": url(&target.url("/bytes/7")), "follow": true});
    let followed = client.run(&granted(&module, "http_get", input, to(&target))).await;
    assert_eq!((&followed["result"]["status"], &followed["result"]["bytes"]), (&json!(200), &json!(7)), "{followed}");

    let input = json!({"url": url(&other.url("/")), "follow": true});
    let denied = client.run(&granted(&module, "http_get", input, to(&target))).await;
    says(ended(&denied, "denied"), &format!("GET http://127.0.0.1:{}: no grant for this host", other.port));

    let input = json!({"url": url(&other.url("/"))});
    let shown = client.run(&granted(&module, "http_get", input, to(&target))).await;
    assert_eq!(shown["result"]["headers"]["location"], json!(other.url("/")), "the response itself is the guest's");
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_module_that_sends_requests_needs_the_grant_at_submit() {
    let (_server, client, module) = server().await;
    let info = client.json(&format!("/api/v1/modules/{module}")).await;
    assert_eq!(info["grants_needed"], json!(["http"]));
    let ungranted = task(&module, "http_get", json!({"url": "http://127.0.0.1/"}));
    let refused = client.post("/api/v1/tasks", ungranted.to_string()).await.unwrap();
    assert_eq!(refused.refused(422, "missing_grant")["errors"][0]["path"], "/grants/http");
    let get = "function: http_get, input: {url: 'http://127.0.0.1/'}";
    let dag = format!("dag_id: d\ntasks: {{a: {{module: '{module}', {get}}}}}");
    let files = json!({"files": [{"path": "d.yaml", "content": dag}]});
    let refused = client.post("/api/v1/dags/apply", files.to_string()).await.unwrap();
    let refused = refused.refused(422, "invalid_dag");
    let place = &refused["errors"][0];
    assert_eq!((&place["code"], &place["path"]), (&json!("missing_grant"), &json!("d.yaml#/tasks/a")), "{refused}");
}

// Bounds

#[tokio::test]
async fn a_response_without_end_stops_at_received_bytes() {
    let (_server, client, module) = server().await;
    let target = Target::start().await;
    let endless = granted(&module, "http_get", json!({"url": target.url("/endless")}), to(&target));
    let stopped = client.run(&with_limits(endless, json!({"received_bytes": 3_000_000}))).await;
    says(ended(&stopped, "failed"), "body size exceeds limit: 3000000 bytes");
    let received = stopped["usage"]["host_bytes"].as_u64().unwrap();
    assert!((2_000_000..=3_000_000 + 1_000).contains(&received), "{stopped}");
}

#[tokio::test]
async fn a_request_without_end_stops_at_sent_bytes() {
    let (_server, client, module) = server().await;
    let target = Target::start().await;
    let endless = granted(&module, "http_upload_forever", json!({"url": target.url("/")}), to(&target));
    let stopped = client.run(&with_limits(endless, json!({"sent_bytes": 3_000_000}))).await;
    says(ended(&stopped, "failed"), "HttpRequestBodySize(Some(3000000))");
    let sent = stopped["usage"]["host_bytes"].as_u64().unwrap();
    assert!((2_900_000..=3_000_000).contains(&sent), "{stopped}");
    assert_eq!(target.seen()[0].body_bytes, None, "the target knows that it broke off");
}

#[tokio::test]
async fn empty_writes_end_by_a_limit_and_are_kept_nowhere() {
    let (server, client, module) = server().await;
    let target = Target::start().await;
    let writes = |limits| {
        let task = granted(&module, "http_empty_writes", json!({"url": target.url("/")}), to(&target));
        with_limits(task, limits)
    };
    // Warm, so that what is measured is what the writes leave.
    client.run(&writes(json!({"host_calls": 10_000}))).await;
    let before = support::resident_bytes(server.pid());
    let stopped = client.run(&writes(json!({"host_calls": 300_000}))).await;
    says(ended(&stopped, "trapped"), "host_calls of 300000");
    let grown = support::resident_bytes(server.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more after 100 000 empty writes");

    let counted = client.run(&writes(json!({"sent_bytes": 10_000}))).await;
    let error = counted["error"]["message"].as_str().unwrap();
    assert_eq!((&counted["outcome"], error), (&json!("failed"), "the stream is closed"), "they count as sent bytes");
}

#[tokio::test]
async fn only_so_many_requests_are_under_way_at_once() {
    let (_server, client, module) = server().await;
    let target = Target::start().await;
    let many = granted(&module, "http_in_flight", json!({"url": target.url("/never")}), to(&target));
    assert_eq!(client.run(&many).await["result"], 32);
}

#[tokio::test]
async fn long_texts_are_not_kept_for_a_guest() {
    let (_server, client, module) = server().await;
    let grant = || json!({"host": "example.org"});
    for (bytes, taken) in [(20, [true, true, true]), (300, [false, true, false]), (20_000, [false, false, false])] {
        let ended = client.run(&granted(&module, "http_long_texts", json!(bytes), grant())).await;
        assert_eq!(ended["result"], json!(taken), "{bytes} bytes: {ended}");
    }
}

#[tokio::test]
async fn waiting_for_a_target_ends_by_timeout_and_by_cancel() {
    let (_server, client, module) = server().await;
    let target = Target::start().await;
    let wait = granted(&module, "http_get", json!({"url": target.url("/never")}), to(&target));

    let begun = Instant::now();
    let late = client.run(&with_limits(wait.clone(), json!({"execution_timeout": "300ms"}))).await;
    ended(&late, "timed_out");
    assert!(begun.elapsed() < Duration::from_secs(20));

    let id = client.submit(&wait).await["id"].as_str().unwrap().to_owned();
    poll("the second request", async || (target.seen().len() == 2).then_some(())).await;
    assert_eq!(client.cancel(&id).await.status, 200);
    ended(&client.end_of(&id).await, "cancelled");
}

#[tokio::test]
async fn a_body_without_its_end_is_not_taken_for_a_whole_one() {
    let (_server, client, module) = server().await;
    let target = Target::start().await;
    let half = granted(&module, "http_half_upload", json!({"url": target.url("/")}), to(&target));
    ended(&client.run(&half).await, "success");
    // Its connection is closed. Another request is answered after that.
    let whole = json!({"url": target.url("/"), "method": "POST", "body_bytes": 4});
    client.run(&granted(&module, "http_get", whole, to(&target))).await;
    let bodies: Vec<Option<usize>> = target.seen().iter().map(|seen| seen.body_bytes).collect();
    assert_eq!(bodies.last(), Some(&Some(4)));
    assert!(bodies[..bodies.len() - 1].iter().all(Option::is_none), "{bodies:?}");
}
