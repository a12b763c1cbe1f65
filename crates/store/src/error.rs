//! The reasons why a store could not be opened, and what to do.

/// A store was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another opening in this process, has it.
    #[error("{store} is in use by {holder}; stop that process, or point this one at another store")]
    InUse {
        /// The store.
        store: String,
        /// The owner.
        holder: String,
    },
    /// A newer binary wrote it in a format that this binary cannot read.
    #[error(
        "{store} can be read by format {min_reader} and newer, and this binary reads formats up to {ours}; \
         run the newer version that last ran here"
    )]
    NewerReader {
        /// The store.
        store: String,
        /// The oldest format that can read it.
        min_reader: u32,
        /// This binary's format.
        ours: u32,
    },
    /// A newer binary wrote it in a format that this binary must not write.
    #[error(
        "{store} can be written by format {min_writer} and newer, and this binary writes format {ours}; \
         run the newer version that last ran here"
    )]
    NewerWriter {
        /// The store.
        store: String,
        /// The oldest format that can write it.
        min_writer: u32,
        /// This binary's format.
        ours: u32,
    },
    /// It is a database of another application.
    #[error(
        "{store} is a database of another application ({found}); point this process at a store of its own"
    )]
    Foreign {
        /// The store.
        store: String,
        /// The mark of the other application.
        found: String,
    },
    /// The store that this process had open is not there any more.
    #[error(
        "{store} is gone: nothing is where the store was. Put it back; no new store is made in its place"
    )]
    Gone {
        /// The store.
        store: String,
    },
    /// The store lacks commits that this process had seen durable.
    #[error(
        "{store} is at commit {seq}, and this process has acknowledged commit {known}: an older copy is in its place. \
         Bring the newer one back; or stop this process, run `lenticular store restored`, and start it again"
    )]
    Behind {
        /// The store.
        store: String,
        /// Its last commit.
        seq: u64,
        /// The last commit that this process has acknowledged.
        known: u64,
    },
    /// It contradicts itself.
    #[error(
        "{store} is damaged: {damage}; nothing was changed; restore a backup, or keep the files and ask for help"
    )]
    Damaged {
        /// The store.
        store: String,
        /// The damage.
        damage: Damage,
    },
    /// The database or the file system refused.
    #[error("{store} could not be opened: {doing}: {cause}")]
    Failed {
        /// The store.
        store: String,
        /// The attempted action.
        doing: &'static str,
        /// The error.
        cause: String,
    },
}

/// The kinds of damage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file is no database.
    #[error("the file is not an SQLite database")]
    NotADatabase,
    /// The write-ahead log exists and the database does not.
    #[error("the write-ahead log {log} is there, but the database that it belongs to is absent or empty")]
    LostDatabase {
        /// The log's path.
        log: String,
    },
    /// The database's own check failed.
    #[error("the database's own check says: {0}")]
    Malformed(String),
    /// A table is missing.
    #[error("the table '{0}' is missing")]
    MissingTable(&'static str),
    /// A line of `meta` is missing or invalid.
    #[error("'{key}' in the table 'meta' is {found}")]
    Meta {
        /// The line's key.
        key: &'static str,
        /// The value found.
        found: String,
    },
    /// A document is no valid document of its kind.
    #[error("the {kind} {id} cannot be read: {why}")]
    Document {
        /// The record's kind.
        kind: &'static str,
        /// The record's id.
        id: String,
        /// The parser's error.
        why: String,
    },
    /// A row of `records` differs from the written row.
    #[error("the {kind} {id} of entry {seq} is not as it was written: its checksum differs")]
    Record {
        /// The record's kind, as it reads now.
        kind: String,
        /// The record's id, as it reads now.
        id: String,
        /// The entry that wrote it, as it reads now.
        seq: u64,
    },
    /// A before-image differs from the written row, or was damaged before it was copied.
    #[error("the {kind} {id} before entry {seq} is not as it was written: its checksum differs")]
    Change {
        /// The record's kind, as it reads now.
        kind: String,
        /// The record's id, as it reads now.
        id: String,
        /// The entry that changed it, as it reads now.
        seq: u64,
    },
    /// A line of the journal differs from the written line.
    #[error("entry {seq} of the journal is not as it was written: its checksum differs")]
    Entry {
        /// Its number, as it reads now.
        seq: u64,
    },
    /// A before-image names an entry that does not exist.
    #[error("the {kind} {id} was changed by entry {seq}, which the journal does not have")]
    MissingEntry {
        /// The record's kind.
        kind: String,
        /// The record's id.
        id: String,
        /// The entry.
        seq: u64,
    },
    /// The journal has a gap.
    #[error("the journal has no entry {missing}, though it has earlier and later ones")]
    JournalGap {
        /// The first missing entry.
        missing: u64,
    },
    /// A record is newer than the journal.
    #[error("the {kind} {id} was written by entry {seq}, and the journal ends at {head}")]
    RecordBeyondJournal {
        /// The record's kind.
        kind: String,
        /// The record's id.
        id: String,
        /// The entry that wrote it.
        seq: u64,
        /// The journal's last entry.
        head: u64,
    },
    /// A before-image belongs to no entry of the journal.
    #[error("a change belongs to entry {seq}, and the journal ends at {head}")]
    ChangeBeyondJournal {
        /// The entry that it names.
        seq: u64,
        /// The journal's last entry.
        head: u64,
    },
}
