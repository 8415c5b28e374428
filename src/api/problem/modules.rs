//! What is refused of modules.

use std::time::Duration;

use crate::coordinator::{DeleteError, ModuleError, ModuleRef, UploadError};
use crate::sandbox::Refused;

use super::{Kind, Problem, broken_off, unavailable};

pub fn module_not_found(reference: &ModuleRef) -> Problem {
    Problem::new(
        Kind::ModuleNotFound,
        format!("module {reference}"),
        "no module has this name or digest",
        "upload it with POST /api/v1/modules, or list the modules with GET /api/v1/modules",
    )
}

pub fn load_refused(reference: &ModuleRef, error: ModuleError) -> Problem {
    match error {
        ModuleError::NotFound(_) => module_not_found(reference),
        ModuleError::Unavailable { reason } | ModuleError::Unusable { reason, .. } => {
            unavailable(&format!("module {reference}"), reason)
        }
    }
}

/// About how long a module takes to be compiled.
const UPLOAD_AGAIN: Duration = Duration::from_secs(5);

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Refused(Refused { code, thing, reason, remedy }) => {
                Self::new(Kind::ModuleRefused, thing, reason, remedy).code(code)
            }
            UploadError::TooLarge { limit } => Self::new(
                Kind::BodyTooLarge,
                "the module",
                format!("it is larger than {limit} bytes, the limit of `max_module_bytes`"),
                "strip it (`wasm-tools strip`), or raise the setting",
            ),
            UploadError::Busy { most } => Self::new(
                Kind::Busy,
                "the upload",
                format!("{most} uploads are under way, which is the limit"),
                "upload again after the pause in Retry-After",
            )
            .retry_after(UPLOAD_AGAIN),
            UploadError::Unavailable { reason } => unavailable("the module was not stored", reason),
            UploadError::Interrupted(_) => broken_off(),
        }
    }
}

pub fn delete_refused(reference: &ModuleRef, error: DeleteError) -> Problem {
    match error {
        DeleteError::NotFound(_) => module_not_found(reference),
        DeleteError::InUse { by } => Problem::new(
            Kind::ModuleInUse,
            format!("module {reference}"),
            format!("it is named by {}", by.join(", ")),
            "remove its tags and those DAGs, and let the tasks end; what ran keeps its module until retention takes it",
        ),
        DeleteError::Unavailable { reason } => unavailable(&format!("module {reference} was not deleted"), reason),
    }
}
