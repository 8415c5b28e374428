//! What an expression comes to, and what filters and tests make of it.

use super::*;

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
