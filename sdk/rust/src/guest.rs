//! The component side: the world of `wit/task.wit`, exported once for all tasks of a module.

use log::Level;

use crate::error::Kind;
use crate::{Context, RetryAdvice, registry};
use bindings::exports::tradewind::task::tasks::{Descriptor, Guest, Interruption};
use bindings::tradewind::task::types::{Failure, RetryAdvice as Advice};
use bindings::tradewind::task::{context, log as host_log};

mod bindings {
    #![expect(unsafe_code, reason = "generated: the canonical ABI passes raw pointers")]

    // `wit/task.wit` is a link to the file at the root of the repository, the one source; `cargo vendor` puts a copy
    // in its place.
    wit_bindgen::generate!({ world: "task", path: "wit" });

    export!(Module with_types_in self);
    use super::Module;
}

struct Module;

impl Guest for Module {
    fn list_tasks() -> Vec<Descriptor> {
        let describe = |task: &registry::Task| Descriptor {
            name: task.name.to_owned(),
            input_schema: (task.input_schema)().to_string(),
            output_schema: (task.output_schema)().to_string(),
            docs: task.docs.to_owned(),
        };
        registry::tasks().into_iter().map(describe).collect()
    }

    fn run(name: String, input: String) -> Result<String, Interruption> {
        registry::run(&Context { source: Host }, &name, &input).map_err(|error| match error.into_kind() {
            Kind::Failed { message, data, retry } => Interruption::Failed(Failure {
                message,
                data: data.map(|value| value.to_string()),
                retry: match retry {
                    RetryAdvice::ByPolicy => Advice::ByPolicy,
                    RetryAdvice::Never => Advice::Never,
                    RetryAdvice::After(delay) => Advice::After(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
                },
            }),
            Kind::Skipped { reason } => Interruption::Skipped(reason),
        })
    }
}

pub(crate) fn write_log(level: Level, message: &str) {
    let level = match level {
        Level::Trace => host_log::Level::Trace,
        Level::Debug => host_log::Level::Debug,
        Level::Info => host_log::Level::Info,
        Level::Warn => host_log::Level::Warn,
        Level::Error => host_log::Level::Error,
    };
    host_log::write(level, message);
}

/// The context as the host answers it.
#[derive(Debug, Clone)]
pub(crate) struct Host;

macro_rules! ask_the_host {
    ($($name:ident -> $answer:ty),+ $(,)?) => {
        impl Host {
            $(pub(crate) fn $name(&self) -> $answer { context::$name() })+
        }
    };
}

ask_the_host! {
    task_id -> String,
    run_id -> Option<String>,
    dag_id -> Option<String>,
    logical_date -> Option<String>,
    data_interval_start -> Option<String>,
    data_interval_end -> Option<String>,
    try_number -> u32,
    map_index -> Option<u32>,
    params -> String,
    deadline -> String,
}
