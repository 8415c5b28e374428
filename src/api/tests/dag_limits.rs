//! What DAG files may not be, and what of their inputs is known before a run.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::dags::files;
use super::{Answer, TestApi};
use crate::api::bounds::{MAX_DAGS, MAX_FILE_NAME_BYTES, MAX_MISTAKES, MAX_POINTER_BYTES};

/// Code and path of each mistake.
fn mistakes(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!((answer.problem().0, answer.problem().1.as_str()), (422, "invalid_dag"), "{}", answer.text());
    let problem = answer.json();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let errors = problem["errors"].as_array().expect("errors").iter();
    errors.map(|error| (text(&error["code"]), text(&error["path"]))).collect()
}

fn codes(answer: &Answer) -> Vec<String> {
    mistakes(answer).into_iter().map(|(code, _)| code).collect()
}

#[tokio::test]
async fn after_so_many_mistakes_no_more_files_are_looked_at() {
    let (api, _) = TestApi::with_noop().await;
    let file = |dag: usize| {
        let tasks = (0..1_000).fold(String::new(), |mut tasks, task| {
            writeln!(tasks, "  t{task}: {{module: \"noop:1\", x: 1}}").expect("a text grows");
            tasks
        });
        format!("dag_id: d{dag}\ntasks:\n{tasks}")
    };
    let mut sent: Vec<(String, String)> = (0..6).map(|dag| (format!("{dag}.yaml"), file(dag))).collect();
    sent.push(("last.yaml".to_owned(), "dag_id: [".to_owned()));
    let sent: Vec<(&str, &str)> = sent.iter().map(|(path, content)| (&**path, &**content)).collect();
    let told = mistakes(&api.post("/api/v1/dags/apply", files(&sent)).await);
    assert_eq!(told.len(), MAX_MISTAKES + 1);
    assert_eq!(told[MAX_MISTAKES].0, "too_many_findings");
    assert!(!told.iter().any(|(_, path)| path.starts_with("last.yaml")));
}

#[tokio::test]
async fn names_of_files_and_paths_of_mistakes_are_bounded() {
    let (api, _) = TestApi::with_noop().await;
    let long = "x".repeat(MAX_FILE_NAME_BYTES + 1);
    for path in [long.as_str(), "a\nb"] {
        let answer = api.post("/api/v1/dags/apply", files(&[(path, "dag_id: a")])).await;
        assert_eq!(answer.problem(), (422, "invalid_request".into(), "/files/0/path".into()));
    }
    // A template that does not parse, under keys of 250 bytes, one in the other.
    let deep = (0..20).fold("'{{'".to_owned(), |value, _| format!("{{{}: {value}}}", "k".repeat(250)));
    let dag = format!("dag_id: d\ntasks: {{a: {{module: 'noop:1', input: {{input: {deep}}}}}}}");
    let told = mistakes(&api.post("/api/v1/dags/apply", files(&[(&long[1..], &dag)])).await);
    let longest = told.iter().map(|(_, path)| path.len()).max().expect("a mistake");
    assert!(longest <= MAX_FILE_NAME_BYTES + 1 + MAX_POINTER_BYTES + 3, "{longest}");
    assert!(told.iter().any(|(code, path)| code == "bad_template" && path.ends_with('…')), "{told:?}");
}

#[tokio::test]
async fn more_dags_than_a_request_may_have_are_refused() {
    let (api, _) = TestApi::with_noop().await;
    let file = |from: usize, count: usize| -> String {
        let dag = |dag| format!("---\ndag_id: d{dag}\ntasks: {{a: {{module: 'noop:1', input: {{input: ''}}}}}}\n");
        (from..from + count).map(dag).collect()
    };
    let (half, rest) = (MAX_DAGS / 2, MAX_DAGS - MAX_DAGS / 2);
    let (first, second, third) = (file(0, half), file(half, rest), file(MAX_DAGS, 1));
    let well = api.post("/api/v1/dags/apply?dry_run=true", files(&[("a", &first), ("b", &second)])).await;
    assert_eq!(well.status, 200, "{}", well.text());
    let answer = api.post("/api/v1/dags/apply", files(&[("a", &first), ("b", &second), ("c", &third)])).await;
    assert_eq!(mistakes(&answer), [("too_many_dags".to_owned(), "c#".to_owned())]);
    assert_eq!(api.get("/api/v1/dags").await.json()["items"], json!([]));
}

#[tokio::test]
async fn what_would_fill_the_memory_is_refused_before_it_does() {
    let (api, _) = TestApi::with_noop().await;
    let bomb = (1..30).fold("a0: &a0 [x, x, x, x]\n".to_owned(), |mut text, n| {
        let before = n - 1;
        writeln!(text, "a{n}: &a{n} [*a{before}, *a{before}, *a{before}, *a{before}]").expect("a text grows");
        text
    });
    let answer = api.post("/api/v1/dags/apply", files(&[("bomb.yaml", &format!("dag_id: bomb\n{bomb}"))])).await;
    assert!(codes(&answer).contains(&"alias_bomb".to_owned()), "{}", answer.text());

    // A default that is written out for each task, each of them with a mistake: only that it is too much is told.
    let tasks = (0..1_000).map(|task| format!("  t{task}: {{retries: many}}\n")).collect::<String>();
    let large = "x".repeat(10_000);
    let dag = format!("dag_id: d\ndefault_args: {{module: 'noop:1', input: {{input: {large}}}}}\ntasks:\n{tasks}");
    let answer = api.post("/api/v1/dags/apply", files(&[("d.yaml", &dag)])).await;
    assert_eq!(codes(&answer), ["default_args_too_large"]);
}

#[tokio::test]
async fn thousands_of_setups_with_more_under_them_than_can_be_kept_are_refused() {
    let (api, _) = TestApi::with_noop().await;
    let task = |task: usize| match task {
        0 => "  t0: {setup: true}\n".to_owned(),
        _ => format!("  t{task}: {{setup: true, upstream: t{}}}\n", task - 1),
    };
    let tasks: String = (0..2_000).map(task).collect();
    let dag = format!("dag_id: d\ndefault_args: {{module: 'noop:1', input: {{input: ''}}}}\ntasks:\n{tasks}");
    let answer = api.send("PUT", "/api/v1/dags/d", dag).await;
    assert_eq!(codes(&answer), ["cannot_be_run"], "{}", answer.text());
}

#[tokio::test]
async fn an_input_that_is_known_fits_the_types_of_the_function() {
    let (api, _) = TestApi::with_noop().await;
    for (keys, expected) in [
        ("input: {input: QW1lcw==}", None),
        ("input: {input: [1, 2]}", None),
        // No schema says that a text is base64.
        ("input: {input: 'not base64!'}", Some(("invalid_input", "/tasks/a/input/input"))),
        ("input: {input: 5}", Some(("invalid_input", "/tasks/a/input/input"))),
        ("expand: {input: ['', [1]]}", None),
        ("expand: {input: ['', 5, x]}", Some(("invalid_input", "/tasks/a/expand/input/1"))),
        ("zip: {input: [[1, 256]]}", Some(("invalid_input", "/tasks/a/zip/input/0/1"))),
        ("expand_kwargs: [{input: ''}, {input: {}}]", Some(("invalid_input", "/tasks/a/expand_kwargs/1/input"))),
        ("expand_kwargs: [{input: ''}, {}]", Some(("missing_field", "/tasks/a/expand_kwargs/1"))),
        ("input: [1], expand: {input: ['']}", Some(("wrong_type", "/tasks/a/input"))),
    ] {
        let dag = format!("dag_id: d\ntasks: {{a: {{module: 'noop:1', {keys}}}}}");
        let answer = api.send("PUT", "/api/v1/dags/d?dry_run=true", dag).await;
        match expected {
            None => assert_eq!(answer.status, 200, "{keys}: {}", answer.text()),
            Some((code, path)) => {
                assert_eq!(mistakes(&answer), [(code.to_owned(), path.to_owned())], "{keys}: {}", answer.text());
            }
        }
    }
}
