//! Opening a PostgreSQL store: the session, the lock, the tables, and the epoch.

use super::{
    rows,
    session::{Session, Trouble},
};
use crate::{
    OpenError,
    engine::CommitError,
    error::Damage,
    format::{self, Dense, FORMAT, Meta, MetaLines, SUMMED_TABLES, TABLES, damaged, failed},
    sql::{self, TAIL_ENTRIES, from_sql},
};
use std::{fmt, time::Duration};
use tokio_postgres::{Config, config::Host, error::SqlState};

/// Commits are durable before they are answered. Plans look up rows by key, even if the tables were small at
/// planning. A silent leader loses its session, and with it the lock.
const SETTINGS: &str = "
    SELECT set_config('synchronous_commit',
        CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false);
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
    SET plan_cache_mode = force_generic_plan;
    SET tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 2;
    SET client_min_messages = warning;";

/// How long an opening waits for the session of an owner that just ended.
const LOCK: &str = "
    SET lock_timeout = '1s';
    SELECT pg_advisory_lock(hashtextextended('lenticular ' || current_schema(), 0));
    SET lock_timeout = 0;";

const HOLDER: &str = "
    SELECT a.pid, coalesce(host(a.client_addr), 'this machine'), coalesce(a.wait_event = 'SyncRep', false) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = a.datid
    AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended('lenticular ' || current_schema(), 0)";

const CREATE: &str = "
    BEGIN;
    CREATE TABLE records (kind text COLLATE \"C\" NOT NULL, id text COLLATE \"C\" NOT NULL, doc text NOT NULL,
        seq bigint NOT NULL, sum bigint, PRIMARY KEY (kind, id));
    CREATE TABLE journal (seq bigint PRIMARY KEY, at bigint NOT NULL, actor text NOT NULL,
        request_id text NOT NULL, why text NOT NULL, sum bigint);
    CREATE TABLE changes (seq bigint NOT NULL, kind text COLLATE \"C\" NOT NULL, id text COLLATE \"C\" NOT NULL,
        before text, sum bigint, PRIMARY KEY (kind, id, seq));
    CREATE INDEX changes_seq ON changes (seq);
    CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL);";

/// An opened store with its lock.
pub(super) struct Opened {
    pub store: String,
    pub config: Config,
    pub session: Session,
    pub meta: Meta,
}

/// What an opening may find.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A store, or a schema without tables, which becomes one.
    Any,
    /// A store only.
    Store,
}

pub(super) fn open(config: &str, may_find: Found) -> Result<Opened, OpenError> {
    let mut config: Config =
        config.parse().map_err(|error| failed("PostgreSQL store", "reading its connection string", error))?;
    if config.get_application_name().is_none() {
        config.application_name("lenticular");
    }
    config.keepalives_idle(Duration::from_secs(5)).tcp_user_timeout(Duration::from_secs(10));
    let store = describe(&config);
    let session = Session::connect(&config, SETTINGS).map_err(|error| failed(&store, "connecting", error))?;
    lock(&store, &session)?;
    warn_if_forgetful(&store, &session)?;
    prepare_tables(&store, &session, may_find)?;
    let lines = meta_lines(&session).map_err(|error| failed(&store, "reading the table 'meta'", error))?;
    let mut meta = format::check(&store, &lines)?;
    check_journal(&store, &session, meta.sum_column())?;
    let raise = "UPDATE meta SET value = (value::bigint + 1)::text WHERE key = 'epoch';";
    let upgrade = if meta.is_old() { upgrade(&meta) } else { String::new() };
    session
        .run(session.client().batch_execute(&format!("BEGIN; {upgrade}{raise} COMMIT;")))
        .map_err(|error| failed(&store, "raising the epoch", error))?;
    meta.epoch += 1;
    meta.format = meta.format.max(FORMAT);
    Ok(Opened { store, config, session, meta })
}

/// Reopens the session of a leader after the session has ended, if no other leader has been active since.
pub(super) fn reopen(store: &str, config: &Config, epoch: u64) -> Result<Session, CommitError> {
    let failed = |what: &str, why: &dyn fmt::Display| {
        CommitError::Failed(format!("{store}: its session has ended, and {what}: {why}"))
    };
    let session =
        Session::connect(config, SETTINGS).map_err(|why| failed("it cannot be connected to", &why))?;
    let is_ours = || -> Result<(), CommitError> {
        let read = session.run(session.client().query_one("SELECT value FROM meta WHERE key = 'epoch'", &[]));
        let row = read.map_err(|why| failed("its epoch cannot be read", &why))?;
        let found: &str = row.try_get(0).map_err(|why| failed("its epoch cannot be read", &why))?;
        match found.parse() {
            Ok(found) if found == epoch => Ok(()),
            found => Err(CommitError::Stale { ours: epoch, found: found.unwrap_or(0) }),
        }
    };
    // A leader since then has raised the epoch, even if it does not have the lock now.
    is_ours()?;
    lock(store, &session).map_err(|why| failed("it cannot be locked again", &why))?;
    is_ours()?;
    tracing::warn!(store, "the session with PostgreSQL had ended; it was opened anew");
    Ok(session)
}

/// Names the store without its password.
fn describe(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    format!("PostgreSQL store {} at {host}", config.get_dbname().or(config.get_user()).unwrap_or("(default)"))
}

fn lock(store: &str, session: &Session) -> Result<(), OpenError> {
    let answer = session.run(async {
        let answer = session.client().batch_execute(LOCK).await;
        let is_held = |error: &tokio_postgres::Error| error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
        match answer {
            Err(error) if is_held(&error) => Ok(false),
            other => other.map(|()| true),
        }
    });
    if answer.map_err(|error| failed(store, "locking it", error))? {
        return Ok(());
    }
    let holder = session.run(session.client().query_opt(HOLDER, &[]));
    let holder = holder.map_err(|error| failed(store, "asking who has it locked", error))?;
    let holder =
        holder.and_then(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?, row.try_get(2).ok()?)));
    let holder = holder.map_or_else(
        || "another process".to_owned(),
        |(pid, host, waits): (i32, String, bool)| {
            let waits = if waits { " and waits for a synchronous standby" } else { "" };
            format!("the process on {host} whose PostgreSQL session has the id {pid}{waits}")
        },
    );
    Err(OpenError::InUse { store: store.to_owned(), holder })
}

fn warn_if_forgetful(store: &str, session: &Session) -> Result<(), OpenError> {
    let fail = |error: Trouble| failed(store, "reading the server's settings", error);
    let row =
        session.run(session.client().query_one("SELECT current_setting('fsync')", &[])).map_err(fail)?;
    if row.try_get(0).map_err(|error| fail(error.into())).is_ok_and(|fsync: &str| fsync == "off") {
        tracing::warn!(
            store,
            "the server runs with fsync = off and forgets acknowledged writes when it crashes"
        );
    }
    Ok(())
}

fn prepare_tables(store: &str, session: &Session, may_find: Found) -> Result<(), OpenError> {
    let fail = |error: Trouble| failed(store, "looking at its tables", error);
    let known = "SELECT table_name::text FROM information_schema.tables
        WHERE table_schema = current_schema() AND table_name = ANY($1)";
    let rows = session.run(session.client().query(known, &[&TABLES.as_slice()])).map_err(fail)?;
    let found: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    let found = found.map_err(|error| fail(error.into()))?;
    if found.is_empty() && may_find == Found::Store {
        return Err(OpenError::Gone { store: store.to_owned() });
    }
    if found.is_empty() {
        let lines = format::new_lines();
        let lines = lines.iter().map(|(key, value)| format!("INSERT INTO meta VALUES ('{key}', '{value}');"));
        let create = format!("{CREATE}{}COMMIT;", lines.collect::<String>());
        let made = session.run(session.client().batch_execute(&create));
        return made.map_err(|error| failed(store, "making the tables", error));
    }
    match TABLES.into_iter().find(|table| !found.iter().any(|name| name == table)) {
        Some(missing) => Err(damaged(store, Damage::MissingTable(missing))),
        None => Ok(()),
    }
}

fn meta_lines(session: &Session) -> Result<MetaLines, Trouble> {
    let rows = session.run(session.client().query("SELECT key, value FROM meta", &[]))?;
    let line = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
    rows.iter().map(line).collect::<Result<_, tokio_postgres::Error>>().map_err(Trouble::from)
}

/// Checks that the entries at the journal's end are as they were written, without gaps.
fn check_journal(store: &str, session: &Session, sum: &str) -> Result<(), OpenError> {
    let fail = |error: Trouble| failed(store, "checking the journal", error);
    let column = |error: tokio_postgres::Error| fail(error.into());
    let before = session.run(session.client().query_opt(sql::BEFORE_TAIL, &[&TAIL_ENTRIES])).map_err(fail)?;
    let before: Option<i64> = before.map(|row| row.try_get(0)).transpose().map_err(column)?;
    let mut dense = Dense::default();
    let mut each = |row: tokio_postgres::Row| {
        let entry = rows::entry(&row, 0).map_err(column)?;
        entry.check().and_then(|()| dense.take(from_sql(entry.seq))).map_err(|damage| damaged(store, damage))
    };
    session.for_each(&sql::journal_after(sum), &[&before.unwrap_or(i64::MIN)], &mut each, fail)
}

/// Existing rows without a sum stay so.
fn upgrade(meta: &Meta) -> String {
    let tables = SUMMED_TABLES.iter().filter(|_| !meta.has_sums());
    let tables =
        tables.map(|table| format!("ALTER TABLE {table} ADD COLUMN sum bigint; ")).collect::<String>();
    let lines = format::version_lines()
        .map(|(key, version)| format!("UPDATE meta SET value = '{version}' WHERE key = '{key}'; "));
    tables + &lines.concat()
}
