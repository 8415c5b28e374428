//! What is wrong with a graph whose parts are each well-formed.

mod cycles;
pub mod input;
pub mod outputs;
mod rules;
mod schema;
mod templates;

pub use templates::MAX_TEMPLATES;

use super::draft::{Read, Reader};
use super::order;

/// All findings about the graph, and the draft's upstream lists as they are to be kept.
pub(super) fn graph(reader: &mut Reader, read: &mut Read<'_>) {
    cycles::find(reader, read);
    rules::check(reader, read);
    read.draft.reads = templates::check(reader, read);
    for (task, links) in read.draft.tasks.iter_mut().zip(&read.upstream) {
        task.upstream = links.iter().map(|link| link.task).collect();
    }
}
