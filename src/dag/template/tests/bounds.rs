//! That nothing gets beyond its bounds.

use super::*;

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
    assert_eq!((error.kind, error.pointer.is_empty()), (RenderErrorKind::OutOfFuel, false));
    assert!(error.message.contains("more than 10000 steps"), "{error}");
    assert_eq!(kind(json!("{% for i in range(200) %}12345{% endfor %}x{{ ds }}")).kind, RenderErrorKind::TooLarge);
    assert_eq!(kind(json!({"t": "{{ tasks.text.output }}"})).kind, RenderErrorKind::TooLarge);
}

/// Not even those that no machine runs for: each of them walks over what it names.
#[test]
fn the_strings_of_a_json_value_share_their_fuel() {
    let bounds = Bounds { fuel: 1_000, output_bytes: 1 << 20 };
    for (text, fuel) in [
        ("{{ var.json.settings.a }}", 4),
        ("{{ params.n }}", 2),
        ("{{ ds }}", 1),
        ("{{ tasks.a.output.deep.er[0].k }}", 5),
    ] {
        let rendered = |count: usize| {
            let template = JsonTemplate::parse(&Value::from_iter(vec![text; count])).unwrap();
            template.render_within(&scope(), bounds).map_err(|error| (error.kind, error.pointer))
        };
        assert!(rendered(1_000 / fuel).is_ok(), "{text}");
        let first_too_many = format!("/{}", 1_000 / fuel);
        assert_eq!(rendered(1_000 / fuel + 1), Err((RenderErrorKind::OutOfFuel, first_too_many)), "{text}");
    }
}
