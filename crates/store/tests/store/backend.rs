//! The engines as the suite sees them: stores to open, break and repair.

use crate::cluster::Cluster;
use lenticular_model::{
    Cause, HostId, Incarnation, Result, RoleId, State, Timestamp, Txn, host::host::Heartbeat, identity::Role,
};
use lenticular_store::{Commit, Engine, Memory, MemoryDisk, OpenError, Postgres, Sqlite, Writer};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use tempfile::TempDir;

/// A store that outlives its openings.
pub trait Backend {
    fn open(&self) -> Result<Box<dyn Engine>, OpenError>;
    /// Makes the next commit fail without a trace; [`Backend::mend`] ends it.
    fn refuse_commits(&self);
    fn mend(&self);
    /// Runs statements outside the engine. Panics on an engine without SQL.
    fn execute(&self, sql: &str);
    /// The number from a query outside the engine. Panics on an engine without SQL.
    fn number(&self, sql: &str) -> i64;
}

const REFUSE: &str = "the disk of the test is full";

#[derive(Default)]
pub struct MemoryBackend {
    pub disk: MemoryDisk,
}

impl Backend for MemoryBackend {
    fn open(&self) -> Result<Box<dyn Engine>, OpenError> {
        Ok(Box::new(Memory::open(&self.disk)?))
    }
    fn refuse_commits(&self) {
        self.disk.fail_next_commit(REFUSE);
    }
    fn mend(&self) {}
    fn execute(&self, _sql: &str) {
        panic!("the memory engine has no SQL");
    }
    fn number(&self, _sql: &str) -> i64 {
        panic!("the memory engine has no SQL");
    }
}

pub struct SqliteBackend {
    _folder: TempDir,
    pub path: PathBuf,
}

impl SqliteBackend {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        Self { _folder: folder, path }
    }

    fn connect(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(&self.path).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection
    }
}

impl Backend for SqliteBackend {
    fn open(&self) -> Result<Box<dyn Engine>, OpenError> {
        Ok(Box::new(Sqlite::open(&self.path)?))
    }
    fn refuse_commits(&self) {
        self.execute(&format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, '{REFUSE}'); END"
        ));
    }
    fn mend(&self) {
        self.execute("DROP TRIGGER refuse");
    }
    fn execute(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }
    fn number(&self, sql: &str) -> i64 {
        self.connect().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

pub struct PostgresBackend {
    cluster: Arc<Cluster>,
    pub schema: String,
}

impl PostgresBackend {
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let schema = cluster.new_schema();
        Self { cluster, schema }
    }
}

impl Backend for PostgresBackend {
    fn open(&self) -> Result<Box<dyn Engine>, OpenError> {
        Ok(Box::new(Postgres::open(&self.cluster.config(&self.schema))?))
    }
    fn refuse_commits(&self) {
        self.execute(&format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
                 AS $$ BEGIN RAISE EXCEPTION '{REFUSE}'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION refuse();"
        ));
    }
    fn mend(&self) {
        self.execute("DROP TRIGGER refuse ON journal; DROP FUNCTION refuse();");
    }
    fn execute(&self, sql: &str) {
        self.cluster.execute(&self.schema, sql);
    }
    fn number(&self, sql: &str) -> i64 {
        self.cluster.number(&self.schema, sql)
    }
}

/// The incarnation that every new store of the tests gets.
pub fn incarnation() -> Incarnation {
    Incarnation::from_random([42; 16])
}

pub fn writer(backend: &dyn Backend) -> Writer {
    Writer::open(backend.open().unwrap(), Timestamp(0), incarnation()).unwrap()
}

/// Closes a writer in good order and opens its store again.
pub fn reopen(backend: &dyn Backend, old: Writer) -> Writer {
    old.close().unwrap();
    writer(backend)
}

pub fn cause(why: &str) -> Cause {
    Cause { actor: "tester".to_owned(), request_id: "req-1".to_owned(), why: why.to_owned() }
}

/// Runs a transaction at a time in microseconds.
pub fn transact<T>(
    writer: &mut Writer,
    at: i64,
    why: &str,
    f: impl FnOnce(&mut Txn<'_>) -> Result<T>,
) -> Result<(T, Option<Arc<Commit>>)> {
    writer.transact(Timestamp(at), &mut || [7; 16], cause(why), f)
}

pub fn role_id(number: u8) -> RoleId {
    RoleId::from_random([number; 16])
}

pub fn role(number: u8, description: &str) -> Role {
    let id = role_id(number);
    Role {
        id,
        created_at: Timestamp(1),
        updated_at: None,
        name: id.to_string(),
        domain_id: None,
        description: Some(description.to_owned()),
        unknown: BTreeMap::new(),
    }
}

pub fn heartbeat(number: u8, at: i64) -> Heartbeat {
    Heartbeat {
        id: HostId::from_random([number; 16]),
        created_at: Timestamp(1),
        updated_at: None,
        at: Timestamp(at),
        session: 1,
        number: 0,
        unknown: BTreeMap::new(),
    }
}

pub fn description(state: &State, number: u8) -> Option<String> {
    state.roles.get(&role_id(number)).and_then(|role| role.description.clone())
}

/// Every durable record that the tests write, as text, and how many records there are of each kind.
pub fn dump(state: &State) -> Vec<String> {
    let roles = state.roles.values().map(|record| serde_json::to_string(&**record).unwrap());
    let flavors = state.flavors.values().map(|record| serde_json::to_string(&**record).unwrap());
    let found = |name: &str| state.role_named(None, name).map(|role| role.id);
    let names = state.roles.values().map(|role| format!("{} is {:?}", role.name, found(&role.name)));
    let durable = state.counts().into_iter().filter(|(kind, _)| kind.name() != "heartbeat");
    let counts = durable.map(|(kind, count)| format!("{count} of {}", kind.name()));
    let head = format!("seq {} of {}", state.seq, state.incarnation);
    roles.chain(flavors).chain(names).chain(counts).chain([head]).collect()
}
