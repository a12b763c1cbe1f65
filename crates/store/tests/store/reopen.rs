//! A commit of unknown outcome: the store is given up, opened again, and led again, in one process.

use crate::{
    backend::{MemoryBackend, SqliteBackend, cause, role, transact, writer},
    group::{increment, runtime, start},
};
use lenticular_model::{Result, State, Timestamp};
use lenticular_store::{Crash, Engine, Leadership, Memory, MemoryDisk, OpenError, Sqlite, Store, Writer};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

async fn add(store: &Store) -> Result<u64> {
    store.transact(cause("increment"), increment).await
}

/// A store that counted to 1, and then lost a commit.
async fn lose(disk: &MemoryDisk, crash: Crash) -> Store {
    let store = start(writer(&MemoryBackend { disk: disk.clone() }));
    assert_eq!(add(&store).await.unwrap(), 1);
    disk.crash_next_commit(crash);
    let unknown = add(&store).await.unwrap_err();
    assert!(unknown.message.contains("Whether the change was saved is unknown"), "{unknown}");
    store
}

fn open_again(disk: &MemoryDisk, known: &State) -> Result<Writer, OpenError> {
    Writer::open_again(Box::new(Memory::open(disk)?), Timestamp(9), known)
}

/// Waits until the store cannot be opened again, and returns why.
async fn obstacle(store: &Store) -> String {
    let mut leadership = store.leadership();
    let has = |now: &Leadership| matches!(now, Leadership::Ended { obstacle: Some(_), .. });
    leadership.wait_for(has).await.unwrap().to_string()
}

#[test]
fn the_store_goes_on_with_what_was_written() {
    for (crash, counted) in [(Crash::BeforeCommit, 1), (Crash::AfterCommit, 2)] {
        let disk = MemoryDisk::new();
        runtime().block_on(async {
            let store = lose(&disk, crash).await;
            let mut leaderships = store.leaderships();
            let mut orphan = store.subscribe();
            let refused = add(&store).await.unwrap_err();
            assert!(refused.message.contains("The change was not made"), "{refused}");
            let (keeper, kept) = (store.clone(), disk.clone());
            tokio::spawn(async move { keeper.keep_open(move |known| open_again(&kept, known)).await });
            assert_eq!(leaderships.next().await, Some(2));
            assert!(orphan.recv().await.is_none(), "nobody follows two leaderships as if they were one");
            assert_eq!(store.state().seq, counted);
            let mut commits = store.subscribe();
            assert_eq!(add(&store).await.unwrap(), counted + 1);
            assert_eq!(commits.recv().await.unwrap().state.seq, counted + 1);
            let stats = store.stats();
            assert_eq!((stats.reopenings, stats.is_failing), (1, false));
            // The same again, in the same process.
            disk.crash_next_commit(crash);
            assert!(add(&store).await.is_err());
            assert_eq!(leaderships.next().await, Some(3));
            add(&store).await.unwrap();
            store.close().await.unwrap();
            assert_eq!(leaderships.next().await, None);
        });
    }
}

#[test]
fn a_second_unknown_outcome_at_the_take_over_is_followed_by_a_third_attempt() {
    let (disk, attempts) = (MemoryDisk::new(), Arc::new(AtomicUsize::new(0)));
    let (kept, counter) = (disk.clone(), attempts.clone());
    let open = move |known: &State| {
        let attempt = counter.fetch_add(1, Ordering::Relaxed);
        let mut writer = open_again(&kept, known)?;
        if attempt < 2 {
            kept.crash_next_commit(Crash::AfterCommit);
        }
        match transact(&mut writer, 9, "take over", increment) {
            Ok(_) => Ok(writer),
            Err(error) => {
                let cause = error.internal.unwrap_or_default();
                Err(OpenError::Failed { store: writer.describe(), doing: "taking it over", cause })
            }
        }
    };
    runtime().block_on(async {
        let store = lose(&disk, Crash::AfterCommit).await;
        let keeper = store.clone();
        tokio::spawn(async move { keeper.keep_open(open).await });
        assert!(obstacle(&store).await.contains("taking it over"));
        assert!(store.leads().await);
        assert_eq!((attempts.load(Ordering::Relaxed), add(&store).await.unwrap()), (3, 6));
    });
}

#[test]
fn an_older_copy_in_the_stores_place_is_not_led() {
    let (disk, backup) = (MemoryDisk::new(), MemoryDisk::new());
    runtime().block_on(async {
        let store = lose(&disk, Crash::AfterCommit).await;
        let (keeper, place) = (store.clone(), Arc::new(lenticular_model::Lock::new(backup.copy())));
        drop(writer(&MemoryBackend { disk: place.lock().clone() }));
        let there = place.clone();
        tokio::spawn(async move { keeper.keep_open(move |known| open_again(&there.lock(), known)).await });
        let why = obstacle(&store).await;
        assert!(why.contains("is at commit 0, and this process has acknowledged commit 1"), "{why}");
        *place.lock() = disk.clone();
        assert!(store.leads().await);
        assert_eq!(add(&store).await.unwrap(), 3);
    });
}

#[test]
fn a_process_that_is_told_to_stop_does_not_wait_for_the_opening() {
    let disk = MemoryDisk::new();
    let ((let_go, go), (began, begun)) = (mpsc::channel::<()>(), mpsc::channel());
    let go = lenticular_model::Lock::new(go);
    let kept = disk.clone();
    let open = move |known: &State| {
        began.send(()).unwrap();
        go.lock().recv().unwrap();
        open_again(&kept, known)
    };
    runtime().block_on(async {
        let store = lose(&disk, Crash::AfterCommit).await;
        let keeper = store.clone();
        let keeping = tokio::spawn(async move { keeper.keep_open(open).await });
        begun.recv().unwrap();
        assert_eq!(store.state().seq, 1, "reads go on");
        store.close().await.unwrap();
        let late = add(&store).await.unwrap_err();
        assert!(late.message.contains("is shutting down"), "{late}");
        let_go.send(()).unwrap();
        keeping.await.unwrap();
    });
    assert_eq!(writer(&MemoryBackend { disk }).state().seq, 2, "what was opened too late is free again");
}

#[test]
fn an_sqlite_store_is_opened_again_beside_its_former_writer() {
    let backend = SqliteBackend::new();
    let mut old = Sqlite::open(&backend.path).unwrap();
    assert!(matches!(Sqlite::open_again(&backend.path), Err(OpenError::InUse { .. })));
    old.release();
    let mut new = Writer::open(
        Box::new(Sqlite::open_again(&backend.path).unwrap()),
        Timestamp(1),
        crate::backend::incarnation(),
    )
    .unwrap();
    let put = |writer: &mut Writer, text: &str| {
        transact(writer, 1, "put", |txn| {
            txn.put(role(1, text));
            Ok(())
        })
    };
    put(&mut new, "first").unwrap();
    put(&mut new, "second").unwrap();
    new.close().unwrap();
    assert_eq!(writer(&backend).state().seq, 2);
}

#[test]
fn a_store_that_is_gone_is_not_made_anew() {
    let backend = SqliteBackend::new();
    let mut old = Sqlite::open(&backend.path).unwrap();
    fs::remove_file(&backend.path).unwrap();
    old.release();
    let gone = Sqlite::open_again(&backend.path).err().unwrap();
    assert!(gone.to_string().contains("is gone"), "{gone}");
    assert!(!backend.path.exists());
}
