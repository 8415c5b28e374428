//! What templates promise, as tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::model::{Json, TaskId};

fn output(value: Value) -> Arc<Output> {
    Output::new(Json::of(&value).unwrap())
}

fn run() -> Run<'static> {
    let time = |text: &str| Some(text.parse().unwrap());
    Run {
        dag_id: "etl",
        run_id: "manual__1",
        logical_date: time("2026-01-01T00:00:00Z"),
        data_interval_start: time("2026-01-01T00:00:00Z"),
        data_interval_end: time("2026-01-02T00:00:00.5Z"),
        params: Json::of(
            &json!({"city": "Ames", "n": 3, "big": u64::MAX, "low": i64::MIN, "f": 1.5, "empty": "", "none": null,
            "list": [3, 1, 2], "name with space": 1, "true": true,
            "people": [{"name": "Bo", "age": 4}, {"name": "Al", "age": 7}, {"name": "cy", "age": 4}]}),
        )
        .unwrap(),
        conf: Json::of(&json!({"x": {"y": [10, 20]}})).unwrap(),
        variables: Arc::new(BTreeMap::from([
            ("bucket".to_owned(), "s3://b".to_owned()),
            ("settings".to_owned(), r#"{"a": [1, 2]}"#.to_owned()),
            ("broken".to_owned(), "{".to_owned()),
        ])),
        outputs: BTreeMap::from([
            ("a".to_owned(), output(json!({"n": 7, "files": ["x.csv", "y.csv"], "deep": {"er": [{"k": "v"}]}}))),
            ("load.x".to_owned(), output(json!("loaded"))),
            ("load.deep.y".to_owned(), output(json!([1, 2]))),
            ("text".to_owned(), output(json!("x".repeat(1_000_000)))),
            ("wide".to_owned(), output(json!((0..100_000).collect::<Vec<_>>()))),
            ("nothing".to_owned(), output(Value::Null)),
            ("rows".to_owned(), Output::list(&[Json::null(), Json::of(&json!({"i": 1})).unwrap()])),
        ]),
    }
}

fn scope() -> Scope {
    let keys = json!({"file": "x.csv", "index": 2});
    Scope::of_run(run())
        .for_instance(Instance { id: Some(TaskId::from_u64(5)), task_id: "parse", map_index: 2, try_number: 1 })
        .with_keys(keys.as_object().unwrap())
}

fn render(text: &str) -> Result<Value, RenderError> {
    Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).render(&scope())
}

#[test]
fn one_expression_keeps_the_type_of_its_value_and_a_text_is_a_text() {
    let table = [
        ("plain text", json!("plain text")),
        ("", json!("")),
        ("{ not } a % template", json!("{ not } a % template")),
        ("{{ params.city }}", json!("Ames")),
        ("  {{ params.n }}\n", json!(3)),
        ("{{ params['n'] }}", json!(3)),
        ("{{ params['name with space'] }}", json!(1)),
        ("{{ params.big }}", json!(u64::MAX)),
        ("{{ params.low }}", json!(i64::MIN)),
        ("{{ params.f }}", json!(1.5)),
        ("{{ params.none }}", json!(null)),
        ("{{ params.true }}", json!(true)),
        ("{{ params.list }}", json!([3, 1, 2])),
        ("{{ params.list[0] }}", json!(3)),
        ("{{ params.list[-1] }}", json!(2)),
        ("{{ params.list[-1] + 0 }}", json!(2)),
        ("{{ conf.x }}", json!({"y": [10, 20]})),
        ("{{ conf.x.y[1] }}", json!(20)),
        ("{{ conf['x'].y }}", json!([10, 20])),
        ("{{ params.n + 1 }}", json!(4)),
        ("{{ params.n * 2 }}", json!(6)),
        ("{{ params.n * 1.5 }}", json!(4.5)),
        ("{{ 7 // 2 }}", json!(3)),
        ("{{ 7 / 2 }}", json!(3.5)),
        ("{{ 2 ** 10 }}", json!(1024)),
        ("{{ params.big + 0 }}", json!(u64::MAX)),
        ("{{ params.city != '' }}", json!(true)),
        ("{{ params.city == 'Ames' and params.n > 2 }}", json!(true)),
        ("{{ params.n in params.list }}", json!(true)),
        ("{{ 'm' in params.city }}", json!(true)),
        ("{{ 'zz' not in params.city }}", json!(true)),
        ("{{ 'x' in conf }}", json!(true)),
        ("{{ not params.empty }}", json!(true)),
        ("{{ 'a' if params.empty else 'b' }}", json!("b")),
        ("{{ [params.n, 'x', none, {'k': params.f}] }}", json!([3, "x", null, {"k": 1.5}])),
        ("{{ (1, 2) }}", json!([1, 2])),
        ("{{ params.list[1:] }}", json!([1, 2])),
        ("{{ params.list[::-1] }}", json!([2, 1, 3])),
        ("{{ params.city[1:3] }}", json!("me")),
        ("{{ params.city[-2:] }}", json!("es")),
        ("{{ params.list + [4] }}", json!([3, 1, 2, 4])),
        ("{{ params.list == [3, 1, 2] }}", json!(true)),
        ("{{ conf == {'x': {'y': [10, 20]}} }}", json!(true)),
        ("{{ params.list < [4] }}", json!(true)),
        ("{{ range(3) }}", json!([0, 1, 2])),
        ("{{ range(5, 1, -2) }}", json!([5, 3])),
        ("{{ dict(a=1) }}", json!({"a": 1})),
        ("{{ params.missing | default(5) }}", json!(5)),
        ("{{ params.missing is defined }}", json!(false)),
        ("{{ params.get('missing', 6) }}", json!(6)),
        ("{{ params.get('n') }}", json!(3)),
        ("{{ conf.keys() }}", json!(["x"])),
        ("{{ conf.items() }}", json!([["x", {"y": [10, 20]}]])),
        ("{{ conf.x.values() }}", json!([[10, 20]])),
        ("{# why #}{{ params.n }}", json!(3)),
        ("{{ params.n }}{{ params.n }}", json!("33")),
        ("x{{ params.n }}", json!("x3")),
        ("s3://{{ params.city | lower }}/{{ ds }}.csv", json!("s3://ames/2026-01-01.csv")),
        ("{{ params.none }} {{ params.true }} {{ params.f }}", json!("None True 1.5")),
        ("l: {{ params.list }} {{ conf }}", json!("l: [3, 1, 2] {'x': {'y': [10, 20]}}")),
        ("{{ 'a' ~ params.n ~ params.list }}", json!("a3[3, 1, 2]")),
        ("{% if params.n > 2 %}many{% elif params.n %}some{% else %}few{% endif %}", json!("many")),
        ("{% for x in params.list if x > 1 %}{{ loop.index }}:{{ x }},{% else %}none{% endfor %}", json!("1:3,2:2,")),
        ("{% for x in [] %}{{ x }}{% else %}none{% endfor %}", json!("none")),
        ("{% for k, v in conf.x | items %}{{ k }}={{ v }}{% endfor %}", json!("y=[10, 20]")),
        (
            "{% for p in params.people %}{% for q in [p.age] %}{{ p.name }}{{ q }}{% endfor %}{% endfor %}",
            json!("Bo4Al7cy4"),
        ),
        ("{% raw %}{{ x }}{% endraw %}", json!("{{ x }}")),
        ("{% if params.n %}{{ 'x' if params.empty }}{% endif %}", json!("")),
        ("{{ '{{ x }}' }}", json!("{{ x }}")),
    ];
    for (text, expected) in table {
        assert_eq!(render(text).as_ref(), Ok(&expected), "{text}");
    }
}

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
fn filters_do_what_jinja_does() {
    let table = [
        ("abs", "{{ (-3) | abs }}", json!(3)),
        ("attr", "{{ conf | attr('x') }}", json!({"y": [10, 20]})),
        ("batch", "{{ params.list | batch(2) }}", json!([[3, 1], [2]])),
        ("bool", "{{ params.empty | bool }}", json!(false)),
        ("capitalize", "{{ 'aMES' | capitalize }}", json!("Ames")),
        ("count", "{{ params.list | count }}", json!(3)),
        ("d", "{{ params.nope | d('x') }}", json!("x")),
        ("default", "{{ params.empty | default('x', true) }}", json!("x")),
        ("dictsort", "{{ {'b': 1, 'a': 2} | dictsort }}", json!([["a", 2], ["b", 1]])),
        ("first", "{{ params.list | first }}", json!(3)),
        ("float", "{{ '1.5' | float }}", json!(1.5)),
        (
            "groupby",
            "{% for k, l in params.people | groupby('age') %}{{ k }}:{{ l | length }} {% endfor %}",
            json!("4:2 7:1 "),
        ),
        ("int", "{{ '12' | int }}", json!(12)),
        ("items", "{{ {'a': 1} | items }}", json!([["a", 1]])),
        ("join", "{{ params.list | join('-') }}", json!("3-1-2")),
        ("join", "{{ params.people | join(', ', attribute='name') }}", json!("Bo, Al, cy")),
        ("last", "{{ params.list | last }}", json!(2)),
        ("length", "{{ params.city | length }}", json!(4)),
        ("lines", "{{ 'a\nb' | lines }}", json!(["a", "b"])),
        ("list", "{{ 'abc' | list }}", json!(["a", "b", "c"])),
        ("lower", "{{ params.city | lower }}", json!("ames")),
        ("map", "{{ params.people | map(attribute='name') }}", json!(["Bo", "Al", "cy"])),
        ("map", "{{ params.list | map('string') | list }}", json!(["3", "1", "2"])),
        ("map", "{{ params.people | map(attribute='x', default=0) | list }}", json!([0, 0, 0])),
        ("map", "{{ ['a'] | map('replace', 'a', 'b') | list }}", json!(["b"])),
        ("max", "{{ params.list | max }}", json!(3)),
        ("min", "{{ params.people | min(attribute='name') }}", json!({"name": "Al", "age": 7})),
        ("reject", "{{ params.list | reject('eq', 3) }}", json!([1, 2])),
        ("rejectattr", "{{ params.people | rejectattr('age', 'eq', 4) | map(attribute='name') }}", json!(["Al"])),
        ("replace", "{{ 'a-b-c' | replace('-', '+') }}", json!("a+b+c")),
        ("replace", "{{ 'a-b-c' | replace('-', '+', 1) }}", json!("a+b-c")),
        ("reverse", "{{ params.list | reverse }}", json!([2, 1, 3])),
        ("round", "{{ 2.567 | round(1) }}", json!(2.6)),
        ("select", "{{ params.list | select('odd') }}", json!([3, 1])),
        ("selectattr", "{{ params.people | selectattr('age', '>', 4) | map(attribute='name') }}", json!(["Al"])),
        ("slice", "{{ params.list | slice(2) }}", json!([[3, 1], [2]])),
        ("sort", "{{ params.list | sort }}", json!([1, 2, 3])),
        ("sort", "{{ params.people | sort(attribute='age,name') | map(attribute='name') }}", json!(["Bo", "cy", "Al"])),
        ("split", "{{ 'a,b' | split(',') }}", json!(["a", "b"])),
        ("split", "{{ 'a,b,c' | split(',', 1) }}", json!(["a", "b,c"])),
        ("split", "{{ ' a  b ' | split }}", json!(["a", "b"])),
        ("string", "{{ params.list | string }}", json!("[3, 1, 2]")),
        ("string", "{{ params.n | string }}", json!("3")),
        ("sum", "{{ params.list | sum }}", json!(6)),
        ("sum", "{{ params.people | sum(attribute='age') }}", json!(15)),
        ("title", "{{ 'new york' | title }}", json!("New York")),
        ("tojson", "{{ conf | tojson }}", json!("{\"x\":{\"y\":[10,20]}}")),
        ("tojson", "{{ [none, true, 'a\"<'] | tojson }}", json!("[null,true,\"a\\\"<\"]")),
        ("trim", "{{ ' a ' | trim }}", json!("a")),
        ("trim", "{{ 'xxax' | trim('x') }}", json!("a")),
        ("unique", "{{ [1, 2, 1] | unique }}", json!([1, 2])),
        ("upper", "{{ params.city | upper }}", json!("AMES")),
        ("urlencode", "{{ 'a b/c' | urlencode }}", json!("a%20b/c")),
    ];
    let mut tested = std::collections::BTreeSet::from(["ds", "ts", "ds_nodash", "ts_nodash", "ts_nodash_with_tz"]);
    for (filter, text, expected) in table {
        assert_eq!(render(text).as_ref(), Ok(&expected), "{text}");
        tested.insert(filter);
    }
    assert!(environment::FILTERS.iter().all(|filter| tested.contains(filter)), "every filter has a test");
}

#[test]
fn every_test_of_jinja_that_is_listed_exists() {
    for test in environment::TESTS {
        let with = match *test {
            "divisibleby" => "(2)",
            "in" => "([4])",
            "startingwith" | "endingwith" => "('4')",
            "!=" | "<" | "<=" | "==" | ">" | ">=" => continue,
            "eq" | "equalto" | "ge" | "greaterthan" | "gt" | "le" | "lessthan" | "lt" | "ne" | "sameas" => "(4)",
            _ => "",
        };
        assert!(matches!(render(&format!("{{{{ 4 is {test}{with} }}}}")), Ok(Value::Bool(_))), "{test}");
    }
    for test in ["!=", "<", "<=", "==", ">", ">="] {
        assert!(matches!(render(&format!("{{{{ [1, 2] | select('{test}', 1) | list }}}}")), Ok(Value::Array(_))));
    }
}

fn refused(text: &str) -> TemplateError {
    Template::parse(text).map(|_| ()).expect_err(text)
}

#[test]
fn what_would_let_a_template_grow_is_refused() {
    let joined = format!("{{{{ {} }}}}", ["params.n"; 18].join(" ~ "));
    let summed = format!("{{{{ {} }}}}", ["params.n"; 18].join(" + "));
    let long = format!("{{{{ {} }}}}", ["1"; 300].join(" - "));
    let dotted = format!("{{{{ params{} }}}}", ".a".repeat(300));
    let tags = "{{ ds }}".repeat(300);
    let big = format!("{{{{ ds }}}}{}", " ".repeat(MAX_SOURCE_BYTES));
    let brackets = format!("{{{{ {}1{} }}}}", "[".repeat(200), "]".repeat(200));
    let blocks = format!("{}x{}", "{% if ds %}".repeat(9), "{% endif %}".repeat(9));
    let elifs = format!("{{% if ds %}}{}{{% endif %}}", "{% elif ds %}".repeat(300));
    let locals = (0..17).map(|i| format!("{{% for v{i} in [1] %}}{{% endfor %}}")).collect::<String>();
    let table: &[(&str, &str)] = &[
        ("{% set x = 1 %}{{ x }}", "{% set %}"),
        ("{% set x %}a{% endset %}", "{% set %}"),
        ("{% with x = 1 %}{{ x }}{% endwith %}", "{% with %}"),
        ("{% filter upper %}a{% endfilter %}", "{% filter %}"),
        ("{% autoescape true %}a{% endautoescape %}", "{% autoescape %}"),
        ("{% do range(3) %}", "{% do %}"),
        ("{% macro m() %}{% endmacro %}", "unknown statement macro"),
        ("{% include 'x' %}", "unknown statement include"),
        ("{% for x in conf recursive %}{% endfor %}", "recursive"),
        ("{{ 'x' * 100 }}", "takes numbers"),
        ("{{ 100 * [1] }}", "takes numbers"),
        ("{{ 'x' ** 2 }}", "takes numbers"),
        ("{{ 1 < params.n < 3 }}", "a < b and b < c"),
        ("{{ range(*params.list) }}", "one by one"),
        ("{{ dict(**conf) }}", "one by one"),
        ("{{ ds | uper }}", "did you mean `upper`?"),
        ("{{ ds | pprint }}", "there is no filter `pprint`"),
        ("{{ ds is odf }}", "did you mean `odd`?"),
        ("{{ debug() }}", "there is no function `debug`"),
        ("{{ ds.strftime('%Y') }}", "there is no method `strftime`"),
        ("{{ conf.x() }}", "there is no method `x`"),
        ("{{ conf['x']() }}", "only functions"),
        (&joined, "more than 16"),
        (&summed, "more than 16"),
        (&long, "more than 256 operators"),
        (&dotted, "more than 256 operators"),
        (&tags, "more than 256 tags"),
        (&elifs, "more than 256 tags"),
        (&big, "the limit is 65536"),
        (&brackets, "recursion"),
        (&blocks, "more than 8 blocks"),
        (&locals, "loop variables"),
        ("{{ ds", "not a template"),
        ("{{ }}", "not a template"),
        ("{% if ds %}x", "not a template"),
    ];
    for (text, expected) in table {
        let error = refused(text);
        assert!(error.message.contains(expected), "{text}: {error}");
    }
}

#[test]
fn an_error_in_the_text_has_its_line_and_column() {
    let place = |text: &str| (refused(text).line, refused(text).column);
    assert_eq!(place("{{ ds | nope }}"), (1, 9));
    assert_eq!(place("ä\nöü {{ ds | nope }}"), (2, 12));
    assert_eq!(place("a\n\n  {% set x = 1 %}"), (3, 6));
    assert_eq!(place("x {{ 1 + }}").0, 1);
    assert_eq!(place("x {{ tasks.a }}"), (1, 6));
    assert!(place("x {{ 1 + }}").1 > 5);
    assert_eq!(place(&format!("{}{{{{ ds | nope }}}}", " ".repeat(65_000))), (1, 65_009));
    assert_eq!(place(&format!("{}{{{{ ds | nope }}}}", "\n".repeat(65_000))), (65_001, 9));
}

#[test]
fn of_outputs_it_is_known_which_parts_are_read_and_where() {
    let found = |text: &str| {
        let outputs = Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).outputs();
        let all = |output: &OutputPath| if output.is_all { " alone" } else { "" };
        let one = |output: OutputPath| {
            let path = written(&output.task, &output.steps);
            format!("{path} {}:{}{}", output.line, output.column, all(&output))
        };
        outputs.into_iter().map(one).collect::<Vec<_>>().join(", ")
    };
    for (text, expected) in [
        ("{{ tasks.a.output }}", "tasks.a.output 1:4 alone"),
        ("{{ tasks['g.a'].output['b c'][-1].d.0 }}", "tasks.g.a.output['b c'][-1].d[0] 1:4 alone"),
        ("ä {{ tasks.a.output.b }}", "tasks.a.output.b 1:6"),
        (
            "a\n{% if tasks.a.output.b %}{{ 1 + tasks.a.output.c }}{% endif %}",
            "tasks.a.output.b 2:7, tasks.a.output.c 2:33",
        ),
        ("{{ tasks.a.output.b }}{{ tasks.a.output.b }}", "tasks.a.output.b 1:4"),
        ("{{ tasks.a.output.b | length }}", "tasks.a.output.b 1:4"),
        ("{{ tasks.a.output.b[1.5] }}", "tasks.a.output.b 1:4"),
        ("{{ tasks.a.output.b[tasks.b.output.i].c }}", "tasks.a.output.b 1:4, tasks.b.output.i 1:21"),
        ("{{ tasks.a.output.b.get('c') }}", "tasks.a.output.b 1:4"),
        ("{% for x in tasks.a.output.b %}{{ x.c }}{% endfor %}", "tasks.a.output.b 1:13"),
        ("{{ tasks.a.output.b | default(tasks.a.output.c) }}", "tasks.a.output.c 1:31"),
        ("{{ tasks.a.output.b is defined and tasks.a.output.b.c }}", ""),
        ("{{ tasks.a.output.b.c is defined and tasks.a.output.b }}", "tasks.a.output.b 1:38"),
        ("{{ tasks.a.output is defined and tasks.b.output }}", "tasks.b.output 1:34"),
        ("{{ params.tasks }}", ""),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn references_are_what_the_text_names() {
    let table: &[(&str, &str, &str, &str, &str)] = &[
        ("{{ tasks.a.output.n }}", "a", "", "", "tasks"),
        ("{{ tasks['load.x'].output }} {{ tasks.load.y.output }}", "load.x load.y", "", "", "tasks"),
        ("{{ tasks['a']['output'][params.i] }}", "a", "i", "", "params tasks"),
        ("{{ tasks.a.output | map(attribute=params.key) | list }}", "a", "key", "", "params tasks"),
        ("{{ [tasks.a.output, {'k': tasks.b.output.x}] }}", "a b", "", "", "tasks"),
        ("{{ params.x ~ params['y z'] }}", "", "x y z", "", "params"),
        ("{{ params.x | default(params.y) }}", "", "y", "", "params"),
        ("{{ params.x if params.x is defined else params.z }}", "", "x z", "", "params"),
        ("{{ var.value.A }} {{ var.json.B.c }} {{ var.value.get('C', params.d) }}", "", "d", "A B C", "params var"),
        ("{{ var.json.get('B', {}).x }}", "", "", "B", "var"),
        ("{{ var.value.A | default('x') }}", "", "", "A", "var"),
        ("{{ file }} {{ ds }}", "", "", "", "ds file"),
        ("{% for f in tasks.a.output %}{{ f.x }}{{ loop.index }}{{ run_id }}{% endfor %}", "a", "", "", "run_id tasks"),
        ("{% for a, b in conf | items if a != ds %}{{ a }}{{ b }}{% endfor %}", "", "", "", "conf ds"),
        (
            "{% if tasks.a.output %}{% elif tasks.b.output %}{% else %}{{ tasks.c.output }}{% endif %}",
            "a b c",
            "",
            "",
            "tasks",
        ),
        ("{% raw %}{{ tasks.a.output }}{% endraw %}", "", "", "", ""),
        ("{# {{ tasks.a.output }} #}x", "", "", "", ""),
    ];
    let words = |set: &std::collections::BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
    for (text, tasks, params, variables, names) in table {
        let template = Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let References { tasks: t, params: p, variables: v, names: n } = template.references();
        assert_eq!([words(t), words(p), words(v), words(n)], [*tasks, *params, *variables, *names], "{text}");
    }
    let refusals = [
        ("{{ tasks[file].output }}", "name the task literally"),
        ("{{ tasks.load[file].output }}", "name the task literally"),
        ("{{ tasks }}", "name the task literally"),
        ("{{ tasks | length }}", "name the task literally"),
        ("{{ tasks.get('a') }}", "name the task literally"),
        ("{{ tasks.a }}", "`tasks.a.output`"),
        ("{{ tasks.a.result.n }}", "only the output can be read"),
        ("{{ tasks.output }}", "only the output can be read"),
        ("{{ var.value[ds] }}", "name the variable literally"),
        ("{{ var.value.get(ds) }}", "name the variable literally"),
        ("{{ var.A }}", "name the variable literally"),
        ("{{ var }}", "name the variable literally"),
        ("{{ var.value }}", "name the variable literally"),
        ("{% for ds in conf %}{% endfor %}", "rename the variable"),
        ("{{ x }}{% for x in conf %}{% endfor %}", "rename the variable"),
    ];
    for (text, expected) in refusals {
        assert!(refused(text).message.contains(expected), "{text}: {}", refused(text));
    }
}

fn fails(text: &str) -> RenderError {
    render(text).expect_err(text)
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
fn what_is_not_json_or_not_sensible_is_an_error() {
    let table = [
        ("{{ range }}", "not defined"),
        ("{{ params.f / 0 }}", "unable to calculate"),
        ("{{ params.city + 1 }}", "tried to use + operator"),
        ("{{ params.city * params.n }}", "`*` takes numbers"),
        ("{{ params.list * params.n }}", "`*` takes numbers"),
        ("{{ params.big * params.big }}", "product is too large"),
        ("{{ 10 ** 20 }}", "does not fit in 64 bits"),
        ("{{ params.list | upper }}", "a text is needed here"),
        ("{{ params.list | replace('a', 'b') }}", "a text is needed here"),
        ("{{ params.people | sort }}", "have no order"),
        ("{{ [[1], [2]] | max }}", "have no order"),
        ("{{ ['a', 'b'] | sum(start='') }}", "`sum` adds numbers"),
        ("{{ var.json.broken }}", "is not JSON"),
        ("{{ var.json.broken.x }}", "is not JSON"),
        ("{{ {[1]: 2} }}", "key of an object"),
        ("{{ 'x' | ds }}", "is not a date"),
        ("{{ 'abc' | split('') }}", "separator"),
        ("{{ range(1000000) }}", "at most 100000"),
        ("{{ range(-9223372036854775807, 9223372036854775807) }}", "at most 100000"),
        ("{{ params.list | map('pprint') | list }}", "unknown filter"),
        ("{{ params.people | map(attribute=tasks.text.output) | list }}", "at most 256 bytes"),
        ("{{ params.people | map | list }}", "`map` takes"),
        ("{{ params.people | map('upper') | list }}", "a text is needed here"),
        ("{{ params.city[::0] }}", "step of 0"),
        ("{{ params.list[params.low:params.big] }}", ""),
    ];
    for (text, expected) in table {
        let error = fails(text);
        assert!(error.message.contains(expected), "{text}: {error:?}");
    }
}

#[test]
fn nothing_gets_beyond_its_bounds() {
    use RenderErrorKind::{OutOfFuel, TooLarge};
    let nested = |levels: usize, inner: &str| {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut text = format!("{{% for a in [{}] %}}", "tasks.a.output");
        for level in 1..levels {
            let before = [names[level - 1]; 40].join(",");
            text.push_str(&format!("{{% for {} in [[{before}]] %}}", names[level]));
        }
        text + &inner.replace('@', names[levels - 1]) + &"{% endfor %}".repeat(levels)
    };
    let table: Vec<(String, &[RenderErrorKind])> = vec![
        ("{% for a in range(100000) %}{{ a }}{% endfor %}".into(), &[OutOfFuel]),
        ("{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}".into(), &[OutOfFuel]),
        ("{% for a in range(100) %}{{ tasks.text.output }}{% endfor %}".into(), &[OutOfFuel, TooLarge]),
        (format!("{{{{ [{}] }}}}", ["tasks.text.output"; 40].join(",")), &[TooLarge]),
        (format!("{{{{ [{}] | tojson }}}}", ["tasks.text.output"; 40].join(",")), &[TooLarge, OutOfFuel]),
        (format!("{{{{ [{}] ~ '' }}}}", ["tasks.text.output"; 40].join(",")), &[TooLarge, OutOfFuel]),
        (format!("{{{{ [{}] | join }}}}", ["tasks.text.output"; 40].join(",")), &[TooLarge, OutOfFuel]),
        ("{{ tasks.text.output | replace('x', tasks.text.output) }}".into(), &[TooLarge]),
        ("{{ tasks.text.output | replace('', 'long long long long') }}".into(), &[TooLarge]),
        ("{{ range(100000) | join(tasks.text.output) }}".into(), &[TooLarge, OutOfFuel]),
        ("{{ tasks.text.output | list | length }}".into(), &[OutOfFuel]),
        ("{{ tasks.text.output | batch(1) | list | length }}".into(), &[OutOfFuel]),
        ("{{ tasks.wide.output | batch(1000000, 'x') }}".into(), &[OutOfFuel]),
        ("{{ tasks.wide.output | slice(1000000) }}".into(), &[OutOfFuel]),
        ("{{ tasks.wide.output | sort | sort | sort }}".into(), &[OutOfFuel]),
        ("{% for i in range(50000) %}{{ tasks.text.output[i:] | length }}{% endfor %}".into(), &[OutOfFuel]),
        ("{% for i in range(50000) %}{{ 'y' in tasks.text.output }}{% endfor %}".into(), &[OutOfFuel]),
        ("{% for i in range(50000) %}{{ tasks.wide.output == tasks.wide.output }}{% endfor %}".into(), &[OutOfFuel]),
        ("{% for i in range(50000) %}{{ tasks.text.output | upper }}{% endfor %}".into(), &[OutOfFuel, TooLarge]),
        (
            "{{ range(3000) | map('default') | list | map('replace', '1', tasks.text.output) | list }}".into(),
            &[OutOfFuel, TooLarge],
        ),
        (format!("{{% for a in range(4000) %}}{}{{% endfor %}}", "x".repeat(60_000)), &[TooLarge, OutOfFuel]),
        ("{% for a in range(90000) %}{{ 1e300 }}{% endfor %}".into(), &[TooLarge, OutOfFuel]),
        (nested(8, "{{ @ }}"), &[TooLarge, OutOfFuel]),
        (nested(8, "{{ @ | string | length }}"), &[TooLarge, OutOfFuel]),
        (nested(8, "{{ @ | tojson | length }}"), &[TooLarge, OutOfFuel]),
        (nested(8, "{{ (@ ~ 'x') | length }}"), &[TooLarge, OutOfFuel]),
        (nested(8, "{{ @ | join | length }}"), &[TooLarge, OutOfFuel]),
        (nested(8, "{{ @ == [@] }}"), &[OutOfFuel]),
        (nested(8, "{{ 1 if @ in [[@]] }}"), &[OutOfFuel]),
        (nested(8, "{{ [@] | select('eq', [@]) | list | length }}"), &[OutOfFuel]),
        (nested(8, "{{ [@] | select('in', [[@]]) | list | length }}"), &[OutOfFuel]),
    ];
    for (text, kinds) in table {
        let start = std::time::Instant::now();
        let error = fails(&text);
        assert!(kinds.contains(&error.kind), "{}: {error:?}", &text[..text.len().min(120)]);
        assert!(error.message.len() < 400, "{error}");
        assert!(start.elapsed().as_secs() < 5, "{}: {:?}", &text[..text.len().min(120)], start.elapsed());
    }
}

#[test]
fn the_bounds_are_of_the_whole_json_template() {
    let bounds = Bounds { fuel: 10_000, output_bytes: 1_000 };
    let parse = |value: &Value| JsonTemplate::parse(value).unwrap();
    let kind = |value: Value| parse(&value).render_within(&scope(), bounds).unwrap_err();
    let one = json!("{{ tasks.text.output[:300] ~ '' }}");
    assert!(parse(&json!({"a": one})).render_within(&scope(), Bounds { fuel: 100_000, ..bounds }).is_ok());
    let error =
        parse(&json!([one, one, one, one])).render_within(&scope(), Bounds { fuel: 10_000_000, ..bounds }).unwrap_err();
    assert_eq!((error.kind, error.pointer.as_str()), (RenderErrorKind::TooLarge, "/3"));
    assert_eq!(kind(json!(["x".repeat(2_000), "{{ ds }}"])).kind, RenderErrorKind::TooLarge);
    let costly = "{% for i in range(800) %}{% endfor %}";
    assert!(parse(&json!([costly])).render_within(&scope(), bounds).is_ok());
    let error = kind(Value::from_iter(vec![costly; 100]));
    assert_eq!(error.kind, RenderErrorKind::OutOfFuel);
    assert!(error.message.contains("more than 10000 steps"), "{error}");
    assert_eq!(kind(json!("{% for i in range(200) %}12345{% endfor %}x{{ ds }}")).kind, RenderErrorKind::TooLarge);
    assert_eq!(kind(json!({"t": "{{ tasks.text.output }}"})).kind, RenderErrorKind::TooLarge);
}

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

/// Random templates of what the grammar has: they may fail, but only in time and within the bounds.
#[test]
fn no_random_template_gets_beyond_its_bounds_or_panics() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let mut seed = number("TEMPLATE_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15);
    let mut below = move |limit: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % limit as u64) as usize
    };
    let bounds = Bounds { fuel: 5_000, output_bytes: 10_000 };
    let scope = scope();
    let rounds = number("TEMPLATE_ROUNDS").unwrap_or(5_000);
    let (mut parsed, mut rendered) = (0, 0);
    for _ in 0..rounds {
        let text = random_template(&mut below, 3);
        let start = std::time::Instant::now();
        let Ok(template) = Template::parse(&text) else { continue };
        parsed += 1;
        if let Ok(value) = template.render_within(&scope, bounds) {
            rendered += 1;
            // A number is counted as 8 bytes and a letter as itself, whatever JSON makes of it.
            assert!(value.to_string().len() <= 6 * bounds.output_bytes, "{text}");
        }
        assert!(start.elapsed().as_secs() < 5, "{:?} {text}", start.elapsed());
    }
    assert!(parsed > rounds / 4 && rendered > rounds / 20, "{parsed} parsed and {rendered} rendered of {rounds}");
}

type Below<'a> = &'a mut dyn FnMut(usize) -> usize;

fn random_template(below: Below<'_>, depth: usize) -> String {
    match below(if depth == 0 { 2 } else { 6 }) {
        0 => format!("{{{{ {} }}}}", random_expression(below, 4)),
        1 => {
            ["x ", "ä", "\n", "{", "%}", "{# c #}"][below(6)].to_owned()
                + &format!("{{{{ {} }}}}", random_expression(below, 3))
        }
        2 => format!(
            "{{% if {} %}}{}{{% else %}}y{{% endif %}}",
            random_expression(below, 3),
            random_template(below, depth - 1)
        ),
        3 => format!(
            "{{% for {} in {} %}}{}{{% endfor %}}",
            ["i", "j", "k, l"][below(3)],
            random_expression(below, 3),
            random_template(below, depth - 1)
        ),
        _ => random_template(below, depth - 1) + &random_template(below, depth - 1),
    }
}

fn random_expression(below: Below<'_>, depth: usize) -> String {
    const LEAVES: &[&str] = &[
        "1",
        "0",
        "-7",
        "2.5",
        "1e300",
        "9223372036854775807",
        "'x'",
        "'äß'",
        "''",
        "none",
        "true",
        "i",
        "j",
        "ds",
        "params.list",
        "params.n",
        "params.people",
        "params.city",
        "params.low",
        "params.big",
        "conf",
        "tasks.a.output",
        "tasks.text.output",
        "tasks.wide.output",
        "file",
        "params.nope",
        "range(50)",
        "loop.index",
        "ti",
        "params",
        "[]",
        "{}",
        "var.json.settings",
        "'2026-01-01'",
    ];
    const OPERATORS: &[&str] =
        &["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", ">=", "in", "not in", "and", "or"];
    if depth == 0 || below(4) == 0 {
        return LEAVES[below(LEAVES.len())].to_owned();
    }
    let mut part = || random_expression(below, depth - 1);
    let (a, b, c) = (part(), part(), part());
    match below(9) {
        0 | 1 => format!("({a}) {} ({b})", OPERATORS[below(OPERATORS.len())]),
        2 => format!("({a}) | {}", environment::FILTERS[below(environment::FILTERS.len())]),
        3 => format!("({a}) | {}({b})", environment::FILTERS[below(environment::FILTERS.len())]),
        4 => format!("({a}) | {}({b}, {c})", environment::FILTERS[below(environment::FILTERS.len())]),
        5 => match below(3) {
            0 => format!("[{a}, {b}, {c}]"),
            1 => format!("{{'k': {a}, 'l': {b}}}"),
            _ => format!("({a}) if ({b}) else ({c})"),
        },
        6 => match below(4) {
            0 => format!("({a})[{b}]"),
            1 => format!("({a})[{b}:{c}]"),
            2 => format!("({a})[::{b}]"),
            _ => format!("({a}).name"),
        },
        7 => format!("({a}) is {}", environment::TESTS[6 + below(environment::TESTS.len() - 6)]),
        _ => {
            let name = environment::FILTERS[below(environment::FILTERS.len())];
            format!("({a}) | {}('{name}') | list", ["map", "select", "reject"][below(3)])
        }
    }
}

/// `cargo test --release -- --ignored --nocapture speed`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let each = |what: &str, run: &mut dyn FnMut()| {
        (0..1_000).for_each(|_| run());
        let start = std::time::Instant::now();
        let times = 50_000;
        (0..times).for_each(|_| run());
        println!("{what}: {:.2} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(times));
    };
    let scope = scope();
    let value = json!({"city": "{{ params.city }}", "x": "{{ tasks.a.output.n }}"});
    each("parse {city, x}", &mut || drop(std::hint::black_box(JsonTemplate::parse(&value).unwrap())));
    let template = JsonTemplate::parse(&value).unwrap();
    each("render {city, x}", &mut || drop(std::hint::black_box(template.render(&scope).unwrap())));
    each("render_text {city, x}", &mut || {
        drop(std::hint::black_box(template.render_text(&scope, Bounds::default()).unwrap()));
    });
    for text in ["s3://{{ params.city }}/{{ ds }}.csv", "{{ params.n + 1 }}", "{{ tasks.a.output.files | join(',') }}"]
    {
        each(&format!("parse {text}"), &mut || drop(std::hint::black_box(Template::parse(text).unwrap())));
        let template = Template::parse(text).unwrap();
        each(&format!("render {text}"), &mut || drop(std::hint::black_box(template.render(&scope).unwrap())));
        let other = Bounds { fuel: 50_000, ..Bounds::default() };
        each("  with other bounds", &mut || drop(std::hint::black_box(template.render_within(&scope, other).unwrap())));
    }
    each("Scope::of_run", &mut || drop(std::hint::black_box(Scope::of_run(run_small()))));
    let keys = json!({"file": "x.csv"});
    each("for_instance and with_keys", &mut || {
        let instance = Instance { id: None, task_id: "parse", map_index: 2, try_number: 1 };
        drop(std::hint::black_box(scope.for_instance(instance).with_keys(keys.as_object().unwrap())));
    });
}

fn run_small() -> Run<'static> {
    Run {
        dag_id: "d",
        run_id: "r",
        logical_date: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        data_interval_start: None,
        data_interval_end: None,
        params: Json::of(&json!({"city": "Ames"})).unwrap(),
        conf: Json::null(),
        variables: Arc::default(),
        outputs: BTreeMap::new(),
    }
}
