//! The statements that SQLite and PostgreSQL share. Parameters first appear in ascending order, because SQLite
//! numbers `$n` by first appearance. Read rows have their columns in the order of `sum::Image` or `sum::Entry`.

use lenticular_model::{Durability, Kind};

/// One record.
pub(crate) const GET: &str = "SELECT kind, id, doc, seq, sum FROM records WHERE kind = $1 AND id = $2";

/// The journal's changes of one record, newest first. A change without its entry comes with empty entry columns.
pub(crate) const HISTORY: &str = "
    SELECT j.seq, j.at, j.actor, j.request_id, j.why, j.sum, c.kind, c.id, c.before, c.seq, c.sum
    FROM changes c LEFT JOIN journal j ON j.seq = c.seq
    WHERE c.kind = $1 AND c.id = $2 ORDER BY c.seq DESC LIMIT $3";

/// The journal's first entry, the present record, and the first entry after a time that changed it, with its
/// before-image. One statement reads all at one moment. A change without its entry comes with empty entry columns.
pub(crate) const RECORD_AT: &str = "
    SELECT oldest.seq, oldest.at, oldest.actor, oldest.request_id, oldest.why, oldest.sum,
           present.kind, present.id, present.doc, present.seq, present.sum,
           later.entry_seq, later.at, later.actor, later.request_id, later.why, later.entry_sum,
           later.kind, later.id, later.before, later.seq, later.sum
    FROM (SELECT 1 AS one) AS always
    LEFT JOIN (SELECT * FROM journal ORDER BY seq LIMIT 1) AS oldest ON 1 = 1
    LEFT JOIN records AS present ON present.kind = $1 AND present.id = $2
    LEFT JOIN (
        SELECT j.seq AS entry_seq, j.at, j.actor, j.request_id, j.why, j.sum AS entry_sum,
               c.kind, c.id, c.before, c.seq, c.sum
        FROM changes c LEFT JOIN journal j ON j.seq = c.seq
        WHERE c.kind = $1 AND c.id = $2 AND (j.at > $3 OR j.seq IS NULL) ORDER BY c.seq LIMIT 1) AS later ON 1 = 1";

/// Every record, except those of known cold kinds. Records of unknown kinds are read for their sums: else damage to
/// a kind's name would hide a record. The kinds are found by skipping through the index.
pub(crate) fn load() -> String {
    let cold = Kind::ALL.iter().filter(|kind| kind.durability() == Durability::Cold);
    let cold: Vec<String> = cold.map(|kind| format!("'{}'", kind.name())).collect();
    let cold = cold.join(", ");
    format!(
        "WITH RECURSIVE kinds (kind) AS (
             SELECT min(kind) FROM records
             UNION ALL
             SELECT (SELECT min(kind) FROM records WHERE kind > kinds.kind) FROM kinds WHERE kind IS NOT NULL)
         SELECT kind, id, doc, seq, sum FROM records
         WHERE kind IN (SELECT kind FROM kinds WHERE kind NOT IN ({cold})) ORDER BY kind, id"
    )
}

/// The end of the journal.
pub(crate) const HEAD: &str = "SELECT seq, at FROM journal ORDER BY seq DESC LIMIT 1";

/// The last entry that trimming removes: among the oldest entries, before a time, and never the newest entry.
pub(crate) const TRIM_UP_TO: &str = "
    SELECT seq FROM (SELECT seq, at FROM journal ORDER BY seq LIMIT $1) AS oldest
    WHERE at < $2 AND seq < (SELECT max(seq) FROM journal) ORDER BY seq DESC LIMIT 1";

/// The entry before the last `$1` ones.
pub(crate) const BEFORE_TAIL: &str = "SELECT seq FROM journal ORDER BY seq DESC LIMIT 1 OFFSET $1";

/// The journal's entries after `$1`, ascending; `sum` is `Meta::sum_column`.
pub(crate) fn journal_after(sum: &str) -> String {
    format!("SELECT seq, at, actor, request_id, why, {sum} FROM journal WHERE seq > $1 ORDER BY seq")
}

/// A page of records.
pub(crate) fn list(bounded: bool, reverse: bool) -> String {
    let (high, limit) = if bounded { (" AND id < $4", "$5") } else { ("", "$4") };
    let order = if reverse { "DESC" } else { "ASC" };
    format!(
        "SELECT kind, id, doc, seq, sum FROM records
         WHERE kind = $1 AND id >= $2 AND id <> $3{high} ORDER BY id {order} LIMIT {limit}"
    )
}

/// The number of entries at the journal's end that every opening checks.
pub(crate) const TAIL_ENTRIES: i64 = 10_000;

/// A seq or a time as an SQL integer.
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A seq from an SQL integer; a negative number is invalid and reads as 0.
pub(crate) fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
