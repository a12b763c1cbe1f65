//! Pages of listings: limit, marker and the link to the next page.

use crate::{
    limits::PAGE_MAX,
    query::{Query, encode},
};
use lenticular_model::error::{Error, Result};

/// The requested length of a page.
pub fn limit(query: &Query) -> Result<usize> {
    let asked = query.number("limit")?.unwrap_or(PAGE_MAX as u64);
    Ok(usize::try_from(asked).unwrap_or(PAGE_MAX).min(PAGE_MAX))
}

/// Cuts a sorted listing to the requested page; true if more items follow.
///
/// # Errors
/// The marker is not in the listing.
pub fn cut<T>(items: Vec<T>, query: &Query, id: impl Fn(&T) -> String) -> Result<(Vec<T>, bool)> {
    let limit = limit(query)?;
    let start = match query.get("marker").filter(|m| !m.is_empty()) {
        None => 0,
        Some(marker) => {
            let found = items.iter().position(|item| id(item) == marker);
            found.map(|at| at + 1).ok_or_else(|| Error::invalid(format!("marker [{marker}] not found")))?
        }
    };
    let more = items.len().saturating_sub(start) > limit;
    Ok((items.into_iter().skip(start).take(limit).collect(), more))
}

/// The URL of the page after `marker`.
pub fn next(url: &str, query: &Query, marker: &str) -> String {
    let kept = query.0.iter().filter(|(name, _)| name != "marker");
    let mut out: Vec<String> =
        kept.map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    out.push(format!("marker={}", encode(marker)));
    format!("{url}?{}", out.join("&"))
}
