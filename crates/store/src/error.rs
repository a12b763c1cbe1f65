//! Why a store could not be opened, and what to do about it.

/// A store was not opened. Nothing of it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another opening in this one, has it.
    #[error("{store} is in use by {holder}; stop that process, or point this one at another store")]
    InUse {
        /// Which store.
        store: String,
        /// Who has it.
        holder: String,
    },
    /// A newer binary wrote it in a format that this one cannot read.
    #[error(
        "{store} can be read by format {min_reader} and newer, and this binary reads formats up to {ours}; \
         run the newer version that last ran here"
    )]
    NewerReader {
        /// Which store.
        store: String,
        /// The oldest format that reads it.
        min_reader: u32,
        /// This binary's format.
        ours: u32,
    },
    /// A newer binary wrote it in a format that this one must not write.
    #[error(
        "{store} can be written by format {min_writer} and newer, and this binary writes format {ours}; \
         run the newer version that last ran here"
    )]
    NewerWriter {
        /// Which store.
        store: String,
        /// The oldest format that writes it.
        min_writer: u32,
        /// This binary's format.
        ours: u32,
    },
    /// It is a database of something else.
    #[error(
        "{store} is a database of another application ({found}); point this process at a store of its own"
    )]
    Foreign {
        /// Which store.
        store: String,
        /// What gives it away.
        found: String,
    },
    /// It contradicts itself.
    #[error("{store} is damaged: {damage}; nothing was changed; restore a backup, or keep the files and ask for help")]
    Damaged {
        /// Which store.
        store: String,
        /// How.
        damage: Damage,
    },
    /// The database or the file system refused.
    #[error("{store} could not be opened: {doing}: {cause}")]
    Failed {
        /// Which store.
        store: String,
        /// What was tried.
        doing: &'static str,
        /// What came back.
        cause: String,
    },
}

/// In what way a store contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file is something else than a database.
    #[error("the file is not an SQLite database")]
    NotADatabase,
    /// The write-ahead log is there and the database is not.
    #[error("the write-ahead log {log} is there, but the database that it belongs to is absent or empty")]
    LostDatabase {
        /// The log's path.
        log: String,
    },
    /// The database's own check failed.
    #[error("the database's own check says: {0}")]
    Malformed(String),
    /// A table is gone.
    #[error("the table '{0}' is missing")]
    MissingTable(&'static str),
    /// A line of `meta` is gone or makes no sense.
    #[error("'{key}' in the table 'meta' is {found}")]
    Meta {
        /// Which line.
        key: &'static str,
        /// What is there instead.
        found: String,
    },
    /// A document is not one of its kind.
    #[error("the {kind} {id} cannot be read: {why}")]
    Document {
        /// The record's kind.
        kind: &'static str,
        /// The record's id.
        id: String,
        /// What the parser says.
        why: String,
    },
    /// A row of `records` is not what was written.
    #[error("the {kind} {id} of entry {seq} is not as it was written: its checksum differs")]
    Record {
        /// The record's kind, as it reads now.
        kind: String,
        /// The record's id, as it reads now.
        id: String,
        /// The entry that wrote it, as it reads now.
        seq: u64,
    },
    /// A before-image is not what was written, or was damaged already as it became one.
    #[error("the {kind} {id} before entry {seq} is not as it was written: its checksum differs")]
    Change {
        /// The record's kind, as it reads now.
        kind: String,
        /// The record's id, as it reads now.
        id: String,
        /// The entry that changed it, as it reads now.
        seq: u64,
    },
    /// A line of the journal is not what was written.
    #[error("entry {seq} of the journal is not as it was written: its checksum differs")]
    Entry {
        /// Which, as it reads now.
        seq: u64,
    },
    /// A before-image says that an entry changed its record, and there is no such entry.
    #[error("the {kind} {id} was changed by entry {seq}, which the journal does not have")]
    MissingEntry {
        /// The record's kind.
        kind: String,
        /// The record's id.
        id: String,
        /// The entry.
        seq: u64,
    },
    /// The journal has a hole.
    #[error("the journal has no entry {missing}, though it has earlier and later ones")]
    JournalGap {
        /// The first entry that is missing.
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
