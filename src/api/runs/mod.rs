//! Runs of DAGs: `/api/v1/runs`.

pub mod change;
pub mod clear;
pub mod events;
pub mod names;
pub mod object;
pub mod read;
pub mod tasks;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::model::RunId;

use super::problem::{Problem, run_not_found};

/// The run that the address names.
pub struct Id(pub RunId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| run_not_found("of this address"))?;
        // What is not an id names no run either.
        text.parse().map(Self).map_err(|_| run_not_found(&text.chars().take(100).collect::<String>()))
    }
}
