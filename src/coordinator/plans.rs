//! DAG versions made ready to run, kept in memory.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::dag::{Definition, Plan};
use crate::model::Digest;
use crate::store::Reads;

/// Versions kept. When there are more, those that no run has are made anew when they are needed.
const MOST_PLANS: usize = 1_000;

#[derive(Default)]
pub(crate) struct Plans {
    made: Mutex<HashMap<Digest, Arc<Plan>>>,
    reads: OnceLock<Reads>,
}

impl Plans {
    /// Where definitions are read from.
    pub(super) fn read_from(&self, reads: Reads) {
        // Set once, at start.
        let _ = self.reads.set(reads);
    }

    /// None: there is no such version.
    pub(super) async fn get(&self, version: Digest) -> Result<Option<Arc<Plan>>, String> {
        if let Some(plan) = self.find(&version) {
            return Ok(Some(plan));
        }
        let reads = self.reads.get().ok_or("the server is starting")?;
        let definition =
            reads.run(move |reader| reader.definition(&version)).await.map_err(|error| error.to_string())?;
        definition.map(|definition| self.make(version, &definition)).transpose()
    }

    pub(super) fn find(&self, version: &Digest) -> Option<Arc<Plan>> {
        self.made.lock().get(version).cloned()
    }

    pub(super) fn make(&self, version: Digest, definition: &Definition) -> Result<Arc<Plan>, String> {
        let plan = Arc::new(Plan::of(definition).map_err(|error| error.to_string())?);
        let mut made = self.made.lock();
        if made.len() >= MOST_PLANS {
            made.retain(|_, plan| Arc::strong_count(plan) > 1);
        }
        Ok(made.entry(version).or_insert(plan).clone())
    }
}
