//! What is known of a template before it is rendered.

use super::*;

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
        ("{{ params.x if params.x is defined else params.z }}", "", "z", "", "params"),
        ("{{ params.x if params[ds] is defined or params is defined else 1 }}", "", "x", "", "ds params"),
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
        assert!(refused(text).to_string().contains(expected), "{text}: {}", refused(text));
    }
}
