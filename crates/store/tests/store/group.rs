//! Many concurrent tasks on one [`Store`]: nothing is lost, and all observations follow the journal's order.

use crate::backend::{
    Backend, MemoryBackend, cause, description, heartbeat, incarnation, role, role_id, writer,
};
use lenticular_model::{Error, Kind, Timestamp, Txn, error, identity::Role};
use lenticular_store::{Crash, Leadership, Store, Writer};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

const TASKS: u64 = 32;

pub fn start(writer: Writer) -> Store {
    let ticks = AtomicI64::new(1);
    let clock = Arc::new(move || Timestamp(ticks.fetch_add(1, Ordering::Relaxed)));
    Store::start(writer, clock, Box::new(|| [7; 16]))
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn count(txn: &Txn<'_>) -> u64 {
    description(txn, 1).map_or(0, |text| text.parse().unwrap())
}

pub fn increment(txn: &mut Txn<'_>) -> lenticular_model::Result<u64> {
    let next = count(txn) + 1;
    txn.put(role(1, &next.to_string()));
    Ok(next)
}

/// Runs tasks that increment one counter, each `times` times, and checks every answer, commit and journal entry.
pub fn increments(backend: &dyn Backend, times: u64) {
    let runtime = runtime();
    let store = start(writer(backend));
    let mut commits = store.subscribe();
    drop(store.subscribe());
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for task in 0..TASKS {
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                for turn in 0..times {
                    let value = store.transact(cause("increment"), increment).await.unwrap();
                    assert!(store.state().seq >= value, "reads after the answer see the write");
                    if (task + turn) % 5 == 0 {
                        let refused = store.transact(cause("refused"), |txn| {
                            increment(txn)?;
                            Err::<(), _>(Error::conflict("no"))
                        });
                        assert_eq!(refused.await.unwrap_err().kind, error::Kind::Conflict);
                        let heard = |txn: &mut Txn<'_>| {
                            txn.put(heartbeat(1, 1));
                            Ok(())
                        };
                        store.transact(cause("heard"), heard).await.unwrap();
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let total = TASKS * times;
        assert_eq!(store.state().seq, total);
        let history = store.history(Kind::Role, &role_id(1).to_string()).await.unwrap();
        let seqs: Vec<u64> = history.iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, (1..=total).collect::<Vec<_>>());
        for entry in &history[1..] {
            let before: Role = serde_json::from_str(entry.before.as_ref().unwrap()).unwrap();
            assert_eq!(before.description, Some((entry.seq - 1).to_string()));
        }
        assert!(history.is_sorted_by_key(|entry| entry.at));
        let stats = store.stats();
        assert!(stats.commits <= total && stats.transactions >= total && stats.commit_failures == 0);
        store.close().await.unwrap();
        let late = store.transact(cause("late"), increment).await.unwrap_err();
        assert_eq!(late.kind, error::Kind::Unavailable);
    });
    drop(store);
    let mut durable = 0;
    while let Ok(commit) = commits.try_recv() {
        if commit.changes[0].0 == Kind::Role {
            durable += 1;
            assert_eq!(
                (commit.state.seq, description(&commit.state, 1)),
                (durable, Some(durable.to_string()))
            );
        } else {
            assert_eq!(commit.state.seq, durable, "a volatile commit shares the seq before it");
        }
    }
    assert_eq!(durable, TASKS * times);
    assert_eq!(description(writer(backend).state(), 1), Some(durable.to_string()));
}

#[test]
fn a_crash_ends_the_leadership_and_reopening_finds_the_truth() {
    for (crash, expected) in [(Crash::BeforeCommit, 1), (Crash::AfterCommit, 2)] {
        let backend = MemoryBackend::default();
        let store = start(writer(&backend));
        runtime().block_on(async {
            store.transact(cause("increment"), increment).await.unwrap();
            let mut leadership = store.leadership();
            backend.disk.crash_next_commit(crash);
            for _ in 0..2 {
                let error = store.transact(cause("increment"), increment).await.unwrap_err();
                assert_eq!(error.kind, error::Kind::Unavailable);
            }
            let ended = leadership.wait_for(|now| matches!(now, Leadership::Ended { .. })).await.unwrap();
            assert!(ended.to_string().contains("died"), "{}", *ended);
            assert_eq!(store.state().seq, 1, "only what is known to be durable is published");
        });
        let mut successor = Writer::open(backend.open().unwrap(), Timestamp(0), incarnation()).unwrap();
        assert_eq!(successor.state().seq, expected);
        crate::backend::transact(&mut successor, 5, "increment", increment).unwrap();
    }
}

#[test]
fn a_leader_whose_store_was_taken_over_writes_no_more() {
    let backend = MemoryBackend::default();
    let mut old = writer(&backend);
    backend.disk.release();
    let mut new = writer(&backend);
    let error = crate::backend::transact(&mut old, 1, "increment", increment).err().unwrap();
    assert!(error.internal.unwrap().contains("taken the store over"));
    assert!(old.lost().is_some());
    crate::backend::transact(&mut new, 1, "increment", increment).unwrap();
}

#[test]
fn a_copied_disk_is_a_backup() {
    let backend = MemoryBackend::default();
    let mut original = writer(&backend);
    crate::backend::transact(&mut original, 1, "increment", increment).unwrap();
    let copy = MemoryBackend { disk: backend.disk.copy() };
    crate::backend::transact(&mut original, 2, "increment", increment).unwrap();
    assert_eq!((writer(&copy).state().seq, backend.disk.seq()), (1, 2));
}

#[test]
fn trimming_and_dropping_a_store_work_beside_its_transactions() {
    let backend = MemoryBackend::default();
    let store = start(writer(&backend));
    runtime().block_on(async {
        for _ in 0..1_200 {
            store.transact(cause("increment"), increment).await.unwrap();
        }
        assert_eq!(store.trim_journal(Timestamp(i64::MAX)).await.unwrap(), 1_199);
        let at = store.record_at(Kind::Role, &role_id(1).to_string(), Timestamp(3)).await;
        assert_eq!(at.unwrap_err().kind, error::Kind::NotFound);
    });
    let mut leadership = store.leadership();
    drop(store);
    let closed =
        runtime().block_on(async { leadership.wait_for(|now| *now == Leadership::Closed).await.is_ok() });
    assert!(closed, "the store can be opened again");
    assert_eq!(writer(&backend).state().seq, 1_200);
}
