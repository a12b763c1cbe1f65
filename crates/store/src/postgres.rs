//! The shared engine: a PostgreSQL database (12 or newer), with one leader at a time.
//!
//! The leader holds an advisory lock as long as its session lives. Every commit locks the epoch's row and compares
//! it. So a leader whose session has ended on the server cannot write, even if the server still reads from its
//! connection. The lock belongs to the session, so the connection must not go through a pooler in transaction mode.
//! Replication of PostgreSQL must be synchronous, or a fail-over loses acknowledged writes.

mod columns;
mod open;
mod reader;
mod rows;
mod session;

use crate::{
    OpenError,
    engine::{Batch, CommitError, Engine, Head, Reader, StoredRecord},
    error::Damage,
    format::{Meta, damaged, failed},
    sql::{self, from_sql},
};
use columns::Columns;
use lenticular_model::{Durability, Incarnation, Kind, Timestamp};
use open::Found;
use reader::PostgresReader;
use session::{Session, Trouble};
use std::sync::Arc;
use tokio_postgres::{Config, Statement, types::ToSql};

/// Begins every statement that writes. `epoch` has one row, locked, if this process still leads, and none
/// otherwise.
const EPOCH: &str =
    "WITH epoch AS MATERIALIZED (SELECT 1 AS ours FROM meta WHERE key = 'epoch' AND value = $1 FOR UPDATE)";

/// Ends every statement that writes: whether this process leads, the store's epoch, and the number of affected
/// rows.
const VERDICT: &str = "(SELECT count(*) FROM epoch), (SELECT value FROM meta WHERE key = 'epoch')";

/// A whole batch in one statement, and so in one round trip and one transaction. All its parts see the store before
/// the statement, so `records` gives the before-images. The sum of such an image is the record's with another seq:
/// see `sum.rs`.
const COMMIT: &str = "
    , entries AS (
        INSERT INTO journal (seq, at, actor, request_id, why, sum)
        SELECT u.* FROM epoch,
            unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[]) AS u
    ), images AS (
        INSERT INTO changes (seq, kind, id, before, sum)
        SELECT u.seq, u.kind, u.id, CASE WHEN u.stored THEN r.doc ELSE u.before END,
            CASE WHEN r.id IS NULL THEN u.sum ELSE (r.sum & 4294967295) | (u.seq << 32) END
        FROM epoch, unnest($8::bigint[], $9::text[], $10::text[], $11::text[], $12::boolean[], $13::bigint[])
            AS u (seq, kind, id, before, stored, sum)
        LEFT JOIN records r ON u.stored AND r.kind = u.kind AND r.id = u.id
    ), written AS (
        INSERT INTO records (kind, id, doc, seq, sum)
        SELECT u.* FROM epoch,
            unnest($14::text[], $15::text[], $16::text[], $17::bigint[], $18::bigint[]) AS u
        ON CONFLICT (kind, id) DO UPDATE SET doc = excluded.doc, seq = excluded.seq, sum = excluded.sum
    ), removed AS (
        DELETE FROM records USING epoch, unnest($19::text[], $20::text[]) AS u (kind, id)
        WHERE records.kind = u.kind AND records.id = u.id
    )";

const SET_INCARNATION: &str = "
    , written AS (UPDATE meta SET value = $2 FROM epoch WHERE meta.key = 'incarnation')";

const TRIM: &str = "
    , images AS (DELETE FROM changes USING epoch WHERE changes.seq <= $2)
    , entries AS (DELETE FROM journal USING epoch WHERE journal.seq <= $2 RETURNING 1)";

/// The engine over one schema of a PostgreSQL database. Its calls block on a private runtime, so do not call it
/// from an asynchronous task.
pub struct Postgres {
    store: String,
    session: Option<Session>,
    config: Config,
    commit: Statement,
    reader: Arc<PostgresReader>,
    meta: Meta,
}

impl Postgres {
    /// Opens the store in the schema of `config`, and owns it until dropped or closed. A schema without the store's
    /// tables becomes a new store. `config` is a connection string, for example `host=/run/postgresql
    /// user=lenticular dbname=lenticular`; connections are not encrypted.
    ///
    /// Every opening checks the tables, `meta`, every record except the cold ones, and the last 10,000 journal
    /// entries. PostgreSQL itself checks its pages. A store of an older format is upgraded.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing in the database is changed then.
    pub fn open(config: &str) -> Result<Self, OpenError> {
        Self::with(open::open(config, Found::Any)?)
    }

    /// As [`Postgres::open`], but a schema without the store's tables is refused.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing in the database is changed then.
    pub fn open_again(config: &str) -> Result<Self, OpenError> {
        Self::with(open::open(config, Found::Store)?)
    }

    fn with(opened: open::Opened) -> Result<Self, OpenError> {
        let commit = prepare_commit(&opened.session);
        let commit = commit.map_err(|error| failed(&opened.store, "preparing the commit", error))?;
        Ok(Self {
            reader: Arc::new(PostgresReader::new(opened.store.clone(), opened.config.clone())),
            config: opened.config,
            store: opened.store,
            session: Some(opened.session),
            commit,
            meta: opened.meta,
        })
    }

    fn session(&self) -> Result<&Session, CommitError> {
        self.session.as_ref().ok_or_else(|| CommitError::Failed("the store is closed".to_owned()))
    }

    /// Reopens the session if the server has ended it. The old session has sent nothing of the next write.
    fn revive(&mut self) -> Result<(), CommitError> {
        if self.session()?.has_ended() {
            let session = open::reopen(&self.store, &self.config, self.meta.epoch)?;
            let commit = prepare_commit(&session);
            self.commit = commit.map_err(|trouble| CommitError::Failed(trouble.to_string()))?;
            self.session = Some(session);
        }
        Ok(())
    }

    /// Runs a statement that writes, and returns the number of affected rows.
    fn write<S: tokio_postgres::ToStatement>(
        &self,
        statement: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<i64, CommitError> {
        let session = self.session()?;
        let row = session.run(session.client().query_one(statement, params)).map_err(commit_error)?;
        let column = |error| commit_error(Trouble::from(error));
        if row.try_get::<_, i64>(0).map_err(column)? == 1 {
            return row.try_get(2).map_err(column);
        }
        let found = row.try_get::<_, Option<&str>>(1).map_err(column)?;
        let found = found.and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        Err(CommitError::Stale { ours: self.meta.epoch, found })
    }

    fn epoch(&self) -> String {
        self.meta.epoch.to_string()
    }
}

fn prepare_commit(session: &Session) -> Result<Statement, Trouble> {
    session.run(session.client().prepare(&writing(COMMIT, "0::bigint")))
}

/// A complete writing statement, from its parts.
fn writing(parts: &str, rows: &str) -> String {
    format!("{EPOCH}{parts} SELECT {VERDICT}, {rows}")
}

fn commit_error(trouble: Trouble) -> CommitError {
    match trouble {
        Trouble::Refused(why) => CommitError::Failed(why),
        Trouble::Broken(why) => CommitError::Unknown(why),
    }
}

impl Engine for Postgres {
    fn describe(&self) -> String {
        self.store.clone()
    }

    fn load(
        &mut self,
        each: &mut dyn FnMut(StoredRecord<'_>) -> Result<(), OpenError>,
    ) -> Result<Head, OpenError> {
        let store = &self.store;
        let fail = |trouble: Trouble| failed(store, "reading the records", trouble);
        let column = |error: tokio_postgres::Error| fail(error.into());
        let session =
            self.session.as_ref().ok_or_else(|| failed(store, "reading the records", "it is closed"))?;
        let head = session.run(session.client().query_opt(sql::HEAD, &[])).map_err(fail)?;
        let (seq, at) = match head {
            Some(row) => (row.try_get(0).map_err(column)?, row.try_get(1).map_err(column)?),
            None => (0, 0),
        };
        let mut each = |row: tokio_postgres::Row| {
            let image = rows::image(&row, 0).map_err(column)?;
            image.check_record().map_err(|damage| damaged(store, damage))?;
            let kind = Kind::from_name(row.try_get(0).map_err(column)?);
            let Some(kind) = kind.filter(|kind| kind.durability() == Durability::Hot) else { return Ok(()) };
            let id: &str = row.try_get(1).map_err(column)?;
            let doc = row.try_get(2).map_err(|error: tokio_postgres::Error| {
                let (kind, id, why) = (kind.name(), id.to_owned(), error.to_string());
                damaged(store, Damage::Document { kind, id, why })
            })?;
            each(StoredRecord { kind, id, doc, seq: from_sql(image.seq) })
        };
        session.for_each(&sql::load(), &[], &mut each, fail)?;
        let Meta { incarnation, epoch, .. } = self.meta;
        Ok(Head { seq: from_sql(seq), at: Timestamp(at), incarnation, epoch })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        self.revive()?;
        self.write(&self.commit, &Columns::of(batch).params(&self.epoch())).map(|_| ())
    }

    fn begin_incarnation(&mut self, incarnation: Incarnation) -> Result<(), CommitError> {
        let statement = writing(SET_INCARNATION, "0::bigint");
        self.revive()?;
        self.write(&statement, &[&self.epoch(), &incarnation.to_string()])?;
        self.meta.incarnation = Some(incarnation);
        Ok(())
    }

    fn trim(&mut self, before: Timestamp, entries_max: usize) -> Result<usize, CommitError> {
        let entries_max = i64::try_from(entries_max).unwrap_or(i64::MAX);
        self.revive()?;
        let session = self.session()?;
        let last = session.run(session.client().query_opt(sql::TRIM_UP_TO, &[&entries_max, &before.0]));
        let Some(last) = last.map_err(commit_error)? else { return Ok(0) };
        let last: i64 = last.try_get(0).map_err(|error| commit_error(error.into()))?;
        let count = self.write(&writing(TRIM, "(SELECT count(*) FROM entries)"), &[&self.epoch(), &last])?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.reader.clone()
    }

    fn release(&mut self) {
        self.session = None;
    }

    fn close(&mut self) -> Result<(), CommitError> {
        match self.session.take() {
            Some(session) => session.close().map_err(commit_error),
            None => Ok(()),
        }
    }
}
