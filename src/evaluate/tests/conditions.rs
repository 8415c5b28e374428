//! Whether a `when` holds.

use serde_json::{Value, json};

use super::*;

fn condition(when: Value) -> Result<bool, String> {
    let plan = plan(json!({"when": when}));
    assert!(plan.node(3).has_condition);
    match evaluate(&asks(&plan, Question::Condition { node: 3, map_index: None }, None), &inputs(), None) {
        Evaluated::Condition(holds) => Ok(holds),
        Evaluated::Failed(error) => Err(error.message.clone()),
        other => panic!("{other:?}"),
    }
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
