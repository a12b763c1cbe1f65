//! The store's format versions, and the lines of `meta` in a new store.

use crate::{OpenError, error::Damage};
use lenticular_model::Incarnation;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The format that this binary writes, and the newest that it reads. Format 1 had no checksums; format 2 had disks in
/// the records of their servers.
pub const FORMAT: u32 = 3;

/// The oldest format whose binaries can read this binary's stores. Older ones find no disks in the records of servers.
pub const MIN_READER: u32 = 3;

/// The oldest format whose binaries can write this binary's stores.
pub const MIN_WRITER: u32 = 3;

/// The tables that got a column `sum` with format 2.
pub(crate) const SUMMED_TABLES: [&str; 3] = ["records", "journal", "changes"];

/// The tables of a store.
pub(crate) const TABLES: [&str; 4] = ["records", "journal", "changes", "meta"];

/// The lines of `meta` as text.
pub(crate) type MetaLines = BTreeMap<String, String>;

/// The lines of `meta` that every engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The format of the store.
    pub format: u32,
    /// `None` until the first opening.
    pub incarnation: Option<Incarnation>,
    /// The number of openings of the store.
    pub epoch: u64,
}

impl Meta {
    /// True if the store must be upgraded to this binary's format before a write.
    pub(crate) fn is_old(&self) -> bool {
        self.format < FORMAT
    }

    /// True if the rows have checksums.
    pub(crate) fn has_sums(&self) -> bool {
        self.format >= 2
    }

    /// The SQL expression for the sums of rows.
    pub(crate) fn sum_column(&self) -> &'static str {
        if !self.has_sums() { "CAST(NULL AS bigint)" } else { "sum" }
    }
}

/// The lines of `meta` that name the binaries that may use a store of this binary.
pub(crate) fn version_lines() -> [(&'static str, u32); 3] {
    [("format", FORMAT), ("min_reader", MIN_READER), ("min_writer", MIN_WRITER)]
}

/// The `meta` of a store that was never opened.
pub(crate) fn new_lines() -> MetaLines {
    let versions = version_lines().map(|(key, version)| (key.to_owned(), version.to_string()));
    let others = [("incarnation", ""), ("epoch", "0")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    versions.into_iter().chain(others).collect()
}

/// Reads `meta` and refuses a store that this binary cannot read and write.
pub(crate) fn check(store: &str, lines: &MetaLines) -> Result<Meta, OpenError> {
    let min_reader = number::<u32>(store, lines, "min_reader")?;
    if min_reader > FORMAT {
        return Err(OpenError::NewerReader { store: store.to_owned(), min_reader, ours: FORMAT });
    }
    let min_writer = number::<u32>(store, lines, "min_writer")?;
    if min_writer > FORMAT {
        return Err(OpenError::NewerWriter { store: store.to_owned(), min_writer, ours: FORMAT });
    }
    let format = number::<u32>(store, lines, "format")?;
    let incarnation = line(store, lines, "incarnation")?;
    let incarnation = match incarnation {
        "" => None,
        text => Some(text.parse().map_err(|_| bad(store, "incarnation", Some(text)))?),
    };
    Ok(Meta { format, incarnation, epoch: number(store, lines, "epoch")? })
}

fn number<N: std::str::FromStr>(store: &str, lines: &MetaLines, key: &'static str) -> Result<N, OpenError> {
    let text = line(store, lines, key)?;
    text.parse().map_err(|_| bad(store, key, Some(text)))
}

fn line<'l>(store: &str, lines: &'l MetaLines, key: &'static str) -> Result<&'l str, OpenError> {
    lines.get(key).map(String::as_str).ok_or_else(|| bad(store, key, None))
}

fn bad(store: &str, key: &'static str, found: Option<&str>) -> OpenError {
    let found = found.map_or_else(|| "missing".to_owned(), |text| format!("'{text}', which makes no sense"));
    damaged(store, Damage::Meta { key, found })
}

/// The error: the store contradicts itself.
pub(crate) fn damaged(store: &str, damage: Damage) -> OpenError {
    OpenError::Damaged { store: store.to_owned(), damage }
}

/// The error: the database or the file system refused while `doing` something.
pub(crate) fn failed(store: &str, doing: &'static str, cause: impl std::fmt::Display) -> OpenError {
    OpenError::Failed { store: store.to_owned(), doing, cause: cause.to_string() }
}

/// The path with `suffix` appended.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Finds gaps in ascending entries of the journal.
#[derive(Default)]
pub(crate) struct Dense {
    last: Option<u64>,
}

impl Dense {
    /// Takes the next entry, which must follow the previous entry.
    pub(crate) fn take(&mut self, seq: u64) -> Result<(), Damage> {
        match self.last.replace(seq) {
            Some(last) if seq != last + 1 => Err(Damage::JournalGap { missing: last + 1 }),
            _ => Ok(()),
        }
    }
}
