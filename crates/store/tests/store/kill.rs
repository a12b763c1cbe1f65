//! A process killed at a random moment loses nothing that it acknowledged.
#![expect(
    clippy::disallowed_methods,
    reason = "the test kills a process of its own, at a moment of the clock's choice"
)]

use crate::backend::{Backend, SqliteBackend, cause, role, role_id, writer};
use lenticular_model::{Kind, Timestamp};
use lenticular_store::{Sqlite, Store, Writer};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const PATH: &str = "LENTICULAR_KILL_TEST_STORE";
const ROUNDS: u32 = 5;

/// The process that is killed: commits without end and prints each seq when its commit is acknowledged.
#[test]
#[ignore = "a part of the test below, which starts it"]
fn commit_until_killed() {
    let Ok(path) = std::env::var(PATH) else { return };
    let engine = Box::new(Sqlite::open(Path::new(&path)).unwrap());
    let writer = Writer::open(engine, Timestamp(0), crate::backend::incarnation()).unwrap();
    let store = Store::start(writer, Arc::new(|| Timestamp(1)), Box::new(|| [7; 16]));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let mut tasks: Vec<tokio::task::JoinHandle<()>> = Vec::new();
        for task in 0..8 {
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                loop {
                    let written = store.transact(cause("write"), move |txn| {
                        let seq = txn.seq;
                        txn.put(role(task, &seq.to_string()));
                        txn.put_cold(Kind::UserData, seq.to_string(), seq);
                        Ok(seq)
                    });
                    let line = format!("acknowledged {}\n", written.await.unwrap());
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn acknowledged_commits_of_a_killed_process_are_kept() {
    let backend = SqliteBackend::new();
    let mut last = 0;
    for round in 0..ROUNDS {
        let acknowledged = commit_and_kill(&backend.path);
        assert!(acknowledged.iter().all(|seq| *seq > last), "round {round} went on after the one before");
        let writer = writer(&backend);
        let head = writer.state().seq;
        let reader = writer.reader();
        for seq in &acknowledged {
            assert!(*seq <= head, "{seq} was acknowledged, and the store ends at {head}");
            let doc = reader.get(Kind::UserData, &seq.to_string()).unwrap();
            assert_eq!(doc, Some(seq.to_string()), "what {seq} wrote");
        }
        for number in 0..8 {
            let entries = reader.history(Kind::Role, &role_id(number).to_string()).unwrap();
            assert!(entries.iter().all(|entry| entry.seq <= head));
        }
        last = head;
        writer.close().unwrap();
        backend.execute("PRAGMA integrity_check");
    }
    assert!(last > 0, "something was acknowledged");
}

/// Starts the process, waits for an acknowledgement, and kills the process up to 150 ms later.
fn commit_and_kill(path: &Path) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::commit_until_killed", "--ignored", "--nocapture"])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // An incomplete line acknowledges nothing, but the pipe passes on writes of this size as a whole.
    let seq = |line: String| line.strip_prefix("acknowledged ").and_then(|seq| seq.parse::<u64>().ok());
    let first =
        lines.by_ref().find_map(|line| seq(line.unwrap())).expect("the process acknowledges something");
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_micros(u64::from(clock.subsec_nanos()) % 150_000));
        child.kill().unwrap();
        child.wait().unwrap();
    });
    // Reading on meanwhile keeps the pipe from filling up.
    let rest: Vec<u64> = lines.map_while(Result::ok).filter_map(seq).collect();
    killer.join().unwrap();
    std::iter::once(first).chain(rest).collect()
}
