//! Properties of a store in a file: the file at its path, its lock, its backups.

use crate::backend::{Backend, SqliteBackend, dump, heartbeat, incarnation, role, transact, writer};
use lenticular_model::{Kind, Timestamp, identity::Role};
use lenticular_store::{Damage, OpenError, ReadError, Sqlite, Writer};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

fn filled(roles: u8) -> SqliteBackend {
    let backend = SqliteBackend::new();
    let mut writer = writer(&backend);
    for number in 0..roles {
        transact(&mut writer, 1, "put", |txn| {
            txn.put(role(number, &"text ".repeat(100)));
            Ok(())
        })
        .unwrap();
    }
    writer.close().unwrap();
    backend
}

fn open(backend: &SqliteBackend) -> Result<Writer, OpenError> {
    Writer::open(backend.open()?, Timestamp(0), incarnation())
}

fn damage(backend: &SqliteBackend) -> Damage {
    let before = fs::read(&backend.path).ok();
    let error = open(backend).err().expect("damage is refused");
    assert_eq!(fs::read(&backend.path).ok(), before, "the file is left alone");
    match error {
        OpenError::Damaged { damage, store } => {
            assert!(store.contains("store.db"));
            damage
        }
        other => panic!("{other}"),
    }
}

#[test]
fn an_empty_file_becomes_a_store_that_only_its_owner_reads() {
    let backend = SqliteBackend::new();
    fs::write(&backend.path, "").unwrap();
    writer(&backend).close().unwrap();
    assert_eq!(mode(&backend.path), 0o600);
    let other = SqliteBackend::new();
    writer(&other).close().unwrap();
    assert_eq!(mode(&other.path), 0o600);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_older_store_that_others_can_read_is_closed_to_them() {
    let backend = filled(1);
    fs::set_permissions(&backend.path, fs::Permissions::from_mode(0o644)).unwrap();
    let open = writer(&backend);
    for file in
        [backend.path.clone(), backend.path.with_extension("db-wal"), backend.path.with_extension("db-shm")]
    {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    open.close().unwrap();
}

#[test]
fn nothing_is_acknowledged_once_a_file_of_the_store_is_gone() {
    for gone in ["db", "db-wal", "db.lock"] {
        let backend = filled(1);
        let mut store = writer(&backend);
        let put = |store: &mut Writer, n: u8| {
            transact(store, 1, "put", move |txn| {
                txn.put(role(n, "text"));
                Ok(())
            })
        };
        put(&mut store, 1).unwrap();
        let (path, aside) = (backend.path.with_extension(gone), backend.path.with_extension("aside"));
        fs::rename(&path, &aside).unwrap();
        for replaced in [false, true] {
            if replaced {
                fs::copy(&aside, &path).unwrap();
            }
            let error = put(&mut store, 2).err().unwrap();
            let why = error.internal.unwrap();
            assert!(why.contains("was removed, replaced or emptied") && why.contains("/proc/"), "{why}");
            assert_eq!(store.state().seq, 2);
        }
        fs::write(&path, "").unwrap();
        assert!(put(&mut store, 2).is_err(), "an empty file is none");
        // The same file comes back: nothing was lost, and the store continues.
        fs::rename(&aside, &path).unwrap();
        put(&mut store, 2).unwrap();
        store.close().unwrap();
        assert_eq!(writer(&backend).state().seq, 3);
    }
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let backend = SqliteBackend::new();
    for contents in ["short", "a letter to a friend, longer than a header"] {
        fs::write(&backend.path, contents).unwrap();
        assert_eq!(damage(&backend), Damage::NotADatabase);
    }
}

#[test]
fn another_applications_database_is_left_alone() {
    let backend = SqliteBackend::new();
    backend.execute("CREATE TABLE bookmarks (url TEXT)");
    let error = backend.open().err().unwrap();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

#[test]
fn broken_pages_are_named() {
    let backend = filled(200);
    let mut bytes = fs::read(&backend.path).unwrap();
    for page in 6..12 {
        bytes[page * 4096..(page + 1) * 4096].fill(0xA5);
    }
    fs::write(&backend.path, bytes).unwrap();
    assert!(matches!(damage(&backend), Damage::Malformed(_)));

    let backend = filled(200);
    let length = fs::metadata(&backend.path).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&backend.path).unwrap();
    file.set_len(length / 2 / 4096 * 4096).unwrap();
    assert!(matches!(damage(&backend), Damage::Malformed(_)));
}

#[test]
fn a_log_without_its_database_is_not_thrown_away() {
    let backend = SqliteBackend::new();
    let log = backend.path.with_extension("db-wal");
    fs::write(&log, "frames").unwrap();
    assert!(matches!(damage(&backend), Damage::LostDatabase { .. }));
    assert_eq!(fs::read(&log).unwrap(), b"frames");
}

#[test]
fn records_and_changes_beyond_the_journal_are_named() {
    let backend = filled(3);
    backend.execute("INSERT INTO changes (seq, kind, id, before) VALUES (9, 'role', 'x', NULL)");
    assert_eq!(damage(&backend), Damage::ChangeBeyondJournal { seq: 9, head: 3 });
    backend.execute("INSERT INTO records (kind, id, doc, seq) VALUES ('user_data', 'x', '1', 8)");
    let expected =
        Damage::RecordBeyondJournal { kind: "user_data".to_owned(), id: "x".to_owned(), seq: 8, head: 3 };
    assert_eq!(damage(&backend), expected);
}

#[test]
fn changed_rows_of_every_table_are_named_when_a_small_file_is_opened() {
    let backend = filled(3);
    let mut store = writer(&backend);
    transact(&mut store, 1, "cold", |txn| {
        txn.put_cold(Kind::UserData, "x", 1);
        txn.delete::<Role>(&role(2, "").id);
        Ok(())
    })
    .unwrap();
    store.close().unwrap();
    backend.execute("UPDATE changes SET before = replace(before, 'text text', 'next text') WHERE seq = 4");
    let id = role(2, "").id.to_string();
    assert_eq!(damage(&backend), Damage::Change { kind: "role".to_owned(), id, seq: 4 });
    let expected = Damage::Record { kind: "user_data".to_owned(), id: "x".to_owned(), seq: 4 };
    backend.execute("UPDATE records SET doc = '2' WHERE id = 'x'");
    assert_eq!(damage(&backend), expected);
    backend.execute("UPDATE records SET doc = CAST(x'ff' AS TEXT) WHERE id = 'x'");
    assert_eq!(damage(&backend), expected, "bytes that are no text are damage like others");
    backend.execute("UPDATE journal SET at = 2 WHERE seq = 1");
    assert_eq!(damage(&backend), Damage::Entry { seq: 1 });
}

#[test]
fn rows_of_a_large_file_are_checked_when_they_are_read_and_after_a_crash() {
    let backend = SqliteBackend::new();
    let mut store = writer(&backend);
    let large = "text 1 ".repeat(3 << 20);
    transact(&mut store, 1, "cold", |txn| {
        txn.put(role(1, "text 1"));
        txn.put_cold(Kind::UserData, "large", large);
        txn.put_cold(Kind::UserData, "x", 1);
        Ok(())
    })
    .unwrap();
    store.close().unwrap();
    assert!(fs::metadata(&backend.path).unwrap().len() > 16 << 20);
    backend.execute("UPDATE records SET doc = '2' WHERE id = 'x'");

    let store = writer(&backend);
    let expected = Damage::Record { kind: "user_data".to_owned(), id: "x".to_owned(), seq: 1 };
    let error = store.reader().get(Kind::UserData, "x").unwrap_err();
    assert!(matches!(&error, ReadError::Damaged { damage, .. } if *damage == expected), "{error}");
    assert!(store.reader().get(Kind::UserData, "large").unwrap().is_some());
    store.close().unwrap();
    backend.execute("UPDATE records SET doc = replace(doc, 'text 1', 'text 2') WHERE kind = 'role'");
    let error = open(&backend).err().unwrap();
    assert!(error.to_string().contains("of entry 1 is not as it was written"), "what is loaded is checked");
    backend.execute("UPDATE records SET doc = replace(doc, 'text 2', 'text 1') WHERE kind = 'role'");
    backend.execute("UPDATE meta SET value = '1' WHERE key = 'clean'");

    let store = writer(&backend);
    // The owner ends without a clean close.
    drop(store);
    assert_eq!(damage(&backend), expected);
}

#[test]
fn the_owner_of_a_store_is_named_by_its_process() {
    let backend = SqliteBackend::new();
    let _owner = writer(&backend);
    let text = backend.open().err().unwrap().to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
}

#[test]
fn a_path_that_cannot_be_is_refused_with_the_path() {
    let error = Sqlite::open(std::path::Path::new("/nowhere/at/all/store.db")).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("/nowhere/at/all/store.db") && text.contains("folder"), "{text}");
}

#[test]
fn a_backup_is_a_store_and_is_never_written_over_a_file() {
    let backend = filled(20);
    let mut original = writer(&backend);
    let copy = SqliteBackend::new();
    let reader = original.reader();
    reader.backup(&copy.path).unwrap();
    let saved = dump(original.state());
    transact(&mut original, 5, "more", |txn| {
        txn.put(role(99, "later"));
        txn.put(heartbeat(1, 1));
        Ok(())
    })
    .unwrap();
    assert!(reader.backup(&copy.path).is_err());
    assert_eq!(fs::metadata(&copy.path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(dump(writer(&copy).state()), saved);
}
