//! What a run's templates see.

use crate::dag::Plan;
use crate::dag::template::{self, Scope};
use crate::model::{Json, RunSpec, TaskError, Timestamp};

use super::{Inputs, failure};

/// The names of the run: its dates, its params, its outputs.
pub(super) fn of_run(spec: &RunSpec, plan: &Plan, inputs: &Inputs) -> Scope {
    let outputs = inputs.outputs.iter().map(|(node, output)| (plan.node(*node).name.to_string(), output.clone()));
    Scope::of_run(template::Run {
        dag_id: spec.dag_id.as_str(),
        run_id: spec.run_id.as_str(),
        logical_date: moment(spec.logical_date),
        data_interval_start: moment(spec.data_interval_start),
        data_interval_end: moment(spec.data_interval_end),
        params: spec.params.clone(),
        conf: spec.conf.clone(),
        variables: inputs.variables.clone(),
        outputs: outputs.collect(),
    })
}

fn moment(time: Option<Timestamp>) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_microsecond(time?.as_micros()).ok()
}

/// As templates write it: −1 where there is none.
pub(super) fn map_index(index: Option<u32>) -> i64 {
    index.map_or(-1, i64::from)
}

/// The same with the keys of an element.
pub(super) fn with_element(scope: &Scope, element: &Json) -> Result<Scope, TaskError> {
    match element.to_value() {
        Ok(serde_json::Value::Object(keys)) => Ok(scope.with_keys(&keys)),
        Ok(_) => Err(failure("an element of what it is mapped over is no object".to_owned())),
        Err(error) => Err(failure(format!("an element of what it is mapped over cannot be read: {error}"))),
    }
}
