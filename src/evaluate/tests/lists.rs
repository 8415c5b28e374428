//! What a task is mapped over: lists, elements and their labels.

use serde_json::{Value, json};

use super::*;
use crate::dag::plan::ListForm;

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
    let found = list(expand(json!([["a", [text, text]], ["n", (0..400).collect::<Value>()]]))).unwrap();
    assert_eq!((found.total, found.elements.len()), (800, 8));
    let kept = KeptList::parse(&found.kept).unwrap();
    assert_eq!(kept.slice(799, 10).len(), 1);
    let huge = "x".repeat(5 << 20);
    let error = list(expand(json!([["a", [huge]], ["b", [huge]]]))).err().unwrap();
    assert!(error.contains("more than 8388608 bytes come out"), "{error}");
}

#[test]
fn all_elements_together_have_a_limit() {
    let text = "x".repeat(1 << 20);
    let numbers = |count: u32| (0..count).collect::<Value>();
    let all = |count: u32| list(expand(json!([["a", [&text]], ["n", numbers(count)]])));
    let kept = KeptList::parse(&all(12).unwrap().kept).unwrap();
    let exactly: usize = (0..12).map(|index| kept.slice(index, 1)[0].as_str().len()).sum();
    assert_eq!(kept.bytes_of_elements(), exactly as u64 - 12, "two braces, and one comma less");
    assert_eq!(all(1_000).unwrap().total, 1_000);
    let error = all(1_100).err().unwrap();
    let words = "`expand` of task `parse`: its 1100 elements come to 115";
    assert!(error.contains(words) && error.contains("the limit is 1073741824"), "{error}");
    for (keys, bytes) in [
        (zip(json!([["a", ["xx", "y"]], ["b", [1, 23]]])), 2 * 10 + 7 + 3),
        (kwargs(json!([{"x": 1}, {}])), 7 + 2),
        (expand(json!([["a", []], ["b", [1]]])), 0),
    ] {
        assert_eq!(KeptList::parse(&list(keys).unwrap().kept).unwrap().bytes_of_elements(), bytes);
    }
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
