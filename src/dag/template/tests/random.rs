//! Random templates.

use super::*;

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
