//! Permission for one task to use what the host can offer, each within a scope.
//!
//! Nothing is offered yet beyond context and log, which need no grant; a task
//! that asks for a capability is refused at submit and told so.

use serde::{Deserialize, Serialize};

/// The grants of one task. Empty unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {}

impl Grants {
    /// Whether an attempt can be noticed outside this process before it has
    /// ended. One that cannot may start before its acceptance is on disk.
    pub fn reach_outside(&self) -> bool {
        let Self {} = self;
        false
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
