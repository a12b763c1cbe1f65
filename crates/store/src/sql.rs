//! The statements that SQLite and PostgreSQL share. Parameters first appear in ascending order, because SQLite numbers
//! `$n` by first appearance.

/// One document.
pub(crate) const GET: &str = "SELECT doc FROM records WHERE kind = $1 AND id = $2";

/// All that the journal knows of one record, newest first.
pub(crate) const HISTORY: &str = "
    SELECT c.seq, j.at, j.actor, j.request_id, j.why, c.before
    FROM changes c JOIN journal j ON j.seq = c.seq
    WHERE c.kind = $1 AND c.id = $2 ORDER BY c.seq DESC LIMIT $3";

/// The journal's first entry, the first change of a record after a time, and the record's present: in one statement, so
/// that all three are of one moment.
pub(crate) const RECORD_AT: &str = "
    SELECT (SELECT seq FROM journal ORDER BY seq LIMIT 1), (SELECT at FROM journal ORDER BY seq LIMIT 1),
           later.seq, later.before, (SELECT doc FROM records WHERE kind = $1 AND id = $2)
    FROM (SELECT 1 AS one) AS always LEFT JOIN (
        SELECT c.seq, c.before FROM changes c JOIN journal j ON j.seq = c.seq
        WHERE c.kind = $1 AND c.id = $2 AND j.at > $3 ORDER BY c.seq LIMIT 1) AS later ON 1 = 1";

/// Where the journal ends.
pub(crate) const HEAD: &str = "SELECT seq, at FROM journal ORDER BY seq DESC LIMIT 1";

/// The entries at the journal's end, ascending.
pub(crate) const JOURNAL_TAIL: &str =
    "SELECT seq FROM (SELECT seq FROM journal ORDER BY seq DESC LIMIT $1) AS tail ORDER BY seq";

/// The last entry that trimming removes: among the oldest ones, before a time, and never the newest of all.
pub(crate) const TRIM_UP_TO: &str = "
    SELECT seq FROM (SELECT seq, at FROM journal ORDER BY seq LIMIT $1) AS oldest
    WHERE at < $2 AND seq < (SELECT max(seq) FROM journal) ORDER BY seq DESC LIMIT 1";

/// A page of documents.
pub(crate) fn list(bounded: bool, reverse: bool) -> String {
    let (high, limit) = if bounded { (" AND id < $4", "$5") } else { ("", "$4") };
    let order = if reverse { "DESC" } else { "ASC" };
    format!(
        "SELECT id, doc FROM records
         WHERE kind = $1 AND id >= $2 AND id <> $3{high} ORDER BY id {order} LIMIT {limit}"
    )
}

/// How many entries at the journal's end are looked at for holes at every opening.
pub(crate) const TAIL_ENTRIES: i64 = 10_000;

/// A seq or a time as SQL has it.
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A seq as SQL has it, back; a negative one is none of ours and reads as 0.
pub(crate) fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
