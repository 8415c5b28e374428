//! What is known of an uploaded module.

use serde::{Deserialize, Serialize};

use super::{Digest, Json};

/// How a module is entered; told from the component at upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModuleKind {
    /// Any exported functions with value types.
    Functions,
    /// The SDK world, `tradewind:task`.
    Sdk,
    /// A program with `wasi:cli/run`; a core module for wasip1 becomes one.
    Command,
}

/// A module: immutable, named by its digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModuleInfo {
    #[schema(value_type = String, example = "sha256:9f86…")]
    pub digest: Digest,
    pub size_bytes: u64,
    pub kind: ModuleKind,
    pub functions: Vec<FunctionInfo>,
    /// Interfaces the component imports.
    pub imports: Vec<String>,
    /// Capabilities a task must be granted before the module can run.
    pub grants_needed: Vec<String>,
}

/// A callable inside a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FunctionInfo {
    /// `run`, or `ns:pkg/iface#run` for an exported interface's.
    pub name: String,
    /// JSON Schema.
    #[schema(value_type = Object)]
    pub input_schema: Json,
    /// JSON Schema.
    #[schema(value_type = Object)]
    pub output_schema: Json,
    /// Markdown.
    pub docs: String,
    /// Why it cannot be called; null where it can.
    pub not_callable: Option<String>,
}

impl ModuleInfo {
    pub fn function(&self, name: &str) -> Option<&FunctionInfo> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The function meant when a task names none: the only callable one.
    pub fn sole_function(&self) -> Option<&FunctionInfo> {
        let mut callable = self.functions.iter().filter(|function| function.not_callable.is_none());
        callable.next().filter(|_| callable.next().is_none())
    }
}
