//! What is refused before anything is rendered, and the words for it.

use super::*;

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
        assert!(error.to_string().contains(expected), "{text}: {error}");
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

/// Of what is refused, what to write instead.
#[test]
fn what_is_known_from_airflow_or_python_is_answered_with_what_it_is_here() {
    let table = [
        ("{{ ti.xcom_pull('extract') }}", "`tasks.extract.output`"),
        ("{{ ti.xcom_pull(task_ids='load', key='x') }}", "`tasks.load.output`"),
        ("{{ ti.xcom_pull(task_ids=['a', 'b']) }}", "read the output of a task: `tasks.extract.output`"),
        ("{{ ti.xcom_push('k', 1) }}", "is its output"),
        ("{{ macros.ds_add(ds, 5) }}", "dates are texts here"),
        ("{{ macros.datetime.now() }}", "dates are texts here"),
        ("{{ execution_date.strftime('%Y') }}", "it is called `logical_date`"),
        ("{{ logical_date.strftime('%Y') }}", "dates are texts here"),
        ("{{ data_interval_start.in_timezone('UTC').isoformat() }}", "dates are texts here"),
        ("{{ conn.db.get_uri() }}", "there are no connections here"),
        ("{{ dag_run.get_task_instance('x') }}", "write `conf` for `dag_run.conf`"),
        ("{{ params.city.upper() }}", "it is a filter: write `… | upper`"),
        ("{{ params.city.strip() }}", "write `… | trim`"),
        ("{{ len(params.list) }}", "write `… | length`"),
        ("{{ int('5') }}", "it is a filter: write `… | int`"),
        ("{{ ds.nothing_like_it() }}", "there are: get, items, keys, values"),
    ];
    for (text, expected) in table {
        let error = refused(text);
        assert!(error.remedy.contains(expected), "{text}: {error}");
    }
}
