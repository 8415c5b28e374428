//! Drawings of a DAG: as text for a terminal, and as an SVG file.
//!
//! Both share one layout: tasks in layers (`layers`), each layer in an order with few crossings (`order`), and a place
//! for each task beside the others of its layer (`place`). All of it is deterministic.

mod layers;
mod order;
mod place;
mod svg;
mod terminal;
#[cfg(test)]
mod tests;

pub use svg::svg;
pub use terminal::terminal;

/// What is drawn. Upstreams that do not exist, and those that would close a cycle, are left out.
#[derive(Debug, Clone, Default)]
pub struct Drawing {
    pub tasks: Vec<DrawnTask>,
}

impl Drawing {
    /// The places of the tasks in an order in which every upstream comes first, as near to their own as can be.
    pub fn order(&self) -> Vec<usize> {
        layers::Sorted::new(self).order
    }
}

#[derive(Debug, Clone, Default)]
pub struct DrawnTask {
    pub id: String,
    /// Places in `Drawing::tasks`.
    pub upstream: Vec<usize>,
    /// The id of the innermost group, `load.deep` for one within `load`.
    pub group: Option<String>,
    /// What else is worth a look: the function, or how long it took.
    pub label: Option<String>,
    pub kind: Kind,
    /// A state of a task instance by its name; of a mapped task, the state of the whole.
    pub state: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    Plain,
    Branch,
    Setup,
    Teardown,
    /// With the number of its instances, once known.
    Mapped(Option<u32>),
}

impl Kind {
    /// The instances of a mapped task: `[0..9]`.
    fn instances(self, unicode: bool) -> Option<String> {
        match self {
            Self::Mapped(None) if unicode => Some("[…]".to_owned()),
            Self::Mapped(None) => Some("[..]".to_owned()),
            Self::Mapped(Some(0)) => Some("[]".to_owned()),
            Self::Mapped(Some(1)) => Some("[0]".to_owned()),
            Self::Mapped(Some(count)) => Some(format!("[0..{}]", count - 1)),
            Self::Plain | Self::Branch | Self::Setup | Self::Teardown => None,
        }
    }

    fn word(self) -> Option<&'static str> {
        match self {
            Self::Branch => Some("branch"),
            Self::Setup => Some("setup"),
            Self::Teardown => Some("teardown"),
            Self::Plain | Self::Mapped(_) => None,
        }
    }
}
