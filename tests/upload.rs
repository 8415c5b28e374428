//! Uploads: compiled apart and bounded, told of on the way, and gone without a trace when they fail.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{Answer, Client, TestServer, guests, poll, setup, task};

const MODULES: &str = "/api/v1/modules";

/// A component that exports `f`, which does nothing.
fn small() -> Vec<u8> {
    wat::parse_str(
        r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
            (func (export "f") (canon lift (core func $i "f"))))"#,
    )
    .unwrap()
}

/// A component of so many functions with a hundred additions each: some seconds of
/// work for 10 000 of them. Written as bytes, as its text would take longer to read than
/// the code to compile.
fn costly(functions: usize) -> Vec<u8> {
    let mut body = vec![0];
    for n in 0..100 {
        // local.get 0, local.get 0, i32.const n, i32.xor, i32.mul, local.set 0
        body.extend([0x20, 0, 0x20, 0, 0x41, n % 64, 0x73, 0x6c, 0x21, 0]);
    }
    // local.get 0, end
    body.extend([0x20, 0, 0x0b]);
    let function = [leb(body.len()), body].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, &[leb(functions), vec![0; functions]].concat()),
        section(10, &[leb(functions), function.repeat(functions)].concat()),
    ];
    let instantiated = section(2, &[1, 0, 0, 0]);
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module.concat()), instantiated].concat()
}

/// A component with so many bytes of data, which the compiler holds several times and
/// hardly looks at.
fn bulky(bytes: usize) -> Vec<u8> {
    let pages = bytes.div_ceil(64 << 10);
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(5, &[vec![1, 0], leb(pages)].concat()),
        // Active, at i32.const 0.
        section(11, &[vec![1, 0, 0x41, 0, 0x0b], leb(bytes), vec![7; bytes]].concat()),
    ];
    let instantiated = section(2, &[1, 0, 0, 0]);
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module.concat()), instantiated].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb(content.len()), content.to_vec()].concat()
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

async fn upload(client: &Client, wasm: Vec<u8>) -> Answer {
    client.post(MODULES, wasm).await.unwrap()
}

/// Uploads with progress; the answer has begun.
async fn begin(client: &Client, wasm: Vec<u8>) -> reqwest::Response {
    let request = client.request(Method::POST, MODULES).header("accept", "text/event-stream");
    let response = request.body(wasm).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response
}

/// The events of a text: kind and data.
fn events(text: &str) -> Vec<(String, Value)> {
    let event = |text: &str| {
        let (kind, data) = text.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        (kind.to_owned(), serde_json::from_str(data).unwrap())
    };
    text.split("\n\n").filter(|event| !event.is_empty()).map(event).collect()
}

/// The compiler, once the server has one.
async fn compiler(server: &TestServer) -> Pid {
    poll("a compiler", async || compilers(server).first().copied()).await
}

async fn no_compiler(server: &TestServer) {
    poll("the compiler to be gone", async || compilers(server).is_empty().then_some(())).await;
}

/// The children of the server.
fn compilers(server: &TestServer) -> Vec<Pid> {
    let mut found = Vec::new();
    let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", server.pid())) else { return found };
    for thread in threads.flatten() {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
    }
    found
}

/// What lies in the directories an upload passes through.
fn left_behind(server: &TestServer) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![server.data().join("incoming"), server.data().join("compiled")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { found.push(path.display().to_string()) }
        }
    }
    found
}

async fn nothing_is_left(server: &TestServer) {
    poll("the traces to be gone", async || left_behind(server).is_empty().then_some(())).await;
    assert!(server.client().items(MODULES).await.is_empty());
}

#[tokio::test]
async fn a_module_that_takes_too_much_processor_time_is_refused_and_the_server_goes_on() {
    let server = setup().with_setting("sandbox.compile_cpu_time", "3s").start().await;
    let client = server.client();
    let problem = upload(&client, costly(30_000)).await.refused(422, "too_costly");
    let reason = problem["reason"].as_str().unwrap();
    for said in ["processor time", "3s", "sandbox.compile_cpu_time", "2GiB", "sandbox.compile_memory_bytes"] {
        assert!(reason.contains(said), "{problem}");
    }
    nothing_is_left(&server).await;
    let module = client.push(&small()).await;
    assert_eq!(client.run(&task(&module, "f", json!(null))).await["state"], "success");
}

#[tokio::test]
async fn a_module_that_takes_too_much_memory_is_refused() {
    let server = setup().with_setting("sandbox.compile_memory_bytes", "320MiB").start().await;
    let client = server.client();
    let module = client.push(&small()).await;
    let problem = upload(&client, bulky(96 << 20)).await.refused(422, "too_costly");
    assert!(problem["reason"].as_str().unwrap().contains("320MiB"), "{problem}");
    assert_eq!(client.run(&task(&module, "f", json!(null))).await["state"], "success");
}

#[tokio::test]
async fn bounds_are_refused_by_their_name() {
    let server = TestServer::start().await;
    let client = server.client();
    let memories = wat::parse_str(format!("(component (core module {}))", "(memory 1)".repeat(99))).unwrap();
    let problem = upload(&client, memories).await.refused(422, "too_large");
    assert!(problem["reason"].as_str().unwrap().contains("has 99 memories, more than max_memories of"), "{problem}");
    let nested = format!("{}{}", "(component ".repeat(40), ")".repeat(40));
    let problem = upload(&client, wat::parse_str(nested).unwrap()).await.refused(422, "too_large");
    assert!(problem["reason"].as_str().unwrap().contains("max_depth"), "{problem}");
    nothing_is_left(&server).await;
}

#[tokio::test]
async fn the_compiler_is_bound_before_it_reads_the_module() {
    let server = setup().with_env("SECRET_OF_THE_OPERATOR", "hush").start().await;
    let _response = begin(&server.client(), costly(30_000)).await;
    let compiler = compiler(&server).await.as_raw_nonzero();
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{compiler}/{file}")).unwrap_or_default();
    // The last of its limits, which is set after the others.
    let limits = async || Some(read("limits")).filter(|limits| limit(limits, "Max open files") == "32");
    let limits = poll("the limits", limits).await;
    assert_eq!(limit(&limits, "Max address space"), (2_u64 << 30).to_string());
    assert_eq!(limit(&limits, "Max cpu time"), "300");
    assert_eq!(limit(&limits, "Max core file size"), "0");
    let niceness =
        async || read("stat").rsplit_once(')')?.1.split_whitespace().nth(16).filter(|nice| *nice == "10").map(|_| ());
    poll("its low priority", niceness).await;
    assert!(!read("environ").contains("SECRET"), "{}", read("environ"));
    let files = std::fs::read_dir(format!("/proc/{compiler}/fd")).unwrap().flatten();
    let files: Vec<String> =
        files.filter_map(|file| Some(std::fs::read_link(file.path()).ok()?.display().to_string())).collect();
    let own = |file: &&String| {
        file.contains("/incoming/") || file.ends_with(".tmp") || file.starts_with("pipe:")
        // What the number of processors is read from.
        || file.starts_with("/sys/") || file.starts_with("/proc/")
        // What the tester's own shell left open.
        || *file == "/dev/null"
    };
    assert_eq!(files.iter().filter(own).count(), files.len(), "{files:?}");
}

/// The soft limit of a kind in /proc/PID/limits.
fn limit<'a>(limits: &'a str, kind: &str) -> &'a str {
    let line = limits.lines().find_map(|line| line.strip_prefix(kind));
    line.and_then(|line| line.split_whitespace().next()).unwrap_or_default()
}

#[tokio::test]
async fn progress_is_told_in_order_and_ends_with_the_module() {
    let server = TestServer::start().await;
    let client = server.client();
    let answer = begin(&client, guests::tasks().to_vec()).await.text().await.unwrap();
    let mut events = events(&answer);
    let (kind, module) = events.pop().unwrap();
    assert_eq!(kind, "module", "{answer}");
    let digest = module["digest"].as_str().unwrap();
    assert_eq!(client.json(&format!("{MODULES}/{digest}")).await, module);
    let mut stages = Vec::new();
    let mut elapsed = 0;
    for (kind, progress) in &events {
        assert_eq!(kind, "progress");
        let now = progress["elapsed_ms"].as_u64().unwrap();
        assert!(now >= elapsed, "{answer}");
        elapsed = now;
        stages.push(progress["stage"].as_str().unwrap());
        let compiling = progress["stage"] == "compiling";
        assert_eq!(progress["cpu_ms"].is_u64(), compiling, "{progress}");
        assert_eq!(progress["cpu_limit_ms"], if compiling { json!(300_000) } else { json!(null) });
    }
    stages.dedup();
    assert_eq!(stages, ["compiling", "inspecting", "storing"]);

    // Known already: there is nothing to tell.
    let again = begin(&client, guests::tasks().to_vec()).await.text().await.unwrap();
    assert_eq!(self::events(&again), [("module".to_owned(), module)]);
    // A refusal comes the same way.
    let refused = begin(&client, b"#!/bin/sh".to_vec()).await.text().await.unwrap();
    let (kind, problem) = self::events(&refused).pop().unwrap();
    assert_eq!((kind.as_str(), &problem["code"], &problem["status"]), ("problem", &json!("not_wasm"), &json!(422)));
}

#[tokio::test]
async fn who_waits_for_another_is_told_his_place() {
    let server = TestServer::start().await;
    let client = server.client();
    let first = begin(&client, costly(30_000)).await;
    compiler(&server).await;
    let mut second = begin(&client, small()).await;
    let event = second.chunk().await.unwrap().unwrap();
    let told = events(std::str::from_utf8(&event).unwrap());
    assert_eq!((&told[0].1["stage"], &told[0].1["position"]), (&json!("waiting"), &json!(1)), "{told:?}");
    // When the first leaves, the second has its turn.
    drop(first);
    let rest = second.text().await.unwrap();
    assert_eq!(events(&rest).pop().unwrap().0, "module", "{rest}");
}

#[tokio::test]
async fn who_leaves_cancels_the_upload() {
    let server = TestServer::start().await;
    let client = server.client();
    let response = begin(&client, costly(30_000)).await;
    compiler(&server).await;
    drop(response);
    no_compiler(&server).await;
    nothing_is_left(&server).await;

    // The same without progress.
    let plain = tokio::spawn({
        let client = client.clone();
        async move { client.post(MODULES, costly(30_000)).await }
    });
    compiler(&server).await;
    plain.abort();
    no_compiler(&server).await;
    nothing_is_left(&server).await;
}

#[tokio::test]
async fn a_compiler_that_is_killed_leaves_an_error_and_nothing_else() {
    let server = TestServer::start().await;
    let client = server.client();
    for signal in [Signal::TERM, Signal::KILL] {
        let upload = tokio::spawn({
            let client = client.clone();
            async move { upload(&client, costly(30_000)).await }
        });
        kill_process(compiler(&server).await, signal).unwrap();
        upload.await.unwrap().refused(503, "unavailable");
        nothing_is_left(&server).await;
    }
    client.push(&small()).await;
}

#[tokio::test]
async fn the_compiler_dies_with_the_server() {
    let mut server = TestServer::start().await;
    let _response = begin(&server.client(), costly(30_000)).await;
    let compiler = compiler(&server).await;
    server.kill();
    let gone = || match std::fs::read_to_string(format!("/proc/{}/stat", compiler.as_raw_nonzero())) {
        // A zombie is one that nobody has been told of yet.
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    poll("the compiler to be gone", async || gone().then_some(())).await;
    server.restart().await;
    nothing_is_left(&server).await;
}

#[tokio::test]
async fn a_new_key_has_everything_compiled_anew() {
    let mut server = TestServer::start().await;
    let client = server.client();
    let module = client.push(&small()).await;
    let before = code(&server);
    let key = server.data().join("compiled.key");
    assert_eq!(key.metadata().unwrap().mode() & 0o777, 0o600);
    let old_key = std::fs::read(&key).unwrap();

    // With the same key the code is loaded as it is.
    server.restart().await;
    assert_eq!(server.client().run(&task(&module, "f", json!(null))).await["state"], "success");
    assert_eq!(code(&server), before);

    std::fs::remove_file(&key).unwrap();
    server.restart().await;
    assert_ne!(std::fs::read(&key).unwrap(), old_key);
    assert_eq!(server.client().run(&task(&module, "f", json!(null))).await["state"], "success");
    assert_ne!(code(&server), before);
}

/// Which file the only compiled module is.
fn code(server: &TestServer) -> u64 {
    let code = left_behind(server).into_iter().find(|path| path.ends_with(".cwasm")).unwrap();
    Path::new(&code).metadata().unwrap().ino()
}
