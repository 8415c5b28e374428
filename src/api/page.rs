//! Lists: a page of items and the way to the next.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::store::Page;

use super::bounds::PAGE;
use super::problem::Problem;

/// `{"items": […], "next_cursor": null}`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    /// Give it back as `cursor` for the next page; null after the last.
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    pub fn of<R>(page: Page<R>, show: impl FnMut(R) -> T) -> Self {
        Self { items: page.items.into_iter().map(show).collect(), next_cursor: page.next_cursor.map(write_cursor) }
    }

    /// Of a list in the order of its keys.
    pub fn by_key<R>(page: Page<R, String>, show: impl FnMut(R) -> T) -> Self {
        let next_cursor = page.next_cursor.map(|key| URL_SAFE_NO_PAD.encode(key));
        Self { items: page.items.into_iter().map(show).collect(), next_cursor }
    }

    /// Everything there is.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

/// The length of a page that was asked for.
pub fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    let (default, most) = PAGE;
    match asked.unwrap_or(default) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => Err(Problem::invalid("limit", format!("{limit} is not between 1 and {most}"), "ask for more pages")),
    }
}

/// Opaque, so that nobody builds one and the store may change what it counts by.
pub fn write_cursor(place: u64) -> String {
    let bytes = place.to_be_bytes();
    let significant = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len() - 1);
    URL_SAFE_NO_PAD.encode(&bytes[significant..])
}

/// The key after which a page begins.
pub fn read_key_cursor(cursor: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(text) = cursor else { return Ok(None) };
    let key = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    key.map(Some).ok_or_else(no_cursor)
}

fn no_cursor() -> Problem {
    Problem::invalid("cursor", "it was not given out by this server", "take `next_cursor` of a page")
}

pub fn read_cursor(cursor: Option<&str>) -> Result<Option<u64>, Problem> {
    let Some(text) = cursor else { return Ok(None) };
    let place = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() <= 8).map(|significant| {
        let mut bytes = [0; 8];
        bytes[8 - significant.len()..].copy_from_slice(&significant);
        u64::from_be_bytes(bytes)
    });
    match place.filter(|place| i64::try_from(*place).is_ok()) {
        Some(place) => Ok(Some(place)),
        None => Err(no_cursor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        for place in [0, 1, 255, 256, i64::MAX as u64] {
            assert_eq!(read_cursor(Some(&write_cursor(place))).expect("a cursor"), Some(place));
        }
        for wrong in ["!", "AAAAAAAAAAAAAAAA", "__________8"] {
            assert!(read_cursor(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
