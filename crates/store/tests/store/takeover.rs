//! How a leader over PostgreSQL ends: its session is cut off, or another opening raised the epoch.

use crate::{
    backend::{Backend, PostgresBackend, description, role, transact, writer},
    cluster::Cluster,
    over_postgres,
};
use lenticular_model::{Timestamp, error};
use lenticular_store::Writer;

fn put(writer: &mut Writer, text: &str) -> lenticular_model::Result<()> {
    transact(writer, 1, "put", |txn| {
        txn.put(role(1, text));
        Ok(())
    })
    .map(|_| ())
}

/// Expects that the writer refuses now and later.
fn expect_lost(writer: &mut Writer, why: &str) {
    for _ in 0..2 {
        let error = put(writer, "lost").unwrap_err();
        assert_eq!(error.kind, error::Kind::Unavailable);
        assert!(error.internal.as_ref().unwrap().contains(why), "{error}");
    }
    assert!(writer.lost().is_some());
    assert!(writer.trim_journal(lenticular_model::Timestamp(9), 1).is_err());
    assert_eq!(description(writer.state(), 1).as_deref(), Some("kept"));
}

#[test]
fn a_session_that_ended_while_idle_is_reopened() {
    over_postgres(|cluster| {
        let backend = PostgresBackend::new(cluster.clone());
        let mut writer = writer(&backend);
        let reader = writer.reader();
        for (n, text) in ["first", "second", "third"].into_iter().enumerate() {
            put(&mut writer, text).unwrap();
            assert_eq!(writer.state().seq, n as u64 + 1);
            cluster.end_sessions(&backend.schema, true);
        }
        assert_eq!(writer.trim_journal(lenticular_model::Timestamp(9), 1).unwrap(), 1);
        assert!(writer.lost().is_none());
        let id = role(1, "").id.to_string();
        assert!(
            reader.get(lenticular_model::Kind::Role, &id).unwrap().is_some(),
            "readers have their own sessions"
        );
        // It still leads: it has the lock again, and no other process can open the store.
        let second = backend.open().err().expect("two owners");
        assert!(second.to_string().contains("in use") || second.to_string().contains("session"), "{second}");
    });
}

#[test]
fn a_session_that_ended_is_not_reopened_for_a_former_leader() {
    over_postgres(|cluster| {
        let backend = PostgresBackend::new(cluster.clone());
        let mut old = writer(&backend);
        put(&mut old, "kept").unwrap();
        cluster.end_sessions(&backend.schema, true);
        let mut new = writer(&backend);
        put(&mut new, "kept").unwrap();
        // Regardless of whether the new leader still has the lock.
        expect_lost(&mut old, "epoch");
        drop(new);
        expect_lost(&mut old, "epoch");
    });
}

#[test]
fn a_session_that_is_cut_off_amid_a_commit_ends_the_leadership() {
    over_postgres(|cluster| {
        let backend = PostgresBackend::new(cluster.clone());
        let mut old = writer(&backend);
        put(&mut old, "kept").unwrap();
        let old = cluster.while_locked(&backend.schema, "meta", || {
            expect_lost(&mut old, "unknown");
            old
        });
        drop(old);
        let mut new = writer(&backend);
        put(&mut new, "new").unwrap();
        assert_eq!(new.state().seq, 2);
    });
}

#[test]
fn a_commit_whose_wait_for_a_standby_was_cancelled_is_unknown() {
    let Some(cluster) = Cluster::separate() else { return };
    let backend = PostgresBackend::new(cluster.clone());
    let mut old = writer(&backend);
    put(&mut old, "kept").unwrap();
    cluster.wait_for_standby(true);
    let cancelled = "canceling wait for synchronous replication";
    let (mut old, error) = cluster.cancel_wait(&backend.schema, || {
        // The setting reaches the session a little later.
        let error = std::iter::repeat_with(|| put(&mut old, "kept")).find_map(Result::err).unwrap();
        (old, error)
    });
    assert!(error.internal.unwrap().contains(cancelled));
    expect_lost(&mut old, cancelled);
    // The former writer still exists, and the store is free all the same.
    let unopened = cluster.cancel_wait(&backend.schema, || backend.open().err());
    assert!(unopened.expect("its first write may be on no standby").to_string().contains(cancelled));
    cluster.wait_for_standby(false);
    let known = old.state().clone();
    let mut new = Writer::open_again(backend.open().unwrap(), Timestamp(1), &known).unwrap();
    assert_eq!(new.state().seq, known.seq + 1, "the commit that was cancelled is there");
    put(&mut new, "new").unwrap();
}

#[test]
fn a_leader_of_an_older_epoch_writes_nothing() {
    over_postgres(|cluster| {
        let backend = PostgresBackend::new(cluster.clone());
        let mut old = writer(&backend);
        put(&mut old, "kept").unwrap();
        backend.execute("UPDATE meta SET value = '2' WHERE key = 'epoch'");
        expect_lost(&mut old, "it is in epoch 2, and this process opened it in epoch 1");
        drop(old);
        assert_eq!(writer(&backend).state().seq, 1);
    });
}

#[test]
fn a_reader_outlives_the_end_of_its_session() {
    over_postgres(|cluster| {
        let backend = PostgresBackend::new(cluster.clone());
        let mut writer = writer(&backend);
        put(&mut writer, "kept").unwrap();
        let (reader, id) = (writer.reader(), role(1, "").id.to_string());
        let get = || reader.get(lenticular_model::Kind::Role, &id).unwrap();
        assert!(get().is_some());
        cluster.end_sessions(&backend.schema, false);
        assert!(get().is_some());
    });
}
