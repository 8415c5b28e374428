use serde_json::{Value, json};

use super::*;

fn read(text: &str) -> Source {
    Source::read(text.as_bytes()).unwrap_or_else(|findings| panic!("{text}: {findings:?}"))
}

fn value(text: &str) -> Value {
    let source = read(text);
    assert!(source.findings.is_empty(), "{text}: {:?}", source.findings);
    source.root.to_json()
}

/// Findings, as `line:column code`.
fn found(text: &str) -> Vec<String> {
    let located = match Source::read(text.as_bytes()) {
        Ok(source) => source.locate(source.findings.clone()),
        Err(located) => located,
    };
    located.iter().for_each(|found| assert!(found.remedy.is_some(), "no remedy: {found}"));
    located.iter().map(|found| format!("{}:{} {}", found.line, found.column, found.code)).collect()
}

#[test]
fn yaml_and_json_mean_the_same() {
    for (text, expected) in [
        ("a: 1\nb: [x, 'y', \"z\\n\"]", json!({"a": 1, "b": ["x", "y", "z\n"]})),
        ("{\"a\": 1, \"b\": [\"x\"]}", json!({"a": 1, "b": ["x"]})),
        ("{\n\t\"a\"\t:\t[1,\t2.5e1, true, null]\n}", json!({"a": [1, 25.0, true, null]})),
        (r#"{"a": "\ud83d\ude00 \u00e4 \/ \"", "a/b~c": {}}"#, json!({"a": "😀 ä / \"", "a/b~c": {}})),
        ("{a: 1, b: {c: d}}", json!({"a": 1, "b": {"c": "d"}})),
        ("{\"a\": 1,}", json!({"a": 1})),
        ("[]", json!([])),
        ("a: |\n  x\n   y\nb: >\n  x\n  y\n", json!({"a": "x\n y\n", "b": "x y\n"})),
        (
            "a: yes\nb: 2026-01-01\nc: !!str 5\nd: ! 5\ne: !!int 5",
            json!({"a": "yes", "b": "2026-01-01", "c": "5", "d": "5", "e": 5}),
        ),
        ("\u{feff}a: 1", json!({"a": 1})),
        ("--- # one\na: 1\n...\n", json!({"a": 1})),
        ("a:\n- 1\n-\n  b: 2", json!({"a": [1, {"b": 2}]})),
        ("\"1\": x\nnull: y", json!({"1": "x"})),
    ] {
        let source = read(text);
        assert_eq!(source.root.to_json(), expected, "{text}");
    }
}

#[test]
fn aliases_and_merge_keys_are_resolved() {
    let text = "base: &base {retries: 2, queue: a}\nmore: &more {queue: b, x: 1}\n\
        one: {<<: *base, queue: own}\ntwo:\n  <<: [*base, *more]\nlist: [*base, *base]\n\"<<\": plain";
    let base = json!({"retries": 2, "queue": "a"});
    assert_eq!(
        value(text),
        json!({"base": base, "more": {"queue": "b", "x": 1}, "one": {"retries": 2, "queue": "own"},
               "two": {"retries": 2, "queue": "a", "x": 1}, "list": [base, base], "<<": "plain"})
    );
}

#[test]
fn keys_keep_the_order_in_which_they_are_written() {
    let Kind::Object(entries) = read("z: 1\na: 2\nm: 3").root.kind else { panic!("an object") };
    assert_eq!(entries.iter().map(|(key, _)| key.name.as_str()).collect::<Vec<_>>(), ["z", "a", "m"]);
}

#[test]
fn everything_knows_its_place() {
    let yaml = "tasks:\n  ä: {x: [1, two]}\n  b:\n    when: |\n\n      {{ a }}\n      {{ b }}\n    y: '{{ c }}'\n    z: {{ d }}\n";
    let yaml = yaml.replace("{{ d }}", "d {{ e }}");
    let json = "{\"tasks\": {\n  \"ä\": {\"x\": [1, \"two\"]}}}";
    for (text, path, line, column) in [
        (&*yaml, "/tasks", 1, 1),
        (&yaml, "/tasks/ä", 2, 3),
        (&yaml, "/tasks/ä/x/1", 2, 14),
        (&yaml, "/tasks/b/y", 8, 5),
        (&yaml, "/tasks/b/nothing/here", 3, 3),
        (json, "/tasks", 1, 2),
        (json, "/tasks/ä", 2, 3),
        (json, "/tasks/ä/x", 2, 9),
        (json, "/tasks/ä/x/1", 2, 18),
    ] {
        assert_eq!(read(text).place(path), Place { line, column }, "{path} in {text}");
    }
    let source = read(&yaml);
    let in_text = |path: &str, line, column| {
        let mut node = &source.root;
        for part in path.split('/').skip(1) {
            node = node.child(part).expect(part).1;
        }
        let Place { line, column } = node.place_in_text(line, column);
        (line, column)
    };
    assert_eq!(in_text("/tasks/b/when", 2, 4), (6, 10));
    assert_eq!(in_text("/tasks/b/when", 3, 4), (7, 10));
    assert_eq!(in_text("/tasks/b/y", 1, 4), (8, 12));
    assert_eq!(in_text("/tasks/b/z", 1, 3), (9, 10));
}

#[test]
fn what_cannot_be_passed_on_is_found_and_the_rest_is_read_on() {
    for (text, expected) in [
        ("a: 1\nb: 2\na: 3", vec!["3:1 duplicate_key"]),
        ("{\"a\": 1,\n \"a\": 3}", vec!["2:2 duplicate_key"]),
        (
            "x: {1: a, true: b, ~: c, [d]: e}",
            vec!["1:5 key_not_text", "1:11 key_not_text", "1:20 key_not_text", "1:26 key_not_text"],
        ),
        ("a: .nan\nb: -.inf\nc: 99999999999999999999", vec!["1:4 bad_number", "2:4 bad_number", "3:4 bad_number"]),
        ("{\"a\": 99999999999999999999, \"b\": 1e999}", vec!["1:7 bad_number", "1:34 bad_number"]),
        (
            "a: !secret x\nb: !!binary aGk=\nc: !!int x\nd: !mine {x: 1}",
            vec!["1:4 bad_tag", "2:4 bad_tag", "3:4 bad_tag", "4:4 bad_tag"],
        ),
        ("a: &a [1, *a]", vec!["1:11 alias_of_itself"]),
        ("a: {{ b }}\nc: {d: {{ e.f }}}", vec!["1:5 key_not_text", "2:9 key_not_text"]),
        ("a: {<<: 5}", vec!["1:5 bad_merge"]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_read_says_where() {
    for (text, expected) in [
        ("", "1:1 empty_document"),
        ("# nothing\n---\n---\n", "1:1 empty_document"),
        ("a: [1, 2\nb: 3", "2:2 syntax"),
        ("a: 1\n\tb: 2", "1:4 syntax"),
        ("a: *nobody", "1:4 syntax"),
        ("{\"a\": 1 \"b\": 2}", "1:9 syntax"),
        ("{\"a\": \"\\ud83d\"}", "1:7 syntax"),
        ("a: \u{0}b", "1:4 control_character"),
        ("a: 1\n---\nb: 2", "3:1 several_documents"),
    ] {
        assert_eq!(found(text), [expected], "{text:?}");
    }
    assert_eq!(Source::read(b"a: \xff").expect_err("not UTF-8")[0].code, "not_utf8");
    assert_eq!(Source::read(&vec![b' '; MAX_DOCUMENT_BYTES + 1]).expect_err("large")[0].code, "document_too_large");
}

#[test]
fn several_documents_are_several_sources() {
    let (sources, findings) = Source::read_all(b"a: 1\n---\nb: 2\n---\n# nothing\n---\nc: [");
    assert_eq!(
        sources.iter().map(|source| source.root.to_json()).collect::<Vec<_>>(),
        [json!({"a": 1}), json!({"b": 2})]
    );
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].code, "syntax");
    let (sources, findings) = Source::read_all("--- a\n".repeat(MAX_DOCUMENTS + 1).as_bytes());
    assert_eq!((sources.len(), &*findings[0].code), (MAX_DOCUMENTS, "too_many_documents"));
}

#[test]
fn anchors_end_with_their_document() {
    let (sources, findings) = Source::read_all(b"a: &a 1\n---\nb: &b [1]\nc: *a\n---\nd: &d {e: [*d]}\n");
    assert_eq!(findings, []);
    let told = |source: &Source| source.findings.iter().map(|finding| finding.code.to_string()).collect::<Vec<_>>();
    let told: Vec<_> = sources.iter().map(told).collect();
    assert_eq!(told, [vec![], vec!["alias_of_other_document".to_owned()], vec!["alias_of_itself".to_owned()]]);
    assert!(sources[1].findings[0].message.contains("in another document"));
}

#[test]
fn each_document_has_exactly_its_own_text() {
    let files: [&[&str]; 8] = [
        &["# first\na: 1\n"],
        &["# first\na: ä\n", "---\n# second\nb: ö\n", "--- {c: 3}\n"],
        &["a: 1\n...\n", "# second\n---\nb: 2\n... # the end\n"],
        &["a: 1\n...\n", "b: 2\n"],
        &["a: 1\r\n...\r\n", "---\r\nb: 2\r\n...\r\n"],
        &["%YAML 1.2\n---\na: 1\n...\n", "%YAML 1.2\n---\nb: 2"],
        &["--- |\n  ---\n  ...\n", "---\n\"a\n  --- b\"\n"],
        &["{\"a\": 1}"],
    ];
    for texts in files {
        let (sources, findings) = Source::read_all(texts.concat().as_bytes());
        assert_eq!(findings, [], "{texts:?}");
        assert_eq!(sources.iter().map(|source| &*source.text).collect::<Vec<_>>(), *texts);
        for source in sources {
            assert_eq!(read(&source.text).root.to_json(), source.root.to_json(), "read alone, it is the same");
        }
    }
    // Documents that hold nothing are nobody's.
    let (sources, _) = Source::read_all("\u{feff}a: 1\n---\n# nothing\n---\nb: 2\n...\n...\n".as_bytes());
    assert_eq!(sources.iter().map(|source| &*source.text).collect::<Vec<_>>(), ["a: 1\n", "---\nb: 2\n...\n"]);
}

#[test]
fn alias_bombs_are_refused() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..10 {
        let many = vec![format!("*a{}", i - 1); 10].join(", ");
        laughs.push_str(&format!("a{i}: &a{i} [{many}]\n"));
    }
    let long = format!("a: &a '{}'\nb: [{}]", "x".repeat(200_000), ["*a"; 10].join(", "));
    let merges = format!(
        "a: &a {{{}}}\nb: [{}]",
        (0..1000).map(|i| format!("k{i}: 1")).collect::<Vec<_>>().join(", "),
        vec!["{<<: *a}"; 20].join(", ")
    );
    for bomb in [laughs, long, merges] {
        assert_eq!(Source::read(bomb.as_bytes()).expect_err("a bomb")[0].code, "alias_bomb", "{}", &bomb[..40]);
    }
}

#[test]
fn nesting_has_its_bound_and_exhausts_no_stack() {
    let lists = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let blocks = |depth: usize| (0..depth).map(|i| format!("{}a:\n", " ".repeat(i))).collect::<String>();
    assert_eq!(found(&lists(MAX_NESTING)), Vec::<String>::new());
    assert_eq!(found(&blocks(MAX_NESTING)), Vec::<String>::new());
    let aliases = (1..100).map(|i| format!("a{i}: &a{i} [*a{}]\n", i - 1)).collect::<String>();
    let deep = [
        lists(MAX_NESTING + 1),
        lists(100_000),
        blocks(MAX_NESTING + 1),
        format!("a: {}", lists(64)),
        "- ".repeat(1000),
        format!("a0: &a0 x\n{aliases}"),
        "{\"a\":".repeat(10_000),
    ];
    for text in deep {
        assert_eq!(Source::read(text.as_bytes()).expect_err("deep")[0].code, "nested_too_deep", "{}", &text[..20]);
    }
}
