use super::Context;
use super::error::CliError;
use clap::Args;
#[derive(Debug, Args)]
pub(super) struct BenchCommand {}
impl BenchCommand {
    pub(super) async fn run(self, _context: &mut Context) -> Result<(), CliError> {
        Ok(())
    }
}
