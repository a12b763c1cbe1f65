//! Reads from a PostgreSQL store, on separate sessions that are renewed when they break.

use super::{
    rows::{self, Unreadable},
    session::{Session, Trouble},
};
use crate::{
    document_range::DocumentRange,
    engine::{HISTORY_ENTRIES_MAX, HistoryEntry, JournalEntry, Page, ReadError, Reader, resolve_record_at},
    sql::{self, from_sql},
};
use lenticular_model::{Cause, Kind, Lock, Timestamp};
use std::path::Path;
use tokio_postgres::{Config, Row, types::ToSql};

const SETTINGS: &str = "SET default_transaction_read_only = on; SET statement_timeout = '10s'; SET client_min_messages = warning;";

/// Sessions that are kept open while idle.
const IDLE_MAX: usize = 4;

pub(super) struct PostgresReader {
    store: String,
    config: Config,
    idle: Lock<Vec<Session>>,
}

impl PostgresReader {
    pub(super) fn new(store: String, config: Config) -> Self {
        Self { store, config, idle: Lock::default() }
    }

    fn query(&self, statement: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, ReadError> {
        let idle = || self.idle.lock();
        loop {
            let kept = idle().pop();
            let was_kept = kept.is_some();
            let session = kept.map_or_else(|| Session::connect(&self.config, SETTINGS), Ok);
            let session = session.map_err(|trouble| self.failed(&trouble))?;
            let rows = session.run(session.client().query(statement, params));
            match rows {
                // The server may have ended an idle session long ago; a second read is harmless.
                Err(Trouble::Broken(_)) if was_kept => continue,
                Err(trouble @ Trouble::Broken(_)) => return Err(self.failed(&trouble)),
                Ok(_) | Err(Trouble::Refused(_)) => {
                    let mut idle = idle();
                    if idle.len() < IDLE_MAX {
                        idle.push(session);
                    }
                }
            }
            return rows.map_err(|trouble| self.failed(&trouble));
        }
    }

    fn rows<T>(
        &self,
        statement: &str,
        params: &[&(dyn ToSql + Sync)],
        read: impl Fn(&Row) -> Result<T, Unreadable>,
    ) -> Result<Vec<T>, ReadError> {
        let rows = self.query(statement, params)?;
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| match error {
            Unreadable::Postgres(error) => self.failed(&error.into()),
            Unreadable::Damaged(damage) => ReadError::Damaged { store: self.store.clone(), damage },
        })
    }

    fn failed(&self, trouble: &Trouble) -> ReadError {
        ReadError::Failed(format!("{}: {trouble}", self.store))
    }
}

/// The id and the document of a record whose columns begin at `first`.
fn record(row: &Row, first: usize) -> Result<(String, String), Unreadable> {
    rows::image(row, first)?.check_record()?;
    Ok((row.try_get(first + 1)?, row.try_get(first + 2)?))
}

/// An entry of the journal whose columns begin at `first`.
fn entry(row: &Row, first: usize) -> Result<JournalEntry, Unreadable> {
    rows::entry(row, first)?.check()?;
    let text = |column: usize| row.try_get(first + column);
    Ok(JournalEntry {
        seq: from_sql(row.try_get(first)?),
        at: Timestamp(row.try_get(first + 1)?),
        cause: Cause { actor: text(2)?, request_id: text(3)?, why: text(4)? },
    })
}

/// An entry of the journal whose columns begin at `first`, and the before-image in the columns after it.
fn change(row: &Row, first: usize) -> Result<(JournalEntry, Option<String>), Unreadable> {
    let image = rows::image(row, first + 6)?;
    image.check_change()?;
    if !rows::is_there(row, first)? {
        return Err(image.without_entry().into());
    }
    Ok((entry(row, first)?, row.try_get(first + 8)?))
}

impl Reader for PostgresReader {
    fn get(&self, kind: Kind, id: &str) -> Result<Option<String>, ReadError> {
        let mut found = self.rows(sql::GET, &[&kind.name(), &id], |row| record(row, 0))?;
        Ok(found.pop().map(|(_, doc)| doc))
    }

    fn list(&self, page: &Page<'_>) -> Result<Vec<(String, String)>, ReadError> {
        let range = DocumentRange::of(page);
        let limit = i64::try_from(range.limit).unwrap_or(i64::MAX);
        let kind = page.kind.name();
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&kind, &range.low, &range.skip];
        params.extend(range.high.as_ref().map(|high| high as &(dyn ToSql + Sync)));
        params.push(&limit);
        let statement = sql::list(range.high.is_some(), page.reverse);
        self.rows(&statement, &params, |row| record(row, 0))
    }

    fn history(&self, kind: Kind, id: &str) -> Result<Vec<HistoryEntry>, ReadError> {
        let limit = i64::try_from(HISTORY_ENTRIES_MAX).unwrap_or(i64::MAX);
        let mut entries = self.rows(sql::HISTORY, &[&kind.name(), &id, &limit], |row| {
            let (JournalEntry { seq, at, cause }, before) = change(row, 0)?;
            Ok(HistoryEntry { seq, at, cause, before })
        })?;
        entries.reverse();
        Ok(entries)
    }

    fn record_at(&self, kind: Kind, id: &str, at: Timestamp) -> Result<Option<String>, ReadError> {
        let found = self.rows(sql::RECORD_AT, &[&kind.name(), &id, &at.0], |row| {
            let oldest = rows::is_there(row, 0)?.then(|| entry(row, 0)).transpose()?;
            let oldest = oldest.map(|entry| (entry.seq, entry.at));
            if rows::is_there(row, 20)? {
                let (_, before) = change(row, 11)?;
                return Ok((oldest, Some(before), None));
            }
            let present = rows::is_there(row, 9)?.then(|| record(row, 6)).transpose()?;
            Ok((oldest, None, present.map(|(_, doc)| doc)))
        });
        let (oldest, later, present) = found?.pop().unwrap_or((None, None, None));
        resolve_record_at(at, oldest, later, present)
    }

    fn backup(&self, _to: &Path) -> Result<(), ReadError> {
        Err(ReadError::Failed(format!(
            "{} is backed up with PostgreSQL's own pg_dump or pg_basebackup",
            self.store
        )))
    }
}
