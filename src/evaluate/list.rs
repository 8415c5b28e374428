//! Makes the list that a task or group is mapped over.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::dag::plan::{Expansion, ListForm, ListTemplate, ScopeIndex};
use crate::dag::template::{Bounds, Instance, RenderError, Scope};
use crate::engine::graph::{Evaluated, Evaluation};
use crate::model::task::TaskResult;
use crate::model::{Json, TaskError};

use super::kept_list::{ALL_BYTES, KeptList, MAX_ELEMENTS, Text, total};
use super::{ELEMENTS_AT_ONCE, Inputs, elements, failure, reading};

pub(super) fn evaluate(question: &Evaluation, inputs: &Inputs, scope: ScopeIndex) -> Result<Evaluated, TaskError> {
    let expansion = question.plan.scope(scope).expansion.as_ref().expect("only what is mapped has a list");
    let instance = Instance { id: None, task_id: &expansion.name, map_index: -1, try_number: 0 };
    let run = reading::of_run(&question.spec, &question.plan, inputs);
    let kept = Arc::new(make(expansion, &run.for_instance(instance))?);
    let elements = elements::cut(expansion, &run, &kept, 0, ELEMENTS_AT_ONCE);
    Ok(Evaluated::List { total: kept.total(), list: TaskResult::Inline(kept.text().clone()), elements })
}

fn make(expansion: &Expansion, scope: &Scope) -> Result<KeptList, TaskError> {
    let list = &*expansion.list;
    let owner = Owner { expansion, list };
    let text = list.values.render_text(scope, Bounds::default()).map_err(|error| owner.not_rendered(&error))?;
    let columns: Vec<&RawValue> = serde_json::from_str(text.as_str()).expect("a list of columns is rendered as one");
    let mut values = Vec::with_capacity(columns.len());
    for (index, column) in columns.into_iter().enumerate() {
        let what = || owner.fails(&format!("{} is {}, not a list", owner.column(index), kind_of(column)));
        let items: Vec<&RawValue> = serde_json::from_str(column.get()).map_err(|_| what())?;
        let is_other = |item: &&RawValue| list.form == ListForm::Objects && !item.get().starts_with('{');
        if let Some(place) = items.iter().position(is_other) {
            let what =
                format!("element {place} of {} is {}, not an object", owner.column(index), kind_of(items[place]));
            return Err(owner.fails(&what));
        }
        values.push(items);
    }
    owner.check_lengths(&values)?;
    let keys = list.columns.iter().map(|column| column.key.clone()).filter(|_| list.form != ListForm::Objects);
    let kept = Text { form: list.form, keys: keys.collect(), values };
    let kept = Json::of(&kept).expect("JSON values with their punctuation are JSON");
    let kept = KeptList::parse(&kept).expect("it was written so");
    match kept.bytes_of_elements() {
        bytes if bytes > ALL_BYTES => Err(owner.fails(&format!(
            "its {} elements come to {bytes} bytes; the limit is {ALL_BYTES}: give all instances by `input` what is \
             the same for all, or map over the names of large objects in storage",
            kept.total()
        ))),
        _ => Ok(kept),
    }
}

struct Owner<'a> {
    expansion: &'a Expansion,
    list: &'a ListTemplate,
}

impl Owner<'_> {
    fn fails(&self, what: &str) -> TaskError {
        failure(format!("`{}` of {}: {what}", self.list.form.key(), self.name()))
    }

    fn name(&self) -> String {
        format!("{} `{}`", if self.expansion.is_group { "group" } else { "task" }, self.expansion.name)
    }

    /// A column, for people: its key and what makes it.
    fn column(&self, index: usize) -> String {
        match self.list.columns.get(index) {
            Some(column) if column.key.is_empty() => format!("`{}`", column.source),
            Some(column) => format!("`{}`, which is `{}`,", column.key, column.source),
            None => format!("list {index}"),
        }
    }

    fn not_rendered(&self, error: &RenderError) -> TaskError {
        // `/0/3/name`: in the first column.
        let index = error.pointer.split('/').nth(1).and_then(|index| index.parse::<usize>().ok());
        let column = index.and_then(|index| self.list.columns.get(index)).filter(|column| !column.key.is_empty());
        match column {
            Some(column) => self.fails(&format!("`{}`: {error}", column.key)),
            None => self.fails(&error.to_string()),
        }
    }

    fn check_lengths(&self, values: &[Vec<&RawValue>]) -> Result<(), TaskError> {
        let lengths: Vec<usize> = values.iter().map(Vec::len).collect();
        let each = || {
            let columns = self.list.columns.iter().zip(&lengths).take(20);
            columns.map(|(column, length)| format!("`{}` has {length}", column.key)).collect::<Vec<_>>().join(", ")
        };
        match total(self.list.form, &lengths) {
            Some(total) if total <= MAX_ELEMENTS => Ok(()),
            None if self.list.form == ListForm::Zip => {
                Err(self.fails(&format!("its lists are not of one length: {}", each())))
            }
            _ if self.list.columns.len() > 1 && self.list.form == ListForm::Product => {
                let reason = format!("more than {MAX_ELEMENTS} instances come out, which is the limit: {}", each());
                Err(self.fails(&reason))
            }
            _ => {
                let most = lengths.first().copied().unwrap_or_default();
                let reason = format!("{} has {most} elements; the limit is {MAX_ELEMENTS}", self.column(0));
                Err(self.fails(&reason))
            }
        }
    }
}

fn kind_of(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "a bool",
        Some(b'n') => "null",
        _ => "a number",
    }
}
