//! The checksum of a row. It shows when the row's bytes differ from the written bytes.
//!
//! The lower half of a sum is a CRC-32 over the row's columns except its seq, each with its length before it. The
//! upper half is the seq. So a commit can copy a record into `changes` inside the database, which cannot compute a
//! CRC: the copy keeps the lower half and gets its own seq. Earlier damage stays visible; a new CRC over the copy
//! would have hidden the damage.
//!
//! A row without a sum was written by format 1, and is not checked.

use crate::{
    engine::JournalEntry,
    error::Damage,
    sql::{from_sql, to_sql},
};
use crc32fast::Hasher;
use lenticular_model::Kind;

/// A row of `records`, or a row of `changes` with its before-image. In bytes, because damaged data may not be text.
pub(crate) struct Image<'r> {
    pub kind: &'r [u8],
    pub id: &'r [u8],
    pub doc: Option<&'r [u8]>,
    pub seq: i64,
    pub sum: Option<i64>,
}

/// A row of `journal`.
pub(crate) struct Entry<'r> {
    pub seq: i64,
    pub at: i64,
    pub actor: &'r [u8],
    pub request_id: &'r [u8],
    pub why: &'r [u8],
    pub sum: Option<i64>,
}

/// The sum of a new row of `records` or `changes`.
pub(crate) fn of_image(kind: Kind, id: &str, doc: Option<&str>, seq: u64) -> i64 {
    let (kind, id, doc) = (kind.name().as_bytes(), id.as_bytes(), doc.map(str::as_bytes));
    Image { kind, id, doc, seq: to_sql(seq), sum: None }.computed()
}

/// The sum of a new row of `journal`.
pub(crate) fn of_entry(entry: &JournalEntry) -> i64 {
    let cause = &entry.cause;
    let row = Entry {
        seq: to_sql(entry.seq),
        at: entry.at.0,
        actor: cause.actor.as_bytes(),
        request_id: cause.request_id.as_bytes(),
        why: cause.why.as_bytes(),
        sum: None,
    };
    row.computed()
}

impl Image<'_> {
    /// Checks a row of `records`.
    pub(crate) fn check_record(&self) -> Result<(), Damage> {
        let (kind, id, seq) = (lossy(self.kind), lossy(self.id), from_sql(self.seq));
        self.is_as_written().then_some(()).ok_or(Damage::Record { kind, id, seq })
    }

    /// Checks a row of `changes`.
    pub(crate) fn check_change(&self) -> Result<(), Damage> {
        let (kind, id, seq) = (lossy(self.kind), lossy(self.id), from_sql(self.seq));
        self.is_as_written().then_some(()).ok_or(Damage::Change { kind, id, seq })
    }

    /// The damage of a row of `changes` that belongs to no entry of the journal.
    pub(crate) fn without_entry(&self) -> Damage {
        Damage::MissingEntry { kind: lossy(self.kind), id: lossy(self.id), seq: from_sql(self.seq) }
    }

    fn is_as_written(&self) -> bool {
        self.sum.is_none_or(|sum| sum == self.computed())
    }

    fn computed(&self) -> i64 {
        let mut hasher = Hasher::new();
        add(&mut hasher, self.kind);
        add(&mut hasher, self.id);
        // No document differs from an empty document.
        hasher.update(&[u8::from(self.doc.is_some())]);
        add(&mut hasher, self.doc.unwrap_or_default());
        join(self.seq, hasher)
    }
}

impl Entry<'_> {
    pub(crate) fn check(&self) -> Result<(), Damage> {
        let is_as_written = self.sum.is_none_or(|sum| sum == self.computed());
        is_as_written.then_some(()).ok_or(Damage::Entry { seq: from_sql(self.seq) })
    }

    fn computed(&self) -> i64 {
        let mut hasher = Hasher::new();
        hasher.update(&self.at.to_le_bytes());
        add(&mut hasher, self.actor);
        add(&mut hasher, self.request_id);
        add(&mut hasher, self.why);
        join(self.seq, hasher)
    }
}

fn add(hasher: &mut Hasher, column: &[u8]) {
    hasher.update(&(column.len() as u64).to_le_bytes());
    hasher.update(column);
}

fn join(seq: i64, hasher: Hasher) -> i64 {
    (seq << 32) | i64::from(hasher.finalize())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_model::{Cause, Timestamp};

    fn image(kind: &str, id: &str, doc: Option<&str>, seq: i64) -> i64 {
        let (kind, id, doc) = (kind.as_bytes(), id.as_bytes(), doc.map(str::as_bytes));
        Image { kind, id, doc, seq, sum: None }.computed()
    }

    #[test]
    fn no_two_rows_read_alike() {
        let rows = [
            image("ab", "c", Some("d"), 1),
            image("a", "bc", Some("d"), 1),
            image("ab", "cd", Some(""), 1),
            image("ab", "cd", None, 1),
            image("ab", "c", Some("d"), 2),
        ];
        for (at, row) in rows.iter().enumerate() {
            assert!(!rows[..at].contains(row), "row {at}");
        }
    }

    /// Existing stores hold such sums: another way to compute them would report damage everywhere.
    #[test]
    fn sums_stay_what_they_are() {
        assert_eq!(of_image(Kind::Role, "r", Some("{}"), 7), 0x7_a4de_5b3e);
        let cause = Cause { actor: "a".to_owned(), request_id: String::new(), why: "w".to_owned() };
        assert_eq!(of_entry(&JournalEntry { seq: 7, at: Timestamp(5), cause }), 0x7_c164_513e);
    }
}
