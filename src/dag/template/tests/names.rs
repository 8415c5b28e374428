//! Which names there are, and what is said of those that are not.

use super::*;

#[test]
fn the_names_of_airflow_are_in_scope() {
    let table = [
        ("{{ ds }}", json!("2026-01-01")),
        ("{{ ds_nodash }}", json!("20260101")),
        ("{{ ts }}", json!("2026-01-01T00:00:00+00:00")),
        ("{{ ts_nodash }}", json!("20260101T000000")),
        ("{{ ts_nodash_with_tz }}", json!("20260101T000000+0000")),
        ("{{ logical_date }}", json!("2026-01-01T00:00:00+00:00")),
        ("{{ data_interval_start | ds }}", json!("2026-01-01")),
        ("{{ data_interval_end }}", json!("2026-01-02T00:00:00.500000+00:00")),
        ("{{ data_interval_end | ts_nodash }}", json!("20260102T000000")),
        ("{{ '2026-02-03' | ts }}", json!("2026-02-03T00:00:00+00:00")),
        ("{{ run_id }}", json!("manual__1")),
        ("{{ dag.dag_id }}", json!("etl")),
        ("{{ ti.task_id }} {{ task.task_id }} {{ task_instance.dag_id }}", json!("parse parse etl")),
        ("{{ [ti.map_index, ti.try_number, ti.run_id] }}", json!([2, 1, "manual__1"])),
        ("{{ ti.id }}", json!(TaskId::from_u64(5).to_string())),
        ("{{ file }}", json!("x.csv")),
        ("{{ file ~ index }}", json!("x.csv2")),
        ("{{ file | upper }}: {{ index }}", json!("X.CSV: 2")),
        ("{{ var.value.bucket }}", json!("s3://b")),
        ("{{ var.value.get('bucket') }}", json!("s3://b")),
        ("{{ var.value.get('nope', 'd') }}", json!("d")),
        ("{{ var.value.nope | default('d') }}", json!("d")),
        ("{{ var.json.settings.a[1] }}", json!(2)),
        ("{{ var.json.get('settings', {}) }}", json!({"a": [1, 2]})),
        ("{{ tasks.a.output }}", json!({"n": 7, "files": ["x.csv", "y.csv"], "deep": {"er": [{"k": "v"}]}})),
        ("{{ tasks.a.output.n }}", json!(7)),
        ("{{ tasks['a'].output['files'][1] }}", json!("y.csv")),
        ("{{ tasks.a.output.files | length }}", json!(2)),
        ("{{ tasks.a.output.deep.er[0].k }}", json!("v")),
        ("{{ tasks.load.x.output }}", json!("loaded")),
        ("{{ tasks['load.x'].output }}", json!("loaded")),
        ("{{ tasks['load.x'].output | upper }}", json!("LOADED")),
        ("{{ tasks.load.deep.y.output | sum }}", json!(3)),
        ("{{ tasks.rows.output }}", json!([null, {"i": 1}])),
        ("{{ tasks.wide.output[99999] }}", json!(99_999)),
    ];
    for (text, expected) in table {
        assert_eq!(render(text).as_ref(), Ok(&expected), "{text}");
    }
}

#[test]
fn what_is_undefined_is_an_error_that_says_what_was_meant() {
    let table = [
        ("{{ params.citty }}", "`{{ params.citty }}`: `params.citty` is not defined; did you mean `params.city`?"),
        ("x {{ params.citty | upper }}", "`params.citty` is not defined; did you mean `params.city`?"),
        ("{{ params.people[0].nam }}", "did you mean `params.people[0].name`?"),
        ("{{ params.people[9] }}", "`params.people[9]` is not defined"),
        ("{{ tasks.a.output.file }}", "`tasks.a.output.file` is not defined; did you mean `tasks.a.output.files`?"),
        ("{{ tasks.zz.output }}", "task `zz` has no output"),
        ("{{ tasks.zz.output.n + 1 }}", "task `zz` has no output"),
        ("{{ tasks.nothing.output.n }}", "the output of `nothing` is null; it did not succeed, or returned nothing"),
        ("{{ nope }}", "`nope` is not defined"),
        ("{{ run_ids }}", "did you mean `run_id`?"),
        ("{{ var.value.nope }}", "variable `nope` does not exist"),
        ("{{ params.a.b.c }}", "`params.a` is not defined"),
        ("{{ params.nope == 1 }}", "`params.nope` is not defined"),
        ("{{ params.nope ~ 'x' }}", "`params.nope` is not defined"),
        ("{{ params.nope in [1] }}", "`params.nope` is not defined"),
        ("{{ [params.nope] }}", "`params.nope` is not defined"),
        ("{% if params.nope %}x{% endif %}", "`params.nope` is not defined"),
        ("{% for x in params.nope %}x{% endfor %}", "`params.nope` is not defined"),
        ("{{ 'a' if params.empty }}", "there is no value"),
        ("{% for x in [conf] %}{{ x.nope }}{% endfor %}", "undefined"),
    ];
    for (text, expected) in table {
        let error = fails(text);
        assert!(error.message.contains(expected) && error.kind == RenderErrorKind::Undefined, "{text}: {error:?}");
    }
    // Here it is the operator that fails; what it met is said all the same.
    let error = Template::parse("{{ tasks.nothing.output.n + 1 }}").unwrap().render(&scope()).unwrap_err();
    assert!(
        error.message.contains("on unsupported types undefined and number; `tasks.nothing.output.n` is not defined")
    );
}

#[test]
fn a_run_without_a_logical_date_has_no_dates() {
    let scope = Scope::of_run(Run { logical_date: None, data_interval_start: None, ..run() });
    for name in ["ds", "ds_nodash", "ts", "ts_nodash", "logical_date"] {
        let error = Template::parse(&format!("{{{{ {name} }}}}")).unwrap().render(&scope).unwrap_err();
        assert!(error.message.contains("this run has no logical date"), "{error}");
    }
    let error = Template::parse("{{ data_interval_start }}").unwrap().render(&scope).unwrap_err();
    assert_eq!(error.kind, RenderErrorKind::Undefined);
    assert_eq!(Template::parse("{{ ds is defined }}").unwrap().render(&scope), Ok(json!(false)));
    assert!(Template::parse("{{ ti }}").unwrap().render(&scope).is_err(), "a run is no task instance");
}

#[test]
fn what_nothing_can_be_found_under_is_known_before_the_run() {
    let unresolved = |text: &str| {
        let found = Template::parse(text).unwrap().unresolved("when");
        found.into_iter().map(|one| format!("{}:{} {}; {}", one.line, one.column, one.message, one.remedy)).collect()
    };
    let table: &[(&str, &[&str])] = &[
        ("{{ ti.task_id }}{{ dag.dag_id }}{{ var.value.x }}{{ var.value.x[0] }}{{ var.json.x.y }}", &[]),
        ("{{ ti[params.n] }}{{ ti.nope | default(1) }}{{ var.value.a.b is defined }}", &[]),
        ("{{ ti.id if ti.id is defined else '' }}{{ dag.owner.x if dag.owner is defined else 1 }}", &[]),
        ("{{ dag.owner if dag is defined else 1 }}", &["1:4 `dag` has no `owner`; it has dag_id"]),
        ("{{ ti.task_idd }}", &["1:4 `ti` has no `task_idd`; did you mean `task_id`?"]),
        (
            "\n{{ task.owner }}",
            &["2:4 `task` has no `owner`; it has dag_id, id, map_index, run_id, task_id, try_number"],
        ),
        ("{{ dag.tags }}", &["1:4 `dag` has no `tags`; it has dag_id"]),
        (
            "{{ ti.id }}",
            &["1:4 `ti.id` is not known to `when`: there is no task instance yet; \
               name the task by `task.task_id`, and the run by `run_id`"],
        ),
        (
            "{{ var.value.etl.bucket }}",
            &["1:4 variable `etl` is a text, and there is no `bucket` in it; write `var.value['etl.bucket']` for the \
               variable `etl.bucket`, or `var.json.etl.bucket` to look into the JSON of `etl`"],
        ),
    ];
    for (text, expected) in table {
        let found: Vec<String> = unresolved(text);
        assert_eq!(found, *expected, "{text}");
    }
    assert_eq!(Template::parse("{{ ti.id }}").unwrap().unresolved("input"), []);
    assert_eq!(Template::parse(&"{{ ti.nope }}".repeat(200)).unwrap().unresolved("input").len(), 20);
    for key in unresolved::INSTANCE_KEYS {
        assert!(render(&format!("{{{{ ti.{key} }}}}")).is_ok(), "{key}");
    }
}

#[test]
fn what_is_not_there_may_be_named_behind_a_guard() {
    // As for `when`: of the instance there is no id.
    let instance = Instance { id: None, task_id: "parse", map_index: -1, try_number: 1 };
    let scope = Scope::of_run(run()).for_instance(instance);
    for (text, expected) in [
        ("{{ ti.id if ti.id is defined else '' }}", json!("")),
        ("{{ dag.owner if dag.owner is defined else 'n' }}", json!("n")),
        ("{{ params.nope if params.nope is defined else 1 }}", json!(1)),
        ("{% if params.nope is defined %}{{ params.nope.x }}{% else %}n{% endif %}", json!("n")),
    ] {
        let template = Template::parse(text).unwrap();
        assert_eq!(template.render(&scope), Ok(expected), "{text}");
        assert_eq!(template.unresolved("when"), [], "{text}");
        assert!(template.references().params.is_empty(), "{text}");
    }
}

#[test]
fn a_name_of_airflow_that_is_not_here_has_something_instead() {
    for name in ["dag_run", "execution_date", "prev_ds", "next_ds", "yesterday_ds", "macros", "conn"] {
        assert!(instead_of(name).is_some(), "{name}");
    }
    assert!(NAMES.iter().all(|name| instead_of(name).is_none()), "what is here needs nothing instead");
}
