//! What is taken in as a module, what is refused, and what is kept of it.

use super::*;

fn sdk(version: &str, schema: &str) -> String {
    let length: String = (schema.len() as u32).to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect();
    include_str!("sdk.wat")
        .replace("VERSION", version)
        .replace("SCHEMA_LENGTH", &length)
        .replace("SCHEMA_TEXT", &schema.replace('"', "\\22"))
}

#[test]
fn a_module_of_any_1_x_of_the_sdk_world_is_asked_for_its_tasks_and_runs() {
    let house = House::new();
    for version in ["1.0.0", "1.7.3"] {
        let module = house.guest(&sdk(version, r#"{"type":"string"}"#));
        assert_eq!(module.info().kind, ModuleKind::Sdk, "{version}");
        let greet = module.info().function("greet").expect("the task it lists");
        assert_eq!((greet.input_schema.as_str(), greet.docs.as_str()), (r#"{"type":"string"}"#, "Hi"));
        assert!(module.check_input("greet", &json("\"x\"")).is_ok());
        assert_eq!(module.check_input("greet", &json("1")).expect_err("a problem").len(), 1);
        assert!(module.check_input("other", &json("1")).is_err());

        let echoed = house.run(&module, job("greet", "\"x\""));
        assert_eq!((echoed.outcome, echoed.result), (Outcome::Success, Some(json("\"x\""))));
        let failed = house.run(&module, job("greet", "\"f\""));
        assert_eq!((failed.outcome, failed.advice), (Outcome::Failed, RetryAdvice::After(Duration::from_millis(7))));
        assert_eq!(failed.error.expect("an error").message, "not now");
        let skipped = house.run(&module, job("greet", "\"s\""));
        assert_eq!((skipped.outcome, skipped.error.expect("a reason").message.as_str()), (Outcome::Skipped, "not now"));
    }
}

#[test]
fn a_task_with_a_schema_that_reaches_outside_is_refused() {
    let house = House::new();
    for schema in [r#"{"$ref":"http://127.0.0.1:1/x"}"#, r#"{"type":7}"#, "{"] {
        match house.inspect(&sdk("1.0.0", schema)) {
            Err(UploadError::Refused(refused)) => assert_eq!(refused.code, "invalid_descriptors", "{refused}"),
            other => panic!("{schema}: {other:?}"),
        }
    }
}

#[test]
fn a_module_that_is_asked_for_its_tasks_is_bounded_in_time_memory_and_text() {
    let house = House::new();
    let list = r#"(func (export "list-tasks") (result i32) (i32.const 16))"#;
    let lists = |body: &str| {
        let changed = format!(r#"(func (export "list-tasks") (result i32) {body} (i32.const 16))"#);
        sdk("1.0.0", "{}").replace(list, &changed)
    };
    let endless = lists("(loop $again (br $again))");
    // 64 MiB are 1 024 pages, and two are there.
    let greedy = lists("(if (i32.eq (memory.grow (i32.const 1023)) (i32.const -1)) (then unreachable))");
    let modest = lists("(if (i32.eq (memory.grow (i32.const 1022)) (i32.const -1)) (then unreachable))");
    let long = sdk("1.0.0", "{}")
        .replace("\\02\\00\\00\\00\" \"\\48", "\\01\\00\\05\\00\" \"\\48")
        .replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 10)");
    for (wat, said) in
        [(&endless, "longer than a second"), (&greedy, "failed when asked"), (&long, "larger than 262144 bytes")]
    {
        match house.inspect(wat) {
            Err(UploadError::Refused(refused)) => {
                assert_eq!(refused.code, "invalid_descriptors", "{refused}");
                assert!(refused.reason.contains(said), "{refused}");
            }
            other => panic!("{said}: {other:?}"),
        }
    }
    assert!(house.inspect(&modest).is_ok());
}

#[test]
fn a_pattern_of_a_schema_takes_linear_time() {
    let house = House::new();
    let module = house.guest(&sdk("1.0.0", r#"{"type":"string","pattern":"^(a+)+$"}"#));
    let hostile = json(&format!("\"{}!\"", "a".repeat(50_000)));
    assert_eq!(module.check_input("greet", &hostile).expect_err("it does not match").len(), 1);
    // What could take any time is no pattern here.
    assert!(house.inspect(&sdk("1.0.0", r#"{"pattern":"(?=a)a"}"#)).is_err());
}

/// What a 1.9.0 of the guest contract may look like: the same, and more.
#[test]
fn a_component_built_for_1_0_runs_on_a_host_of_1_9() {
    let house = House::new();
    let engine = &house.sandbox.machine().engine;
    let mut linker = wasmtime::component::Linker::<()>::new(engine);
    let mut log = linker.instance("tradewind:task/log@1.9.0").expect("an instance");
    log.func_new("write", |_, _, _, _| Ok(())).expect("defined");
    log.func_new("write-fields", |_, _, _, _| Ok(())).expect("defined");
    let component = wasmtime::component::Component::new(engine, guests::one_line()).expect("compiled");
    assert!(linker.instantiate_pre(&component).is_ok());
}

#[test]
fn functions_that_cannot_be_called_are_listed_with_the_reason() {
    let house = House::new();
    let info = house
        .inspect(
            r#"(component
                (core module $m (func (export "f")) (func (export "g") (result i32) (i32.const 0)))
                (core instance $i (instantiate $m))
                (type $r' (resource (rep i32)))
                (export $r "r" (type $r'))
                (func $f (canon lift (core func $i "f")))
                (func $g (result (own $r)) (canon lift (core func $i "g")))
                (instance $iface (export "f" (func $f)))
                (export "my:pkg/iface@1.2.0" (instance $iface))
                (export "g" (func $g)))"#,
        )
        .expect("described");
    let names: Vec<_> =
        info.functions.iter().map(|function| (function.name.as_str(), function.not_callable.is_some())).collect();
    assert!(names.contains(&("my:pkg/iface@1.2.0#f", false)) && names.contains(&("g", true)), "{names:?}");
}

#[test]
fn what_is_no_component_of_ours_is_refused_with_its_reason() {
    let house = House::new();
    let noop = guests::noop();
    let native = house.sandbox.compile(&noop).expect("compiled");
    let wat = |text: &str| wat::parse_str(text).expect("a well-formed text");
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (Vec::new(), "not_wasm", "upload the .wasm file"),
        (b"#!/bin/sh".to_vec(), "not_wasm", "upload the .wasm file"),
        (wat("(module)"), "core_module", "wasm32-wasip2"),
        (native, "precompiled", "the WebAssembly component it was made from"),
        (noop[..noop.len() / 2].to_vec(), "invalid_component", "complete"),
        (noop[..6].to_vec(), "invalid_component", "complete"),
        (wat("(component (core module (memory 1 1 shared)))"), "invalid_component", "threads"),
        (wat("(component (core module (memory i64 1)))"), "invalid_component", "64-bit"),
        (
            wat(r#"(component (import "wasi:http/types@0.2.0" (instance)) (import "acme:x/y" (instance)))"#),
            "unknown_imports",
            ": `acme:x/y`",
        ),
        (
            wat(r#"(component (import "tradewind:task/log@1.0.0" (instance (export "shout" (func)))))"#),
            "unknown_imports",
            "shout",
        ),
    ];
    for (bytes, code, told) in cases {
        let refused = house.sandbox.compile(&bytes).expect_err(code);
        assert_eq!(refused.code, code, "{refused}");
        assert!(refused.to_string().contains(told), "{refused}");
    }
    match house.inspect("(component)") {
        Err(UploadError::Refused(refused)) => assert_eq!(refused.code, "no_functions"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_module_that_is_instantiated_often_counts_as_often() {
    let house = House::with(SandboxSettings { guest_threads: 1, ..SandboxSettings::default() });
    let component = |instances: usize| {
        let instance = "(core instance (instantiate $m))".repeat(instances);
        wat::parse_str(format!("(component (core module $m (memory 1)) {instance})")).expect("a well-formed text")
    };
    let most = pool::MOST_MEMORIES as usize;
    assert!(house.sandbox.compile(&component(most)).is_ok());
    // The child's engine has no pool that would refuse it.
    let engine = engine::on_demand().expect("an engine");
    let linker = host::linker(&engine).expect("a linker");
    let bounds = compile::Bounds { max_memory_bytes: 1 << 30 };
    let refused = compile::machine_code(&engine, &linker, &component(most + 1), bounds).expect_err("refused");
    assert_eq!(refused.code, "too_large");
    let said = format!("has {} memories, more than max_memories of {most}", most + 1);
    assert!(refused.reason.contains(&said), "{refused}");
}

#[test]
fn what_only_the_pool_can_tell_is_refused_when_it_is_looked_through() {
    let house = House::with(SandboxSettings { guest_threads: 1, ..SandboxSettings::default() });
    // Nested often, nine core instances each: no count of the binary shows them all.
    let nested = pool::CORE_INSTANCES_EACH as usize / 9 + 1;
    let inner = "(core instance (instantiate $m))".repeat(9);
    let outer = "(instance (instantiate $c))".repeat(nested);
    let text = format!("(component (component $c (core module $m) {inner}) {outer})");
    let wasm = wat::parse_str(text).expect("a well-formed text");
    let engine = engine::on_demand().expect("an engine");
    let linker = host::linker(&engine).expect("a linker");
    let bounds = compile::Bounds { max_memory_bytes: 1 << 30 };
    let code = compile::machine_code(&engine, &linker, &wasm, bounds).expect("compiled");
    let file = house.store.put(Digest::of(&wasm), &code).expect("stored");
    match RUNTIME.block_on(house.sandbox.inspect(&file, 1)) {
        Err(UploadError::Refused(refused)) => {
            assert_eq!(refused.code, "too_large");
            let said = format!("{} core module instances", nested * 9);
            assert!(refused.reason.contains(&said), "{refused}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_said_to_be_offered_is_linked() {
    let house = House::new();
    let mut linker = host::linker(&house.sandbox.machine().engine).expect("a linker");
    let mut define = |name: &str| linker.root().func_wrap(name, |_, (): ()| Ok(()));
    for (interface, major) in compile::OFFERED {
        // Under the very version that is linked, the name is taken.
        let version = if *major == "0.2." { "0.2.12" } else { "1.0.0" };
        assert!(define(&format!("{interface}@{version}")).is_err(), "{interface}");
    }
    assert!(define("wasi:http/incoming-handler@0.2.12").is_ok());
}

#[test]
fn the_cache_loads_each_module_once_and_stays_within_its_bounds() {
    let house = House::new();
    let store =
        Arc::new(CompiledStore::open(house.dir.path(), house.sandbox.compatibility(), [1; 32]).expect("a store"));
    let cache = ModuleCache::new(house.sandbox.clone(), store.clone(), CacheBounds { modules: 1, bytes: u64::MAX });
    let info = |wasm: &[u8]| house.module(wasm).info().clone();
    let (noop, one_line) = (guests::noop(), guests::one_line());
    let (noop_info, one_line_info) = (info(&noop), info(&one_line));
    store.remove(noop_info.digest).expect("removed");

    let fetched = std::sync::atomic::AtomicUsize::new(0);
    let fetch = || async {
        fetched.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok::<_, std::io::Error>(bytes::Bytes::from(noop.clone()))
    };
    let (a, b) = RUNTIME.block_on(async {
        futures_util::future::join(cache.get_or_load(&noop_info, fetch()), cache.get_or_load(&noop_info, fetch())).await
    });
    assert!(Arc::ptr_eq(&a.expect("loaded"), &b.expect("loaded")));
    assert_eq!(fetched.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(store.get(noop_info.digest).expect("an answer").is_some(), "kept on disk");

    // Another module pushes it out; from disk it comes back without a fetch.
    RUNTIME.block_on(cache.get_or_load(&one_line_info, fetch())).expect("loaded from disk");
    assert!(cache.get(noop_info.digest).is_none());
    RUNTIME.block_on(cache.get_or_load(&noop_info, fetch())).expect("loaded from disk");
    assert_eq!(fetched.load(std::sync::atomic::Ordering::SeqCst), 1);

    // Bytes that are not the module's are not compiled under its name.
    cache.remove(one_line_info.digest).expect("removed");
    match RUNTIME.block_on(cache.get_or_load(&one_line_info, fetch())) {
        Err(LoadError::WrongBytes { asked, .. }) => assert_eq!(asked, one_line_info.digest),
        other => panic!("{:?}", other.map(|module| module.digest())),
    }
}
