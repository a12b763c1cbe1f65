//! Opening an SQLite store: the lock, the check of the file, its settings, and the tables of a new store.

use super::{CLEAN, SET_META, check, lock::Lock, present::Present};
use crate::{
    OpenError,
    error::Damage,
    format::{self, FORMAT, Meta, SUMMED_TABLES, beside, damaged, failed},
};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

/// `LENT`: the mark of an SQLite file that is a store of this application.
const APPLICATION_ID: i32 = 0x4C45_4E54;

/// How long a commit waits for another program that holds the file locked, such as an operator's `sqlite3`.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const HEADER: &[u8; 16] = b"SQLite format 3\0";

const CREATE: &str = "
    CREATE TABLE records (kind TEXT NOT NULL, id TEXT NOT NULL, doc TEXT NOT NULL, seq INTEGER NOT NULL,
        sum INTEGER, PRIMARY KEY (kind, id)) STRICT;
    CREATE TABLE journal (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL,
        request_id TEXT NOT NULL, why TEXT NOT NULL, sum INTEGER) STRICT;
    CREATE TABLE changes (seq INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, before TEXT,
        sum INTEGER, PRIMARY KEY (kind, id, seq)) STRICT;
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;";

/// With WAL, readers read while the writer writes. FULL syncs the log at every commit. Checkpoints are rarer than
/// by default, because each one syncs the whole file and delays the commit that triggers it.
const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 4000;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -8192;
    PRAGMA temp_store = MEMORY;
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;";

/// An opened store with its lock.
pub(super) struct Opened {
    pub connection: Connection,
    pub meta: Meta,
    pub lock: Lock,
    pub present: Present,
}

/// Removes other users' rights on the files; a copy of a backup may have brought them.
fn shut(path: &Path) -> io::Result<()> {
    for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            tracing::warn!(file = %file.display(), mode = format!("{mode:o}"), "other users could read it; now they cannot");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

pub(super) fn open(store: &str, path: &Path) -> Result<Opened, OpenError> {
    let lock = Lock::take(store, path)?;
    let bytes = look_at_file(store, path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(path, flags).map_err(|error| failed(store, "opening the file", error))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(|error| failed(store, "setting it up", error))?;

    let is_new = is_new(store, &connection)?;
    if !is_new {
        check::check(store, &connection, bytes)?;
    }
    let set_up = |error: rusqlite::Error| check::read_error(store, "setting it up", &error);
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(set_up)?;
    if mode != "wal" {
        return Err(failed(
            store,
            "turning the write-ahead log on",
            format!("SQLite stays in mode '{mode}'"),
        ));
    }
    connection.execute_batch(SETTINGS).map_err(set_up)?;
    if is_new {
        create(&mut connection).map_err(|error| failed(store, "making the tables", error))?;
    }
    let meta = take_over(store, &mut connection)?;
    shut(path).map_err(|error| failed(store, "keeping it from other users", error))?;
    let present = Present::of(path).map_err(|error| failed(store, "looking at the files", error))?;
    Ok(Opened { connection, meta, lock, present })
}

/// Refuses a file that is no database, creates a missing file, and returns the file's size.
fn look_at_file(store: &str, path: &Path) -> Result<u64, OpenError> {
    let fail = |error: io::Error| failed(store, "looking at the file", error);
    let bytes = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(fail(error)),
    };
    if bytes == 0 {
        // SQLite would delete the log.
        let log = beside(path, "-wal");
        if fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 0) {
            return Err(damaged(store, Damage::LostDatabase { log: log.display().to_string() }));
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600).open(path).map_err(fail)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
        return Ok(0);
    }
    let mut header = [0; 16];
    match File::open(path).and_then(|mut file| file.read_exact(&mut header)) {
        Ok(()) if header == *HEADER => Ok(bytes),
        Ok(()) => Err(damaged(store, Damage::NotADatabase)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(damaged(store, Damage::NotADatabase))
        }
        Err(error) => Err(fail(error)),
    }
}

/// True if the database was never used; refuses a database of another application.
fn is_new(store: &str, connection: &Connection) -> Result<bool, OpenError> {
    let fail = |error: rusqlite::Error| check::read_error(store, "reading what the file is", &error);
    let application: i32 =
        connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(fail)?;
    let objects: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    match (application, objects) {
        (APPLICATION_ID, _) => Ok(false),
        (0, 0) => Ok(true),
        _ => {
            let found =
                format!("its application id is {application:#x}, and it has {objects} tables and indexes");
            Err(OpenError::Foreign { store: store.to_owned(), found })
        }
    }
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(CREATE)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    for (key, value) in format::new_lines() {
        transaction.execute(SET_META, params![key, value])?;
    }
    transaction.commit()
}

/// Raises the epoch, marks the store as open, and upgrades an older store to this binary's format.
fn take_over(store: &str, connection: &mut Connection) -> Result<Meta, OpenError> {
    let fail = |error: rusqlite::Error| check::read_error(store, "taking it over", &error);
    let lines = check::meta_lines(connection).map_err(fail)?;
    let mut meta = format::check(store, &lines)?;
    meta.epoch += 1;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    if meta.is_old() {
        upgrade(&transaction, &meta)
            .map_err(|error| check::read_error(store, "bringing it to a newer format", &error))?;
        meta.format = FORMAT;
    }
    transaction.execute(SET_META, params!["epoch", meta.epoch.to_string()]).map_err(fail)?;
    transaction.execute(SET_META, params![CLEAN, "0"]).map_err(fail)?;
    transaction.commit().map_err(fail)?;
    Ok(meta)
}

/// Existing rows without a sum stay so.
fn upgrade(transaction: &Transaction<'_>, meta: &Meta) -> rusqlite::Result<()> {
    for table in SUMMED_TABLES.iter().filter(|_| !meta.has_sums()) {
        transaction.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN sum INTEGER"))?;
    }
    for (key, version) in format::version_lines() {
        transaction.execute(SET_META, params![key, version.to_string()])?;
    }
    Ok(())
}
