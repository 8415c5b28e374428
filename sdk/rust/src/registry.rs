//! The tasks of a module, and the way from a name and a JSON text to a function and back.

use std::error::Error as StdError;
use std::io::Write;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Context, Error, logging};

/// A task as `#[task]` writes it.
pub struct Task {
    pub name: &'static str,
    /// Markdown.
    pub docs: &'static str,
    pub input_schema: fn() -> Value,
    pub output_schema: fn() -> Value,
    pub call: fn(&Context, &str) -> Result<String, Error>,
}

// Every `#[task]` puts itself on this list before `main`, or before the first exported function of a component: the
// bindings run the constructors there. Their order is the linker's.
inventory::collect!(Task);

/// All tasks by name.
///
/// # Panics
///
/// When two have the same name: which of them runs would be left to the linker. It comes to light at upload.
pub(crate) fn tasks() -> Vec<&'static Task> {
    let mut tasks: Vec<_> = inventory::iter::<Task>.into_iter().collect();
    tasks.sort_by_key(|task| task.name);
    if let Some(pair) = tasks.windows(2).find(|pair| pair[0].name == pair[1].name) {
        panic!("two tasks have the name `{}`; rename one with #[task(name = \"…\")]", pair[0].name);
    }
    tasks
}

pub(crate) fn run(context: &Context, name: &str, input: &str) -> Result<String, Error> {
    logging::listen_to_libraries();
    let Some(task) = inventory::iter::<Task>.into_iter().find(|task| task.name == name) else {
        let known = tasks().iter().map(|task| format!("`{}`", task.name)).collect::<Vec<_>>().join(", ");
        return Err(Error::failed(format_args!("the module has no task `{name}`; it has {known}")).do_not_retry());
    };
    let output = (task.call)(context, input);
    // A component has no end at which the standard library would flush a last line without a newline. Where stdout
    // is closed, that line has no reader, and the task's result is not to suffer from it.
    let _ = std::io::stdout().flush();
    output
}

/// What a task function returns when it can fail.
pub trait Fallible {
    type Output;
    fn into_result(self) -> Result<Self::Output, Error>;
}

/// `E` is [`Error`], any standard error, a box of one, `anyhow::Error`, or text.
impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Fallible for Result<T, E> {
    type Output = T;
    fn into_result(self) -> Result<T, Error> {
        self.map_err(|error| Error::from_boxed(error.into()))
    }
}

pub fn input<T: DeserializeOwned>(task: &str, text: &str) -> Result<T, Error> {
    from_json(text).map_err(|reason| bad_input(task, &reason))
}

/// The input of a task that takes none: `null`, `{}` or nothing.
pub fn no_input(task: &str, text: &str) -> Result<(), Error> {
    match text.trim() {
        "" | "null" => Ok(()),
        text => match from_json::<Value>(text) {
            Ok(Value::Object(object)) if object.is_empty() => Ok(()),
            Ok(_) => Err(bad_input(task, "the task takes no input; give null, {} or nothing")),
            Err(reason) => Err(bad_input(task, &reason)),
        },
    }
}

pub fn output<T: Serialize>(task: &str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| {
        Error::failed(format_args!("the output of task `{task}` has no form in JSON: {error}")).do_not_retry()
    })
}

pub fn input_schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>().into()
}

pub fn no_input_schema() -> Value {
    json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": ["null", "object"], "maxProperties": 0})
}

pub fn output_schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>().into()
}

/// The value, or the reason with the path of what does not fit: ``at `years.from`: invalid type …``.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        // On the one line that JSON usually is, the path says more than the column.
        let reason = error.inner().to_string();
        let reason = match reason.rfind(" at line ") {
            Some(end) if error.inner().is_data() => &reason[..end],
            _ => reason.as_str(),
        };
        if path == "." { reason.to_owned() } else { format!("at `{path}`: {reason}") }
    })?;
    json.end().map_err(|error| error.to_string())?;
    Ok(value)
}

fn bad_input(task: &str, reason: &str) -> Error {
    Error::failed(format_args!("the input of task `{task}` does not fit: {reason}")).do_not_retry()
}
