//! Templates in the texts of a JSON value.

use super::*;

#[test]
fn templates_stand_anywhere_in_the_values_of_a_json_value() {
    let value = json!({"city": "{{ params.city }}", "plain": [1, {"x": null}], "deep": [{"n": "{{ tasks.a.output.n }}"}],
        "{{ key }}": "{{ tasks.a.output }}!", "all": "{{ tasks.a.output }}"});
    let template = JsonTemplate::parse(&value).unwrap();
    let a = json!({"n": 7, "files": ["x.csv", "y.csv"], "deep": {"er": [{"k": "v"}]}});
    let shown = "{'deep': {'er': [{'k': 'v'}]}, 'files': ['x.csv', 'y.csv'], 'n': 7}!";
    let expected = json!({"city": "Ames", "plain": [1, {"x": null}], "deep": [{"n": 7}], "{{ key }}": shown, "all": a});
    assert_eq!(template.render(&scope()).unwrap(), expected);
    assert_eq!(template.render_text(&scope(), Bounds::default()).unwrap().to_value().unwrap(), expected);
    assert_eq!(template.references().tasks.iter().collect::<Vec<_>>(), ["a"]);
    assert!(!template.is_literal());

    let literal = json!({"a": [1, "x"], "{{ b }}": null});
    let template = JsonTemplate::parse(&literal).unwrap();
    assert!(template.is_literal());
    assert_eq!(template.render(&scope()), Ok(literal));

    let errors = JsonTemplate::parse(&json!({"a/b": ["ok", "{{ x |"], "c": "{% set x = 1 %}"})).unwrap_err();
    assert_eq!(errors.iter().map(|(pointer, _)| pointer.as_str()).collect::<Vec<_>>(), ["/a~1b/1", "/c"]);
    let failing = JsonTemplate::parse(&json!({"a/b": ["ok", "{{ params.citty }}"]})).unwrap();
    assert_eq!(failing.render(&scope()).unwrap_err().pointer, "/a~1b/1");
    assert_eq!(failing.render_text(&scope(), Bounds::default()).unwrap_err().pointer, "/a~1b/1");
}

#[test]
fn a_whole_output_is_passed_on_without_being_read() {
    let text = format!("[{}1]", "1, ".repeat(6_000_000));
    let large = Output::new(Json::parse(text.clone()).unwrap());
    let mut run = run();
    run.outputs.insert("large".to_owned(), Arc::clone(&large));
    let scope = Scope::of_run(run);
    let bounds = Bounds { output_bytes: 32 << 20, ..Bounds::default() };
    let whole = JsonTemplate::parse(&json!("{{ tasks.large.output }}")).unwrap().render_text(&scope, bounds).unwrap();
    assert!(std::ptr::eq(whole.as_str(), large.text().as_str()), "shared, not copied");
    let part = JsonTemplate::parse(&json!({"x": "{{ tasks.large.output }}"})).unwrap();
    assert_eq!(part.render_text(&scope, bounds).unwrap().as_str(), format!("{{\"x\":{text}}}"));
    assert_eq!(part.render_text(&scope, Bounds::default()).unwrap_err().kind, RenderErrorKind::TooLarge);
    for inside in ["{{ tasks.large.output[0] }}", "{{ tasks.large.output | length }}"] {
        let error = Template::parse(inside).unwrap().render(&scope).unwrap_err();
        assert!(error.kind == RenderErrorKind::TooLarge && error.message.contains("pass it whole"), "{error:?}");
    }
}

#[test]
fn a_template_is_rendered_by_many_threads_at_once() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Template>();
    shared::<JsonTemplate>();
    shared::<Scope>();
    let template =
        JsonTemplate::parse(&json!({"a": "{{ tasks.a.output.files | join(',') }}", "b": "{{ file }}"})).unwrap();
    let scope = scope();
    let expected = template.render(&scope).unwrap();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| (0..200).for_each(|_| assert_eq!(template.render(&scope).unwrap(), expected)));
        }
    });
}
