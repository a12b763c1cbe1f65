//! The requirements for every engine, and for the writer over it.

use crate::backend::{
    Backend, cause, description, dump, heartbeat, incarnation, reopen, role, role_id, transact, writer,
};
use lenticular_model::{Error, Incarnation, Kind, Timestamp, error, identity::Role};
use lenticular_store::{Job, OpenError, Page, ReadError, Writer};

type Case = (&'static str, fn(&dyn Backend));

const CASES: &[Case] = &[
    ("what is written is read back", what_is_written_is_read_back),
    ("a store is found again as it was published", a_store_is_found_again),
    ("cold documents are stored and not loaded", cold_documents),
    ("volatile records are in the state alone", volatile_records),
    ("seq is dense", seq_is_dense),
    ("an error leaves nothing", an_error_leaves_nothing),
    ("a panic leaves nothing", a_panic_leaves_nothing),
    ("a failed commit fails its whole batch", a_failed_commit),
    ("time never runs backwards", time_never_runs_backwards),
    ("history has every image before", history),
    ("a record is known at every time", record_at),
    ("several changes of a record in one batch are all in its history", one_batch),
    ("trimming forgets the past alone", trimming),
    ("documents are listed by prefix", listing),
    ("a second opening is refused", second_opening),
    ("a new incarnation stays", new_incarnation),
    ("text that no database holds is refused", refused_text),
];

/// Runs every case, each over a new store.
pub fn run(fresh: &dyn Fn() -> Box<dyn Backend>) {
    for (name, case) in CASES {
        println!("{name}");
        case(&*fresh());
    }
}

fn put(writer: &mut Writer, at: i64, number: u8, text: &str) {
    transact(writer, at, "put", |txn| {
        txn.put(role(number, text));
        Ok(())
    })
    .unwrap();
}

fn history_of(writer: &Writer, number: u8) -> Vec<(u64, i64, String, Option<String>)> {
    let entries = writer.reader().history(Kind::Role, &role_id(number).to_string()).unwrap();
    let text = |before: String| serde_json::from_str::<Role>(&before).unwrap().description.unwrap();
    entries.into_iter().map(|e| (e.seq, e.at.0, e.cause.why, e.before.map(text))).collect()
}

fn text_at(writer: &Writer, number: u8, at: i64) -> Result<Option<String>, ReadError> {
    let doc = writer.reader().record_at(Kind::Role, &role_id(number).to_string(), Timestamp(at))?;
    Ok(doc.map(|doc| serde_json::from_str::<Role>(&doc).unwrap().description.unwrap()))
}

fn what_is_written_is_read_back(backend: &dyn Backend) {
    let mut writer = writer(backend);
    put(&mut writer, 10, 1, "one");
    put(&mut writer, 11, 2, "two");
    assert_eq!(description(writer.state(), 1).as_deref(), Some("one"));
    let changed = transact(&mut writer, 12, "update", |txn| {
        Ok(txn.update::<Role>(&role_id(1), |role| role.description = Some("uno".to_owned())))
    });
    assert!(changed.unwrap().0);
    let deleted = transact(&mut writer, 13, "delete", |txn| Ok(txn.delete::<Role>(&role_id(2)).is_some()));
    let (was_there, commit) = deleted.unwrap();
    assert!(was_there);
    let commit = commit.unwrap();
    assert_eq!(commit.changes, [(Kind::Role, role_id(2).to_string())]);
    assert_eq!((commit.state.seq, commit.at), (4, Timestamp(13)));

    let reader = writer.reader();
    let doc = reader.get(Kind::Role, &role_id(1).to_string()).unwrap().unwrap();
    assert_eq!(doc, serde_json::to_string(&**writer.state().roles.get(&role_id(1)).unwrap()).unwrap());
    assert_eq!(reader.get(Kind::Role, &role_id(2).to_string()).unwrap(), None);
}

fn a_store_is_found_again(backend: &dyn Backend) {
    let mut first = writer(backend);
    assert_eq!((first.state().seq, first.state().incarnation), (0, incarnation()));
    for number in 0..100 {
        put(&mut first, i64::from(number), number, "text with 'quotes', \"more\", \\ and ☁");
    }
    transact(&mut first, 200, "delete", |txn| Ok(txn.delete::<Role>(&role_id(50)).is_some())).unwrap();
    let (published, epoch) = (dump(first.state()), first.epoch());
    let other = Incarnation::from_random([1; 16]);
    first.close().unwrap();
    let second = Writer::open(backend.open().unwrap(), Timestamp(150), other).unwrap();
    assert_eq!(dump(second.state()), published);
    assert_eq!(second.last_commit_at(), Timestamp(200));
    assert_eq!(second.state().took_over_at, Timestamp(200), "no earlier than the last commit");
    assert_eq!(second.epoch(), epoch + 1);
    // An end without a clean close loses nothing either.
    drop(second);
    assert_eq!(dump(writer(backend).state()), published);
}

fn cold_documents(backend: &dyn Backend) {
    let mut first = writer(backend);
    for (at, text) in [(10, "first"), (20, "second")] {
        let write = transact(&mut first, at, "cold", |txn| {
            txn.put_cold(Kind::UserData, "a", text);
            Ok(())
        });
        assert_eq!(write.unwrap().1.unwrap().changes, [(Kind::UserData, "a".to_owned())]);
    }
    let mut second = reopen(backend, first);
    assert_eq!(second.state().seq, 2);
    let reader = second.reader();
    assert_eq!(reader.get(Kind::UserData, "a").unwrap().as_deref(), Some("\"second\""));
    assert_eq!(reader.record_at(Kind::UserData, "a", Timestamp(15)).unwrap().as_deref(), Some("\"first\""));
    let images = |entries: Vec<lenticular_store::HistoryEntry>| -> Vec<_> {
        entries.into_iter().map(|entry| entry.before).collect()
    };
    let before = images(reader.history(Kind::UserData, "a").unwrap());
    assert_eq!(before, [None, Some("\"first\"".to_owned())]);
    transact(&mut second, 30, "cold", |txn| {
        txn.delete_cold(Kind::UserData, "a");
        Ok(())
    })
    .unwrap();
    assert_eq!(reader.get(Kind::UserData, "a").unwrap(), None);
    let before = images(reader.history(Kind::UserData, "a").unwrap());
    assert_eq!(before[2].as_deref(), Some("\"second\""));
}

fn volatile_records(backend: &dyn Backend) {
    let mut first = writer(backend);
    put(&mut first, 10, 1, "one");
    let (_, commit) = transact(&mut first, 11, "heard", |txn| {
        txn.put(heartbeat(1, 11));
        Ok(())
    })
    .unwrap();
    let commit = commit.expect("a volatile change is published");
    assert_eq!((commit.state.seq, commit.state.heartbeats.len(), first.state().heartbeats.len()), (1, 1, 1));
    assert_eq!(commit.changes.len(), 1);
    let (_, commit) = transact(&mut first, 12, "both", |txn| {
        txn.put(heartbeat(2, 12));
        txn.put(role(2, "two"));
        Ok(())
    })
    .unwrap();
    assert_eq!(commit.unwrap().changes.len(), 2);
    assert_eq!((first.state().seq, first.state().heartbeats.len()), (2, 2));
    assert_eq!(first.reader().get(Kind::Heartbeat, &heartbeat(2, 0).id.to_string()).unwrap(), None);
    let second = reopen(backend, first);
    assert_eq!((second.state().heartbeats.len(), second.state().roles.len()), (0, 2));
}

fn seq_is_dense(backend: &dyn Backend) {
    let mut writer = writer(backend);
    put(&mut writer, 10, 1, "one");
    let (value, commit) = transact(&mut writer, 11, "read", |txn| Ok(txn.roles.len())).unwrap();
    assert!(value == 1 && commit.is_none(), "a transaction that changes nothing commits nothing");
    let never_was = transact(&mut writer, 11, "nothing", |txn| {
        txn.put(role(9, "nine"));
        Ok(txn.delete::<Role>(&role_id(9)))
    });
    assert!(never_was.unwrap().1.is_none(), "a record made and removed at once never was");
    let refused = transact(&mut writer, 11, "refused", |txn| {
        txn.put(role(8, "eight"));
        Err::<(), _>(Error::conflict("no"))
    });
    assert_eq!(refused.err().unwrap().kind, error::Kind::Conflict);
    put(&mut writer, 12, 2, "two");
    assert_eq!(writer.state().seq, 2);
    let writer = reopen(backend, writer);
    assert_eq!(history_of(&writer, 2)[0].0, 2);
}

fn an_error_leaves_nothing(backend: &dyn Backend) {
    let mut writer = writer(backend);
    put(&mut writer, 10, 1, "one");
    let before = dump(writer.state());
    let result = transact(&mut writer, 11, "refused", |txn| {
        txn.delete::<Role>(&role_id(1));
        txn.put(role(2, "two"));
        txn.put_cold(Kind::UserData, "a", 1);
        Err::<(), _>(Error::over_quota("too much"))
    });
    assert_eq!(result.err().unwrap().kind, error::Kind::OverQuota);
    assert_eq!(dump(writer.state()), before);
    let writer = reopen(backend, writer);
    assert_eq!(dump(writer.state()), before);
    assert_eq!(writer.reader().get(Kind::UserData, "a").unwrap(), None);
}

fn a_panic_leaves_nothing(backend: &dyn Backend) {
    let mut writer = writer(backend);
    let result = transact(&mut writer, 11, "panic", |txn| {
        txn.put(role(1, "one"));
        if txn.roles.len() == 1 {
            panic!("this panic is part of a test");
        }
        Ok(())
    });
    let error = result.err().unwrap();
    assert_eq!(error.kind, error::Kind::Internal);
    assert!(error.internal.unwrap().contains("this panic is part of a test"));
    put(&mut writer, 12, 2, "two");
    assert_eq!((writer.state().seq, writer.state().roles.len()), (1, 1));
}

fn a_failed_commit(backend: &dyn Backend) {
    let mut writer = writer(backend);
    put(&mut writer, 10, 1, "one");
    let before = dump(writer.state());
    backend.refuse_commits();
    let job = |number| {
        let run = Box::new(move |txn: &mut lenticular_model::Txn<'_>| {
            txn.put(role(number, "lost"));
            Ok(())
        });
        Job { cause: cause("put"), run }
    };
    let outcome = writer.run_batch(Timestamp(11), &mut || [7; 16], vec![job(2), job(3)]);
    assert!(outcome.commits.is_empty());
    for answer in outcome.answers {
        let error = answer.unwrap_err();
        assert_eq!(error.kind, error::Kind::Unavailable);
        assert!(error.internal.unwrap().contains("the disk of the test is full"));
    }
    assert_eq!(dump(writer.state()), before);
    backend.mend();
    assert_eq!(writer.lost(), None, "a commit that certainly failed does not end the leadership");
    put(&mut writer, 12, 4, "four");
    assert_eq!(writer.state().seq, 2);
    let published = dump(writer.state());
    assert_eq!(dump(reopen(backend, writer).state()), published);
}

fn time_never_runs_backwards(backend: &dyn Backend) {
    let mut writer = writer(backend);
    put(&mut writer, 100, 1, "one");
    let (now, _) = transact(&mut writer, 50, "late clock", |txn| Ok(txn.now)).unwrap();
    assert_eq!(now, Timestamp(100));
    let mut writer = reopen(backend, writer);
    let (now, _) = transact(&mut writer, 50, "late clock", |txn| Ok(txn.now)).unwrap();
    assert_eq!(now, Timestamp(100));
}

fn history(backend: &dyn Backend) {
    let mut writer = writer(backend);
    put(&mut writer, 10, 1, "one");
    put(&mut writer, 11, 2, "other");
    put(&mut writer, 20, 1, "uno");
    transact(&mut writer, 30, "delete", |txn| Ok(txn.delete::<Role>(&role_id(1)))).unwrap();
    put(&mut writer, 40, 1, "eins");
    let image = |text: &str| Some(text.to_owned());
    let expected = [
        (1, 10, "put".to_owned(), None),
        (3, 20, "put".to_owned(), image("one")),
        (4, 30, "delete".to_owned(), image("uno")),
        (5, 40, "put".to_owned(), None),
    ];
    assert_eq!(history_of(&writer, 1), expected);
    let entries = writer.reader().history(Kind::Role, &role_id(1).to_string()).unwrap();
    assert_eq!(entries[0].cause, cause("put"));
    assert_eq!(history_of(&writer, 77), []);
}

fn record_at(backend: &dyn Backend) {
    let mut writer = writer(backend);
    put(&mut writer, 10, 1, "one");
    put(&mut writer, 20, 1, "uno");
    transact(&mut writer, 30, "delete", |txn| Ok(txn.delete::<Role>(&role_id(1)))).unwrap();
    put(&mut writer, 40, 1, "eins");
    let expected = [
        (9, None),
        (10, Some("one")),
        (19, Some("one")),
        (20, Some("uno")),
        (30, None),
        (40, Some("eins")),
        (99, Some("eins")),
    ];
    for (at, text) in expected {
        assert_eq!(text_at(&writer, 1, at).unwrap().as_deref(), text, "at {at}");
    }
    assert_eq!(text_at(&writer, 77, 20).unwrap(), None);
}

fn one_batch(backend: &dyn Backend) {
    let mut writer = writer(backend);
    put(&mut writer, 10, 1, "0");
    let step = |number: u32| {
        let run = Box::new(move |txn: &mut lenticular_model::Txn<'_>| {
            if number == 3 {
                txn.delete::<Role>(&role_id(1));
            } else {
                txn.put(role(1, &number.to_string()));
            }
            txn.put_cold(Kind::UserData, "a", number);
            Ok(())
        });
        Job { cause: cause("step"), run }
    };
    let outcome = writer.run_batch(Timestamp(20), &mut || [7; 16], (1..=4).map(step).collect());
    assert!(outcome.answers.iter().all(Result::is_ok));
    let seqs: Vec<u64> = outcome.commits.iter().map(|commit| commit.state.seq).collect();
    assert_eq!(seqs, [2, 3, 4, 5]);
    assert_eq!(description(&outcome.commits[1].state, 1).as_deref(), Some("2"));
    let images: Vec<_> = history_of(&writer, 1).into_iter().map(|(.., before)| before).collect();
    let image = |text: &str| Some(text.to_owned());
    assert_eq!(images, [None, image("0"), image("1"), image("2"), None]);
    let cold = writer.reader().history(Kind::UserData, "a").unwrap();
    let cold: Vec<_> = cold.into_iter().map(|entry| entry.before).collect();
    assert_eq!(cold, [None, image("1"), image("2"), image("3")]);
    let published = dump(writer.state());
    assert_eq!(dump(reopen(backend, writer).state()), published);
}

fn trimming(backend: &dyn Backend) {
    let mut writer = writer(backend);
    for at in 1..=10 {
        put(&mut writer, at * 10, 1, &at.to_string());
    }
    let published = dump(writer.state());
    assert_eq!(writer.trim_journal(Timestamp(55), 3).unwrap(), 3);
    assert_eq!(writer.trim_journal(Timestamp(55), 3).unwrap(), 2);
    assert_eq!(writer.trim_journal(Timestamp(55), 3).unwrap(), 0);
    assert_eq!(history_of(&writer, 1).len(), 5);
    assert_eq!(text_at(&writer, 1, 65).unwrap().as_deref(), Some("6"));
    assert_eq!(text_at(&writer, 1, 42), Err(ReadError::Trimmed { begins: Timestamp(60) }));
    let mut writer = reopen(backend, writer);
    assert_eq!(dump(writer.state()), published);
    assert_eq!(writer.trim_journal(Timestamp(i64::MAX), 100).unwrap(), 4, "the newest entry stays");
    let mut writer = reopen(backend, writer);
    assert_eq!((dump(writer.state()), writer.last_commit_at()), (published, Timestamp(100)));
    put(&mut writer, 110, 1, "11");
    assert_eq!(history_of(&writer, 1).len(), 2);
}

fn listing(backend: &dyn Backend) {
    let mut writer = writer(backend);
    let ids = ["a", "b/1", "b/2", "b/3", "b/☁", "b0", "c"];
    transact(&mut writer, 10, "cold", |txn| {
        ids.iter().for_each(|id| txn.put_cold(Kind::PastOperation, *id, *id));
        txn.put_cold(Kind::UserData, "b/4", "of another kind");
        Ok(())
    })
    .unwrap();
    let reader = writer.reader();
    let list = |prefix: &str, after: Option<&str>, limit: usize, reverse: bool| -> Vec<String> {
        let page = Page { kind: Kind::PastOperation, prefix, after, limit, reverse };
        reader.list(&page).unwrap().into_iter().map(|(id, _)| id).collect()
    };
    assert_eq!(list("", None, 100, false), ids);
    assert_eq!(list("b/", None, 100, false), ["b/1", "b/2", "b/3", "b/☁"]);
    assert_eq!(list("b/", None, 100, true), ["b/☁", "b/3", "b/2", "b/1"]);
    assert_eq!(list("b/", Some("b/1"), 2, false), ["b/2", "b/3"]);
    assert_eq!(list("b/", Some("b/3"), 1, true), ["b/2"]);
    assert_eq!(list("b/", Some("b/1"), 9, true), [""; 0]);
    assert_eq!(list("b/", Some("a"), 2, false), ["b/1", "b/2"], "before the prefix");
    assert_eq!(list("b/", Some("c"), 1, true), ["b/☁"], "beyond the prefix");
    assert_eq!(list("", Some("b0"), 9, false), ["c"]);
    assert_eq!(list("", Some("b/1"), 9, true), ["a"]);
    assert_eq!(list("b/", None, 0, false), [""; 0]);
    let page = Page { kind: Kind::PastOperation, prefix: "c", after: None, limit: 1, reverse: false };
    assert_eq!(reader.list(&page).unwrap(), [("c".to_owned(), "\"c\"".to_owned())]);
}

fn second_opening(backend: &dyn Backend) {
    let mut writer = writer(backend);
    put(&mut writer, 10, 1, "one");
    let error = backend.open().err().expect("the store is in use");
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use"), "{error}");
    put(&mut writer, 11, 2, "two");
    assert_eq!(reopen(backend, writer).state().seq, 2);
}

fn new_incarnation(backend: &dyn Backend) {
    let mut writer = writer(backend);
    put(&mut writer, 10, 1, "one");
    let other = Incarnation::from_random([3; 16]);
    writer.new_incarnation(other).unwrap();
    assert_eq!((writer.state().incarnation, writer.state().seq), (other, 1));
    assert_eq!(reopen(backend, writer).state().incarnation, other);
}

fn refused_text(backend: &dyn Backend) {
    let mut writer = writer(backend);
    let result = transact(&mut writer, 10, "cold", |txn| {
        txn.put_cold(Kind::UserData, "a\0b", 1);
        Ok(())
    });
    assert_eq!(result.err().unwrap().kind, error::Kind::Invalid);
    put(&mut writer, 10, 1, "a NUL inside a document, \0, is escaped in JSON");
    assert!(description(reopen(backend, writer).state(), 1).unwrap().contains('\0'));
}
