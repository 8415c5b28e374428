//! What was kept and is not there any more, or is not what it was: who reads it fails and says so.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{House, message};

/// Every file below this directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Memory forgets what it has read.
async fn restart(house: &mut House) {
    house.server.restart().await;
    house.client = house.server.client();
}

#[tokio::test]
async fn who_reads_an_output_that_is_gone_fails_and_names_it() {
    let mut house = House::new().await;
    let rest = r#"
        tasks:
          big: {function: big_output, input: {bytes: 100000}}
          parts: {upstream: big, function: big_output, expand: {bytes: [1, 100000]}}
          next: {upstream: big, function: echo, input: "{{ tasks.big.output }}", retries: 1, retry_delay: 1ms}
          all: {upstream: parts, function: echo, input: "{{ tasks.parts.output }}"}
          unless: {upstream: big, function: echo, when: "{{ tasks.big.output | length > 3 }}"}
          each: {upstream: big, function: echo, expand: {n: "{{ [tasks.big.output] }}"}}
    "#;
    house.dag("it", rest).await;
    let run = house.run_dag("it", json!({})).await.ended("success");
    let kept = files(&house.server.data().join("artifacts/results"));
    assert!(kept.len() >= 2, "{kept:?}");
    // One is gone, another holds something else.
    std::fs::remove_file(&kept[0]).unwrap();
    kept[1..].iter().for_each(|file| std::fs::write(file, "\"other\"").unwrap());
    restart(&mut house).await;

    house.clear(run.id(), json!({"task_ids": ["next", "all", "unless", "each"]})).await;
    let run = house.end_of_run(run.id()).await.ended("failed");
    for (task, whose) in [
        ("next", "the output of task `big` cannot be read any more"),
        ("all", "the output of instance 1 of task `parts` cannot be read any more"),
        ("unless", "the output of task `big` cannot be read any more"),
    ] {
        assert_eq!(run.task(task)["state"], "failed", "{task}");
        for words in [whose, "restore it from a backup, or clear `"] {
            assert!(message(&run, task).contains(words), "{words} is not in: {}", message(&run, task));
        }
    }
    assert_eq!(run.task("next")["try_number"], 3, "it was tried again, in case it was restored");

    house.clear(run.id(), json!({})).await;
    house.end_of_run(run.id()).await.ended("success");
}

#[tokio::test]
async fn instances_of_a_list_that_is_gone_fail_and_say_so() {
    let mut house = House::new().await;
    let files_of_it: Vec<String> = (0..700).map(|n| format!("{n:0>100}")).collect();
    let rest = format!("tasks: {{each: {{function: echo, expand: {{file: {}}}}}}}", json!(files_of_it));
    house.dag("it", &rest).await;
    let run = house.run_dag("it", json!({})).await.ended("success");
    let kept = files(&house.server.data().join("artifacts/lists"));
    assert_eq!(kept.len(), 1, "{kept:?}");
    std::fs::remove_file(&kept[0]).unwrap();
    restart(&mut house).await;

    house.clear(run.id(), json!({"task_ids": [["each", 3], ["each", 5]]})).await;
    let run = house.end_of_run(run.id()).await.ended("failed");
    for index in 0..700 {
        let instance = run.instance("each", index);
        let is_gone = index == 3 || index == 5;
        assert_eq!(instance["state"], if is_gone { "failed" } else { "success" }, "{index}");
        let said = instance["error"]["message"].as_str().unwrap_or("");
        assert_eq!(said.contains("the list that `each` is mapped over cannot be read any more"), is_gone, "{said}");
    }
}
