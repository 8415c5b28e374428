//! Tasks: `/api/v1/tasks`.

pub mod batch;
pub mod change;
pub mod check;
mod limits;
pub mod log;
pub mod object;
pub mod read;
pub mod submit;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::model::TaskId;

use super::problem::{Problem, task_not_found};

/// The task that the address names.
pub struct Id(pub TaskId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| task_not_found("of this address"))?;
        // What is not an id names no task either.
        text.parse().map(Self).map_err(|_| task_not_found(&text.chars().take(100).collect::<String>()))
    }
}
