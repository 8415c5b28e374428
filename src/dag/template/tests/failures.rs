//! What can go wrong when a template is rendered.

use super::*;

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
