//! The nouns of Tradewind and their rules, without I/O, clock or wasmtime.

pub mod ceiling;
pub mod dag_names;
pub mod digest;
pub mod grants;
pub mod ids;
pub mod json;
pub mod limits;
pub mod module;
pub mod names;
pub mod retry;
pub mod run;
pub mod size;
pub mod states;
pub mod task;
pub mod time;
pub mod variable;

pub use ceiling::Ceiling;
pub use dag_names::{DagId, GroupName, ParamName, TaskName};
pub use digest::Digest;
pub use grants::Grants;
pub use ids::{RunId, TaskId};
pub use json::Json;
pub use limits::Limits;
pub use module::{FunctionInfo, ModuleInfo, ModuleKind};
pub use names::{ModuleName, QueueName, RunName, Tag};
pub use retry::{RetryAdvice, RetryPolicy};
pub use run::{RunRecord, RunSpec, RunState, RunType};
pub use size::ByteSize;
pub use states::{Outcome, TaskState};
pub use task::{TaskError, TaskRecord, TaskSpec, Usage};
pub use time::{Span, Timestamp};
