//! Reads of outputs, each with what is said of it.

use serde_json::json;

use super::*;
use crate::dag::Source;
use crate::dag::draft::Outside;

/// As the SDK and the engine's own signatures write them.
fn functions() -> Vec<Arc<Function>> {
    let report = json!({
        "type": "object",
        "properties": {
            "product": {"type": "string"},
            "count": {"type": "integer"},
            "share": {"type": "number"},
            "files": {"type": "array", "items": {"type": "string"}},
            "best": {"anyOf": [{"$ref": "#/$defs/Row"}, {"type": "null"}]},
            "rows": {"type": "array", "items": {"$ref": "#/$defs/Row"}},
            "extra": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["product"],
        "$defs": {"Row": {"type": "object", "properties": {"id": {"type": "integer"}, "a/b": {"type": "string"}},
                      "additionalProperties": false}},
        "additionalProperties": false,
    });
    let rows = json!({"type": "object", "properties": {"rows": {"type": "array", "items": {"type": "object"}}}});
    let load = json!({
        "type": "object",
        "properties": {
            "n": {"type": "integer"},
            "maybe": {"type": ["integer", "null"]},
            "text": {"type": "string"},
            "any": {},
            "rows": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "number"}}}},
        },
        "additionalProperties": false,
    });
    let number = json!({"type": "integer"});
    let all = [
        ("report", json!({}), report),
        ("list", json!({}), rows),
        ("load", load, number),
        ("whole", json!({"type": "object"}), json!({})),
    ];
    let function = |(name, input_schema, output_schema): (&str, _, _)| {
        Arc::new(Function { name: name.to_owned(), input_schema, output_schema })
    };
    all.map(function).into()
}

/// Of a DAG with these lines after its first tasks.
fn found(tasks: &str) -> Vec<String> {
    let text = format!(
        "dag_id: d\ndefault_args: {{module: m, function: load}}\ntasks:\n  a: {{function: report}}\n  l: {{function: list}}\n\
         \x20 m: {{function: report, expand: {{x: [1, 2]}}}}\n  q: {{function: whole}}\n{tasks}"
    );
    let source = Source::read(text.as_bytes()).expect(&text);
    let outside = Outside { schema_problems: &|_, _| Ok(Vec::new()), is_timezone: &|_| true };
    let (draft, findings) = Draft::read(&source, &outside);
    assert!(findings.is_empty(), "{tasks}: {:#?}", source.locate(findings));
    let functions = functions();
    let function = |task: &crate::dag::draft::DraftTask| {
        let name = task.keys.get("function")?.value.as_str()?;
        functions.iter().find(|function| function.name == name).cloned()
    };
    let functions: Vec<_> = draft.tasks.iter().map(function).collect();
    let located = source.locate(output_findings(&draft, &functions, &mut MOST_PARTS.clone()));
    located
        .into_iter()
        .map(|located| format!("{} {}:{}: {}", located.code, located.line - 7, located.column, shown_all(&located)))
        .collect()
}

fn shown_all(located: &crate::dag::Located) -> String {
    let remedy = located.remedy.iter().map(|remedy| format!("; {remedy}"));
    std::iter::once(located.message.clone()).chain(remedy).collect()
}

fn input(input: &str) -> String {
    format!("  t: {{upstream: [a, l, m, q], input: {{{input}}}}}")
}

const BY: &str = ", by the output schema of function `report`";

#[test]
fn what_a_template_reads_is_there_by_the_schema_of_its_function() {
    for (read, expected) in [
        ("tasks.a.output.product", ""),
        ("tasks.a.output.produkt", "`tasks.a.output` has no `produkt`@; did you mean `product`?"),
        ("tasks['a'].output['produkt']", "`tasks.a.output` has no `produkt`@; did you mean `product`?"),
        (
            "tasks.a.output.nothing",
            "`tasks.a.output` has no `nothing`@; it has best, count, extra, files, product, rows, share",
        ),
        ("tasks.a.output.produkt | default('')", ""),
        ("tasks.a.output.produkt is defined", ""),
        ("tasks.a.output.x.y if tasks.a.output.x is defined else 1", ""),
        (
            "tasks.a.output.produkt ~ tasks.a.output.x | default('')",
            "`tasks.a.output` has no `produkt`@; did you mean `product`?",
        ),
        ("tasks.a.output.files[0] ~ tasks.a.output.files[-1]", ""),
        ("tasks.a.output.rows[0].id", ""),
        ("tasks.a.output.rows[0].di", "`tasks.a.output.rows[0]` has no `di`@; did you mean `id`?"),
        (
            "tasks.a.output.rows.id",
            "`tasks.a.output.rows` is a list and has no `id`@; did you mean `tasks.a.output.rows[0].id`?",
        ),
        ("tasks.a.output.best.id", ""),
        ("tasks.a.output.best['a/b']", ""),
        (
            "tasks.a.output.best['a/c']",
            "`tasks.a.output.best` is an object or null and has no `a/c`@; did you mean `a/b`?",
        ),
        (
            "tasks.a.output.count.x",
            "`tasks.a.output.count` is an integer and has no `x`@; read `tasks.a.output.count` itself",
        ),
        (
            "tasks.a.output.count[0]",
            "`tasks.a.output.count` is an integer and has no `[0]`@; read `tasks.a.output.count` itself",
        ),
        ("tasks.a.output.product[0]", ""),
        ("tasks.a.output.extra.whatever", ""),
        ("tasks.a.output.get('produkt')", ""),
        ("tasks.a.output.extra.items() | list", ""),
        ("tasks.a.output.rosw[tasks.a.output.count].id", "`tasks.a.output` has no `rosw`@; did you mean `rows`?"),
        ("tasks.a.output[tasks.a.output.product]", ""),
        ("tasks.q.output.anything.at.all", ""),
        ("tasks.m.output[0].product", ""),
        ("tasks.m.output[0].produkt", "`tasks.m.output[0]` has no `produkt`@; did you mean `product`?"),
        (
            "tasks.m.output.product",
            "`m` is mapped, so `tasks.m.output` is a list and has no `product`; read one as `tasks.m.output[0].product`, or all as `tasks.m.output | map(attribute='product') | list`",
        ),
    ] {
        let found = found(&input(&format!("any: \"x {{{{ {read} }}}}\"")));
        let expected: Vec<String> = match expected {
            "" => Vec::new(),
            expected => vec![format!("unknown_output 1:50: {}", expected.replace('@', BY))],
        };
        assert_eq!(found, expected, "{read}");
    }
}

#[test]
fn conditions_arguments_and_lists_are_read_too() {
    let unknown = "`tasks.a.output` has no `fiels`, by the output schema of function `report`; did you mean `files`?";
    for task in [
        "  t: {upstream: [a], when: '{{ tasks.a.output.fiels }}'}",
        "  t: {upstream: [a], args: [x, '{{ tasks.a.output.fiels }}']}",
        "  t: {upstream: [a], expand: {n: '{{ tasks.a.output.fiels }}'}}",
        "groups: {g: {upstream: [a], expand: {n: '{{ tasks.a.output.fiels }}'}, tasks: {t: {}}}}",
    ] {
        let column = task.find("tasks.a").expect("it reads") + 1;
        assert_eq!(found(task), [format!("unknown_output 1:{column}: {unknown}")], "{task}");
    }
    let block = "  t:\n    upstream: [a]\n    input:\n      text: |\n        one\n        {% if tasks.a.output.fiels %}x{% endif %}";
    assert_eq!(found(block), [format!("unknown_output 6:15: {unknown}")]);
}

#[test]
fn in_a_mapped_group_an_output_is_that_of_the_own_instance() {
    let group = |tasks: &str| {
        format!(
            "  z: {{upstream: [g], input: {{any: \"{{{{ tasks.g.a.output[0].product }}}}\"}}}}\ngroups:\n  g:\n    expand: {{x: [1]}}\n    tasks: {{a: {{function: report}}, {tasks}}}\n    groups: {{h: {{tasks: {{c: {{upstream: [a], input: {{n: \"{{{{ tasks.g.a.output.count }}}}\"}}}}}}}}}}"
        )
    };
    assert_eq!(
        found(&group("b: {upstream: a, input: {text: '{{ tasks.g.a.output.product }}'}}")),
        Vec::<String>::new()
    );
    assert_eq!(
        found(&group("b: {upstream: a, input: {text: '{{ tasks.g.a.output.produkt }}'}}")),
        [
            "unknown_output 5:71: `tasks.g.a.output` has no `produkt`, by the output schema of function `report`; did you mean `product`?"
        ]
    );
    let outside = "  z: {upstream: [g], input: {n: '{{ tasks.g.a.output.count }}'}}\ngroups: {g: {expand: {x: [1]}, tasks: {a: {function: report}}}}";
    assert_eq!(
        found(outside),
        [
            "unknown_output 1:37: `g.a` is in a mapped group, so `tasks.g.a.output` is a list and has no `count`; read one as `tasks.g.a.output[0].count`, or all as `tasks.g.a.output | map(attribute='count') | list`"
        ]
    );
}

#[test]
fn a_whole_value_is_of_a_type_that_the_function_takes() {
    for (given, expected) in [
        ("n: '{{ tasks.a.output.count }}'", ""),
        ("n: '{{ tasks.a.output.share }}'", ""),
        (
            "n: '{{ tasks.a.output.product }}'",
            "`tasks.a.output.product` is a text, and function `load` wants an integer at `/n`; write `{{ tasks.a.output.product | int }}`",
        ),
        ("n: 'x{{ tasks.a.output.product }}'", ""),
        ("n: '{{ tasks.a.output.product | int }}'", ""),
        (
            "n: '{{ tasks.a.output.best }}'",
            "`tasks.a.output.best` is an object or null, and function `load` wants an integer at `/n`; give it an integer, or make one of it in the template",
        ),
        ("maybe: '{{ tasks.a.output.best }}'", ""),
        (
            "text: '{{ tasks.a.output.count }}'",
            "`tasks.a.output.count` is an integer, and function `load` wants a text at `/text`; write `{{ tasks.a.output.count | string }}`",
        ),
        (
            "text: '{{ tasks.a.output.files }}'",
            "`tasks.a.output.files` is a list, and function `load` wants a text at `/text`; give it a text, or make one of it in the template",
        ),
        ("any: '{{ tasks.a.output.files }}'", ""),
        ("rows: '{{ tasks.a.output.rows }}'", ""),
        ("rows: [{id: 1}, {id: '{{ tasks.a.output.count }}'}]", ""),
        (
            "rows: [{id: 1}, {id: '{{ tasks.a.output.product }}'}]",
            "`tasks.a.output.product` is a text, and function `load` wants a number at `/rows/1/id`; write `{{ tasks.a.output.product | float }}`",
        ),
        (
            "rows: ['{{ tasks.a.output.product }}']",
            "`tasks.a.output.product` is a text, and function `load` wants an object at `/rows/0`; give it an object, or make one of it in the template",
        ),
        (
            "rows: '{{ tasks.a.output }}'",
            "`tasks.a.output` is an object, and function `load` wants a list at `/rows`; give it a list, or make one of it in the template",
        ),
        ("unknown: '{{ tasks.a.output.files }}'", ""),
        ("n: '{{ tasks.q.output }}'", ""),
    ] {
        let found = found(&input(given));
        let found: Vec<&str> = found.iter().map(|found| found.split_once(": ").expect("a place").1).collect();
        let expected: Vec<&str> = Some(expected).filter(|expected| !expected.is_empty()).into_iter().collect();
        assert_eq!(found, expected, "{given}");
    }
    let mapped = "  b: {upstream: [m], input: {n: '{{ tasks.m.output }}'}}\n  c: {upstream: [a], input: '{{ tasks.a.output.count }}'}\n  d: {upstream: [b], expand: {x: [1]}}\n  e: {upstream: [d], input: {n: '{{ tasks.d.output }}'}}";
    assert_eq!(
        found(mapped),
        [
            "wrong_type 1:37: `tasks.m.output` is a list, and function `load` wants an integer at `/n`; give it an integer, or make one of it in the template",
            "wrong_type 2:33: `tasks.a.output.count` is an integer, and function `load` wants an object as its input; give it an object, or make one of it in the template",
            "wrong_type 4:37: `tasks.d.output` is a list, and function `load` wants an integer at `/n`; `d` is mapped: read one output as `tasks.d.output[0]`, or map over them with `expand`",
        ]
    );
}

#[test]
fn what_is_mapped_over_is_a_list_of_what_the_function_takes() {
    for (expansion, expected) in [
        ("expand: {text: '{{ tasks.a.output.files }}'}", ""),
        ("expand: {x: '{{ tasks.m.output }}'}", ""),
        ("expand: {x: '{{ tasks.q.output }}'}", ""),
        (
            "expand: {x: '{{ tasks.l.output }}'}",
            "`x` is mapped over a list, and `tasks.l.output` is an object; did you mean `tasks.l.output.rows`?",
        ),
        (
            "expand: {x: '{{ tasks.a.output }}'}",
            "`x` is mapped over a list, and `tasks.a.output` is an object; read a list, or make one in the template",
        ),
        (
            "expand: {x: '{{ tasks.a.output.product }}'}",
            "`x` is mapped over a list, and `tasks.a.output.product` is a text; read a list, or make one in the template",
        ),
        ("expand: {x: '{{ tasks.a.output.product | list }}'}", ""),
        (
            "expand: {n: '{{ tasks.a.output.files }}'}",
            "each element of `tasks.a.output.files` is a text, and function `load` wants an integer at `/n`; give it an integer, or make one of it in the template",
        ),
        (
            "zip: {n: '{{ tasks.m.output }}'}",
            "each element of `tasks.m.output` is an object, and function `load` wants an integer at `/n`; give it an integer, or make one of it in the template",
        ),
        (
            "expand: {n: [1, '{{ tasks.a.output.product }}']}",
            "`tasks.a.output.product` is a text, and function `load` wants an integer at `/n`; write `{{ tasks.a.output.product | int }}`",
        ),
        ("expand_kwargs: '{{ tasks.a.output.rows }}'", ""),
        (
            "expand_kwargs: '{{ tasks.a.output.files }}'",
            "`expand_kwargs` takes a list of objects, and each element of `tasks.a.output.files` is a text; map over plain values with `expand`, under the key that they are given as",
        ),
        (
            "expand_kwargs: '{{ tasks.l.output }}'",
            "`expand_kwargs` takes a list, and `tasks.l.output` is an object; did you mean `tasks.l.output.rows`?",
        ),
        (
            "expand_kwargs: ['{{ tasks.a.output.count }}']",
            "`expand_kwargs` takes a list of objects, and `tasks.a.output.count` is an integer; map over plain values with `expand`, under the key that they are given as",
        ),
        (
            "expand_kwargs: [{n: '{{ tasks.a.output.product }}'}]",
            "`tasks.a.output.product` is a text, and function `load` wants an integer at `/n`; write `{{ tasks.a.output.product | int }}`",
        ),
    ] {
        let found = found(&format!("  t: {{upstream: [a, l, m, q], {expansion}}}"));
        let found: Vec<&str> = found.iter().map(|found| found.split_once(": ").expect("a place").1).collect();
        let expected: Vec<&str> = Some(expected).filter(|expected| !expected.is_empty()).into_iter().collect();
        assert_eq!(found, expected, "{expansion}");
    }
    let group = "groups: {g: {upstream: [a], expand: {x: '{{ tasks.a.output.count }}'}, tasks: {t: {}}}}";
    assert_eq!(
        found(group),
        [
            "wrong_type 1:45: `x` is mapped over a list, and `tasks.a.output.count` is an integer; read a list, or make one in the template"
        ]
    );
}

#[test]
fn a_default_that_many_tasks_share_is_told_of_once() {
    let tasks = "  t: {upstream: [q]}\ngroups:\n  g:\n    upstream: [a]\n    default_args: {input: {n: '{{ tasks.a.output.product }}'}}\n    tasks: {t: {}, u: {}}";
    let found = found(tasks);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("wrong_type 5:35: `tasks.a.output.product` is a text"), "{found:?}");
}
