//! What a task or group is mapped over, as it is kept: one text, of which elements are cut.
//!
//! Of a product the columns are kept and not what they make: 300 and 300 values are 90 000 elements.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dag::plan::ListForm;
use crate::model::Json;

/// Instances of one mapped task or group in one run.
pub const MAX_ELEMENTS: usize = 100_000;

/// What all elements of one list may come to together: each stands in its instance's row. 1 GiB.
pub(super) const ALL_BYTES: u64 = 1 << 30;

/// Elements that are cut at once, in bytes; the last may go beyond. No element is much longer than this: it has a part
/// of the list's text at most.
const SLICE_BYTES: usize = 8 << 20;

/// A list, read once. Holds its text and, for each value in it, where it stands.
pub struct KeptList {
    text: Json,
    form: ListForm,
    /// As JSON, with the colon.
    keys: Vec<String>,
    columns: Vec<Vec<Place>>,
    total: u32,
}

/// From where to where in the text.
type Place = (u32, u32);

#[derive(Debug, thiserror::Error)]
#[error("not the list of a mapped task: {0}")]
pub struct NotAKeptList(String);

/// The text. Keys and columns are in the order of the file.
#[derive(Serialize, Deserialize)]
pub(super) struct Text<'a> {
    pub(super) form: ListForm,
    pub(super) keys: Vec<String>,
    #[serde(borrow)]
    pub(super) values: Vec<Vec<&'a RawValue>>,
}

impl KeptList {
    /// Takes about as long as reading the text: some ten milliseconds for a hundred thousand values.
    pub fn parse(text: &Json) -> Result<Self, NotAKeptList> {
        let read: Text<'_> = serde_json::from_str(text.as_str()).map_err(|error| NotAKeptList(error.to_string()))?;
        let Text { form, keys, values } = read;
        let is_whole = match form {
            ListForm::Product | ListForm::Zip => keys.len() == values.len() && !keys.is_empty(),
            ListForm::Objects => keys.is_empty() && values.len() == 1,
        };
        let lengths: Vec<usize> = values.iter().map(Vec::len).collect();
        let total = total(form, &lengths).filter(|total| is_whole && *total <= MAX_ELEMENTS);
        let total = total.ok_or_else(|| NotAKeptList("its parts do not belong together".to_owned()))? as u32;
        let start = text.as_str().as_ptr() as usize;
        let place = |value: &RawValue| {
            let from = value.get().as_ptr() as usize - start;
            (from as u32, (from + value.get().len()) as u32)
        };
        if u32::try_from(text.as_str().len()).is_err() {
            return Err(NotAKeptList(format!("a text of {} bytes", text.as_str().len())));
        }
        let columns = values.iter().map(|column| column.iter().map(|value| place(value)).collect()).collect();
        let keys = keys.iter().map(|key| format!("{}:", Value::from(key.as_str()))).collect();
        Ok(Self { text: text.clone(), form, keys, columns, total })
    }

    /// How many elements there are.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// The list as it is kept.
    pub fn text(&self) -> &Json {
        &self.text
    }

    /// Its size in memory, about.
    pub fn bytes(&self) -> usize {
        let values = self.columns.iter().map(Vec::len).sum::<usize>();
        self.text.as_str().len() + values * size_of::<Place>()
    }

    /// What all elements come to: a product repeats its values.
    pub(super) fn bytes_of_elements(&self) -> u64 {
        let total = u64::from(self.total);
        let keys = self.keys.iter().map(|key| key.len() as u64 + 1).sum::<u64>() * total;
        let values = self.columns.iter().map(|column| {
            let bytes: u64 = column.iter().map(|(from, to)| u64::from(to - from)).sum();
            match self.form {
                ListForm::Product if total > 0 => bytes * (total / column.len() as u64),
                ListForm::Product => 0,
                ListForm::Zip | ListForm::Objects => bytes,
            }
        });
        keys + values.sum::<u64>()
    }

    /// Elements from this one on, each an object: at most so many, fewer where they are large or the list ends,
    /// but one if there is one.
    pub fn slice(&self, from: u32, count: usize) -> Vec<Json> {
        let mut bytes = 0;
        let indices = (from..self.total).take(count);
        let elements = indices.map_while(|index| {
            let element = (bytes < SLICE_BYTES).then(|| self.element(index))?;
            bytes += element.as_str().len();
            Some(element)
        });
        elements.collect()
    }

    fn element(&self, index: u32) -> Json {
        let mut text = String::new();
        match self.form {
            ListForm::Objects => text.push_str(self.value(0, index as usize)),
            ListForm::Zip => self.object(&mut text, |_| index as usize),
            ListForm::Product => {
                // Of each column, how many elements pass until its value changes.
                let mut rests = vec![1; self.columns.len()];
                for column in (1..self.columns.len()).rev() {
                    rests[column - 1] = rests[column] * self.columns[column].len();
                }
                self.object(&mut text, |column| index as usize / rests[column] % self.columns[column].len());
            }
        }
        Json::parse(text).expect("keys and JSON values make an object")
    }

    fn object(&self, text: &mut String, place: impl Fn(usize) -> usize) {
        for (column, key) in self.keys.iter().enumerate() {
            text.push(if column == 0 { '{' } else { ',' });
            text.push_str(key);
            text.push_str(self.value(column, place(column)));
        }
        text.push('}');
    }

    fn value(&self, column: usize, place: usize) -> &str {
        let (from, to) = self.columns[column][place];
        &self.text.as_str()[from as usize..to as usize]
    }
}

impl std::fmt::Debug for KeptList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeptList({} elements, {} bytes)", self.total, self.text.as_str().len())
    }
}

/// How many elements columns of these lengths make. None: they cannot be put together, or are beyond counting.
pub(super) fn total(form: ListForm, lengths: &[usize]) -> Option<usize> {
    match form {
        ListForm::Product if lengths.contains(&0) => Some(0),
        ListForm::Product => lengths.iter().try_fold(1_usize, |product, length| product.checked_mul(*length)),
        ListForm::Zip | ListForm::Objects => {
            let first = *lengths.first()?;
            lengths.iter().all(|length| *length == first).then_some(first)
        }
    }
}
