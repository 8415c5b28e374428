//! From the bytes of a file to findings or to a definition.

use serde_json::{Value, json};
use tradewind_json_schema::Schema;

use super::definition::{Definition, ResolvedTask, Scope, TaskKind};
use super::draft::{Draft, Outside};
use super::source::Source;
use super::trigger_rule::TriggerRule;
use crate::model::task::Terms;
use crate::model::{Digest, QueueName};

fn problems(schema: &Value, value: &Value) -> Result<Vec<(String, String)>, String> {
    let problems = Schema::compile(schema)?.problems(value, 20);
    Ok(problems.into_iter().map(|problem| (problem.path, problem.message)).collect())
}

fn draft(text: &str) -> (Source, Draft, Vec<super::Finding>) {
    let source = Source::read(text.as_bytes()).unwrap_or_else(|findings| panic!("{findings:?}"));
    let is_timezone = |name: &str| matches!(name, "UTC" | "Europe/Berlin");
    let (draft, findings) = Draft::read(&source, &Outside { schema_problems: &problems, is_timezone: &is_timezone });
    (source, draft, findings)
}

fn found(text: &str) -> String {
    let (source, _, findings) = draft(text);
    source
        .locate(findings)
        .into_iter()
        .inspect(|located| assert!(located.remedy.is_some(), "no remedy: {located}"))
        .map(|located| format!("{located} [{} {}]\n", located.code, located.path))
        .collect()
}

fn good(text: &str) -> Draft {
    let (source, draft, findings) = draft(text);
    assert!(findings.is_empty(), "{:#?}", source.locate(findings));
    draft
}

fn finished(text: &str) -> Definition {
    let draft = good(text);
    let resolve = |task: &super::draft::DraftTask| ResolvedTask {
        module: Digest::of(b""),
        function: task.keys.get("function").and_then(|key| key.value.as_str()).unwrap_or("run").to_owned(),
        args: Vec::new(),
        terms: Terms::default(),
        queue: QueueName::default(),
        priority_weight: 1,
        labels: Default::default(),
    };
    let resolved = draft.tasks.iter().map(resolve).collect();
    draft.finish(resolved)
}

/// A DAG whose tasks are given, one a line, with a module for all.
fn tasks(tasks: &str) -> String {
    format!("dag_id: etl\ndefault_args: {{module: m}}\nparams: {{city: Ames}}\ntasks:\n{tasks}")
}

fn upstream<'a>(draft: &'a Draft, id: &str) -> Vec<&'a str> {
    let task = draft.tasks.iter().find(|task| task.id == id).expect("a task");
    task.upstream.iter().map(|task| draft.tasks[*task].id.as_str()).collect()
}

const SAMPLE: &str = r#"
dag_id: etl                       # the {name} of its address
timezone: Europe/Berlin
start_date: 2026-01-01
catchup: false
max_active_runs: 16
dagrun_timeout: 30m
params: {city: {default: Ames, schema: {type: string}}}
default_args: {module: "etl:1.4", retries: 2, retry_delay: 30s}
tasks:
  extract: {function: extract, input: {city: "{{ params.city }}"}}
  parse:
    upstream: [extract]
    input: {strict: true}                                  # the same for every instance, Airflow's partial
    expand: {file: "{{ tasks.extract.output.files }}"}     # several keys: their cross product; zip: {…}; expand_kwargs: a list of objects
    map_index_template: "{{ file }}"
    max_active_tis_per_dagrun: 8
  choose: {function: choose, upstream: [parse], branch: true}        # its output names the tasks to follow; short_circuit: true likewise
  report: {function: report, upstream: [parse, choose], trigger_rule: none_failed, when: "{{ params.city != '' }}", pool: default_pool, execution_timeout: 3m}
groups:
  load: {upstream: [report], tasks: {x: {}, y: {upstream: x}}}                   # ids load.x; expand works on a group too
"#;

#[test]
fn the_sample_of_the_contract_is_a_definition() {
    let definition = finished(SAMPLE);
    insta::assert_snapshot!(serde_json::to_string_pretty(&definition).expect("JSON"));
    let back: Definition = serde_json::from_str(&definition.canonical_json()).expect("its own text");
    assert_eq!((&back, back.digest()), (&definition, definition.digest()));
}

#[test]
fn the_same_in_json_is_the_same_version() {
    let source = Source::read(SAMPLE.as_bytes()).expect("YAML");
    let json = serde_json::to_string_pretty(&source.root().to_json()).expect("JSON");
    // A JSON value forgets the order of the keys; nothing else is lost.
    let by_id = |text: &str| {
        let mut definition = finished(text);
        definition.tasks.sort_by(|a, b| a.id.cmp(&b.id));
        definition.digest()
    };
    assert_eq!(by_id(&json), by_id(SAMPLE));
}

#[test]
fn many_different_mistakes_are_found_at_once_each_with_its_place() {
    insta::assert_snapshot!(found(include_str!("tests/mistakes.yaml")));
}

#[test]
fn defaults_go_from_the_outside_in_and_values_replace_each_other_whole() {
    let draft = good(
        "dag_id: d\ndefault_args: {module: m, retries: 1, labels: {a: b, c: d}, limits: {execution_timeout: 1h}, trigger_rule: all_done}\n\
         tasks:\n  one: {labels: {x: y}, retries: null}\n  two:\n\
         groups:\n  g:\n    default_args: {retries: 3, execution_timeout: 3m}\n    tasks: {three: {}, four: {limits: {execution_timeout: 9m}, trigger_rule: one_done}}",
    );
    let keys: Vec<Value> = draft.tasks.iter().map(|task| task.task_keys().into()).collect();
    let hour = json!({"execution_timeout": "1h"});
    assert_eq!(
        keys,
        [
            json!({"module": "m", "labels": {"x": "y"}, "limits": hour}),
            json!({"module": "m", "labels": {"a": "b", "c": "d"}, "limits": hour, "retries": 1}),
            json!({"module": "m", "labels": {"a": "b", "c": "d"}, "limits": hour, "retries": 3, "execution_timeout": "3m"}),
            json!({"module": "m", "labels": {"a": "b", "c": "d"}, "limits": {"execution_timeout": "9m"}, "retries": 3}),
        ]
    );
    assert_eq!(draft.tasks[2].path_of("/retries"), "/groups/g/default_args/retries");
    assert_eq!(draft.tasks[2].path_of("/labels/a"), "/default_args/labels/a");
    assert_eq!(draft.tasks[0].path_of("/labels/x"), "/tasks/one/labels/x");
    assert_eq!(draft.tasks[0].path_of("/function"), "/tasks/one");
    let rules: Vec<TriggerRule> = draft.tasks.iter().map(|task| task.trigger_rule).collect();
    assert_eq!(rules, [TriggerRule::AllDone, TriggerRule::AllDone, TriggerRule::AllDone, TriggerRule::OneDone]);
}

#[test]
fn a_group_stands_for_its_roots_and_leaves() {
    let draft = good(
        "dag_id: d\ndefault_args: {module: m}\ntasks: {a: {}, z: {upstream: [g]}, x: {upstream: [g.deep.q, h]}}\ngroups:\n\
         \x20 g:\n    upstream: a\n    tasks: {x: {}, y: {upstream: [x, deep]}, w: {}}\n\
         \x20   groups: {deep: {upstream: [x], tasks: {p: {}, q: {upstream: p}, x: {}}}}\n\
         \x20 h: {upstream: g, tasks: {s: {setup: true}, work: {upstream: s}, t: {upstream: work, teardown: [s]}}}",
    );
    for (task, expected) in [
        ("a", vec![]),
        ("g.x", vec!["a"]),
        ("g.w", vec!["a"]),
        ("g.deep.p", vec!["g.x"]),
        ("g.deep.x", vec!["g.x"]),
        ("g.deep.q", vec!["g.deep.p"]),
        ("g.y", vec!["g.x", "g.deep.q", "g.deep.x"]),
        ("z", vec!["g.y", "g.w"]),
        ("h.s", vec!["g.y", "g.w"]),
        ("h.t", vec!["h.s", "h.work"]),
        ("x", vec!["g.deep.q", "h.work"]),
    ] {
        assert_eq!(upstream(&draft, task), expected, "{task}");
    }
    let teardown = draft.tasks.iter().find_map(|task| task.teardown.as_ref()).expect("a teardown");
    assert_eq!(draft.tasks[teardown.setups[0]].id, "h.s");
}

#[test]
fn a_task_knows_what_maps_it() {
    let definition = finished(
        "dag_id: d\ndefault_args: {module: m}\ntasks:\n  a: {expand: {z: [1], b: [2, 3]}}\n\
         \x20 s: {short_circuit: {ignore_downstream_trigger_rules: false}}\n\
         \x20 b: {upstream: [a, s], wait_for_downstream: true}\n\
         groups: {g: {expand_kwargs: [{x: 1}, {y: 2}], map_index_template: '{{ x }}', tasks: {c: {input: {i: '{{ x }}{{ y }}'}}}, groups: {h: {tasks: {d: {}}}}}}",
    );
    let scopes: Vec<&Scope> = definition.tasks.iter().map(|task| &task.scope).collect();
    let group = Scope::Group("g".parse().expect("a name"));
    assert_eq!(scopes, [&Scope::Task, &Scope::Run, &Scope::Run, &group, &group]);
    assert_eq!(definition.tasks[1].kind, TaskKind::ShortCircuit { ignore_downstream_trigger_rules: false });
    assert!(definition.tasks[2].depends_on_past);
    let draft = good(&tasks(
        "  a: {expand: {x: [1]}}\n  b: {expand_kwargs: '{{ params.city }}'}\ngroups: {g: {zip: {y: [1]}, tasks: {c: {}}}}",
    ));
    let keys = |index: usize| (draft.mapped_keys(index), draft.tasks[index].input_keys());
    assert_eq!(keys(0), (Some(vec!["x"]), Some(vec!["x"])));
    assert_eq!(keys(1), (None, None));
    assert_eq!(keys(2), (Some(vec!["y"]), Some(vec![])));
    assert_eq!(
        serde_json::to_value(&definition.tasks[0].expansion).expect("JSON"),
        json!({"expand": [{"key": "z", "values": [1]}, {"key": "b", "values": [2, 3]}]})
    );
}

/// Small documents, each with what is wrong with it.
#[test]
fn each_mistake_has_its_words() {
    let mut all = String::new();
    for text in include_str!("tests/each.txt").split("\n====\n") {
        let document = match text.starts_with("dag_id") || text.starts_with('!') {
            true => text.trim_start_matches('!').to_owned(),
            false => tasks(text),
        };
        all.push_str(&format!("{}\n{}\n", text.trim_end(), found(&document)));
    }
    insta::assert_snapshot!(all);
}

/// What is asked for with `is defined` need not be there.
#[test]
fn guarded_names_are_no_mistakes() {
    good(&tasks(
        r#"
  a: {when: "{{ ti.id if ti.id is defined else true }}", input: {x: "{{ dag.owner if dag.owner is defined else 'n' }}"}}
  b: {input: {y: "{{ params.nope if params.nope is defined else 1 }}"}}
"#,
    ));
    assert!(
        found(&tasks("  a: {input: {y: '{{ params.nope if params is defined else 1 }}'}}")).contains("unknown_param")
    );
}

/// Environments and labels hold the templates of others; only ours are mistakes there.
#[test]
fn braces_that_mean_nothing_to_templates_are_texts() {
    let draft = good(&tasks(
        r#"
  a: {grants: {env: {LOG_FORMAT: '{{.Level}} {{.Msg}}', X: '{{ level }}', Y: '{% raw %}{{ ds }}{% endraw %}'}}}
  b: {labels: {team: '{{ file }}', open: '{{ }}'}}
"#,
    ));
    assert_eq!(draft.tasks[0].keys["grants"].value["env"]["LOG_FORMAT"], "{{.Level}} {{.Msg}}");
    let refused = |task: &str| {
        let found = found(&tasks(task));
        found.lines().map(|line| line.rsplit_once('[').unwrap().1.trim_end_matches(']').to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        refused("  a: {queue: '{{.Level}}', grants: {env: {A: '{{ tasks.b.output }}', B: '{{.B}}'}}}"),
        ["template_not_rendered /tasks/a/queue", "template_not_rendered /tasks/a/grants/env/A"]
    );
    // The keys that a task is mapped over are names too.
    assert_eq!(
        refused(
            "  a: {expand: {file: [1]}, labels: {f: '{{ file }}', g: '{{ File }}'}, grants: {env: {F: 'x{{ file }}'}}}"
        ),
        ["template_not_rendered /tasks/a/labels/f", "template_not_rendered /tasks/a/grants/env/F"]
    );
}

#[test]
fn as_many_tasks_are_read_as_a_dag_may_have() {
    let mut text = "dag_id: big\ndefault_args: {module: m, retries: 2}\ntasks:\n".to_owned();
    for i in 0..super::draft::MAX_TASKS {
        let input = if i > 0 { format!("input: {{n: '{{{{ tasks.t{}.output }}}}'}}", i / 2) } else { "".into() };
        let upstream = if i > 0 { format!("upstream: [t{}, t{}], {input}", i - 1, i / 2) } else { String::new() };
        text.push_str(&format!("  t{i}: {{{upstream}}}\n"));
    }
    // Were anything of it quadratic, this test would take a minute.
    let definition = finished(&text);
    definition.digest();
    assert_eq!(definition.tasks.len(), super::draft::MAX_TASKS);
    assert!(found(&format!("{text}  more: {{}}\n")).contains("too_many_tasks"));
}

#[test]
fn small_files_that_mean_large_ones_are_refused() {
    let wide = |name: &str, upstream: &str| {
        let tasks: String = (0..400).map(|i| format!("t{i}: {{}}, ")).collect();
        format!("  {name}: {{{upstream} tasks: {{{tasks}}}}}\n")
    };
    let edges =
        format!("dag_id: d\ndefault_args: {{module: m}}\ngroups:\n{}{}", wide("a", ""), wide("b", "upstream: a,"));
    assert!(found(&edges).contains("too_many_edges"), "{}", found(&edges));
    let inputs = format!(
        "dag_id: d\ndefault_args: {{module: m, input: '{{{{ x }}}}{}'}}\ntasks:\n{}",
        "x".repeat(100_000),
        (0..1_000).map(|i| format!("  t{i}:\n")).collect::<String>()
    );
    let findings = found(&inputs);
    assert!(findings.contains("default_args_too_large") && findings.lines().count() == 1, "{findings}");
}

#[test]
fn what_a_list_of_dags_shows_is_bounded() {
    let text = |description: usize, tags: usize| {
        let description = "é".repeat(description);
        let tags: Vec<String> = (0..tags).map(|n| format!("t{n}")).collect();
        format!("dag_id: d\ndescription: {description}\ntags: {tags:?}\ntasks: {{a: {{module: m}}}}\n")
    };
    assert_eq!(found(&text(4_000, 100)), "");
    let findings = found(&text(4_001, 101));
    let codes = ["description_too_long /description", "too_many_tags /tags"];
    assert!(codes.iter().all(|code| findings.contains(code)) && findings.lines().count() == 2, "{findings}");
}

#[test]
fn a_dag_has_so_many_templates_and_no_more() {
    let most = super::check::MAX_TEMPLATES;
    // Ten in each task, by `default_args`.
    let text = |templates: usize| {
        let ten = ["'{{ ds }}'"; 10].join(", ");
        let tasks: String = (0..templates / 10).map(|i| format!("  t{i}:\n")).collect();
        let more = format!("  more: {{input: [{}]}}\n", vec!["'{{ ds }}'"; templates % 10].join(", "));
        format!("dag_id: d\ndefault_args: {{module: m, input: [{ten}]}}\ntasks:\n{tasks}{more}")
    };
    assert_eq!(found(&text(most)), "");
    let findings = found(&text(most + 1));
    assert!(findings.contains("too_many_templates") && findings.lines().count() == 1, "{findings}");
}

#[test]
fn what_is_not_told_any_more_is_not_looked_for() {
    let names = |from: usize| (from..from + 3_000).map(|i| format!("n{i}")).collect::<Vec<_>>().join(", ");
    let input: Vec<String> = (0..20).map(|i| format!("'{{{{ [{}] }}}}'", names(i * 3_000))).collect();
    let (source, _, findings) = draft(&tasks(&format!("  a: {{input: [{}]}}\n", input.join(", "))));
    let told = super::finding::MAX_FINDINGS;
    assert_eq!(findings.len(), told + 1);
    assert!(findings[told].message.starts_with("at least 1 more"), "{}", findings[told].message);
    let last = source.locate(findings).pop().expect("findings");
    assert!(last.column > 4_000, "each has its own place: {last}");
}

#[test]
fn what_reads_outputs_is_kept_up_to_a_bound() {
    // Each of these reads has a pointer of 15 KiB.
    let keys: Vec<String> = (0..60).map(|i| format!("k{i}{}", "x".repeat(250))).collect();
    let open: String = keys.iter().map(|key| format!("{{{key}: ")).collect();
    let reads = vec!["'{{ tasks.a.output.x }}'"; 2_000].join(", ");
    let draft = good(&tasks(&format!("  a:\n  b: {{upstream: a, input: {open}[{reads}]{}}}\n", "}".repeat(60))));
    let bytes: usize = draft.reads.iter().map(|read| read.path.len() + read.pointer.len()).sum();
    assert!(draft.reads.len() > 100 && bytes < 10 << 20, "{} reads, {bytes} bytes", draft.reads.len());
}

/// Bytes changed at random, in YAML and JSON: findings or a draft, never a panic, never for long.
#[test]
fn no_bytes_break_it() {
    let json = serde_json::to_string(&Source::read(SAMPLE.as_bytes()).expect("YAML").root().to_json()).expect("JSON");
    let seeds = [SAMPLE, include_str!("tests/mistakes.yaml"), &json];
    let pieces: [&[u8]; 16] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b": ",
        b"\n",
        b"  ",
        b"- ",
        b"&a ",
        b"*a",
        b"<<: *a",
        b"\"",
        b"{{",
        b"upstream: [",
        b"|\n",
        b"\xc3\xa4",
    ];
    let mut state = 0x5eed_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for round in 0..if cfg!(debug_assertions) { 3_000 } else { 100_000 } {
        let mut bytes = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..1 + random(8) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => drop(bytes.drain(at..(at + random(40)).min(bytes.len()))),
                2 => drop(bytes.splice(at..at, pieces[random(pieces.len())].iter().copied())),
                _ => {
                    let from = random(bytes.len());
                    let piece = bytes[from..(from + random(200)).min(bytes.len())].to_vec();
                    drop(bytes.splice(at..at, piece));
                }
            }
        }
        let started = std::time::Instant::now();
        let (sources, _) = Source::read_all(&bytes);
        for source in sources {
            let outside = Outside { schema_problems: &problems, is_timezone: &|_| true };
            let (draft, findings) = Draft::read(&source, &outside);
            if findings.is_empty() {
                let work = |_: &_| ResolvedTask {
                    module: Digest::of(b""),
                    function: String::new(),
                    args: Vec::new(),
                    terms: Terms::default(),
                    queue: QueueName::default(),
                    priority_weight: 1,
                    labels: Default::default(),
                };
                let resolved = draft.tasks.iter().map(work).collect();
                draft.finish(resolved).digest();
            } else {
                source.locate(findings);
            }
        }
        assert!(started.elapsed().as_millis() < 2_000, "{}", String::from_utf8_lossy(&bytes));
    }
}
