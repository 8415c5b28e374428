//! Makes a DAG version ready to run.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::{
    Choice, Column, Expansion, ListForm, ListTemplate, MOST_UNDER_SETUPS, Node, NodeIndex, NodeTemplates, Plan, ROOT,
    Role,
};
use super::{Scope, ScopeIndex};
use crate::dag::definition::{self, Definition, TaskDefinition, TaskKind};
use crate::dag::template::{JsonTemplate, References, Template, TemplateError};
use crate::model::task::Terms;
use crate::model::{Json, TaskName, TaskSpec};

/// Why a definition cannot be run. What was checked can be: this is for one that another program wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("{place} cannot be read: {message}")]
    Template { place: String, message: String },
    #[error("task `{task}` names {what} `{name}`, which the DAG does not have")]
    Unknown { task: TaskName, what: &'static str, name: String },
    #[error(
        "its setups have too many tasks under them: counted once for each setup, more than {MOST_UNDER_SETUPS}; \
         end setups by teardowns, or make several DAGs of it"
    )]
    TooManyUnderSetups,
}

impl Plan {
    pub fn of(definition: &Definition) -> Result<Self, PlanError> {
        let mut making = Making::new(definition);
        let mut nodes = Vec::with_capacity(definition.tasks.len());
        for task in &definition.tasks {
            nodes.push(making.node(task)?);
        }
        let settings = &definition.settings;
        let mut plan = Self {
            dag_id: definition.dag_id.clone(),
            version: definition.digest(),
            groups: groups(definition, &nodes),
            nodes,
            scopes: making.scopes,
            fail_fast: settings.fail_fast,
            timeout: settings.dagrun_timeout.map(|span| span.get()),
            max_active_runs: settings.max_active_runs,
            looks_back: false,
        };
        plan.link()?;
        Ok(plan)
    }
}

struct Making<'d> {
    definition: &'d Definition,
    indices: HashMap<&'d str, NodeIndex>,
    scopes: Vec<Scope>,
    /// By the group's name.
    group_scopes: HashMap<&'d str, ScopeIndex>,
    /// What tasks have in common is kept once.
    terms: HashMap<String, Arc<Terms>>,
    functions: HashMap<&'d str, Arc<str>>,
    no_templates: Arc<NodeTemplates>,
}

impl<'d> Making<'d> {
    fn new(definition: &'d Definition) -> Self {
        let indices = definition.tasks.iter().zip(0..).map(|(task, index)| (task.id.as_str(), index));
        Self {
            definition,
            indices: indices.collect(),
            scopes: vec![Scope { nodes: Vec::new(), expansion: None }],
            group_scopes: HashMap::new(),
            terms: HashMap::new(),
            functions: HashMap::new(),
            no_templates: Arc::default(),
        }
    }

    fn node(&mut self, task: &'d TaskDefinition) -> Result<Node, PlanError> {
        let templates = templates(task)?;
        let input_reads = templates.input.iter().chain(&templates.args);
        let reads = self.reads(input_reads.map(JsonTemplate::references));
        let condition_reads = self.reads(templates.when.iter().map(JsonTemplate::references));
        let spec = Arc::new(self.spec(task, &templates));
        let upstream = task.upstream.iter().map(|name| {
            let unknown = || PlanError::Unknown { task: task.id.clone(), what: "task", name: name.to_string() };
            self.indices.get(name.as_str()).copied().ok_or_else(unknown)
        });
        let mut upstream = upstream.collect::<Result<Vec<_>, _>>()?;
        upstream.sort_unstable();
        Ok(Node {
            scope: self.scope(task)?,
            rule: task.trigger_rule,
            choice: match task.kind {
                TaskKind::Plain => Choice::None,
                TaskKind::Branch => Choice::Branch,
                TaskKind::ShortCircuit { ignore_downstream_trigger_rules: all } => Choice::ShortCircuit { all },
            },
            role: match &task.teardown {
                Some(teardown) => Role::Teardown { fails_run: teardown.on_failure_fail_dagrun },
                None if task.setup => Role::Setup,
                None => Role::Work,
            },
            has_condition: templates.when.is_some(),
            upstream,
            reads,
            condition_reads,
            max_active: task.max_active_tis_per_dagrun,
            depends_on_past: task.depends_on_past,
            wait_for_downstream: task.wait_for_downstream,
            templates: match templates {
                NodeTemplates { input: None, args: None, when: None } => self.no_templates.clone(),
                templates => Arc::new(templates),
            },
            ..Node::new(task.id.clone(), spec)
        })
    }

    /// The tasks whose output these read, each once.
    fn reads<'r>(&self, references: impl Iterator<Item = &'r References>) -> Vec<NodeIndex> {
        let names = references.flat_map(|references| &references.tasks);
        let mut reads: Vec<NodeIndex> = names.filter_map(|name| self.indices.get(name.as_str()).copied()).collect();
        reads.sort_unstable();
        reads.dedup();
        reads
    }

    fn spec(&mut self, task: &'d TaskDefinition, templates: &NodeTemplates) -> TaskSpec {
        let work = &task.work;
        let input = match templates.input {
            None => Json::of(&task.input).expect("JSON values are JSON"),
            Some(_) => Json::null(),
        };
        let function = self.functions.entry(&work.function).or_insert_with(|| work.function.as_str().into());
        let terms = serde_json::to_string(&work.terms).expect("terms are plain data");
        TaskSpec {
            // Where there are templates in them, for people to see.
            args: work.args.clone().into(),
            queue: work.queue.clone(),
            priority_weight: work.priority_weight,
            labels: work.labels.clone(),
            terms: self.terms.entry(terms).or_insert_with(|| Arc::new(work.terms.clone())).clone(),
            ..TaskSpec::new(work.module, function.clone(), input)
        }
    }

    fn scope(&mut self, task: &'d TaskDefinition) -> Result<ScopeIndex, PlanError> {
        let unknown = |what, name: &str| PlanError::Unknown { task: task.id.clone(), what, name: name.to_owned() };
        match &task.scope {
            definition::Scope::Run => Ok(ROOT),
            definition::Scope::Task => {
                let expansion =
                    task.expansion.as_ref().ok_or_else(|| unknown("an expansion of task", task.id.as_str()))?;
                self.mapped(task.id.as_str(), false, expansion, task.map_index_template.as_deref())
            }
            definition::Scope::Group(name) => {
                if let Some(scope) = self.group_scopes.get(name.as_str()) {
                    return Ok(*scope);
                }
                let mut groups = self.definition.groups.iter();
                let group = groups.find(|group| group.id == *name);
                let group = group.ok_or_else(|| unknown("group", name.as_str()))?;
                let mapped = group.expansion.as_ref();
                let expansion = mapped.ok_or_else(|| unknown("an expansion of group", name.as_str()))?;
                let scope = self.mapped(name.as_str(), true, expansion, group.map_index_template.as_deref())?;
                self.group_scopes.insert(name.as_str(), scope);
                Ok(scope)
            }
        }
    }

    /// A new scope.
    fn mapped(
        &mut self,
        name: &str,
        is_group: bool,
        expansion: &definition::Expansion,
        label: Option<&str>,
    ) -> Result<ScopeIndex, PlanError> {
        let owner = format!("{} `{name}`", if is_group { "group" } else { "task" });
        let list = list(&owner, expansion, label)?;
        let reads = self.reads([list.values.references()].into_iter());
        let expansion = Expansion { name: name.to_owned(), reads, is_group, list: Arc::new(list) };
        self.scopes.push(Scope { nodes: Vec::new(), expansion: Some(expansion) });
        Ok(self.scopes.len() as ScopeIndex - 1)
    }
}

fn templates(task: &TaskDefinition) -> Result<NodeTemplates, PlanError> {
    let parse = |key: &str, value: &Value| {
        JsonTemplate::parse(value).map_err(|errors| bad_templates(&format!("`{key}` of task `{}`", task.id), errors))
    };
    let args = task.work.args.iter().map(|arg| Value::String(arg.clone())).collect();
    Ok(NodeTemplates {
        input: Some(parse("input", &task.input)?).filter(|input| !input.is_literal()),
        args: Some(parse("args", &Value::Array(args))?).filter(|args| !args.is_literal()),
        // A literal is asked after, too: that is rare, and one way is enough.
        when: task.when.as_ref().map(|when| parse("when", when)).transpose()?,
    })
}

fn list(owner: &str, expansion: &definition::Expansion, label: Option<&str>) -> Result<ListTemplate, PlanError> {
    let column = |key: &str, values: &Value| Column { key: key.to_owned(), source: shown(values) };
    let (form, columns, values): (_, Vec<Column>, Vec<Value>) = match expansion {
        definition::Expansion::Expand(mapped) | definition::Expansion::Zip(mapped) => {
            let is_zip = matches!(expansion, definition::Expansion::Zip(_));
            let form = if is_zip { ListForm::Zip } else { ListForm::Product };
            let columns = mapped.iter().map(|mapped| column(&mapped.key, &mapped.values)).collect();
            (form, columns, mapped.iter().map(|mapped| mapped.values.clone()).collect())
        }
        definition::Expansion::ExpandKwargs(objects) => {
            (ListForm::Objects, vec![column("", objects)], vec![objects.clone()])
        }
    };
    let place = |key: &str| format!("`{key}` of {owner}");
    let values =
        JsonTemplate::parse(&Value::Array(values)).map_err(|errors| bad_templates(&place(expansion.key()), errors))?;
    let label = label.map(Template::parse).transpose();
    let label = label.map_err(|error| bad_templates(&place("map_index_template"), vec![(String::new(), error)]))?;
    Ok(ListTemplate { form, columns, values, label })
}

/// The first of them: one is enough to see that it is not for this version of the server.
fn bad_templates(place: &str, errors: Vec<(String, TemplateError)>) -> PlanError {
    let message = errors.first().map_or_else(String::new, |(_, error)| error.to_string());
    PlanError::Template { place: place.to_owned(), message }
}

/// The beginning of a value, as the author wrote it or about so.
fn shown(value: &Value) -> String {
    const MOST: usize = 80;
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        // As long as it can be a whole file; no more than its beginning is made.
        Value::Array(items) => format!("a list of {}", items.len()),
        value => value.to_string(),
    };
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The first tasks of each group: those without an upstream in it.
fn groups(definition: &Definition, nodes: &[Node]) -> HashMap<String, Vec<NodeIndex>> {
    let group_of =
        |index: NodeIndex| definition.tasks[index as usize].group.as_ref().map_or("", |group| group.as_str());
    let is_in = |index: NodeIndex, group: &str| {
        group_of(index).strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut groups: HashMap<String, Vec<NodeIndex>> = HashMap::new();
    for (node, index) in nodes.iter().zip(0..) {
        let own = group_of(index);
        let ends = own.match_indices('.').map(|(end, _)| end).chain((!own.is_empty()).then_some(own.len()));
        for group in ends.map(|end| &own[..end]) {
            if !node.upstream.iter().any(|before| is_in(*before, group)) {
                groups.entry(group.to_owned()).or_default().push(index);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Digest;

    fn task(id: &str, keys: Value) -> Value {
        let mut task = json!({"id": id, "module": Digest::of(b"m"), "function": "run"});
        task.as_object_mut().expect("an object").extend(keys.as_object().expect("an object").clone());
        task
    }

    fn definition(groups: Value, tasks: Vec<Value>) -> Definition {
        let text =
            json!({"dag_id": "etl", "max_active_runs": 2, "dagrun_timeout": "30m", "groups": groups, "tasks": tasks});
        serde_json::from_value(text).expect("a definition")
    }

    fn plan(groups: Value, tasks: Vec<Value>) -> Result<Plan, PlanError> {
        Plan::of(&definition(groups, tasks))
    }

    fn expand(key: &str, values: Value) -> Value {
        json!({"expand": [{"key": key, "values": values}]})
    }

    #[test]
    fn a_definition_becomes_numbers() {
        let group = json!([{"id": "g", "expansion": expand("f", json!("{{ tasks.a.output }}"))}, {"id": "g.h"}]);
        let in_group = |more: Value| {
            let mut keys = json!({"group": "g", "scope": {"group": "g"}});
            keys.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            keys
        };
        let tasks = vec![
            task("a", json!({"setup": true, "depends_on_past": true, "labels": {"x": "y"}, "priority_weight": 7})),
            task("b", json!({"upstream": ["a"], "kind": "branch", "trigger_rule": "all_done"})),
            task(
                "m",
                json!({"upstream": ["a", "b"], "scope": "task", "max_active_tis_per_dagrun": 3,
                "expansion": expand("f", json!([1, "{{ tasks.b.output }}", "{{ tasks.a.output }}"])),
                "input": {"x": "{{ tasks.a.output }}"}, "when": "{{ tasks.b.output }}"}),
            ),
            task(
                "z",
                json!({"upstream": ["m", "a"], "teardown": {"setups": ["a"], "on_failure_fail_dagrun": true},
                "trigger_rule": "all_done_setup_success", "args": ["-x", "{{ tasks.m.output }}"]}),
            ),
            task("g.p", in_group(json!({"upstream": ["a"]}))),
            task(
                "g.h.q",
                in_group(json!({"upstream": ["g.p"], "group": "g.h", "when": false,
                "kind": {"short_circuit": {"ignore_downstream_trigger_rules": true}}})),
            ),
            task("g.h.r", in_group(json!({"upstream": ["g.h.q"], "group": "g.h", "input": [1]}))),
        ];
        let definition = definition(group, tasks);
        let plan = Plan::of(&definition).expect("a plan");
        assert_eq!((plan.dag_id.as_str(), plan.version, plan.max_active_runs), ("etl", definition.digest(), 2));
        assert_eq!((plan.timeout, plan.looks_back), (Some(std::time::Duration::from_secs(1_800)), true));
        assert_eq!(plan.groups, HashMap::from([("g".to_owned(), vec![4]), ("g.h".to_owned(), vec![5])]));

        let [a, b, m, z, p, q, r] = plan.nodes.as_slice() else { panic!("seven tasks") };
        assert_eq!([a, b, m, z, p, q, r].map(|node| node.scope), [0, 0, 1, 0, 2, 2, 2]);
        assert_eq!([b, m, z, q].map(|node| node.upstream.clone()), [vec![0], vec![0, 1], vec![0, 2], vec![4]]);
        assert_eq!(a.downstream, [1, 2, 3, 4]);
        assert_eq!([a, b, z].map(|node| node.role), [Role::Setup, Role::Work, Role::Teardown { fails_run: true }]);
        let choices = [Choice::None, Choice::Branch, Choice::ShortCircuit { all: true }];
        assert_eq!([a, b, q].map(|node| node.choice), choices);
        assert_eq!([a, b].map(|node| node.rule.as_str()), ["all_success", "all_done"]);
        assert_eq!([a, m].map(|node| node.max_active), [None, Some(3)]);
        assert_eq!([m, z].map(|node| node.reads.clone()), [vec![0], vec![2]]);
        assert_eq!(m.condition_reads, [1]);
        assert_eq!([a, m, q].map(|node| node.has_condition), [false, true, true]);
        assert_eq!([a, m, z, r].map(|node| node.templates.make_input()), [false, true, true, false]);
        assert_eq!([a, b, m, z].map(|node| node.is_read), [true, true, true, false]);
        assert_eq!((a.spec.priority_weight, a.spec.labels["x"].as_str()), (7, "y"));
        assert_eq!([m, r].map(|node| node.spec.input.as_str().to_owned()), ["null", "[1]"]);
        assert_eq!(*z.spec.args, ["-x", "{{ tasks.m.output }}"]);
        assert!(Arc::ptr_eq(&a.spec.terms, &z.spec.terms) && Arc::ptr_eq(&a.spec.function, &z.spec.function));
        assert!(Arc::ptr_eq(&a.templates, &p.templates));

        let expansion = |scope: usize| plan.scopes[scope].expansion.as_ref().expect("it is mapped");
        assert!(plan.scopes[0].expansion.is_none());
        let shown = |scope| (expansion(scope).name.clone(), expansion(scope).is_group, expansion(scope).reads.clone());
        assert_eq!((shown(1), shown(2)), (("m".to_owned(), false, vec![0, 1]), ("g".to_owned(), true, vec![0])));
        assert_eq!(plan.scopes[2].nodes, [4, 5, 6]);
        let list = &expansion(2).list;
        assert_eq!((list.form, list.columns[0].source.as_str()), (ListForm::Product, "{{ tasks.a.output }}"));
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        for (groups, keys, words) in [
            (json!([]), json!({"upstream": ["b"]}), "task `a` names task `b`, which the DAG does not have"),
            (json!([]), json!({"scope": {"group": "g"}}), "task `a` names group `g`, which the DAG does not have"),
            (json!([{"id": "g"}]), json!({"scope": {"group": "g"}}), "task `a` names an expansion of group `g`"),
            (json!([]), json!({"scope": "task"}), "task `a` names an expansion of task `a`"),
            (json!([]), json!({"when": "{{ 1 +"}), "`when` of task `a` cannot be read: not a template"),
            (json!([]), json!({"input": ["{{ x.y() }}"]}), "`input` of task `a` cannot be read"),
            (json!([]), json!({"args": ["{% set x = 1 %}"]}), "`args` of task `a` cannot be read"),
            (
                json!([]),
                json!({"scope": "task", "expansion": {"zip": [{"key": "k", "values": "{{"}]}}),
                "`zip` of task `a` cannot be read",
            ),
            (
                json!([]),
                json!({"scope": "task", "expansion": {"expand_kwargs": []}, "map_index_template": "{{"}),
                "`map_index_template` of task `a` cannot be read",
            ),
        ] {
            let error = plan(groups, vec![task("a", keys)]).expect_err(words).to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }

    #[test]
    fn ten_thousand_tasks_are_made_ready_within_a_second() {
        let keys = |index: u32| match index {
            0 => json!({}),
            _ => {
                json!({"upstream": [format!("t{}", index - 1)], "input": {"n": format!("{{{{ tasks.t{}.output }}}}", index / 2)}})
            }
        };
        let definition =
            definition(json!([]), (0..10_000).map(|index| task(&format!("t{index}"), keys(index))).collect());
        let started = std::time::Instant::now();
        let plan = Plan::of(&definition).expect("a plan");
        assert_eq!((plan.nodes.len(), plan.node(9_999).reads.as_slice()), (10_000, [4_999].as_slice()));
        let took = started.elapsed();
        assert!(took.as_secs() < if cfg!(debug_assertions) { 10 } else { 1 }, "{took:?}");
    }
}
