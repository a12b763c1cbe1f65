//! The store's format versions, and the few lines of `meta` that a store begins with.

use crate::{error::Damage, OpenError};
use lenticular_model::Incarnation;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The format that this binary writes and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The oldest format whose binaries can read what this one writes.
pub const MIN_READER: u32 = 1;

/// The oldest format whose binaries can write to what this one wrote.
pub const MIN_WRITER: u32 = 1;

/// The tables of a store.
pub(crate) const TABLES: [&str; 4] = ["records", "journal", "changes", "meta"];

/// The lines of `meta` as text.
pub(crate) type MetaLines = BTreeMap<String, String>;

/// The lines of `meta` that every engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    /// `None` until the first opening has given the store one.
    pub incarnation: Option<Incarnation>,
    /// How many times the store was opened.
    pub epoch: u64,
}

/// The `meta` of a store that was never opened.
pub(crate) fn new_lines() -> MetaLines {
    let lines = [
        ("format", FORMAT.to_string()),
        ("min_reader", MIN_READER.to_string()),
        ("min_writer", MIN_WRITER.to_string()),
        ("incarnation", String::new()),
        ("epoch", "0".to_owned()),
    ];
    lines.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
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
    number::<u32>(store, lines, "format")?;
    let incarnation = line(store, lines, "incarnation")?;
    let incarnation = match incarnation {
        "" => None,
        text => Some(text.parse().map_err(|_| bad(store, "incarnation", Some(text)))?),
    };
    Ok(Meta { incarnation, epoch: number(store, lines, "epoch")? })
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

/// The store contradicts itself.
pub(crate) fn damaged(store: &str, damage: Damage) -> OpenError {
    OpenError::Damaged { store: store.to_owned(), damage }
}

/// The database or the file system refused while `doing` something.
pub(crate) fn failed(store: &str, doing: &'static str, cause: impl std::fmt::Display) -> OpenError {
    OpenError::Failed { store: store.to_owned(), doing, cause: cause.to_string() }
}

/// The path with `suffix` after its last letter.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Finds the first hole in ascending entries of the journal.
pub(crate) fn first_gap(seqs: impl IntoIterator<Item = u64>) -> Option<u64> {
    let mut seqs = seqs.into_iter();
    let mut last = seqs.next()?;
    for seq in seqs {
        if seq != last + 1 {
            return Some(last + 1);
        }
        last = seq;
    }
    None
}
