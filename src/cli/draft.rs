//! Reads DAG files without a server.

use serde_json::Value;
use tradewind_json_schema::Schema;

use crate::dag::draft::Outside;
use crate::dag::{Draft, Located, Source};

/// Problems of one default value that are told.
const MAX_PROBLEMS: usize = 20;

/// The DAGs of a file as far as they can be read, and what is wrong with them that can be seen without their modules.
pub(super) fn read(file: &[u8]) -> (Vec<Draft>, Vec<Located>) {
    let (sources, mut findings) = Source::read_all(file);
    let is_timezone = |name: &str| jiff::tz::TimeZone::get(name).is_ok();
    let outside = Outside { schema_problems: &schema_problems, is_timezone: &is_timezone };
    let mut drafts = Vec::with_capacity(sources.len());
    for source in &sources {
        let (draft, found) = Draft::read(source, &outside);
        findings.extend(source.locate(found));
        drafts.push(draft);
    }
    findings.sort();
    (drafts, findings)
}

fn schema_problems(schema: &Value, value: &Value) -> Result<Vec<(String, String)>, String> {
    let problems = Schema::compile(schema)?.problems(value, MAX_PROBLEMS);
    Ok(problems.into_iter().map(|problem| (problem.path, problem.message)).collect())
}
