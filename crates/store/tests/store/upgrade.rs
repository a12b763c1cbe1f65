//! Stores of format 1, which had no checksums: they open, and rows written from then on have checksums.

use crate::backend::{
    Backend, SqliteBackend, description, dump, incarnation, reopen, role, role_id, transact, writer,
};
use lenticular_model::{Kind, Timestamp, identity::Role};
use lenticular_store::{FORMAT, MIN_READER, MIN_WRITER, OpenError, ReadError, Writer};

/// The tables as the first release made them.
pub const SQLITE: &str = "
    PRAGMA application_id = 0x4C454E54;
    CREATE TABLE records (kind TEXT NOT NULL, id TEXT NOT NULL, doc TEXT NOT NULL, seq INTEGER NOT NULL,
        PRIMARY KEY (kind, id)) STRICT;
    CREATE TABLE journal (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL,
        request_id TEXT NOT NULL, why TEXT NOT NULL) STRICT;
    CREATE TABLE changes (seq INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, before TEXT,
        PRIMARY KEY (kind, id, seq)) STRICT;
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;";

/// The same in PostgreSQL.
pub const POSTGRES: &str = "
    CREATE TABLE records (kind text COLLATE \"C\" NOT NULL, id text COLLATE \"C\" NOT NULL, doc text NOT NULL,
        seq bigint NOT NULL, PRIMARY KEY (kind, id));
    CREATE TABLE journal (seq bigint PRIMARY KEY, at bigint NOT NULL, actor text NOT NULL,
        request_id text NOT NULL, why text NOT NULL);
    CREATE TABLE changes (seq bigint NOT NULL, kind text COLLATE \"C\" NOT NULL, id text COLLATE \"C\" NOT NULL,
        before text, PRIMARY KEY (kind, id, seq));
    CREATE INDEX changes_seq ON changes (seq);
    CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL);";

pub fn run(fresh: &dyn Fn() -> Box<dyn Backend>, tables: &str) {
    what_is_there_stays(&*old_store(fresh, tables));
    what_is_written_is_summed(&*old_store(fresh, tables));
    damage_is_found_before(&*old_store(fresh, tables));
}

fn old_store(fresh: &dyn Fn() -> Box<dyn Backend>, tables: &str) -> Box<dyn Backend> {
    let backend = fresh();
    backend.execute(tables);
    fill(&*backend);
    backend
}

/// Three roles and a cold document, written by three entries.
fn fill(backend: &dyn Backend) {
    let incarnation = incarnation().to_string();
    let lines = [
        ("format", "1"),
        ("min_reader", "1"),
        ("min_writer", "1"),
        ("epoch", "7"),
        ("incarnation", &incarnation),
    ];
    let mut rows = String::new();
    for (key, value) in lines {
        rows += &format!("INSERT INTO meta (key, value) VALUES ('{key}', '{value}');");
    }
    for number in 1..=3 {
        let (id, doc) = (role_id(number), serde_json::to_string(&role(number, "old")).unwrap());
        rows += &format!(
            "INSERT INTO records (kind, id, doc, seq) VALUES ('role', '{id}', '{doc}', {number});
             INSERT INTO journal (seq, at, actor, request_id, why) VALUES ({number}, {number}0, 'a', 'r', 'w');
             INSERT INTO changes (seq, kind, id, before) VALUES ({number}, 'role', '{id}', NULL);"
        );
    }
    rows += "INSERT INTO records (kind, id, doc, seq) VALUES ('user_data', 'x', '1', 3);
             INSERT INTO changes (seq, kind, id, before) VALUES (3, 'user_data', 'x', '0');";
    backend.execute(&rows);
}

fn meta(backend: &dyn Backend, key: &str) -> i64 {
    backend.number(&format!("SELECT CAST(value AS bigint) FROM meta WHERE key = '{key}'"))
}

/// The numbers of records, entries and changes without a sum.
fn without_sum(backend: &dyn Backend) -> [i64; 3] {
    let count = |table| backend.number(&format!("SELECT count(*) FROM {table} WHERE sum IS NULL"));
    ["records", "journal", "changes"].map(count)
}

fn what_is_there_stays(backend: &dyn Backend) {
    let first = writer(backend);
    let versions = ["format", "min_reader", "min_writer"].map(|key| meta(backend, key));
    assert_eq!(versions, [FORMAT, MIN_READER, MIN_WRITER].map(i64::from));
    assert_eq!((first.epoch(), first.state().seq, first.state().roles.len()), (8, 3, 3));
    assert_eq!(without_sum(backend), [4, 3, 4]);
    let published = dump(first.state());
    let mut second = reopen(backend, first);
    assert_eq!(dump(second.state()), published);
    let reader = second.reader();
    assert_eq!(reader.get(Kind::UserData, "x").unwrap().as_deref(), Some("1"));
    assert_eq!(reader.record_at(Kind::UserData, "x", Timestamp(25)).unwrap().as_deref(), Some("0"));
    assert_eq!(reader.history(Kind::UserData, "x").unwrap()[0].before.as_deref(), Some("0"));
    assert_eq!(second.trim_journal(Timestamp(25), 9).unwrap(), 2);
}

fn what_is_written_is_summed(backend: &dyn Backend) {
    let mut first = writer(backend);
    transact(&mut first, 40, "change", |txn| {
        txn.update::<Role>(&role_id(1), |role| role.description = Some("new 1".to_owned()));
        txn.put(role(4, "new 1"));
        txn.delete::<Role>(&role_id(2));
        txn.put_cold(Kind::UserData, "y", 1);
        Ok(())
    })
    .unwrap();
    // Two of the before-images are copies of records without a sum.
    assert_eq!(without_sum(backend), [2, 3, 6]);
    let id = role_id(1).to_string();
    assert_eq!(first.reader().history(Kind::Role, &id).unwrap().len(), 2);
    transact(&mut first, 50, "change", |txn| {
        txn.update::<Role>(&role_id(1), |role| role.description = Some("new 2".to_owned()));
        txn.delete_cold(Kind::UserData, "y");
        txn.delete_cold(Kind::UserData, "z");
        Ok(())
    })
    .unwrap();
    assert_eq!(without_sum(backend), [2, 3, 6]);
    let second = reopen(backend, first);
    assert_eq!(description(second.state(), 1).as_deref(), Some("new 2"));
    backend.execute("UPDATE changes SET before = replace(before, 'new 1', 'new 3') WHERE seq = 5");
    let error = second.reader().history(Kind::Role, &id).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    second.close().unwrap();
    backend.execute("UPDATE records SET doc = replace(doc, 'new 2', 'new 3')");
    let error = open(backend).err().unwrap().to_string();
    assert!(error.contains(&format!("the role {id} of entry 5 is not as it was written")), "{error}");
}

/// A damaged store is not upgraded.
fn damage_is_found_before(backend: &dyn Backend) {
    backend.execute("DELETE FROM journal WHERE seq = 2");
    let error = open(backend).err().unwrap();
    assert!(error.to_string().contains("the journal has no entry 2"), "{error}");
    assert_eq!([meta(backend, "format"), meta(backend, "epoch")], [1, 7]);
}

fn open(backend: &dyn Backend) -> Result<Writer, OpenError> {
    Writer::open(backend.open()?, Timestamp(0), incarnation())
}

/// A small file is checked whole, even without sums.
#[test]
fn an_old_file_that_contradicts_itself_is_left_alone() {
    let backend = SqliteBackend::new();
    backend.execute(SQLITE);
    fill(&backend);
    backend.execute("UPDATE changes SET seq = 9 WHERE id = 'x'");
    let before = std::fs::read(&backend.path).unwrap();
    let error = open(&backend).err().unwrap().to_string();
    assert!(error.contains("a change belongs to entry 9, and the journal ends at 3"), "{error}");
    assert!(error.contains("restore a backup"), "{error}");
    assert_eq!(std::fs::read(&backend.path).unwrap(), before);
}
