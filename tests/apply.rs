//! `tradewind apply`: a directory of DAGs is applied as a whole or not at all, and every mistake in it is told with its
//! file, line and column.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use support::{Client, TestServer, guests, setup, tradewind};

/// What a command printed and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// A server that knows the guests as `guests:1`, and a directory of DAG files.
struct House {
    server: TestServer,
    client: Client,
    dags: PathBuf,
}

impl House {
    async fn new() -> Self {
        let (server, client, _) = setup().start_with_guests().await;
        client.post("/api/v1/modules?name=guests&tag=1", guests::tasks().to_vec()).await.unwrap().expect(200);
        let dags = server.data().join("../dags");
        Self { server, client, dags }
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.dags.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// `tradewind apply dags` in the directory above it, so that files are called as a user calls them.
    fn apply(&self, more: &[&str]) -> Said {
        let mut command = tradewind();
        command.current_dir(self.dags.parent().unwrap()).arg("--data-dir").arg(self.server.data());
        let Output { status, stdout, stderr } =
            command.args(["apply", "dags"]).args(more).stdin(Stdio::null()).output().expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Said { code: status.code().expect("an exit code"), out: text(stdout), err: text(stderr) }
    }

    async fn names(&self) -> Value {
        json!(self.client.items("/api/v1/dags").await.iter().map(|dag| dag["dag_id"].clone()).collect::<Vec<_>>())
    }
}

/// Where a file of mistakes says that one is: `# ! code word` at the end of a line means a mistake of this code where the
/// word stands in the line.
fn marked(file: &str, content: &str) -> Vec<(String, u64, u64, String)> {
    let mut found = Vec::new();
    for (line, number) in content.lines().zip(1..) {
        for mark in line.split("# ! ").skip(1) {
            let (code, word) = mark.trim().split_once(' ').unwrap_or_else(|| panic!("{line}"));
            let column = line.find(word).unwrap() as u64 + 1;
            found.push((file.to_owned(), number, column, code.to_owned()));
        }
    }
    found
}

const NAMES: &str = r#"dag_id: names
default_args: {module: "guests:1"}
discription: what it does # ! unknown_key discription
start_date: 01.02.2026 # ! bad_date 01.02.2026
params: {city: {default: 5, schema: {type: string}}} # ! default_not_valid 5
tasks:
  a: {function: ecko} # ! function_not_found function
  b: {upstream: [aa], function: echo} # ! unknown_upstream aa
  c: {module: "nothing:1", function: echo} # ! module_not_found module
  d: {function: sleep, input: {ms: soon}} # ! invalid_input ms:
  e: {function: echo, upstream: b, input: "{{ tasks.z.output }}"} # ! unknown_task z.output
  f: {function: echo, input: {x: "{{ parms.city }}"}} # ! unknown_name parms
  g: {function: echo, input: {x: "{{ params.citty }}"}} # ! unknown_param citty
  h: {function: echo, trigger_rule: all_sucess} # ! unknown_trigger_rule all_sucess
  i: {function: echo, retries: many} # ! invalid_request retries
  j: {function: echo, limits: {memory_bytes: 0}} # ! invalid_request memory_bytes
  k: {function: echo, grants: {sql: []}} # ! grant_not_offered sql
  l: {function: echo, when: "ds == '1'"} # ! wrong_type "ds
  m: {function: echo, expand: {n: 5}} # ! wrong_type 5
  n: {function: echo, input: {x: "{{ tasks.b.output }}"}} # ! not_upstream b.output
  o: {functoin: echo} # ! unknown_key functoin
  p: {function: echo, not_before: "2026-01-01T00:00:00Z"} # ! key_not_allowed not_before
  q: {function: echo, labels: {day: "{{ ds }}"}} # ! template_not_rendered "{{
  r: {function: echo, input: {x: "{{ ti.xcom_pull('b') }}"}} # ! bad_template .xcom_pull
"#;

const SHAPES: &str = r#"dag_id: shapes
default_args: {module: "guests:1", function: echo}
schedule: "@daily" # ! no_schedules_yet "@daily"
tasks:
  one: {upstream: two} # ! cycle two
  two: {upstream: one}
  self: {upstream: self} # ! self_dependency self}
  both: {setup: true, teardown: true} # ! setup_and_teardown teardown
  maps: {expand: {n: [1]}, zip: {m: [1]}} # ! several_expansions {m
groups:
  load:
    expand: {i: [1]}
    tasks:
      x: {expand: {j: [1]}} # ! nested_mapping expand
  empty: {upstream: one} # ! empty_group empty
"#;

const BROKEN: &str = "dag_id: broken\ntasks:\n  a: {module: \"guests:1\", function: echo\n  b: {}\n";

#[tokio::test]
async fn every_mistake_of_a_directory_is_told_with_its_place_and_nothing_is_applied() {
    let house = House::new().await;
    house.write("good.yaml", "dag_id: good\ntasks: {a: {module: \"guests:1\", function: echo}}\n");
    house.write("names.yaml", NAMES);
    house.write("below/shapes.yml", SHAPES);
    house.write("broken.yaml", BROKEN);
    house.write("twice.json", r#"{"dag_id": "good", "tasks": {"a": {"module": "guests:1", "function": "echo"}}}"#);
    let mut expected = marked("dags/below/shapes.yml", SHAPES);
    expected.extend(marked("dags/names.yaml", NAMES));
    let files: BTreeSet<&str> = expected.iter().map(|(file, ..)| file.as_str()).collect();
    let codes: BTreeSet<&str> = expected.iter().map(|(.., code)| code.as_str()).collect();
    assert!(files.len() == 2 && codes.len() >= 20, "{} different mistakes", codes.len());

    let said = house.apply(&[]);
    assert_eq!((said.code, said.out.as_str()), (3, ""), "{}", said.err);
    let told = house.apply(&["-o", "json"]);
    assert_eq!(told.code, 3, "{}", told.err);
    let told: Value = serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error}: {}", told.out));
    let places: Vec<(String, u64, u64, String)> = told["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| {
            let text = |key: &str| place[key].as_str().unwrap_or_else(|| panic!("no {key}: {place}")).to_owned();
            let number = |key: &str| place[key].as_u64().unwrap_or_else(|| panic!("no {key}: {place}"));
            (text("file"), number("line"), number("column"), text("code"))
        })
        .collect();
    let of_marked_files: Vec<_> = places.iter().filter(|(file, ..)| files.contains(file.as_str())).cloned().collect();
    let missing: Vec<_> = expected.iter().filter(|place| !places.contains(place)).collect();
    let others: Vec<_> = of_marked_files.iter().filter(|place| !expected.contains(place)).collect();
    assert!(missing.is_empty() && others.is_empty(), "missing: {missing:#?}\nothers: {others:#?}\n{}", said.err);
    let of = |name: &str| places.iter().filter(|(file, ..)| file == name).cloned().collect::<Vec<_>>();
    assert!(
        matches!(of("dags/broken.yaml").as_slice(), [(_, 4, _, code)] if code == "syntax"),
        "{:?}",
        of("dags/broken.yaml")
    );
    assert_eq!(of("dags/twice.json"), [("dags/twice.json".to_owned(), 1, 2, "duplicate_dag".to_owned())]);
    assert!(of("dags/good.yaml").is_empty());

    for (file, line, column, code) in &places {
        let head = format!("{file}:{line}:{column}: ");
        let found = said.err.lines().any(|line| line.starts_with(&head) && line.ends_with(&format!("[{code}]")));
        assert!(found, "{head}… [{code}] is not in\n{}", said.err);
    }
    assert!(said.err.contains("did you mean `description`?"), "{}", said.err);
    assert!(said.err.contains("nothing was changed"), "{}", said.err);
    assert_eq!(house.names().await, json!([]));
}

fn chain(dag: &str, output: u32) -> String {
    format!(
        "dag_id: {dag}\ndefault_args: {{module: \"guests:1\", function: echo}}\n\
         tasks: {{a: {{input: {output}}}, b: {{upstream: a, input: \"{{{{ tasks.a.output }}}}\"}}}}\n"
    )
}

#[tokio::test]
async fn a_directory_without_mistakes_is_applied_at_once_and_again_changes_nothing() {
    let house = House::new().await;
    house.write("a.yaml", &chain("a", 1));
    house.write("deep/er/b.yml", &format!("{}---\n{}", chain("b", 1), chain("c", 1)));
    house.write(
        "d.json",
        r#"{"dag_id": "d", "tasks": {"only": {"module": "guests:1", "function": "echo", "input": 1}}}"#,
    );
    house.write(".hidden.yaml", "no DAG");
    house.write("notes.txt", "no DAG");

    let dry = house.apply(&["--dry-run"]);
    assert_eq!((dry.code, dry.out.matches("would be created").count()), (0, 4), "{}{}", dry.out, dry.err);
    assert_eq!(house.names().await, json!([]), "a dry run changes nothing");
    let first = house.apply(&[]);
    assert_eq!((first.code, first.out.matches("created").count()), (0, 4), "{}{}", first.out, first.err);
    assert_eq!(house.names().await, json!(["a", "b", "c", "d"]));
    for dag in ["a", "b", "c", "d"] {
        house.client.run_dag(dag, json!({})).await.ended("success");
    }
    let again = house.apply(&[]);
    assert_eq!((again.code, again.out.matches("unchanged").count()), (0, 4), "{}{}", again.out, again.err);

    house.write("a.yaml", &chain("a", 2));
    let dry = house.apply(&["--dry-run"]);
    let lines: Vec<&str> = dry.out.lines().collect();
    assert!(
        lines[0].starts_with("a would be changed") && lines[1..].iter().all(|line| line.contains("unchanged")),
        "{lines:?}"
    );
    let version = house.client.json("/api/v1/dags/a").await["version"].clone();
    let changed = house.apply(&["-o", "json"]);
    let changed: Value = serde_json::from_str(&changed.out).unwrap();
    let created: Vec<&Value> =
        changed["dags"].as_array().unwrap().iter().filter(|dag| dag["created"] == true).collect();
    assert_eq!((created.len(), &created[0]["dag_id"], &created[0]["path"]), (1, &json!("a"), &json!("dags/a.yaml")));
    let now = house.client.json("/api/v1/dags/a").await["version"].clone();
    assert!(now == created[0]["version"] && now != version, "{now}");
    assert_eq!(house.client.items("/api/v1/dags/a/versions").await.len(), 2);
}

#[tokio::test]
async fn one_bad_file_among_good_ones_holds_all_of_them_back() {
    let house = House::new().await;
    house.write("a.yaml", &chain("a", 1));
    assert_eq!(house.apply(&[]).code, 0);
    let before = house.client.json("/api/v1/dags/a").await["version"].clone();
    house.write("a.yaml", &chain("a", 2));
    house.write("b.yaml", &chain("b", 1));
    house.write("bad.yaml", &chain("c", 1).replace("upstream: a", "upstream: aa"));
    for more in [&[][..], &["--dry-run"]] {
        let said = house.apply(more);
        assert_eq!((said.code, said.out.as_str()), (3, ""), "{}", said.err);
        assert!(said.err.starts_with("dags/bad.yaml:3:") && said.err.contains("[unknown_upstream]"), "{}", said.err);
    }
    assert_eq!(house.names().await, json!(["a"]));
    assert_eq!(house.client.json("/api/v1/dags/a").await["version"], before);
}

#[tokio::test]
async fn what_is_no_directory_of_dags_is_wrong_usage() {
    let house = House::new().await;
    std::fs::create_dir_all(&house.dags).unwrap();
    let said = house.apply(&[]);
    assert_eq!((said.code, said.err.contains("no DAG file")), (2, true), "{}", said.err);
    let said = house.apply(&["gone.yaml"]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(Path::new(&house.dags).is_dir());
}
