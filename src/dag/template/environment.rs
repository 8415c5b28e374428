//! The one environment of all templates: which filters, tests, functions and methods there are.

use std::sync::LazyLock;

use minijinja::{Environment, UndefinedBehavior};

use super::{Bounds, dates, filters, operators};

/// The filters a template may use. Those that are not in `filters` are minijinja's own, whose cost fuel bounds.
pub(super) const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "ds",
    "ds_nodash",
    "first",
    "float",
    "groupby",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "ts",
    "ts_nodash",
    "ts_nodash_with_tz",
    "unique",
    "upper",
    "urlencode",
];

pub(super) const TESTS: &[&str] = &[
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
];

pub(super) const FUNCTIONS: &[&str] = &["dict", "range"];

/// Of objects, as in Python. `get` also of `var.value` and `var.json`.
pub(super) const METHODS: &[&str] = &["get", "items", "keys", "values"];

pub(super) fn has_filter(name: &str) -> bool {
    FILTERS.contains(&name)
}

/// The name as it lives in the program, which borrows nothing.
pub(super) fn named(known: &'static [&'static str], name: &str) -> Result<&'static str, String> {
    known.iter().find(|known| **known == name).copied().ok_or_else(|| format!("there is no `{name}` in templates"))
}

/// Shared by all templates and threads: it is only read.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(build);

/// The same for labels, of which there are very many.
static FOR_LABELS: LazyLock<Environment<'static>> = LazyLock::new(|| fuelled(Bounds::LABEL.fuel));

/// The environment for these bounds: a shared one, or a copy with other fuel.
pub(super) fn with_fuel<R>(fuel: u64, run: impl FnOnce(&Environment<'static>) -> R) -> R {
    if ENVIRONMENT.fuel() == Some(fuel) {
        run(&ENVIRONMENT)
    } else if fuel == Bounds::LABEL.fuel {
        run(&FOR_LABELS)
    } else {
        run(&fuelled(fuel))
    }
}

fn fuelled(fuel: u64) -> Environment<'static> {
    let mut environment = ENVIRONMENT.clone();
    environment.set_fuel(Some(fuel));
    environment
}

fn build() -> Environment<'static> {
    let mut environment = Environment::new();
    // `map`, `select` and the like find filters and tests by names known only at run time: what is not on the
    // lists is not there.
    for name in ["safe", "escape", "e", "indent", "chain", "zip", "pprint", "format"] {
        environment.remove_filter(name);
    }
    for name in ["safe", "escaped", "filter", "test"] {
        environment.remove_test(name);
    }
    environment.remove_global("debug");
    environment.remove_global("namespace");
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(false);
    environment.set_fuel(Some(Bounds::default().fuel));
    environment.set_unknown_method_callback(filters::method);
    filters::add_to(&mut environment);
    dates::add_to(&mut environment);
    operators::add_to(&mut environment);
    environment
}
