//! Rows of an SQLite store, in the form for their checksums.

use crate::{
    error::Damage,
    sum::{Entry, Image},
};
use rusqlite::{Error, Row, types::FromSqlError};

/// A row could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// SQLite returned an error.
    #[error(transparent)]
    Sqlite(#[from] Error),
    /// The row differs from the written row.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

/// A row of `records` or `changes` whose columns begin at `first`. Its values may not be text.
pub(super) fn image<'r>(row: &'r Row<'_>, first: usize) -> rusqlite::Result<Image<'r>> {
    let doc = row.get_ref(first + 2)?;
    Ok(Image {
        kind: bytes(row, first)?,
        id: bytes(row, first + 1)?,
        doc: doc.as_bytes_or_null().map_err(|error| wrong(row, first + 2, error))?,
        seq: row.get(first + 3)?,
        sum: row.get(first + 4)?,
    })
}

/// A row of `journal` whose columns begin at `first`.
pub(super) fn entry<'r>(row: &'r Row<'_>, first: usize) -> rusqlite::Result<Entry<'r>> {
    Ok(Entry {
        seq: row.get(first)?,
        at: row.get(first + 1)?,
        actor: bytes(row, first + 2)?,
        request_id: bytes(row, first + 3)?,
        why: bytes(row, first + 4)?,
        sum: row.get(first + 5)?,
    })
}

/// True if an outer join found a row, whose seq is in `column`.
pub(super) fn is_there(row: &Row<'_>, column: usize) -> rusqlite::Result<bool> {
    Ok(row.get::<_, Option<i64>>(column)?.is_some())
}

fn bytes<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<&'r [u8]> {
    row.get_ref(column)?.as_bytes().map_err(|error| wrong(row, column, error))
}

fn wrong(row: &Row<'_>, column: usize, error: FromSqlError) -> Error {
    let found = row.get_ref(column).map_or(rusqlite::types::Type::Null, |value| value.data_type());
    Error::FromSqlConversionFailure(column, found, Box::new(error))
}
