//! Definitions of DAG versions that were read lately: they never change, and every page of a run's tasks needs one.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::dag::Definition;
use crate::model::Digest;
use crate::store::{ReadError, Reads};

/// Kept at most: a large one takes some megabytes.
const MOST: usize = 32;

/// The newest is last.
#[derive(Default)]
pub struct Definitions(Mutex<VecDeque<(Digest, Arc<Definition>)>>);

impl Definitions {
    /// None: no such version is stored.
    pub async fn get(&self, reads: &Reads, version: Digest) -> Result<Option<Arc<Definition>>, ReadError> {
        if let Some(known) = self.find(version) {
            return Ok(Some(known));
        }
        let Some(read) = reads.run(move |reader| reader.definition(&version)).await? else { return Ok(None) };
        let read = Arc::new(read);
        let mut kept = self.0.lock();
        if kept.len() >= MOST {
            kept.pop_front();
        }
        kept.push_back((version, read.clone()));
        Ok(Some(read))
    }

    fn find(&self, version: Digest) -> Option<Arc<Definition>> {
        let mut kept = self.0.lock();
        let place = kept.iter().position(|(known, _)| *known == version)?;
        let found = kept.remove(place)?;
        kept.push_back(found.clone());
        Some(found.1)
    }
}
