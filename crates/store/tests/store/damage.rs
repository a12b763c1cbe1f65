//! Damage that every SQL engine must report and must not repair.

use crate::backend::{Backend, description, incarnation, role, role_id, transact, writer};
use lenticular_model::{Kind, Timestamp, error, identity::Role};
use lenticular_store::{Damage, FORMAT, OpenError, Page, ReadError, Reader, Writer};

/// The statement run on a closed store, and the damage that the next opening must report. Rows without a sum are
/// those of a store that an older version began.
const CASES: &[(&str, &str)] = &[
    (
        "UPDATE records SET doc = '{\"id\":', sum = NULL WHERE id = 'ROLE'",
        "the role ROLE cannot be read: EOF",
    ),
    ("DELETE FROM journal WHERE seq = 3", "the journal has no entry 3"),
    (
        "UPDATE records SET seq = 99, sum = NULL WHERE id = 'ROLE'",
        "the role ROLE was written by entry 99, and the journal ends at 5",
    ),
    ("DELETE FROM journal", "and the journal ends at 0"),
    ("DROP TABLE changes", "the table 'changes' is missing"),
    ("DROP TABLE records", "the table 'records' is missing"),
    ("DROP TABLE meta", "the table 'meta' is missing"),
    ("DELETE FROM meta WHERE key = 'epoch'", "'epoch' in the table 'meta' is missing"),
    ("UPDATE meta SET value = 'x' WHERE key = 'incarnation'", "'incarnation' in the table 'meta' is 'x'"),
];

/// The change of a row in a closed store, and the row that the next opening must name.
const CHANGES: &[(&str, &str)] = &[
    (
        "UPDATE records SET doc = replace(doc, 'text 1', 'text 2') WHERE id = 'ROLE'",
        "the role ROLE of entry 1",
    ),
    ("UPDATE records SET doc = '{\"id\":' WHERE id = 'ROLE'", "the role ROLE of entry 1"),
    ("UPDATE records SET seq = 2 WHERE id = 'ROLE'", "the role ROLE of entry 2"),
    ("UPDATE records SET kind = 'domain' WHERE id = 'ROLE'", "the domain ROLE of entry 1"),
    ("UPDATE records SET kind = 'rolf' WHERE id = 'ROLE'", "the rolf ROLE of entry 1"),
    ("UPDATE records SET id = 'other' WHERE id = 'ROLE'", "the role other of entry 1"),
    ("UPDATE records SET sum = sum + 1 WHERE id = 'ROLE'", "the role ROLE of entry 1"),
    ("UPDATE journal SET actor = 'toaster' WHERE seq = 4", "entry 4 of the journal"),
    ("UPDATE journal SET at = at + 1000 WHERE seq = 5", "entry 5 of the journal"),
    ("UPDATE journal SET request_id = 'req-2' WHERE seq = 2", "entry 2 of the journal"),
    ("UPDATE journal SET why = 'put1' WHERE seq = 1", "entry 1 of the journal"),
];

pub fn run(fresh: &dyn Fn() -> Box<dyn Backend>) {
    for (sql, expected) in CASES {
        expect_refusal(fresh, sql, expected);
    }
    for (sql, row) in CHANGES {
        expect_refusal(fresh, sql, &format!("{row} is not as it was written"));
    }
    newer_formats(fresh);
    unknown_kinds(fresh);
    long_journals(fresh);
    damage_that_is_read(fresh);
    damaged_images(fresh);
    damaged_rows_never_get_a_new_sum(fresh);
}

fn expect_refusal(fresh: &dyn Fn() -> Box<dyn Backend>, sql: &str, expected: &str) {
    println!("{sql}");
    let backend = filled(fresh);
    let role = role_id(1).to_string();
    backend.execute(&sql.replace("ROLE", &role));
    // Twice, because an opening repairs nothing.
    for _ in 0..2 {
        let error = open(&*backend).err().expect("damage is refused");
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&expected.replace("ROLE", &role)), "{text}");
        assert!(text.contains("restore a backup"), "{text}");
    }
}

fn filled(fresh: &dyn Fn() -> Box<dyn Backend>) -> Box<dyn Backend> {
    let backend = fresh();
    let mut writer = writer(&*backend);
    for number in 1..=5 {
        transact(&mut writer, i64::from(number), "put", |txn| {
            txn.put(role(number, "text 1"));
            Ok(())
        })
        .unwrap();
    }
    writer.close().unwrap();
    backend
}

fn open(backend: &dyn Backend) -> Result<Writer, OpenError> {
    Writer::open(backend.open()?, Timestamp(0), incarnation())
}

fn newer_formats(fresh: &dyn Fn() -> Box<dyn Backend>) {
    let backend = filled(fresh);
    let newer = FORMAT + 1;
    backend.execute(&format!("UPDATE meta SET value = '{newer}' WHERE key = 'min_writer'"));
    let text = open(&*backend).err().unwrap().to_string();
    assert!(text.contains(&format!("written by format {newer} and newer")), "{text}");
    backend.execute(&format!("UPDATE meta SET value = '{newer}' WHERE key = 'min_reader'"));
    let error = open(&*backend).err().unwrap();
    assert!(matches!(error, OpenError::NewerReader { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&format!("format {newer} and newer")) && text.contains(&format!("up to {FORMAT}")),
        "{text}"
    );
    backend.execute("UPDATE meta SET value = '1' WHERE key IN ('min_reader', 'min_writer')");
    assert_eq!(open(&*backend).unwrap().state().seq, 5, "nothing was changed by the refusals");
}

fn unknown_kinds(fresh: &dyn Fn() -> Box<dyn Backend>) {
    let backend = filled(fresh);
    backend
        .execute("INSERT INTO records (kind, id, doc, seq) VALUES ('from_the_future', 'x', 'not JSON', 5)");
    let mut writer = open(&*backend).unwrap();
    assert_eq!(writer.state().roles.len(), 5);
    transact(&mut writer, 10, "put", |txn| {
        txn.put(role(6, "six"));
        Ok(())
    })
    .unwrap();
    writer.close().unwrap();
    // The proof is written only if the record still exists; then the opening must fail.
    backend.execute(
        "INSERT INTO meta (key, value) SELECT 'proof', doc FROM records WHERE kind = 'from_the_future'",
    );
    backend.execute(
        "UPDATE meta SET value = 'x'
         WHERE key = 'incarnation' AND EXISTS (SELECT 1 FROM meta WHERE key = 'proof')",
    );
    let error = open(&*backend).err().expect("the proof was found");
    let is_ours = |damage: &Damage| matches!(damage, Damage::Meta { key: "incarnation", .. });
    assert!(matches!(&error, OpenError::Damaged { damage, .. } if is_ours(damage)), "{error}");
}

/// A journal longer than the part that every opening checks.
fn long_journals(fresh: &dyn Fn() -> Box<dyn Backend>) {
    let entries = "WITH RECURSIVE n (i) AS (SELECT 6 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
        INSERT INTO journal (seq, at, actor, request_id, why) SELECT i, 9, 'a', 'r', 'w' FROM n";
    let damages = [
        ("DELETE FROM journal WHERE seq = 2003", "the journal has no entry 2003"),
        ("UPDATE journal SET sum = 1 WHERE seq = 2001", "entry 2001 of the journal is not as it was written"),
        (
            "UPDATE journal SET sum = 1 WHERE seq = 12000",
            "entry 12000 of the journal is not as it was written",
        ),
    ];
    for (sql, expected) in damages {
        let backend = filled(fresh);
        backend.execute(entries);
        assert_eq!(open(&*backend).unwrap().state().seq, 12_000);
        backend.execute(sql);
        let text = open(&*backend).err().expect("damage is refused").to_string();
        assert!(text.contains(expected), "{text}");
    }
}

/// Expects that `read` reports the damage `expected` twice, and that an API answers with an internal error.
fn expect_damage<T>(read: impl Fn() -> Result<T, ReadError>, expected: &str) {
    for _ in 0..2 {
        let error = read().err().expect("damage is refused");
        assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains("restore a backup"), "{text}");
        assert_eq!(lenticular_model::Error::from(error).kind, error::Kind::Internal);
    }
}

fn put_cold(writer: &mut Writer, at: i64, id: &str) {
    transact(writer, at, "cold", |txn| {
        txn.put_cold(Kind::PastOperation, id, "text 1");
        Ok(())
    })
    .unwrap();
}

/// Damage in an open store is reported by the read that finds it, and stops nothing else.
fn damage_that_is_read(fresh: &dyn Fn() -> Box<dyn Backend>) {
    let backend = filled(fresh);
    let mut writer = open(&*backend).unwrap();
    put_cold(&mut writer, 10, "a");
    put_cold(&mut writer, 11, "b");
    backend.execute("UPDATE records SET doc = replace(doc, 'text 1', 'text 2') WHERE id = 'a'");
    let reader = writer.reader();
    let list = |prefix| {
        let page = Page { kind: Kind::PastOperation, prefix, after: None, limit: 9, reverse: true };
        reader.list(&page)
    };
    let expected = "the past_operation a of entry 6 is not as it was written";
    expect_damage(|| reader.get(Kind::PastOperation, "a"), expected);
    expect_damage(|| list(""), expected);
    expect_damage(|| reader.record_at(Kind::PastOperation, "a", Timestamp(99)), expected);
    assert_eq!(reader.record_at(Kind::PastOperation, "a", Timestamp(9)).unwrap(), None);
    assert_eq!(reader.get(Kind::PastOperation, "b").unwrap().as_deref(), Some("\"text 1\""));
    assert_eq!(list("b").unwrap().len(), 1);
    put_cold(&mut writer, 12, "c");

    backend.execute("UPDATE journal SET why = 'gold' WHERE seq = 7");
    let expected = "entry 7 of the journal is not as it was written";
    expect_damage(|| reader.history(Kind::PastOperation, "b"), expected);
    expect_damage(|| reader.record_at(Kind::PastOperation, "b", Timestamp(10)), expected);
    assert_eq!(reader.history(Kind::PastOperation, "c").unwrap().len(), 1);
    backend.execute("UPDATE journal SET at = at - 1 WHERE seq = 1");
    let expected = "entry 1 of the journal is not as it was written";
    expect_damage(|| reader.record_at(Kind::PastOperation, "c", Timestamp(99)), expected);
    backend.execute("UPDATE journal SET at = at + 1 WHERE seq = 1");
    backend.execute("UPDATE journal SET seq = 99 WHERE seq = 8");
    let expected = "the past_operation c was changed by entry 8, which the journal does not have";
    expect_damage(|| reader.history(Kind::PastOperation, "c"), expected);
    expect_damage(|| reader.record_at(Kind::PastOperation, "c", Timestamp(11)), expected);
}

fn images(reader: &dyn Reader) -> Result<usize, ReadError> {
    reader.history(Kind::Role, &role_id(1).to_string()).map(|entries| entries.len())
}

/// Damage in past versions of a record is reported like damage in the present one.
fn damaged_images(fresh: &dyn Fn() -> Box<dyn Backend>) {
    let role = role_id(1).to_string();
    let damages = [
        "UPDATE changes SET before = replace(before, 'text 1', 'text 2') WHERE id = 'ROLE' AND seq = 6",
        "UPDATE changes SET before = NULL WHERE id = 'ROLE' AND seq = 6",
        "UPDATE changes SET sum = sum - 1 WHERE id = 'ROLE' AND seq = 6",
    ];
    for sql in damages {
        let backend = filled(fresh);
        let mut writer = open(&*backend).unwrap();
        update(&mut writer, 10, "text 2");
        let reader = writer.reader();
        assert_eq!(images(&*reader).unwrap(), 2);
        backend.execute(&sql.replace("ROLE", &role));
        let expected = format!("the role {role} before entry 6 is not as it was written");
        expect_damage(|| images(&*reader), &expected);
        expect_damage(|| reader.record_at(Kind::Role, &role, Timestamp(9)), &expected);
        assert!(reader.record_at(Kind::Role, &role, Timestamp(10)).unwrap().unwrap().contains("text 2"));
    }
    let backend = filled(fresh);
    let reader = open(&*backend).unwrap().reader();
    backend.execute("UPDATE changes SET before = '1' WHERE seq = 1");
    expect_damage(|| images(&*reader), &format!("the role {role} before entry 1 is not as it was written"));
}

fn update(writer: &mut Writer, at: i64, text: &str) {
    let changed = transact(writer, at, "update", |txn| {
        Ok(txn.update::<Role>(&role_id(1), |role| role.description = Some(text.to_owned())))
    });
    assert!(changed.unwrap().0);
}

/// A commit copies the stored document into the past; a damaged document stays known as damaged.
fn damaged_rows_never_get_a_new_sum(fresh: &dyn Fn() -> Box<dyn Backend>) {
    let backend = filled(fresh);
    let mut writer = open(&*backend).unwrap();
    let role = role_id(1).to_string();
    backend
        .execute(&format!("UPDATE records SET doc = replace(doc, 'text 1', 'text 2') WHERE id = '{role}'"));
    update(&mut writer, 10, "text 3");
    assert_eq!(description(writer.state(), 1).as_deref(), Some("text 3"));
    let reader = writer.reader();
    assert!(reader.get(Kind::Role, &role).unwrap().unwrap().contains("text 3"));
    expect_damage(|| images(&*reader), &format!("the role {role} before entry 6 is not as it was written"));
}
