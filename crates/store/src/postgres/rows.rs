//! Rows of a PostgreSQL store, in the form for their checksums.

use crate::{
    error::Damage,
    sum::{Entry, Image},
};
use tokio_postgres::{
    Error, Row,
    types::{FromSql, Type},
};

/// A row could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// PostgreSQL returned an error.
    #[error(transparent)]
    Postgres(#[from] Error),
    /// The row differs from the written row.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

/// A text as raw bytes. The server does not check whether the bytes on its disk are UTF-8.
struct Bytes<'r>(&'r [u8]);

impl<'r> FromSql<'r> for Bytes<'r> {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT
    }
}

/// A row of `records` or `changes` whose columns begin at `first`.
pub(super) fn image(row: &Row, first: usize) -> Result<Image<'_>, Error> {
    Ok(Image {
        kind: bytes(row, first)?,
        id: bytes(row, first + 1)?,
        doc: row.try_get::<_, Option<Bytes<'_>>>(first + 2)?.map(|Bytes(doc)| doc),
        seq: row.try_get(first + 3)?,
        sum: row.try_get(first + 4)?,
    })
}

/// A row of `journal` whose columns begin at `first`.
pub(super) fn entry(row: &Row, first: usize) -> Result<Entry<'_>, Error> {
    Ok(Entry {
        seq: row.try_get(first)?,
        at: row.try_get(first + 1)?,
        actor: bytes(row, first + 2)?,
        request_id: bytes(row, first + 3)?,
        why: bytes(row, first + 4)?,
        sum: row.try_get(first + 5)?,
    })
}

/// True if an outer join found a row, whose seq is in `column`.
pub(super) fn is_there(row: &Row, column: usize) -> Result<bool, Error> {
    Ok(row.try_get::<_, Option<i64>>(column)?.is_some())
}

fn bytes(row: &Row, column: usize) -> Result<&[u8], Error> {
    Ok(row.try_get::<_, Bytes<'_>>(column)?.0)
}
