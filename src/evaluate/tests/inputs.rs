//! What an attempt is given.

use serde_json::{Value, json};

use super::*;

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
