//! Checks an input with templates in it against the schema of the function that gets it.
//!
//! A template may become anything, so only what no template can put right is found: the
//! parts of a schema that speak of one place are followed down to it, and parts that
//! speak of several places at once (`anyOf`, `uniqueItems`, …) count only where no
//! template is among these.
//!
//! An input without templates is decided by the schema as a whole: then the way down only
//! finds the words. Schemas are foreign, and may be written to take for ever, so the way
//! is counted in steps.

mod elements;

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tradewind_json_schema::Schema;

use super::outputs::Function;
use super::schema::{Types, behind, ref_stands_alone};
use crate::dag::finding::{Finding, Findings, did_you_mean, pointer_part, shown};
use crate::dag::template::is_template;

/// Places of an input that are looked at, each once for each part of the schema that speaks of it. What is left then
/// is left to the run, where every input that templates made is checked before its task starts.
pub const MAX_STEPS: usize = 100_000;
/// Of `Schema::looks`, where a whole input is compared with a schema: far faster than a step.
const LOOKS_A_STEP: u64 = 300;
/// Told of one input.
const MAX_FINDINGS: usize = 100;
/// References of a schema to its own parts may go in circles.
const MAX_DEPTH: usize = 200;
/// Problems that are told of one place.
const MAX_PROBLEMS: usize = 20;
/// What compiling a part of a schema costs, in steps, and for how many parts of the definitions it may name, one more.
const COMPILING: usize = 50;
const DEFINITIONS_A_STEP: usize = 10;

/// Stands for a mapped value: any template would do.
const ANYTHING: &str = "{{ }}";

/// What a function takes, its parts compiled once for all tasks that call it.
pub struct InputSchema {
    function: Arc<Function>,
    /// By where they stand in the function's schema, which stays where it is as long as this does.
    parts: RefCell<HashMap<Part, Option<Rc<Schema>>>>,
    whole: OnceCell<Option<Schema>>,
}

/// A part of the schema, and what of it.
type Part = (*const Map<String, Value>, Kept);

/// Which keywords of a part count.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kept {
    /// All, where they mean more together than they say.
    All,
    /// All that are not followed.
    Rest,
    /// Those that hold whatever is inside.
    Outside,
    /// The same of an input that gets more keys.
    OutsideOpen,
}

impl InputSchema {
    pub fn new(function: Arc<Function>) -> Self {
        Self { function, parts: RefCell::default(), whole: OnceCell::new() }
    }

    pub fn function(&self) -> &Arc<Function> {
        &self.function
    }

    /// What is wrong with `input`, with paths that are relative to it. `mapped_keys` are given to each instance
    /// beside it; `None` where they are known in a run only. Takes at most `steps`, and subtracts what it took.
    pub fn findings(&self, input: &Value, mapped_keys: Option<&[&str]>, steps: &mut usize) -> Vec<Finding> {
        // What is mapped is as unknown as a template.
        let mut whole = input.clone();
        if whole.is_null() && mapped_keys.is_none_or(|keys| !keys.is_empty()) {
            whole = json!({});
        }
        if let Value::Object(object) = &mut whole {
            for key in mapped_keys.unwrap_or_default() {
                object.insert((*key).to_owned(), json!(ANYTHING));
            }
        }
        let is_known = mapped_keys.is_some() && !has_template(&whole);
        let takes = if is_known { self.takes(&whole, steps) } else { None };
        if takes == Some(true) {
            return Vec::new();
        }
        let findings = self.walk(&whole, mapped_keys.is_none(), steps);
        match findings.is_empty() && takes == Some(false) {
            true => vec![Finding::new("", INVALID, "it does not match the input schema")],
            false => findings,
        }
    }

    /// Whether an input without templates is what the function takes. None: nobody knows, because the schema does not
    /// compile, though it was accepted with its module, or because it would take more steps than are left.
    fn takes(&self, input: &Value, steps: &mut usize) -> Option<bool> {
        let whole = self.whole.get_or_init(|| Schema::compile(&self.function.input_schema).ok());
        let schema = whole.as_ref()?;
        *steps = steps.checked_sub(usize::try_from(schema.looks(input) / LOOKS_A_STEP).ok()?)?;
        Some(schema.is_valid(input))
    }

    fn walk(&self, input: &Value, may_have_more: bool, steps: &mut usize) -> Vec<Finding> {
        if *steps == 0 {
            return Vec::new();
        }
        let mut templated = HashSet::new();
        note_templated(input, &mut templated);
        let root = &self.function.input_schema;
        let most = (*steps).min(MAX_STEPS);
        let mut check =
            Check { schema: self, root, templated, steps: most, findings: Findings::default(), may_have_more };
        check.value(root, input, "", 0);
        *steps -= most - check.steps;
        check.findings.into_vec()
    }
}

const INVALID: &str = "invalid_input";

struct Check<'a> {
    schema: &'a InputSchema,
    root: &'a Value,
    /// The parts of the input with a template in them, by where they are.
    templated: HashSet<*const Value>,
    /// That are left.
    steps: usize,
    findings: Findings,
    /// Whether the input gets keys that nobody knows yet.
    may_have_more: bool,
}

/// What this file checks by itself, place by place.
const FOLLOWED: [&str; 7] = ["properties", "required", "additionalProperties", "prefixItems", "items", "$ref", "allOf"];
/// Keywords under which `FOLLOWED` mean more than they say.
const ENTANGLED: [&str; 5] = ["patternProperties", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$id"];
/// Keywords that hold for a list or an object whatever its elements are.
const WHATEVER_IS_INSIDE: [&str; 6] =
    ["type", "minItems", "maxItems", "minProperties", "maxProperties", "propertyNames"];

impl<'a> Check<'a> {
    fn value(&mut self, schema: &'a Value, value: &Value, path: &str, depth: usize) {
        if depth > MAX_DEPTH || self.findings.len() >= MAX_FINDINGS || !self.step(1) {
            return;
        }
        if value.as_str().is_some_and(is_template) {
            return;
        }
        let is_open = path.is_empty() && self.may_have_more;
        let is_literal = !is_open && !self.templated.contains(&std::ptr::from_ref(value));
        let keywords = match schema {
            Value::Object(keywords) => keywords,
            Value::Bool(false) => {
                let message = format!("{} cannot be given here", named(path, "it"));
                return self.findings.add(Finding::new(path, INVALID, message));
            }
            _ => return,
        };
        if ENTANGLED.iter().any(|keyword| keywords.contains_key(*keyword) && (*keyword != "$id" || depth > 0)) {
            if is_literal {
                self.ask(keywords, Kept::All, value, path);
            }
            return;
        }
        if let Some(reference) = keywords.get("$ref").and_then(Value::as_str) {
            match behind(self.root, reference) {
                Some(target) => self.value(target, value, path, depth + 1),
                None if is_literal => return self.ask(keywords, Kept::All, value, path),
                None => {}
            }
            if ref_stands_alone(self.root) {
                return;
            }
        }
        for schema in keywords.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.value(schema, value, path, depth + 1);
        }
        let kept = match (is_literal, is_open) {
            (true, _) => Kept::Rest,
            (false, false) => Kept::Outside,
            (false, true) => Kept::OutsideOpen,
        };
        if !is_literal {
            self.alternatives(keywords, value, path, depth);
        }
        self.ask(keywords, kept, value, path);
        match value {
            Value::Object(object) => self.object(keywords, object, path, depth),
            Value::Array(elements) => self.list(keywords, elements, path, depth),
            _ => {}
        }
    }

    /// Whether there were as many left.
    fn step(&mut self, count: usize) -> bool {
        let enough = self.steps >= count;
        self.steps = self.steps.saturating_sub(count);
        enough
    }

    fn object(&mut self, schema: &'a Map<String, Value>, object: &Map<String, Value>, path: &str, depth: usize) {
        if !self.step(object.len()) {
            return;
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        for (key, value) in object {
            let below = format!("{path}/{}", pointer_part(key));
            match (properties.and_then(|properties| properties.get(key)), others) {
                (Some(schema), _) => self.value(schema, value, &below, depth + 1),
                (None, Some(Value::Bool(false))) => {
                    let known: Vec<&str> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                    let message = format!("{} has no field `{}`", named(path, "the input"), shown(key));
                    let finding = Finding::new(below, "unknown_field", message);
                    let all = || match known.is_empty() {
                        true => "remove it".to_owned(),
                        false => format!("its fields are {}", shown_list(&known)),
                    };
                    self.findings.add(finding.remedy(did_you_mean(key, known.iter().copied()).unwrap_or_else(all)));
                }
                (None, Some(schema)) => self.value(schema, value, &below, depth + 1),
                (None, None) => {}
            }
        }
        if path.is_empty() && self.may_have_more {
            return;
        }
        let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if !self.step(required.len()) {
            return;
        }
        for missing in required.iter().filter_map(Value::as_str).filter(|key| !object.contains_key(*key)) {
            let message = match path {
                "" => format!("the field `{}` is missing", shown(missing)),
                _ => format!("the field `{}` is missing in {}", shown(missing), named(path, "it")),
            };
            self.findings.add(Finding::new(path, "missing_field", message).remedy("the function needs it"));
        }
    }

    fn list(&mut self, schema: &'a Map<String, Value>, elements: &[Value], path: &str, depth: usize) {
        if !self.step(elements.len()) {
            return;
        }
        let first = schema.get("prefixItems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let others = schema.get("items");
        for (index, value) in elements.iter().enumerate() {
            let below = format!("{path}/{index}");
            match (first.get(index), others) {
                (Some(schema), _) => self.value(schema, value, &below, depth + 1),
                (None, Some(Value::Bool(false))) => {
                    let message = format!("the list has at most {} elements here", first.len());
                    self.findings.add(Finding::new(below, "too_many_elements", message).remedy("remove it"));
                }
                (None, Some(schema)) => self.value(schema, value, &below, depth + 1),
                (None, None) => {}
            }
        }
    }

    /// Of several forms, those that a list or object can have at all: if that is one, it is followed.
    fn alternatives(&mut self, schema: &'a Map<String, Value>, value: &Value, path: &str, depth: usize) {
        let is_open = path.is_empty() && self.may_have_more;
        for keyword in ["anyOf", "oneOf"] {
            let Some(forms) = schema.get(keyword).and_then(Value::as_array) else { continue };
            if !self.step(forms.len()) {
                return;
            }
            let mut possible = forms.iter().filter(|form| may_be(form, value, is_open));
            match (possible.next(), possible.next()) {
                (Some(only), None) => self.value(only, value, path, depth + 1),
                (Some(_), Some(_)) => {}
                (None, _) => {
                    let message = format!("none of the forms of {} is {} like this", named(path, "it"), what(value));
                    self.findings
                        .add(Finding::new(path, "wrong_type", message).remedy("see the function's input schema"));
                }
            }
        }
    }

    /// What is wrong by the keywords that are not followed here.
    fn ask(&mut self, keywords: &'a Map<String, Value>, kept: Kept, value: &Value, path: &str) {
        // The other keywords are meant for values of this type.
        let stated = keywords.get("type").and_then(Types::stated);
        if let Some(wanted) = stated.filter(|types| !types.has(Types::of(value))) {
            let message = format!("{} is {}, and {wanted} is wanted", named(path, "it"), what(value));
            return self.findings.add(Finding::new(path, INVALID, message));
        }
        let Some(schema) = self.compiled(keywords, kept) else { return };
        let problems = schema.problems(value, MAX_PROBLEMS);
        for tradewind_json_schema::Problem { path: pointer, message } in problems {
            let path = format!("{path}{pointer}");
            let is = value.pointer(&pointer).map_or_else(|| "not there".to_owned(), what);
            let message = match message.strip_prefix("value ") {
                Some(rest) => format!("{} is {is}, which {rest}", named(&path, "it")),
                None => format!("{} is {is}: {message}", named(&path, "it")),
            };
            self.findings.add(Finding::new(path, INVALID, message));
        }
    }

    /// The keywords that count, compiled. None: there are none, or it would take more steps than are left.
    fn compiled(&mut self, keywords: &'a Map<String, Value>, kept: Kept) -> Option<Rc<Schema>> {
        let key = (std::ptr::from_ref(keywords), kept);
        if let Some(known) = self.schema.parts.borrow().get(&key) {
            return known.clone();
        }
        let counts = |keyword: &str| match kept {
            Kept::All => true,
            Kept::Rest => !FOLLOWED.contains(&keyword) && !keyword.starts_with('$'),
            Kept::Outside => WHATEVER_IS_INSIDE.contains(&keyword),
            Kept::OutsideOpen => WHATEVER_IS_INSIDE.contains(&keyword) && keyword != "minProperties",
        };
        let rest = keywords.iter().filter(|(keyword, _)| counts(keyword));
        let rest: Map<String, Value> = rest.map(|(keyword, value)| (keyword.clone(), value.clone())).collect();
        let compiled = match rest.keys().any(|keyword| !SAYS_NOTHING.contains(&keyword.as_str()) && keyword != "type") {
            // The type is compared above.
            false => None,
            true => self.compile(rest)?,
        };
        self.schema.parts.borrow_mut().insert(key, compiled.clone());
        compiled
    }

    /// Outer `None`: it would take more steps than are left.
    fn compile(&mut self, rest: Map<String, Value>) -> Option<Option<Rc<Schema>>> {
        let rest = Value::Object(rest);
        let mut whole: Map<String, Value> =
            self.root.get("$schema").map(|dialect| ("$schema".to_owned(), dialect.clone())).into_iter().collect();
        let mut steps = COMPILING;
        // Parts of schemas may refer to others from the root.
        if has_reference(&rest) {
            for key in ["$defs", "definitions"] {
                let Some(part) = self.root.get(key) else { continue };
                steps += count(part) / DEFINITIONS_A_STEP;
                if steps > self.steps {
                    break;
                }
                whole.insert(key.to_owned(), part.clone());
            }
        }
        if !self.step(steps) {
            return None;
        }
        if refers_elsewhere(&rest) || whole.values().any(refers_elsewhere) {
            // To the schema as a whole, say: that is not what this one is.
            return Some(None);
        }
        whole.insert("allOf".to_owned(), json!([rest]));
        // One that does not compile by itself says nothing.
        Some(Schema::compile(&Value::Object(whole)).ok().map(Rc::new))
    }
}

/// Keywords that hold for every value.
const SAYS_NOTHING: [&str; 7] = ["title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"];

/// Whether a reference names anything but what is defined at the root.
fn refers_elsewhere(value: &Value) -> bool {
    let is_defined = |target: &str| target.starts_with("#/$defs/") || target.starts_with("#/definitions/");
    match value {
        Value::Object(members) => members.iter().any(|(key, member)| match (key.as_str(), member) {
            ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target)) => !is_defined(target),
            _ => refers_elsewhere(member),
        }),
        Value::Array(items) => items.iter().any(refers_elsewhere),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn has_reference(schema: &Value) -> bool {
    match schema {
        Value::Array(parts) => parts.iter().any(has_reference),
        Value::Object(members) => {
            members.keys().any(|key| matches!(&**key, "$ref" | "$dynamicRef")) || members.values().any(has_reference)
        }
        _ => false,
    }
}

/// How many values it is.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// A part of the input, for sentences.
fn named(path: &str, whole: &str) -> String {
    if path.is_empty() { whole.to_owned() } else { format!("`{}`", shown(path)) }
}

/// Whether a template stands in it anywhere.
pub fn has_template(value: &Value) -> bool {
    match value {
        Value::String(text) => is_template(text),
        Value::Array(elements) => elements.iter().any(has_template),
        Value::Object(object) => object.values().any(has_template),
        _ => false,
    }
}

/// All parts of a value with a template in them, found in one go.
fn note_templated(value: &Value, found: &mut HashSet<*const Value>) -> bool {
    let is_templated = match value {
        Value::String(text) => is_template(text),
        // All of them, not the first.
        Value::Array(elements) => elements.iter().fold(false, |any, element| note_templated(element, found) | any),
        Value::Object(object) => object.values().fold(false, |any, value| note_templated(value, found) | any),
        _ => false,
    };
    if is_templated {
        found.insert(std::ptr::from_ref(value));
    }
    is_templated
}

/// Whether a list or object may have this form, going by its type, and by the one key that tells forms apart.
fn may_be(form: &Value, value: &Value, is_open: bool) -> bool {
    let types = match form.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ if form.get("const").or(form.get("enum")).is_some() => {
            let allowed =
                form.get("const").into_iter().chain(form.get("enum").and_then(Value::as_array).into_iter().flatten());
            allowed.map(type_of).collect()
        }
        _ if form == &Value::Bool(false) => return false,
        _ => return true,
    };
    let required = form.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    types.contains(&type_of(value))
        && required.into_iter().all(|key| is_open || value.as_object().is_none_or(|object| object.contains_key(key)))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What was found, for sentences: "an object", `"the text"`, `5`.
fn what(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => Value::from(shown(text)).to_string(),
        value => value.to_string(),
    }
}

pub(super) fn shown_list(names: &[&str]) -> String {
    const MOST: usize = 20;
    let more = if names.len() > MOST { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(MOST)].join(", "))
}

#[cfg(test)]
mod tests;
