//! DAGs: `/api/v1/dags`.

pub mod apply;
pub mod change;
mod check;
mod definitions;
mod findings;
pub mod object;
mod params;
pub mod read;
pub mod trigger;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::model::DagId;

use super::problem::Problem;

pub use definitions::Definitions;
pub use params::Params;

/// The DAG that the address names.
pub struct Name(pub DagId);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::invalid("name", error.body_text(), "correct the address"))?;
        read_name(&text).map(Self)
    }
}

fn read_name(text: &str) -> Result<DagId, Problem> {
    let correct = "list the DAGs with GET /api/v1/dags";
    text.parse()
        .map_err(|error: crate::model::dag_names::NotAName| Problem::invalid("name", error.to_string(), correct))
}
