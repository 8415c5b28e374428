//! From a definition and what its tasks left to conditions, lists and inputs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::dag::plan::{ListForm, ROOT};
use crate::dag::{Definition, Plan};
use crate::engine::graph::{About, Element, InstanceContext};
use crate::model::task::TaskResult;
use crate::model::{Digest, Json, RunId, RunSpec, RunType, TaskId, TaskSpec};

/// A DAG whose last task, `parse`, has these keys; `extract`, `list` and `other` are upstream of it.
fn plan(keys: Value) -> Arc<Plan> {
    let mut parse = task("parse", keys);
    parse["upstream"] = json!(["extract", "list", "other"]);
    if parse.get("expansion").is_some() {
        parse["scope"] = json!("task");
    }
    with_upstream(json!([]), parse)
}

/// The same with a mapped group of one task, `g.t`.
fn group(keys: Value) -> Arc<Plan> {
    let mut task = task("g.t", keys);
    (task["group"], task["scope"]) = (json!("g"), json!({"group": "g"}));
    let expansion = json!({"expand": [{"key": "file", "values": ["a", "b"]}]});
    let group = json!({"id": "g", "expansion": expansion, "map_index_template": "{{ ti.task_id }} {{ file }}"});
    with_upstream(json!([group]), task)
}

fn task(id: &str, keys: Value) -> Value {
    let mut task = json!({"id": id, "module": Digest::of(b""), "function": "run"});
    task.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    task
}

fn with_upstream(groups: Value, last: Value) -> Arc<Plan> {
    let upstream = ["extract", "list", "other"].map(|id| task(id, json!({})));
    let tasks: Value = upstream.into_iter().chain([last]).collect();
    of(json!({"dag_id": "etl", "groups": groups, "tasks": tasks}))
}

fn of(definition: Value) -> Arc<Plan> {
    let definition: Definition = serde_json::from_value(definition).unwrap();
    Arc::new(Plan::of(&definition).unwrap_or_else(|error| panic!("{error}")))
}

fn json(value: Value) -> Json {
    Json::of(&value).unwrap()
}

fn inputs() -> Inputs {
    let output = |value: Value| template::Output::new(json(value));
    Inputs {
        outputs: vec![
            (
                0,
                output(
                    json!({"n": 3, "files": ["a.csv", "b.csv"], "size": [1, 2, 3], "rows": [{"x": 1}, {"x": 2, "y": "z"}]}),
                ),
            ),
            (1, template::Output::list(&[Json::null(), json(json!({"id": 1}))])),
            (2, output(Value::Null)),
        ],
        variables: Arc::new([("bucket".to_owned(), "s3://b".to_owned())].into()),
    }
}

fn spec() -> Arc<RunSpec> {
    Arc::new(RunSpec {
        dag_id: "etl".parse().unwrap(),
        version: Digest::of(b""),
        run_id: "r1".parse().unwrap(),
        run_type: RunType::Manual,
        logical_date: Some("2026-01-02T00:00:00Z".parse().unwrap()),
        data_interval_start: None,
        data_interval_end: None,
        conf: json(json!({"fast": true})),
        params: json(json!({"city": "Ames", "n": 3, "empty": [], "zero": 0, "text": "false"})),
    })
}

fn asks(plan: &Arc<Plan>, question: Question, element: Option<Value>) -> Evaluation {
    Evaluation {
        ticket: 1,
        run: RunId::from_u64(1),
        about: About::Scope(ROOT),
        spec: spec(),
        plan: plan.clone(),
        question,
        outputs: Vec::new(),
        element: element.map(|input| Element { input: json(input), label: None }),
    }
}

fn condition(when: Value) -> Result<bool, String> {
    let plan = plan(json!({"when": when}));
    assert!(plan.node(3).has_condition);
    match evaluate(&asks(&plan, Question::Condition { node: 3, map_index: None }, None), &inputs(), None) {
        Evaluated::Condition(holds) => Ok(holds),
        Evaluated::Failed(error) => Err(error.message.clone()),
        other => panic!("{other:?}"),
    }
}

struct List {
    total: u32,
    kept: Json,
    elements: Vec<Element>,
}

impl List {
    fn inputs(&self) -> Value {
        self.elements.iter().map(|element| element.input.to_value().unwrap()).collect()
    }

    fn labels(&self) -> Vec<Option<&str>> {
        self.elements.iter().map(|element| element.label.as_deref()).collect()
    }
}

/// What a task with these keys is mapped over.
fn list(keys: Value) -> Result<List, String> {
    let plan = plan(keys);
    match evaluate(&asks(&plan, Question::List { scope: 1 }, None), &inputs(), None) {
        Evaluated::List { total, list: TaskResult::Inline(kept), elements } => Ok(List { total, kept, elements }),
        Evaluated::Failed(error) => Err(error.message.clone()),
        other => panic!("{other:?}"),
    }
}

fn expand(columns: Value) -> Value {
    let columns = columns.as_array().unwrap().iter();
    let columns = columns.map(|column| json!({"key": column[0], "values": column[1]})).collect::<Value>();
    json!({"expansion": {"expand": columns}})
}

fn zip(columns: Value) -> Value {
    json!({"expansion": {"zip": expand(columns)["expansion"]["expand"]}})
}

fn kwargs(objects: Value) -> Value {
    json!({"expansion": {"expand_kwargs": objects}})
}

fn with(mut keys: Value, key: &str, value: Value) -> Value {
    keys[key] = value;
    keys
}

/// What the first or only attempt of `parse` is given.
fn given(keys: Value, element: Option<Value>) -> Result<(Value, Vec<String>), String> {
    let plan = plan(keys);
    given_to(&plan, 3, element)
}

fn given_to(plan: &Arc<Plan>, node: NodeIndex, element: Option<Value>) -> Result<(Value, Vec<String>), String> {
    let map_index = element.as_ref().map(|_| 7);
    let context = InstanceContext {
        run: RunId::from_u64(1),
        spec: spec(),
        plan: plan.clone(),
        node,
        map_index,
        outputs: Vec::new(),
    };
    let own = plan.node(node).spec.clone();
    let spec = match element {
        Some(element) => TaskSpec { input: json(element), ..(*own).clone() },
        None => (*own).clone(),
    };
    let attempt = Attempt { context: &context, spec: &spec, task: TaskId::from_u64(5), try_number: 2 };
    let given = input_of(&attempt, &inputs()).map_err(|error| error.message)?;
    Ok((given.input.to_value().unwrap(), given.args.to_vec()))
}

#[test]
fn a_condition_is_true_as_in_python() {
    for (when, holds) in [
        (json!(true), true),
        (json!(false), false),
        (json!("{{ params.n }}"), true),
        (json!("{{ params.zero }}"), false),
        (json!("{{ params.empty }}"), false),
        (json!("{{ params.city == 'Ames' and conf.fast }}"), true),
        (json!("{{ none }}"), false),
        (json!("{{ '' }}"), false),
        (json!("{{ params.text }}"), true),
        (json!("{{ 0.0 }}"), false),
        (json!("{{ {} }}"), false),
        (json!("{{ params.get('nope') }}"), false),
        (json!("{{ tasks.extract.output.n > 2 }}"), true),
        (json!("{{ tasks.list.output | length == 2 }}"), true),
        (json!("{{ ti.task_id == 'parse' and ti.map_index == -1 }}"), true),
        (json!("{{ ds }}"), true),
        (json!("{{ var.value.bucket == 's3://b' }}"), true),
    ] {
        assert_eq!(condition(when.clone()), Ok(holds), "{when}");
    }
}

#[test]
fn a_task_that_did_not_succeed_left_null() {
    assert_eq!(condition(json!("{{ tasks.other.output }}")), Ok(false));
    assert_eq!(condition(json!("{{ tasks.other.output is none }}")), Ok(true));
    let (input, _) = given(json!({"input": {"it": "{{ tasks.other.output }}"}}), None).unwrap();
    assert_eq!(input, json!({"it": null}));
}

#[test]
fn a_condition_that_cannot_be_told_says_why() {
    for (when, words) in [
        (
            "{{ tasks.extract.output.m }}",
            "`when` of task `parse`: `{{ tasks.extract.output.m }}`: `tasks.extract.output.m` is not defined",
        ),
        ("{{ nope }}", "`nope` is not defined"),
        ("{{ tasks.other.output.n }}", "the output of `other` is null"),
        ("{{ params.n + 'a' }}", "`when` of task `parse`"),
        ("{{ data_interval_start }}", "this run has no data interval"),
    ] {
        let error = condition(json!(when)).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn in_a_mapped_group_the_condition_knows_the_element() {
    let plan = group(json!({"when": "{{ file == 'a' and ti.map_index == 4 }}"}));
    for (file, holds) in [("a", true), ("b", false)] {
        let question = Question::Condition { node: 3, map_index: Some(4) };
        let answer = evaluate(&asks(&plan, question, Some(json!({"file": file}))), &inputs(), None);
        assert!(matches!(answer, Evaluated::Condition(found) if found == holds), "{answer:?}");
    }
}

#[test]
fn a_product_changes_its_last_key_fastest() {
    let found = list(expand(json!([["z", [1, 2]], ["b", "{{ tasks.extract.output.files }}"], ["c", [null]]]))).unwrap();
    assert_eq!(found.total, 4);
    assert_eq!(
        found.inputs(),
        json!([
            {"z": 1, "b": "a.csv", "c": null},
            {"z": 1, "b": "b.csv", "c": null},
            {"z": 2, "b": "a.csv", "c": null},
            {"z": 2, "b": "b.csv", "c": null},
        ])
    );
    assert_eq!(
        found.kept.as_str(),
        r#"{"form":"product","keys":["z","b","c"],"values":[[1,2],["a.csv","b.csv"],[null]]}"#
    );
}

#[test]
fn a_zip_takes_its_lists_in_step() {
    let found = list(zip(json!([["f", "{{ tasks.extract.output.files }}"], ["n", [[1], {"k": 2}]]]))).unwrap();
    assert_eq!((found.total, found.inputs()), (2, json!([{"f": "a.csv", "n": [1]}, {"f": "b.csv", "n": {"k": 2}}])));
}

#[test]
fn objects_are_taken_as_they_are() {
    let found = list(kwargs(json!("{{ tasks.extract.output.rows }}"))).unwrap();
    assert_eq!((found.total, found.inputs()), (2, json!([{"x": 1}, {"x": 2, "y": "z"}])));
    let found = list(kwargs(json!([{"x": "{{ params.city }}"}, "{{ tasks.extract.output.rows[1] }}"]))).unwrap();
    assert_eq!(found.inputs(), json!([{"x": "Ames"}, {"x": 2, "y": "z"}]));
}

#[test]
fn a_mapped_task_can_be_mapped_over() {
    let found = list(expand(json!([["row", "{{ tasks.list.output }}"]]))).unwrap();
    assert_eq!(found.inputs(), json!([{"row": null}, {"row": {"id": 1}}]));
}

#[test]
fn nothing_to_map_over_makes_an_empty_list() {
    for keys in [
        expand(json!([["a", []], ["b", [1, 2]]])),
        expand(json!([["b", [1, 2]], ["a", "{{ params.empty }}"]])),
        zip(json!([["a", []], ["b", []]])),
        kwargs(json!("{{ params.empty }}")),
    ] {
        let found = list(keys).unwrap();
        assert_eq!((found.total, found.elements.len()), (0, 0));
        assert_eq!(KeptList::parse(&found.kept).unwrap().slice(0, 10), []);
    }
}

#[test]
fn what_cannot_be_mapped_over_says_why() {
    let long = |length: u32| (0..length).collect::<Value>();
    for (keys, words) in [
        (
            expand(json!([["a", [1]], ["f", "{{ tasks.extract.output }}"]])),
            "`expand` of task `parse`: `f`, which is `{{ tasks.extract.output }}`, is an object, not a list",
        ),
        (expand(json!([["f", "{{ tasks.other.output }}"]])), "is null, not a list"),
        (expand(json!([["f", "{{ params.city }}"]])), "is a text, not a list"),
        (expand(json!([["f", "{{ params.n }}"]])), "is a number, not a list"),
        (expand(json!([["f", "{{ conf.fast }}"]])), "is a bool, not a list"),
        (
            expand(json!([["a", [1]], ["f", "{{ tasks.extract.output.file }}"]])),
            "`expand` of task `parse`: `f`: `{{ tasks.extract.output.file }}`: `tasks.extract.output.file` is not defined; did you mean `tasks.extract.output.files`?",
        ),
        (expand(json!([["a", [1, "{{ nope }}"]]])), "`a`: `{{ nope }}`"),
        (
            zip(json!([["f", "{{ tasks.extract.output.files }}"], ["s", "{{ tasks.extract.output.size }}"]])),
            "`zip` of task `parse`: its lists are not of one length: `f` has 2, `s` has 3",
        ),
        (zip(json!([["f", []], ["s", [1]]])), "`f` has 0, `s` has 1"),
        (
            kwargs(json!("{{ tasks.list.output }}")),
            "`expand_kwargs` of task `parse`: element 0 of `{{ tasks.list.output }}` is null, not an object",
        ),
        (kwargs(json!("{{ params.n }}")), "`{{ params.n }}` is a number, not a list"),
        (kwargs(json!([{"x": 1}, "{{ params.city }}"])), "element 1 of `a list of 2` is a text, not an object"),
        (
            expand(json!([["a", long(100_001)]])),
            "`a`, which is `a list of 100001`, has 100001 elements; the limit is 100000",
        ),
        (zip(json!([["a", long(100_001)], ["b", long(100_001)]])), "has 100001 elements; the limit is 100000"),
        (kwargs((0..100_001).map(|_| json!({})).collect()), "has 100001 elements; the limit is 100000"),
        (
            expand(json!([["a", long(400)], ["b", long(300)]])),
            "`expand` of task `parse`: more than 100000 instances come out, which is the limit: `a` has 400, `b` has 300",
        ),
    ] {
        let error = list(keys).err().unwrap_or_else(|| panic!("{words}"));
        assert!(error.contains(words), "{error}");
    }
    // Beyond counting.
    let columns: Value = (0..20).map(|key| json!([key.to_string(), long(1_000)])).collect();
    assert!(list(expand(columns)).err().unwrap().contains("more than 100000 instances"));
}

#[test]
fn a_hundred_thousand_elements_are_cut_in_windows() {
    let long = |length: u32| (0..length).collect::<Value>();
    let values = json!("{{ range(100) | list }}");
    for (keys, last) in [
        (expand(json!([["n", long(100_000)]])), json!({"n": 99_999})),
        (expand(json!([["a", long(500)], ["b", long(200)]])), json!({"a": 499, "b": 199})),
        (expand(json!([["a", values], ["b", long(10)], ["c", values]])), json!({"a": 99, "b": 9, "c": 99})),
        (zip(json!([["a", long(100_000)], ["b", long(100_000)]])), json!({"a": 99_999, "b": 99_999})),
    ] {
        let found = list(keys).unwrap();
        assert_eq!((found.total, found.elements.len()), (100_000, ELEMENTS_AT_ONCE));
        let kept = KeptList::parse(&found.kept).unwrap();
        assert_eq!(kept.total(), found.total);
        assert_eq!(kept.slice(0, ELEMENTS_AT_ONCE), found.elements.iter().map(|e| e.input.clone()).collect::<Vec<_>>());
        let end = kept.slice(99_998, 1_000);
        assert_eq!((end.len(), end[1].to_value().unwrap()), (2, last));
        assert_eq!(kept.slice(100_000, 10), []);
        let all: Vec<Json> = (0..100).flat_map(|window| kept.slice(window * 1_000, 1_000)).collect();
        assert_eq!(all.len(), 100_000);
        let different: std::collections::HashSet<&str> = all.iter().map(Json::as_str).collect();
        assert_eq!(different.len(), 100_000);
    }
}

#[test]
fn large_elements_are_cut_a_few_at_a_time() {
    let text = "x".repeat(1 << 20);
    let found = list(expand(json!([["a", [text, text]], ["n", (0..1_000).collect::<Value>()]]))).unwrap();
    assert_eq!((found.total, found.elements.len()), (2_000, 8));
    let kept = KeptList::parse(&found.kept).unwrap();
    assert_eq!(kept.slice(1_999, 10).len(), 1);
    let huge = "x".repeat(5 << 20);
    let error = list(expand(json!([["a", [huge]], ["b", [huge]]]))).err().unwrap();
    assert!(error.contains("more than 8388608 bytes come out"), "{error}");
}

#[test]
fn later_elements_come_from_the_kept_list_with_their_labels() {
    let keys = with(
        expand(json!([["n", (0..3_000).collect::<Value>()]])),
        "map_index_template",
        json!("{{ n }}@{{ ti.map_index }}"),
    );
    let plan = plan(keys);
    let Evaluated::List { list, .. } = evaluate(&asks(&plan, Question::List { scope: 1 }, None), &inputs(), None)
    else {
        panic!("a list");
    };
    let TaskResult::Inline(text) = &list else { panic!("{list:?}") };
    for kept in [None, Some(Arc::new(KeptList::parse(text).unwrap()))] {
        let question = |from| asks(&plan, Question::Elements { scope: 1, list: list.clone(), from }, None);
        let Evaluated::Elements(found) = evaluate(&question(2_500), &inputs(), kept.clone()) else {
            panic!("elements")
        };
        assert_eq!(found.len(), 500);
        assert_eq!(found[1], Element { input: json(json!({"n": 2_501})), label: Some("2501@2501".into()) });
        assert!(matches!(evaluate(&question(3_000), &inputs(), kept), Evaluated::Failed(_)));
    }
}

#[test]
fn a_label_is_short_and_on_one_line_or_there_is_none() {
    let long = "ä".repeat(300);
    for (template, value, label) in [
        ("{{ f }} of {{ params.city }}", json!("a.csv"), Some("a.csv of Ames".to_owned())),
        ("{{ f }}", json!(17), Some("17".to_owned())),
        ("{{ f }}", json!([1, "x"]), Some("[1,\"x\"]".to_owned())),
        ("{{ f }}", json!(null), None),
        ("{{ f }}", json!("  "), None),
        ("{{ f }}", json!("a\n\u{1b}[1mb\u{7f}"), Some("a[1mb".to_owned())),
        ("{{ f }}", json!(long), Some("ä".repeat(250))),
        ("{{ nope }}", json!("a"), None),
        ("{{ f + 1 }}", json!("a"), None),
        ("fixed", json!("a"), Some("fixed".to_owned())),
        ("{% for i in range(100) %}{% for j in range(100) %}x{% endfor %}{% endfor %}", json!(1), None),
    ] {
        let keys = with(expand(json!([["f", [value]]])), "map_index_template", json!(template));
        assert_eq!(list(keys).unwrap().labels(), [label.as_deref()], "{template}");
    }
    assert_eq!(list(expand(json!([["f", [1]]]))).unwrap().labels(), [None]);
}

#[test]
fn a_group_is_named_by_its_own_name() {
    let answer = evaluate(&asks(&group(json!({})), Question::List { scope: 1 }, None), &inputs(), None);
    let Evaluated::List { elements, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(elements[1], Element { input: json(json!({"file": "b"})), label: Some("g b".into()) });
}

#[test]
fn an_attempt_is_given_what_its_templates_come_to() {
    for (keys, input, args) in [
        (json!({}), json!(null), vec![]),
        (json!({"input": {"a": [1]}, "args": ["-v"]}), json!({"a": [1]}), vec!["-v"]),
        (json!({"input": "{{ tasks.extract.output.files }}"}), json!(["a.csv", "b.csv"]), vec![]),
        (json!({"input": "{{ tasks.list.output }}"}), json!([null, {"id": 1}]), vec![]),
        (
            json!({"input": {"n": "{{ params.n }}", "t": "{{ ti.try_number }}/{{ ti.map_index }}", "id": "{{ ti.id }}"}}),
            json!({"n": 3, "t": "2/-1", "id": TaskId::from_u64(5).to_string()}),
            vec![],
        ),
        (
            json!({"args": ["--n", "{{ params.n }}", "{{ ds }}", "{{ params.empty }}", "{{ conf.fast }}", "{{ var.value.bucket }}"]}),
            json!(null),
            vec!["--n", "3", "2026-01-02", "[]", "true", "s3://b"],
        ),
    ] {
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        assert_eq!(given(keys.clone(), None), Ok((input, args)), "{keys}");
    }
}

#[test]
fn a_mapped_task_gets_its_element_over_what_all_share() {
    let mapped = |input: Value| with(expand(json!([["file", ["a"]]])), "input", input);
    let element = || Some(json!({"file": "a", "n": 1.50}));
    for (input, expected) in [
        (json!(null), json!({"file": "a", "n": 1.5})),
        (json!({"strict": true, "n": 9}), json!({"strict": true, "file": "a", "n": 1.5})),
        (
            json!({"name": "{{ file }}-{{ ti.map_index }}", "n": "{{ n }}"}),
            json!({"name": "a-7", "file": "a", "n": 1.5}),
        ),
        (json!("{{ conf }}"), json!({"fast": true, "file": "a", "n": 1.5})),
        (json!("{{ tasks.other.output }}"), json!({"file": "a", "n": 1.5})),
    ] {
        assert_eq!(given(mapped(input.clone()), element()).unwrap().0, expected, "{input}");
    }
    let error = given(mapped(json!("{{ params.n }}")), element()).unwrap_err();
    assert!(error.contains("`input` of task `parse`: it is no object"), "{error}");
    let keys = with(mapped(json!(null)), "args", json!(["{{ file }}"]));
    assert_eq!(given(keys, element()).unwrap().1, ["a"]);
}

#[test]
fn a_task_of_a_mapped_group_knows_the_keys_and_gets_nothing_else() {
    let plan = group(json!({"input": {"f": "{{ file }}", "i": "{{ ti.map_index }}"}}));
    assert_eq!(given_to(&plan, 3, Some(json!({"file": "a"}))).unwrap().0, json!({"f": "a", "i": 7}));
    let plan = group(json!({"input": {"x": 1}}));
    assert_eq!(given_to(&plan, 3, Some(json!({"file": "a"}))).unwrap().0, json!({"x": 1}));
    let plan = group(json!({}));
    assert_eq!(given_to(&plan, 3, Some(json!({"file": "a"}))).unwrap().0, json!(null));
}

#[test]
fn an_input_that_cannot_be_made_says_why() {
    let many: Value = (0..4).map(|_| "{{ params.n }}".to_owned() + &"x".repeat(40 << 10)).collect();
    for (keys, words) in [
        (json!({"input": {"a": ["{{ nope }}"]}}), "`input` of task `parse`: /a/0: `{{ nope }}`: `nope` is not defined"),
        (json!({"input": "{{ tasks.extract.output.m }}"}), "`input` of task `parse`: `{{ tasks.extract.output.m }}`"),
        (json!({"args": ["a", "{{ nope }}"]}), "`args` of task `parse`: /1: `{{ nope }}`"),
        (json!({"args": ["a", "{{ tasks.other.output }}"]}), "`args` of task `parse`: argument 1 came to null"),
        (json!({"args": ["{{ 'a\0b' }}"]}), "argument 0 has a NUL in it"),
        (json!({"args": many}), "4 arguments of 163848 bytes are more than 1000 or 131072 bytes"),
    ] {
        let error = given(keys, None).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_list_that_somebody_else_wrote_is_refused() {
    for text in [
        "null",
        "[]",
        r#"{"form":"zip","keys":["a"],"values":[]}"#,
        r#"{"form":"zip","keys":[],"values":[]}"#,
        r#"{"form":"zip","keys":["a","b"],"values":[[1],[]]}"#,
        r#"{"form":"objects","keys":["a"],"values":[[1]]}"#,
        r#"{"form":"what","keys":[],"values":[[]]}"#,
        r#"{"form":"product","keys":["a"],"values":[1]}"#,
    ] {
        KeptList::parse(&Json::parse(text.to_owned()).unwrap()).expect_err(text);
    }
    assert_eq!(ListForm::Objects.key(), "expand_kwargs");
}

#[test]
fn keys_and_texts_keep_their_marks() {
    let found = list(expand(json!([["a\"b\\{", ["\u{2028}\"", "{{ '}' }}"]], ["ключ", [1]]]))).unwrap();
    assert_eq!(found.inputs()[0], json!({"a\"b\\{": "\u{2028}\"", "ключ": 1}));
    assert_eq!(found.inputs()[1], json!({"a\"b\\{": "}", "ключ": 1}));
    // Numbers pass as they are written.
    let text = Json::parse(r#"{"form":"product","keys":["n"],"values":[[1.10, 12345678901234567890123]]}"#.to_owned());
    let kept = KeptList::parse(&text.unwrap()).unwrap();
    let texts: Vec<String> = kept.slice(0, 9).iter().map(|element| element.as_str().to_owned()).collect();
    assert_eq!(texts, [r#"{"n":1.10}"#, r#"{"n":12345678901234567890123}"#]);
}

#[test]
#[ignore = "prints times; run with --release --nocapture"]
fn speed() {
    let time = |what: &str, times: u32, run: &mut dyn FnMut()| {
        let started = std::time::Instant::now();
        (0..times).for_each(|_| run());
        println!("{what}: {:?}", started.elapsed() / times);
    };
    let plan =
        plan(with(expand(json!([["n", (0..100_000).collect::<Value>()]])), "map_index_template", json!("{{ n }}")));
    let question = asks(&plan, Question::List { scope: 1 }, None);
    let Evaluated::List { list: TaskResult::Inline(text), .. } = evaluate(&question, &inputs(), None) else { panic!() };
    time("list of 100 000 with 1 000 labels", 20, &mut || drop(evaluate(&question, &inputs(), None)));
    time("KeptList::parse of 100 000", 20, &mut || drop(KeptList::parse(&text)));
    let kept = KeptList::parse(&text).unwrap();
    time("slice of 1 000", 1_000, &mut || drop(kept.slice(50_000, 1_000)));
    let run = inputs();
    time("reading::of_run", 100_000, &mut || drop(reading::of_run(&question.spec, &plan, &run)));
    let small = super::tests::plan(json!({"input": {"n": "{{ params.n }}"}}));
    let context = InstanceContext {
        run: RunId::from_u64(1),
        spec: spec(),
        plan: small.clone(),
        node: 3,
        map_index: None,
        outputs: Vec::new(),
    };
    let attempt = Attempt { context: &context, spec: &small.node(3).spec, task: TaskId::from_u64(5), try_number: 2 };
    time("input_of with one template", 100_000, &mut || drop(input_of(&attempt, &run)));
}
