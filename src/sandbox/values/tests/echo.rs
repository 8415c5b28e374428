//! A guest that returns a list of any type as it came: what wasmtime itself thinks of our values.

use std::sync::LazyLock;

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Config, Engine, Store};

use super::super::{InputProblem, Returned, Signature};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let mut config = Config::new();
    config.wasm_component_model_map(true).wasm_component_model_fixed_length_lists(true);
    Engine::new(&config).unwrap()
});

/// `echo: func(x: list<T>) -> list<T>`.
pub(super) struct Echo {
    component: Component,
    signature: Signature,
}

impl Echo {
    /// `declarations` are those of named types, as WAT: see [`named`].
    pub(super) fn of(declarations: &str, ty: &str) -> Self {
        let wat = format!(
            r#"(component
                (core module $m
                    (memory (export "memory") 64)
                    (global $free (mut i32) (i32.const 1024))
                    (func (export "realloc") (param i32 i32 i32) (param $size i32) (result i32)
                        (local $at i32)
                        (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                        (global.set $free (i32.add (local.get $at) (local.get $size)))
                        (local.get $at))
                    (func (export "echo") (param $at i32) (param $length i32) (result i32)
                        (i32.store (i32.const 16) (local.get $at))
                        (i32.store (i32.const 20) (local.get $length))
                        (i32.const 16)))
                (core instance $i (instantiate $m))
                {declarations}
                (func $echo (param "x" (list {ty})) (result (list {ty}))
                    (canon lift (core func $i "echo") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
                (export "echo" (func $echo)))"#
        );
        let component = component(&wat);
        let signature = Signature::of(&export(&component, "echo")).unwrap();
        Self { component, signature }
    }

    pub(super) fn signature(&self) -> &Signature {
        &self.signature
    }

    /// One value through the guest and back.
    pub(super) fn sends_back(&self, value: &str) -> String {
        let input = format!(r#"{{"x": [{value}]}}"#);
        assert_eq!(self.signature.check(&input), Ok(()), "{value}");
        let params = self.signature.lower(&input).unwrap_or_else(|problems| panic!("{value}: {problems:?}"));
        let mut store = Store::new(&ENGINE, ());
        let instance = Linker::new(&ENGINE).instantiate(&mut store, &self.component).unwrap();
        let func = instance.get_func(&mut store, "echo").unwrap();
        let mut results = [Val::Bool(false)];
        func.call(&mut store, &params, &mut results).unwrap_or_else(|error| panic!("{value}: {error:?}"));
        match self.signature.lift(&results, 1 << 20).unwrap() {
            Returned::Value(json) => json.as_str().strip_prefix('[').unwrap().strip_suffix(']').unwrap().to_owned(),
            Returned::Error(_) => panic!("a list is no result"),
        }
    }

    /// The problems of one value, with paths below it, without messages.
    pub(super) fn refuses(&self, value: &str) -> Vec<(String, &'static str)> {
        let input = format!(r#"{{"x": [{value}]}}"#);
        let problems = self.signature.lower(&input).expect_err(value);
        assert_eq!(self.signature.check(&input), Err(problems.clone()));
        let below = |problem: InputProblem| {
            let path = problem.path.strip_prefix("/x/0").unwrap_or(&problem.path).to_owned();
            (path, problem.code)
        };
        problems.into_iter().map(below).collect()
    }
}

/// The declaration of the exported type `$t`, which records, variants, enums and flags must be.
pub(super) fn named(ty: &str) -> String {
    format!(r#"(type $t' {ty}) (export $t "t" (type $t'))"#)
}

pub(super) fn component(wat: &str) -> Component {
    Component::new(&ENGINE, wat::parse_str(wat).unwrap()).unwrap()
}

pub(super) fn import(component: &Component, name: &str) -> ComponentFunc {
    match component.component_type().get_import(&ENGINE, name).unwrap().ty {
        ComponentItem::ComponentFunc(func) => func,
        other => panic!("{name} is {other:?}"),
    }
}

fn export(component: &Component, name: &str) -> ComponentFunc {
    match component.component_type().get_export(&ENGINE, name).unwrap().ty {
        ComponentItem::ComponentFunc(func) => func,
        other => panic!("{name} is {other:?}"),
    }
}
