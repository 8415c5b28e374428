//! Finds a field, a case or a flag by its name, at a cost that does not grow with their number.

use std::collections::HashMap;

/// Below this, comparing one after the other is faster than hashing.
const FEW: usize = 12;

/// Names in the order of their declaration. WIT names are kebab-case: they need no escape in JSON.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    list: Vec<Box<str>>,
    /// Filled where there are more than [`FEW`]: an input with very many unknown keys must not cost their product.
    by_name: HashMap<Box<str>, usize>,
}

impl Names {
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let list: Vec<Box<str>> = names.map(Box::from).collect();
        let by_name = match list.len() {
            0..=FEW => HashMap::new(),
            _ => list.iter().cloned().zip(0..).collect(),
        };
        Self { list, by_name }
    }

    pub(super) fn position(&self, name: &str) -> Option<usize> {
        if self.by_name.is_empty() {
            self.list.iter().position(|known| **known == *name)
        } else {
            self.by_name.get(name).copied()
        }
    }

    /// As [`position`](Self::position), tried first at `hint`: most people write keys in the order of declaration.
    pub(super) fn position_near(&self, name: &str, hint: usize) -> Option<usize> {
        match self.list.get(hint) {
            Some(known) if **known == *name => Some(hint),
            _ => self.position(name),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.list.iter().map(|name| &**name)
    }

    pub(super) fn get(&self, position: usize) -> &str {
        &self.list[position]
    }

    /// For messages: `` `a`, `b` and 7 more ``.
    pub(super) fn enumerate(&self) -> String {
        const SHOWN: usize = 8;
        let shown: Vec<String> = self.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
        match self.len().saturating_sub(SHOWN) {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_names_are_found_alike() {
        for count in [1, FEW, FEW + 1, 1000] {
            let all: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
            let names = Names::of(all.iter().map(String::as_str));
            for (position, name) in all.iter().enumerate() {
                assert_eq!(names.position(name), Some(position));
                assert_eq!(names.position_near(name, 0), Some(position));
            }
            assert_eq!(names.position("other"), None);
            assert_eq!(names.position_near("other", count), None);
        }
    }
}
