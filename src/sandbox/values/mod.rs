//! Turns JSON into the WIT values a function takes, and what it returns into JSON.
//!
//! The mapping is the table "JSON and WIT" of the public contract. Everything that can be said about a function is
//! settled once, in [`Signature::of`]; a task then costs one pass over its input and one over its result, and no
//! look at wasmtime's types.

mod bytes;
mod collections;
mod lift;
mod lower;
mod names;
mod number;
mod problems;
mod reading;
mod schema;
mod shape;
mod slot;
#[cfg(test)]
mod tests;

use wasmtime::component::Val;
use wasmtime::component::types::ComponentFunc;

use crate::model::Json;

pub use lift::LiftError;
pub use problems::InputProblem;

use lift::json_of;
use lower::Purpose;
use reading::Reading;
use schema::{InputSchema, OutputSchema};
use shape::{Fields, Shape};

/// What a function takes and returns.
#[derive(Debug)]
pub struct Signature {
    parameters: Fields,
    result: Option<Shape>,
}

/// How a function that returned, rather than trapped, has ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Returned {
    /// The value of `ok` where the function returns a `result`; else what it returned; `null` where that is nothing.
    Value(Json),
    /// The function's own `result` was `err`; its value, where it has one.
    Error(Option<Json>),
}

impl Signature {
    /// Reads the types of a function.
    ///
    /// `Err` is a sentence for people, why it cannot be called: a type that has no JSON form (resources, streams,
    /// futures, error contexts), or more types than a signature may have.
    pub fn of(func: &ComponentFunc) -> Result<Signature, String> {
        if func.async_() {
            return Err("it is an async function, which Tradewind cannot call".to_owned());
        }
        let mut reading = Reading::default();
        let parameters = reading.fields(func.params(), "parameter")?;
        let mut results = func.results();
        let result = results.next().map(|ty| reading.within("its result", &ty)).transpose()?;
        match results.next() {
            None => Ok(Signature { parameters, result }),
            Some(_) => Err("it returns more than one value".to_owned()),
        }
    }

    /// JSON Schema (2020-12) of the input: an object with a property for each parameter.
    pub fn input_schema(&self) -> Json {
        Json::of(&InputSchema(&self.parameters)).expect("a schema is JSON")
    }

    /// JSON Schema (2020-12) of the output: what [`Returned::Value`] carries.
    pub fn output_schema(&self) -> Json {
        let output = match &self.result {
            Some(Shape::Result { ok, .. }) => ok.as_deref(),
            other => other.as_ref(),
        };
        Json::of(&OutputSchema(output)).expect("a schema is JSON")
    }

    /// The function's parameters from JSON text, in order. Empty text and `null` mean `{}`.
    ///
    /// All problems of the input are reported together, the first 100 of them. Text that is not JSON is one problem.
    pub fn lower(&self, input: &str) -> Result<Vec<Val>, Vec<InputProblem>> {
        lower::parameters(&self.parameters, input, Purpose::Build)
    }

    /// Whether [`lower`](Self::lower) would succeed. Builds no values, so that a large input costs no memory here.
    pub fn check(&self, input: &str) -> Result<(), Vec<InputProblem>> {
        if self.parameters.is_empty() && matches!(input, "null" | "{}" | "") {
            return Ok(());
        }
        lower::parameters(&self.parameters, input, Purpose::Check).map(drop)
    }

    /// How many values a call returns: 0 or 1.
    pub fn result_count(&self) -> usize {
        usize::from(self.result.is_some())
    }

    /// The outcome from what the call returned. Stops as soon as the JSON text would exceed `max_bytes`.
    pub fn lift(&self, results: &[Val], max_bytes: usize) -> Result<Returned, LiftError> {
        match (&self.result, results) {
            (None, []) => Ok(Returned::Value(Json::null())),
            (Some(Shape::Result { ok, .. }), [Val::Result(Ok(value))]) => match (ok, value) {
                (Some(shape), Some(value)) => json_of(shape, value, max_bytes).map(Returned::Value),
                _ => Ok(Returned::Value(Json::null())),
            },
            (Some(Shape::Result { err, .. }), [Val::Result(Err(value))]) => match (err, value) {
                (Some(shape), Some(value)) => json_of(shape, value, max_bytes).map(Some).map(Returned::Error),
                _ => Ok(Returned::Error(None)),
            },
            (Some(shape), [value]) => json_of(shape, value, max_bytes).map(Returned::Value),
            (_, values) => Err(LiftError::Unsupported(format!(
                "the call returned {} values where the function's type says {}",
                values.len(),
                self.result_count()
            ))),
        }
    }
}
