//! Checks what templates read of outputs against the schemas of the functions that give these.
//!
//! A schema has to say definitely that there is no such part, or that it is of another type than what gets it.

use std::cell::Cell;
use std::sync::Arc;

use serde_json::Value;

use super::input::shown_list;
use super::schema::{Form, Forms, Part, Schema, Types, keys, types};
use crate::dag::draft::{Draft, OutputRead, Owner};
use crate::dag::finding::{Finding, did_you_mean, shown};
use crate::dag::template::{OutputPath, OutputStep as Step, written};

/// What a task calls.
#[derive(Debug)]
pub struct Function {
    pub name: String,
    pub input_schema: Value,
    pub output_schema: Value,
}

/// What is wrong, with the function of each task of the draft where it is known.
pub fn output_findings(draft: &Draft, functions: &[Option<Arc<Function>>]) -> Vec<Finding> {
    let budget = Cell::new(MOST_PARTS);
    let mut check = Check { draft, functions, budget: &budget, guesses: MAX_GUESSES, findings: Vec::new() };
    draft.reads.iter().for_each(|read| check.read(read));
    check.findings
}

/// Parts of schemas that are looked at for one DAG: one with very many templates over very large schemas is not
/// checked to its end.
const MOST_PARTS: usize = 2_000_000;
const MAX_GUESSES: usize = 200;

struct Check<'a> {
    draft: &'a Draft,
    functions: &'a [Option<Arc<Function>>],
    budget: &'a Cell<usize>,
    guesses: usize,
    findings: Vec<Finding>,
}

/// What stands where a template reads.
enum Found<'a> {
    /// The outputs of all instances of a mapped task, with what is known of one.
    Outputs(Part<'a>),
    Value(Schema<'a>, Forms<'a>),
}

impl Found<'_> {
    fn types(&self) -> Option<Types> {
        match self {
            Self::Outputs(_) => Some(Types::ARRAY),
            Self::Value(_, forms) => types(forms),
        }
    }

    /// Of what is a list.
    fn element_types(&self) -> Option<Types> {
        match self {
            Self::Outputs(one) => one.types(),
            Self::Value(schema, forms) => schema.elements(forms).types(),
        }
    }

    /// The one property that is a list.
    fn only_list(&self) -> Option<&str> {
        let Self::Value(schema, forms) = self else { return None };
        let is_list = |key: &&str| schema.part(forms, &Step::Key((*key).to_owned())).types() == Some(Types::ARRAY);
        let mut lists = keys(forms).into_iter().filter(is_list);
        lists.next().filter(|_| lists.next().is_none())
    }
}

impl<'a> Check<'a> {
    fn read(&mut self, read: &OutputRead) {
        let Some(found) = self.follow(read).filter(|_| read.output.is_all) else { return };
        let pointer = read.pointer.replace("~1", "\0").replace("~0", "~");
        let parts: Vec<String> = pointer.split('/').skip(1).map(|part| part.replace('\0', "/")).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match *parts {
            ["input", ref at @ ..] => self.becomes_input(read, &found, at),
            ["expand" | "zip", key, _, ref at @ ..] => self.becomes_input(read, &found, &[&[key], at].concat()),
            ["expand" | "zip", key] => {
                let is_list = self.becomes_list(read, &found, &format!("`{}` is mapped over", shown(key)));
                is_list.then(|| self.elements_become_input(read, &found, key));
            }
            ["expand_kwargs"] => {
                let is_list = self.becomes_list(read, &found, "`expand_kwargs` takes");
                is_list.then(|| self.becomes_object(read, "each element of ", found.element_types()));
            }
            ["expand_kwargs", _] => self.becomes_object(read, "", found.types()),
            ["expand_kwargs", _, ref at @ ..] => self.becomes_input(read, &found, at),
            _ => {}
        }
    }

    fn add(&mut self, read: &OutputRead, code: &'static str, message: String, remedy: Option<String>) {
        self.findings.push(Finding::new(&*read.path, code, message).maybe_remedy(remedy).at(read.place));
    }

    fn function(&self, task: usize) -> Option<&'a Function> {
        self.functions.get(task)?.as_deref()
    }

    /// What the path leads to; `None` where that is not known, or has its finding.
    fn follow(&mut self, read: &OutputRead) -> Option<Found<'a>> {
        let function = self.function(read.task);
        let schema = function.map(|function| Schema::new(&function.output_schema, self.budget));
        let whole = schema.map_or(Part::Unknown, Schema::whole);
        let mut steps = read.output.steps.iter().enumerate();
        if self.is_list(read) {
            match steps.next() {
                None => return Some(Found::Outputs(whole)),
                Some((_, Step::Index(_))) => {}
                Some((_, Step::Key(key))) => {
                    self.not_of_a_list(read, key);
                    return None;
                }
            }
        }
        let (schema, Part::May(mut forms)) = (schema?, whole) else { return None };
        for (done, step) in steps {
            match schema.part(&forms, step) {
                Part::May(next) => forms = next,
                Part::Unknown => return None,
                Part::No => {
                    self.no_such_part(read, done, schema, &forms);
                    return None;
                }
            }
        }
        Some(Found::Value(schema, forms))
    }

    /// Whether it is given the outputs of all instances: not where it is itself in the group that is mapped.
    fn is_list(&self, read: &OutputRead) -> bool {
        let task = &self.draft.tasks[read.task];
        match self.draft.mapped_group(task.group) {
            Some(group) => match read.owner {
                Owner::Task(reader) => !self.draft.groups[group].tasks.contains(&reader),
                Owner::Group(_) => true,
            },
            None => task.expansion.is_some(),
        }
    }

    fn not_of_a_list(&mut self, read: &OutputRead, key: &str) {
        let task = &self.draft.tasks[read.task];
        let whole = written(&task.id, &[]);
        let mapped = if task.expansion.is_some() { "mapped" } else { "in a mapped group" };
        let key = shown(key);
        let message = format!("`{}` is {mapped}, so `{whole}` is a list and has no `{key}`", task.id);
        let one = written(&task.id, &[&[Step::Index(0)], &*read.output.steps].concat());
        let remedy = format!("read one as `{one}`, or all as `{whole} | map(attribute='{key}') | list`");
        self.add(read, "unknown_output", message, Some(remedy));
    }

    fn no_such_part(&mut self, read: &OutputRead, done: usize, schema: Schema<'a>, forms: &[Form<'a>]) {
        let (task, steps) = (&read.output.task, &read.output.steps);
        let (before, step) = (&steps[..done], &steps[done]);
        let parent = written(task, before);
        let name = match step {
            Step::Key(key) => shown(key),
            Step::Index(index) => format!("[{index}]"),
        };
        let is = match types(forms).filter(|types| *types != Types::OBJECT) {
            Some(types) => format!("is {types} and "),
            None => String::new(),
        };
        let function = self.function(read.task).map_or("", |function| &function.name);
        let message = format!("`{parent}` {is}has no `{name}`, by the output schema of function `{function}`");
        let known = keys(forms);
        let is_in_elements = || match schema.elements(forms) {
            Part::May(elements) => matches!(schema.part(&elements, step), Part::May(_)),
            _ => false,
        };
        let remedy = match step {
            Step::Key(key) if self.guesses > 0 && !known.is_empty() => {
                self.guesses -= 1;
                did_you_mean(key, known.iter().copied())
            }
            Step::Key(_) if is_in_elements() => {
                let element = [before, &[Step::Index(0), step.clone()]].concat();
                Some(format!("did you mean `{}`?", written(task, &element)))
            }
            _ => None,
        };
        let known = Vec::from_iter(known);
        let all = || (!known.is_empty()).then(|| format!("it has {}", shown_list(&known)));
        self.add(read, "unknown_output", message, remedy.or_else(all));
    }

    /// Whether it may be a list.
    fn becomes_list(&mut self, read: &OutputRead, found: &Found<'_>, what: &str) -> bool {
        let Some(types) = found.types().filter(|types| !types.has(Types::ARRAY)) else { return true };
        let OutputPath { task, steps, .. } = &read.output;
        let message = format!("{what} a list, and `{}` is {types}", written(task, steps));
        let meant = found.only_list().map(|key| {
            let list = [&steps[..], &[Step::Key(key.to_owned())]].concat();
            format!("did you mean `{}`?", written(task, &list))
        });
        self.add(read, "wrong_type", message, meant);
        false
    }

    fn becomes_object(&mut self, read: &OutputRead, each: &str, types: Option<Types>) {
        let Some(types) = types.filter(|types| !types.has(Types::OBJECT)) else { return };
        let path = written(&read.output.task, &read.output.steps);
        let message = format!("`expand_kwargs` takes a list of objects, and {each}`{path}` is {types}");
        self.add(read, "wrong_type", message, None);
    }

    /// The value becomes a part of the input.
    fn becomes_input(&mut self, read: &OutputRead, found: &Found<'_>, at: &[&str]) {
        let Some((is, wanted)) = self.misfit(read, found.types(), at) else { return };
        let path = written(&read.output.task, &read.output.steps);
        let remedy = match (found, is) {
            (Found::Outputs(_), _) if found.element_types().is_some_and(|types| wanted.has(types)) => {
                let task = &read.output.task;
                Some(format!("`{task}` is mapped: read one output as `{path}[0]`, or map over them with `expand`"))
            }
            (_, Types::STRING) if wanted == Types::INTEGER => Some(format!("write `{{{{ {path} | int }}}}`")),
            (_, Types::STRING) if wanted == Types::NUMBER => Some(format!("write `{{{{ {path} | float }}}}`")),
            (_, Types::INTEGER | Types::NUMBER) if wanted == Types::STRING => {
                Some(format!("write `{{{{ {path} | string }}}}`"))
            }
            _ => None,
        };
        self.add(read, "wrong_type", self.does_not_fit(read, &format!("`{path}` is {is}"), wanted, at), remedy);
    }

    /// Each instance gets one of them.
    fn elements_become_input(&mut self, read: &OutputRead, found: &Found<'_>, key: &str) {
        let Some((is, wanted)) = self.misfit(read, found.element_types(), &[key]) else { return };
        let each = format!("each element of `{}` is {is}", written(&read.output.task, &read.output.steps));
        self.add(read, "wrong_type", self.does_not_fit(read, &each, wanted, &[key]), None);
    }

    /// The types that something has and that the reader wants for it, if these exclude each other.
    fn misfit(&self, read: &OutputRead, types: Option<Types>, at: &[&str]) -> Option<(Types, Types)> {
        let Owner::Task(reader) = read.owner else { return None };
        let schema = Schema::new(&self.function(reader)?.input_schema, self.budget);
        let (is, wanted) = (types?, types_at(schema, at)?);
        (!wanted.has(is)).then_some((is, wanted))
    }

    fn does_not_fit(&self, read: &OutputRead, what: &str, wanted: Types, at: &[&str]) -> String {
        let function = match read.owner {
            Owner::Task(reader) => self.function(reader).map_or("", |function| &function.name),
            Owner::Group(_) => "",
        };
        let place = match at {
            [] => "as its input".to_owned(),
            at => format!("at `/{}`", shown(&at.join("/"))),
        };
        format!("{what}, and function `{function}` wants {wanted} {place}")
    }
}

/// What a schema wants at a place in the input, as far as it says.
fn types_at(schema: Schema<'_>, at: &[&str]) -> Option<Types> {
    let mut part = schema.whole();
    for name in at {
        let Part::May(forms) = part else { return None };
        // A number may be a key or an index; without a type nobody knows.
        let is = types(&forms)?;
        let step = match name.parse() {
            Ok(index) if !is.has(Types::OBJECT) => Step::Index(index),
            Ok(_) if is.has(Types::ARRAY) => return None,
            _ => Step::Key((*name).to_owned()),
        };
        part = schema.part(&forms, &step);
    }
    part.types()
}

#[cfg(test)]
mod tests {
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
            "$defs": {"Row": {"type": "object", "properties": {"id": {"type": "integer"}, "a/b": {"type": "string"}}}},
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
        let located = source.locate(output_findings(&draft, &functions));
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
            ("tasks.a.output.count.x", "`tasks.a.output.count` is an integer and has no `x`@"),
            ("tasks.a.output.count[0]", "`tasks.a.output.count` is an integer and has no `[0]`@"),
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
        let unknown =
            "`tasks.a.output` has no `fiels`, by the output schema of function `report`; did you mean `files`?";
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
                "`tasks.a.output.best` is an object or null, and function `load` wants an integer at `/n`",
            ),
            ("maybe: '{{ tasks.a.output.best }}'", ""),
            (
                "text: '{{ tasks.a.output.count }}'",
                "`tasks.a.output.count` is an integer, and function `load` wants a text at `/text`; write `{{ tasks.a.output.count | string }}`",
            ),
            (
                "text: '{{ tasks.a.output.files }}'",
                "`tasks.a.output.files` is a list, and function `load` wants a text at `/text`",
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
                "`tasks.a.output.product` is a text, and function `load` wants an object at `/rows/0`",
            ),
            (
                "rows: '{{ tasks.a.output }}'",
                "`tasks.a.output` is an object, and function `load` wants a list at `/rows`",
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
                "wrong_type 1:37: `tasks.m.output` is a list, and function `load` wants an integer at `/n`",
                "wrong_type 2:33: `tasks.a.output.count` is an integer, and function `load` wants an object as its input",
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
            ("expand: {x: '{{ tasks.a.output }}'}", "`x` is mapped over a list, and `tasks.a.output` is an object"),
            (
                "expand: {x: '{{ tasks.a.output.product }}'}",
                "`x` is mapped over a list, and `tasks.a.output.product` is a text",
            ),
            ("expand: {x: '{{ tasks.a.output.product | list }}'}", ""),
            (
                "expand: {n: '{{ tasks.a.output.files }}'}",
                "each element of `tasks.a.output.files` is a text, and function `load` wants an integer at `/n`",
            ),
            (
                "zip: {n: '{{ tasks.m.output }}'}",
                "each element of `tasks.m.output` is an object, and function `load` wants an integer at `/n`",
            ),
            (
                "expand: {n: [1, '{{ tasks.a.output.product }}']}",
                "`tasks.a.output.product` is a text, and function `load` wants an integer at `/n`; write `{{ tasks.a.output.product | int }}`",
            ),
            ("expand_kwargs: '{{ tasks.a.output.rows }}'", ""),
            (
                "expand_kwargs: '{{ tasks.a.output.files }}'",
                "`expand_kwargs` takes a list of objects, and each element of `tasks.a.output.files` is a text",
            ),
            (
                "expand_kwargs: '{{ tasks.l.output }}'",
                "`expand_kwargs` takes a list, and `tasks.l.output` is an object; did you mean `tasks.l.output.rows`?",
            ),
            (
                "expand_kwargs: ['{{ tasks.a.output.count }}']",
                "`expand_kwargs` takes a list of objects, and `tasks.a.output.count` is an integer",
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
            ["wrong_type 1:45: `x` is mapped over a list, and `tasks.a.output.count` is an integer"]
        );
    }

    #[test]
    fn a_default_that_many_tasks_share_is_told_of_once() {
        let tasks = "  t: {upstream: [q]}\ngroups:\n  g:\n    upstream: [a]\n    default_args: {input: {n: '{{ tasks.a.output.product }}'}}\n    tasks: {t: {}, u: {}}";
        let found = found(tasks);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("wrong_type 5:35: `tasks.a.output.product` is a text"), "{found:?}");
    }
}
