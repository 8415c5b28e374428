//! Checks lists that a task is mapped over, where they are written out.

use serde_json::{Map, Value, json};

use super::{ANYTHING, InputSchema};
use crate::dag::definition::Expansion;
use crate::dag::finding::{Finding, pointer_part};

/// Elements of a list that is mapped over which are looked at.
const MAX_ELEMENTS: usize = 1_000;
/// Keys that all instances of a task share: with more, it is not looked for what is missing in each.
const MAX_SHARED: usize = 100;

impl InputSchema {
    /// What is wrong with the elements of lists that are written out: the first mistake of each list, with paths that
    /// begin at the object of the task.
    pub fn element_findings(&self, input: &Value, expansion: &Expansion, steps: &mut usize) -> Vec<Finding> {
        match expansion {
            Expansion::Expand(mapped) | Expansion::Zip(mapped) => {
                let lists = mapped.iter().filter_map(|mapped| Some((&mapped.key, mapped.values.as_array()?)));
                let first = lists.filter_map(|(key, elements)| {
                    let own = format!("/{}", pointer_part(key));
                    elements.iter().take(MAX_ELEMENTS).enumerate().find_map(|(index, element)| {
                        let alone = Value::Object(Map::from_iter([(key.clone(), element.clone())]));
                        // That there is no such key is known without its elements.
                        let of_element = |finding: &Finding| finding.path != own || finding.code != "unknown_field";
                        let finding = self.walk(&alone, true, steps).into_iter().find(of_element)?;
                        let below = finding.path.strip_prefix(&own).unwrap_or_default();
                        Some(Finding { path: format!("/{}{own}/{index}{below}", expansion.key()), ..finding })
                    })
                });
                first.collect()
            }
            Expansion::ExpandKwargs(Value::Array(elements)) => {
                // What all instances share is checked once, and is not looked at here. Of a template nobody knows
                // what it adds.
                let shared = match input {
                    Value::Null => Some(Map::new()),
                    Value::Object(shared) if shared.len() <= MAX_SHARED => {
                        Some(shared.keys().map(|key| (key.clone(), json!(ANYTHING))).collect())
                    }
                    _ => None,
                };
                let first = elements.iter().take(MAX_ELEMENTS).enumerate().find_map(|(index, element)| {
                    let own = element.as_object()?;
                    let mut whole = shared.clone().unwrap_or_default();
                    whole.extend(own.clone());
                    let of_element = |finding: &Finding| {
                        let key = finding.path.split('/').nth(1);
                        key.is_none_or(|key| own.keys().any(|own| pointer_part(own) == key))
                    };
                    let found = self.walk(&Value::Object(whole), shared.is_none(), steps);
                    let finding = found.into_iter().find(of_element)?;
                    Some(Finding { path: format!("/{}/{index}{}", expansion.key(), finding.path), ..finding })
                });
                Vec::from_iter(first)
            }
            Expansion::ExpandKwargs(_) => Vec::new(),
        }
    }
}
