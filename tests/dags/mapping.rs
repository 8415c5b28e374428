//! Tasks and groups mapped over lists that are known at run time.

use serde_json::{Value, json};

use super::{House, at, message};

#[tokio::test]
async fn a_list_that_is_known_at_run_time_makes_an_instance_of_each_element() {
    let run = House::new()
        .await
        .run(
            r#"
            tasks:
              extract: {function: echo, input: {files: [a.csv, b.csv, "c d.csv"]}}
              parse:
                upstream: extract
                function: echo
                input: {strict: true, index: "{{ ti.map_index }}", name: "{{ file | upper }}"}
                expand: {file: "{{ tasks.extract.output.files }}"}
                map_index_template: "{{ file }} of {{ dag.dag_id }}"
              report: {upstream: parse, function: echo, input: {files: "{{ tasks.parse.output | map(attribute='file') | list }}", second: "{{ tasks.parse.output[1] }}"}}
              context: {upstream: extract, function: context, expand_kwargs: [{}, {}]}
            "#,
        )
        .await
        .ended("success");
    let output =
        |index: u32, file: &str| json!({"strict": true, "index": index, "name": file.to_uppercase(), "file": file});
    assert_eq!(run.each("parse", "result"), json!([output(0, "a.csv"), output(1, "b.csv"), output(2, "c d.csv")]));
    assert_eq!(run.each("parse", "map_index"), json!([0, 1, 2]));
    assert_eq!(run.each("parse", "rendered_map_index"), json!(["a.csv of it", "b.csv of it", "c d.csv of it"]));
    assert_eq!(run.output("report"), &json!({"files": ["a.csv", "b.csv", "c d.csv"], "second": output(1, "b.csv")}));
    let indices: Vec<&Value> = run.instances("context").iter().map(|task| &task["result"]["map_index"]).collect();
    assert_eq!(json!(indices), json!([0, 1]));
    assert_eq!(run.task("extract")["map_index"], -1);
}

#[tokio::test]
async fn several_lists_are_crossed_zipped_or_given_as_objects() {
    let run = House::new()
        .await
        .run(
            r#"
            tasks:
              first: {function: echo, input: [{a: 1}, {a: 2, b: [3]}]}
              crossed: {function: echo, expand: {size: [1, 2], colour: [r, g, b]}}
              zipped: {function: echo, zip: {size: [1, 2], colour: [r, g]}}
              objects: {upstream: first, function: echo, input: {c: 9, a: 0}, expand_kwargs: "{{ tasks.first.output }}"}
              uneven: {function: echo, zip: {size: [1, 2, 3], colour: "{{ ['r', 'g'] }}"}, retries: 2}
              no_list: {upstream: first, function: echo, expand: {n: "{{ tasks.first.output[0].a }}"}}
              no_objects: {function: echo, expand_kwargs: "{{ [{'a': 1}, 2] }}"}
            "#,
        )
        .await
        .ended("failed");
    let pair = |size: u32, colour: &str| json!({"size": size, "colour": colour});
    let crossed = [(1, "r"), (1, "g"), (1, "b"), (2, "r"), (2, "g"), (2, "b")].map(|(size, colour)| pair(size, colour));
    assert_eq!(run.each("crossed", "result"), json!(crossed), "the last list turns fastest, as in Airflow");
    assert_eq!(run.each("zipped", "result"), json!([pair(1, "r"), pair(2, "g")]));
    assert_eq!(run.each("objects", "result"), json!([{"c": 9, "a": 1}, {"c": 9, "a": 2, "b": [3]}]));
    for (task, said) in [
        ("uneven", &["`zip` of task `uneven`", "`size` has 3", "`colour` has 2"][..]),
        ("no_list", &["`expand` of task `no_list`", "`n`", "a number, not a list"]),
        ("no_objects", &["`expand_kwargs` of task `no_objects`", "element 1", "a number, not an object"]),
    ] {
        assert_eq!(run.task(task)["state"], "failed");
        for words in said {
            assert!(message(&run, task).contains(words), "{words} is not in: {}", message(&run, task));
        }
    }
}

#[tokio::test]
async fn an_empty_list_skips_the_task_and_its_output_is_empty() {
    let run = House::new()
        .await
        .run(
            r#"
            tasks:
              extract: {function: echo, input: []}
              parse: {upstream: extract, function: echo, expand: {n: "{{ tasks.extract.output }}"}}
              needs: {upstream: parse, function: echo}
              report: {upstream: parse, trigger_rule: none_failed, function: echo, input: {count: "{{ tasks.parse.output | length }}", all: "{{ tasks.parse.output }}"}}
              again: {upstream: parse, trigger_rule: none_failed, function: echo, expand: {n: "{{ tasks.parse.output }}"}}
            "#,
        )
        .await;
    let expected = json!({
        "extract": "success", "parse": "skipped", "needs": "skipped", "report": "success", "again": "skipped"
    });
    assert_eq!(run.states(), expected, "{}", run.all("error"));
    assert_eq!(run.output("report"), &json!({"count": 0, "all": []}));
    run.ended("success");
}

#[tokio::test]
async fn one_instance_fails_for_itself() {
    let run = House::new()
        .await
        .run(
            r#"
            tasks:
              try: {function: flaky, expand: {succeeds_at: [1, 9, 2, 1]}, retries: 1}
              needs: {upstream: try, function: echo}
              report: {upstream: try, trigger_rule: all_done, function: echo, input: "{{ tasks.try.output }}"}
            "#,
        )
        .await
        .ended("failed");
    let states =
        json!({"try": ["success", "failed", "success", "success"], "needs": "upstream_failed", "report": "success"});
    assert_eq!(run.states(), states);
    assert_eq!(run.each("try", "try_number"), json!([1, 2, 2, 1]));
    assert_eq!(run.output("report"), &json!([1, null, 2, 1]), "what failed has left nothing");
    assert_eq!(run.instance("try", 1)["error"]["message"], "try 2 fails");
}

#[tokio::test]
async fn no_more_instances_run_at_once_than_may() {
    let run = House::new()
        .await
        .run(
            r#"
            tasks:
              free: {function: sleep, input: {ms: 300}, expand_kwargs: [{}, {}, {}, {}]}
              held: {function: sleep, input: {ms: 60}, expand_kwargs: [{}, {}, {}, {}, {}, {}], max_active_tis_per_dagrun: 2}
            "#,
        )
        .await
        .ended("success");
    assert_eq!(most_at_once(&run.instances("held")), 2);
    assert_eq!(most_at_once(&run.instances("free")), 4);
}

/// How many of these tasks ran at the same moment.
fn most_at_once(tasks: &[&Value]) -> usize {
    let spans: Vec<_> = tasks.iter().map(|task| (at(&task["start_date"]), at(&task["end_date"]))).collect();
    let running_at = |moment| spans.iter().filter(|(start, end)| *start <= moment && moment < *end).count();
    spans.iter().map(|(start, _)| running_at(*start)).max().unwrap_or(0)
}

#[tokio::test]
async fn each_instance_of_a_mapped_group_goes_its_own_way() {
    let house = House::new().await;
    let run = house
        .run(
            r#"
            tasks:
              list: {function: echo, input: [1, 9, 2]}
              all: {upstream: load, trigger_rule: all_done, function: echo, input: "{{ tasks.load.store.output }}"}
            groups:
              load:
                upstream: list
                expand: {at: "{{ tasks.list.output }}"}
                map_index_template: "from {{ at }}"
                tasks:
                  fetch: {function: flaky, input: {succeeds_at: "{{ at }}"}, retries: 1}
                  choose: {upstream: fetch, function: echo, input: "load.{{ 'store' if at == 1 else 'other' }}", branch: true}
                  store: {upstream: choose, function: echo, input: "{{ tasks.load.fetch.output + 10 }}"}
                  other: {upstream: choose, function: echo, input: "{{ [at, tasks.load.fetch.output] }}"}
            "#,
        )
        .await
        .ended("success");
    let states = json!({
        "list": "success",
        "load.fetch": ["success", "failed", "success"],
        "load.choose": ["success", "upstream_failed", "success"],
        "load.store": ["success", "upstream_failed", "skipped"],
        "load.other": ["skipped", "upstream_failed", "success"],
        "all": "success",
    });
    assert_eq!(run.states(), states);
    assert_eq!(run.instance("load.other", 2)["result"], json!([2, 2]));
    assert_eq!(run.output("all"), &json!([11, null, null]));
    assert_eq!(run.each("load.store", "rendered_map_index"), json!(["from 1", "from 9", "from 2"]));
}

#[tokio::test]
async fn a_mapped_task_is_mapped_over_the_outputs_of_another() {
    let run = House::new()
        .await
        .run(
            r#"
            tasks:
              first: {function: echo, expand: {n: "{{ range(2500) | list }}"}}
              second: {upstream: first, function: echo, input: {twice: "{{ it.n * 2 }}"}, expand: {it: "{{ tasks.first.output }}"}}
              sum: {upstream: second, function: echo, input: "{{ tasks.second.output | map(attribute='twice') | sum }}"}
            "#,
        )
        .await
        .ended("success");
    assert_eq!(run.output("sum"), &json!(2499 * 2500));
    assert_eq!(run.instances("second").len(), 2500);
    assert_eq!(run.instance("second", 2499)["result"], json!({"it": {"n": 2499}, "twice": 4998}));
}

#[tokio::test]
async fn a_condition_and_a_rule_decide_for_all_instances() {
    let run = House::new()
        .await
        .run(
            r#"
            tasks:
              bad: {function: fail, input: {}}
              unwanted: {when: false, function: echo, expand: {n: [1, 2]}}
              behind: {upstream: bad, function: echo, expand: {n: [1, 2]}}
              instead: {upstream: bad, trigger_rule: all_failed, function: echo, expand: {n: [1, 2]}}
              gone: {upstream: bad, function: echo}
              lost: {upstream: gone, trigger_rule: all_done, function: echo, expand: {n: "{{ tasks.gone.output }}"}}
            "#,
        )
        .await
        .ended("failed");
    let expected = json!({
        "bad": "failed", "unwanted": "skipped", "behind": "upstream_failed", "instead": ["success", "success"],
        "gone": "upstream_failed", "lost": "upstream_failed",
    });
    assert_eq!(run.states(), expected);
}
