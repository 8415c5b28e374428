//! `tradewind compile-module`: the child in which the server compiles uploads. Nobody else calls it.

use std::process::ExitCode;

use clap::Args;

use crate::sandbox::{self, Orders};

/// Compile one module from stdin to stdout, bounded. For the server itself.
#[derive(Debug, Args)]
pub(super) struct CompileModuleCommand {
    orders: Orders,
}

impl CompileModuleCommand {
    pub(super) fn run(self) -> ExitCode {
        sandbox::compile_module(self.orders)
    }
}
