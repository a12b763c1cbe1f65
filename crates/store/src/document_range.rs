//! The range of ids for a page of documents.

use crate::engine::{LIST_ROWS_MAX, Page};

/// Ids from `low` on (but not `skip` itself) and below `high`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DocumentRange {
    pub low: String,
    /// Empty if nothing is skipped; no id is empty.
    pub skip: String,
    /// `None` is no bound.
    pub high: Option<String>,
    pub limit: usize,
}

impl DocumentRange {
    pub(crate) fn of(page: &Page<'_>) -> Self {
        let mut range = Self {
            low: page.prefix.to_owned(),
            skip: String::new(),
            high: successor(page.prefix),
            limit: page.limit.min(LIST_ROWS_MAX),
        };
        match page.after {
            Some(after) if page.reverse => {
                let high = range.high.take().filter(|high| high.as_str() <= after);
                range.high = Some(high.unwrap_or_else(|| after.to_owned()));
            }
            Some(after) if after >= page.prefix => {
                range.low = after.to_owned();
                range.skip = after.to_owned();
            }
            _ => {}
        }
        range
    }
}

/// The least text that is greater than all texts with `prefix`.
fn successor(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_bounds_a_prefix_tightly() {
        assert_eq!(successor("ab").as_deref(), Some("ac"));
        assert_eq!(successor("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(successor("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(successor(""), None);
    }
}
