//! An engine in memory, for simulation and tests: its disk outlives it, can be copied, and fails on demand.

use crate::{
    OpenError,
    document_range::DocumentRange,
    engine::{
        Batch, Before, CommitError, Engine, HISTORY_ENTRIES_MAX, Head, HistoryEntry, JournalEntry, Page,
        ReadError, Reader, StoredRecord, resolve_record_at,
    },
    format::{self, Dense, MetaLines, damaged},
};
use lenticular_model::{Durability, Incarnation, Kind, Lock, Timestamp};
use std::{
    collections::BTreeMap,
    ops::Bound,
    path::Path,
    sync::{Arc, MutexGuard},
};

const STORE: &str = "the store in memory";

/// The failure of the process at the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process dies before the commit is written.
    BeforeCommit,
    /// The process dies after the commit is written and before any answer.
    AfterCommit,
}

#[derive(Clone, Default)]
struct Contents {
    meta: MetaLines,
    records: BTreeMap<(String, String), (String, u64)>,
    journal: BTreeMap<u64, JournalEntry>,
    changes: BTreeMap<(String, String, u64), Option<String>>,
    owned: bool,
    fail_next: Option<String>,
    crash_next: Option<Crash>,
}

/// A disk in memory. Clones are the same disk; [`MemoryDisk::copy`] makes another.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Lock<Contents>>);

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another disk with the same contents and no owner: a backup.
    pub fn copy(&self) -> Self {
        let contents = Contents { owned: false, fail_next: None, crash_next: None, ..self.lock().clone() };
        Self(Arc::new(Lock::new(contents)))
    }

    /// Makes the next commit fail with `why` and write nothing.
    pub fn fail_next_commit(&self, why: &str) {
        self.lock().fail_next = Some(why.to_owned());
    }

    /// Makes the process die at the next commit: its outcome is unknown to the writer.
    pub fn crash_next_commit(&self, crash: Crash) {
        self.lock().crash_next = Some(crash);
    }

    /// Takes the disk from its owner, like a database that drops a silent leader's session. The old engine can no
    /// longer commit once the disk is opened again.
    pub fn release(&self) {
        self.lock().owned = false;
    }

    /// The last committed transaction; 0 if there is none.
    pub fn seq(&self) -> u64 {
        self.lock().journal.keys().next_back().copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock()
    }
}

/// The engine over a [`MemoryDisk`].
pub struct Memory {
    disk: MemoryDisk,
    epoch: u64,
    open: bool,
}

impl Memory {
    /// Opens a disk; an empty disk becomes a new store.
    ///
    /// # Errors
    /// Another engine has the disk, or it is damaged.
    pub fn open(disk: &MemoryDisk) -> Result<Self, OpenError> {
        let mut contents = disk.lock();
        if contents.owned {
            let holder = "another engine in this process".to_owned();
            return Err(OpenError::InUse { store: STORE.to_owned(), holder });
        }
        if contents.meta.is_empty() {
            contents.meta = format::new_lines();
        }
        let epoch = format::check(STORE, &contents.meta)?.epoch + 1;
        contents.meta.insert("epoch".to_owned(), epoch.to_string());
        contents.owned = true;
        drop(contents);
        Ok(Self { disk: disk.clone(), epoch, open: true })
    }

    /// The contents, if this engine may commit.
    fn to_write(&self) -> Result<MutexGuard<'_, Contents>, CommitError> {
        if !self.open {
            return Err(CommitError::Failed("the store is closed".to_owned()));
        }
        let contents = self.disk.lock();
        let found = contents.meta.get("epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        if found != self.epoch {
            return Err(CommitError::Stale { ours: self.epoch, found });
        }
        Ok(contents)
    }
}

impl Contents {
    fn write(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            self.journal.insert(entry.seq, entry.clone());
        }
        for change in &batch.changes {
            let key = (change.kind.name().to_owned(), change.id.clone());
            let before = match &change.before {
                Before::Known(doc) => doc.clone(),
                Before::Stored => self.records.get(&key).map(|(doc, _)| doc.clone()),
            };
            self.changes.insert((key.0, key.1, change.seq), before);
        }
        for ((kind, id), row) in &batch.records {
            let key = (kind.name().to_owned(), id.clone());
            match &row.doc {
                Some(doc) => self.records.insert(key, (doc.clone(), row.seq)),
                None => self.records.remove(&key),
            };
        }
    }

    fn changes_of(
        &self,
        kind: Kind,
        id: &str,
    ) -> impl DoubleEndedIterator<Item = (&JournalEntry, &Option<String>)> {
        let key = |seq| (kind.name().to_owned(), id.to_owned(), seq);
        self.changes
            .range(key(0)..=key(u64::MAX))
            .filter_map(|((.., seq), before)| Some((self.journal.get(seq)?, before)))
    }
}

impl Engine for Memory {
    fn describe(&self) -> String {
        STORE.to_owned()
    }

    fn load(
        &mut self,
        each: &mut dyn FnMut(StoredRecord<'_>) -> Result<(), OpenError>,
    ) -> Result<Head, OpenError> {
        let contents = self.disk.lock();
        let mut dense = Dense::default();
        let mut seqs = contents.journal.keys();
        seqs.try_for_each(|seq| dense.take(*seq)).map_err(|damage| damaged(STORE, damage))?;
        let meta = format::check(STORE, &contents.meta)?;
        let last = contents.journal.values().next_back();
        for ((kind, id), (doc, seq)) in &contents.records {
            let Some(kind) = Kind::from_name(kind) else { continue };
            if kind.durability() == Durability::Hot {
                each(StoredRecord { kind, id, doc, seq: *seq })?;
            }
        }
        Ok(Head {
            seq: last.map_or(0, |entry| entry.seq),
            at: last.map_or_else(Timestamp::default, |entry| entry.at),
            incarnation: meta.incarnation,
            epoch: meta.epoch,
        })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let mut contents = self.to_write()?;
        if let Some(why) = contents.fail_next.take() {
            return Err(CommitError::Failed(why));
        }
        let crash = contents.crash_next.take();
        if crash != Some(Crash::BeforeCommit) {
            contents.write(batch);
        }
        match crash {
            None => Ok(()),
            Some(_) => Err(CommitError::Unknown("the process died".to_owned())),
        }
    }

    fn begin_incarnation(&mut self, incarnation: Incarnation) -> Result<(), CommitError> {
        self.to_write()?.meta.insert("incarnation".to_owned(), incarnation.to_string());
        Ok(())
    }

    fn trim(&mut self, before: Timestamp, entries_max: usize) -> Result<usize, CommitError> {
        let mut contents = self.to_write()?;
        let Some(&newest) = contents.journal.keys().next_back() else { return Ok(0) };
        let may_go = |entry: &&JournalEntry| entry.at < before && entry.seq < newest;
        let oldest = contents.journal.values().take(entries_max).take_while(may_go);
        let Some(last) = oldest.map(|entry| entry.seq).max() else { return Ok(0) };
        let kept = contents.journal.split_off(&(last + 1));
        let trimmed = std::mem::replace(&mut contents.journal, kept);
        contents.changes.retain(|(.., seq), _| *seq > last);
        Ok(trimmed.len())
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(self.disk.clone())
    }

    fn release(&mut self) {
        if let Ok(mut contents) = self.to_write() {
            contents.owned = false;
        }
        self.open = false;
    }

    fn close(&mut self) -> Result<(), CommitError> {
        self.release();
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // A process that ends releases its lock, with or without a clean close.
        self.release();
    }
}

impl Reader for MemoryDisk {
    fn get(&self, kind: Kind, id: &str) -> Result<Option<String>, ReadError> {
        let key = (kind.name().to_owned(), id.to_owned());
        Ok(self.lock().records.get(&key).map(|(doc, _)| doc.clone()))
    }

    fn list(&self, page: &Page<'_>) -> Result<Vec<(String, String)>, ReadError> {
        let range = DocumentRange::of(page);
        let key = |id: &str| (page.kind.name().to_owned(), id.to_owned());
        let contents = self.lock();
        let documents = contents
            .records
            .range((Bound::Included(key(&range.low)), Bound::Unbounded))
            .take_while(|((kind, id), _)| {
                kind == page.kind.name() && range.high.as_ref().is_none_or(|high| id < high)
            })
            .filter(|((_, id), _)| *id != range.skip)
            .map(|((_, id), (doc, _))| (id.clone(), doc.clone()));
        if page.reverse {
            let mut all: Vec<_> = documents.collect();
            all.reverse();
            all.truncate(range.limit);
            return Ok(all);
        }
        Ok(documents.take(range.limit).collect())
    }

    fn history(&self, kind: Kind, id: &str) -> Result<Vec<HistoryEntry>, ReadError> {
        let contents = self.lock();
        let newest_first = contents.changes_of(kind, id).rev().take(HISTORY_ENTRIES_MAX);
        let mut entries: Vec<_> = newest_first
            .map(|(entry, before)| HistoryEntry {
                seq: entry.seq,
                at: entry.at,
                cause: entry.cause.clone(),
                before: before.clone(),
            })
            .collect();
        entries.reverse();
        Ok(entries)
    }

    fn record_at(&self, kind: Kind, id: &str, at: Timestamp) -> Result<Option<String>, ReadError> {
        let contents = self.lock();
        let first_entry = contents.journal.values().next().map(|entry| (entry.seq, entry.at));
        let later = contents.changes_of(kind, id).find(|(entry, _)| entry.at > at);
        let present = contents.records.get(&(kind.name().to_owned(), id.to_owned()));
        let present = present.map(|(doc, _)| doc.clone());
        resolve_record_at(at, first_entry, later.map(|(_, before)| before.clone()), present)
    }

    fn backup(&self, _to: &Path) -> Result<(), ReadError> {
        Err(ReadError::Failed("a store in memory is not written to files; copy its disk instead".to_owned()))
    }
}
