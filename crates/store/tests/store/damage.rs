//! Damage that every engine with SQL must name and must not mend.

use crate::backend::{incarnation, role, role_id, transact, writer, Backend};
use lenticular_model::Timestamp;
use lenticular_store::{Damage, OpenError, Writer, FORMAT};

/// What is done to a store that is closed, and what opening it must say.
const CASES: &[(&str, &str)] = &[
    ("UPDATE records SET doc = '{\"id\":' WHERE id = 'ROLE'", "the role ROLE cannot be read: EOF"),
    ("DELETE FROM journal WHERE seq = 3", "the journal has no entry 3"),
    (
        "UPDATE records SET seq = 99 WHERE id = 'ROLE'",
        "the role ROLE was written by entry 99, and the journal ends at 5",
    ),
    ("DELETE FROM journal", "and the journal ends at 0"),
    ("DROP TABLE changes", "the table 'changes' is missing"),
    ("DROP TABLE records", "the table 'records' is missing"),
    ("DROP TABLE meta", "the table 'meta' is missing"),
    ("DELETE FROM meta WHERE key = 'epoch'", "'epoch' in the table 'meta' is missing"),
    ("UPDATE meta SET value = 'x' WHERE key = 'incarnation'", "'incarnation' in the table 'meta' is 'x'"),
];

pub fn run(fresh: &dyn Fn() -> Box<dyn Backend>) {
    for (sql, expected) in CASES {
        println!("{sql}");
        let backend = filled(fresh);
        let role = role_id(1).to_string();
        backend.execute(&sql.replace("ROLE", &role));
        // Twice, because nothing is mended on the way.
        for _ in 0..2 {
            let error = open(&*backend).err().expect("damage is refused");
            assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(&expected.replace("ROLE", &role)), "{text}");
            assert!(text.contains("restore a backup"), "{text}");
        }
    }
    newer_formats(fresh);
    unknown_kinds(fresh);
}

fn filled(fresh: &dyn Fn() -> Box<dyn Backend>) -> Box<dyn Backend> {
    let backend = fresh();
    let mut writer = writer(&*backend);
    for number in 1..=5 {
        transact(&mut writer, i64::from(number), "put", |txn| {
            txn.put(role(number, "text"));
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
    // The proof is written only if the record is still there, and then the store is opened in vain.
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
