//! Reads DAG files without a server.

use crate::dag::{Draft, Located, MAX_LOOKS, Source, with_outside};

/// The DAGs of a file as far as they can be read, and what is wrong with them that can be seen without their modules.
pub(super) fn read(file: &[u8]) -> (Vec<Draft>, Vec<Located>) {
    let (sources, mut findings) = Source::read_all(file);
    let mut drafts = Vec::with_capacity(sources.len());
    let mut looks = MAX_LOOKS;
    for source in &sources {
        let (draft, found) = with_outside(&mut looks, |outside| Draft::read(source, outside));
        findings.extend(source.locate(found));
        drafts.push(draft);
    }
    findings.sort();
    (drafts, findings)
}
