//! Prints how many small durable transactions a store commits in a second, and how fast it starts with many records.
//!
//! `cargo run --release -p lenticular-store --example commit_rate [-- sqlite|memory|'<PostgreSQL connection string>']`

use lenticular_model::{Cause, Error, Incarnation, RoleId, Timestamp, identity::Role};
use lenticular_store::{Engine, Memory, MemoryDisk, Postgres, Sqlite, Store, Writer};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

const TASKS: usize = 64;
const RUN_FOR: Duration = Duration::from_secs(5);
const RECORDS: usize = 10_000;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn main() -> Fallible<()> {
    let which = std::env::args().nth(1).unwrap_or_else(|| "sqlite".to_owned());
    let folder =
        tempfile::tempdir_in(std::env::var("LENTICULAR_BENCH_DIR").unwrap_or_else(|_| ".".to_owned()))?;
    let path = folder.path().join("bench.db");
    let disk = MemoryDisk::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;

    let store = start(open(&which, &path, &disk)?)?;
    let count = runtime.block_on(commit_for(&store))?;
    let stats = store.stats();
    println!("{which}: {:.0} transactions/s from {TASKS} tasks", count as f64 / RUN_FOR.as_secs_f64());
    println!(
        "{} commits of {:.1} transactions, each {:.0} µs on average, {} µs at most",
        stats.commits,
        stats.transactions as f64 / stats.commits as f64,
        stats.commit_us_sum as f64 / stats.commits as f64,
        stats.commit_us_max
    );
    runtime.block_on(store.close())?;
    drop(store);

    for (how, close) in [("closed", true), ("killed", false)] {
        let began = Instant::now();
        let writer =
            Writer::open(open(&which, &path, &disk)?, Timestamp(0), Incarnation::from_random([1; 16]))?;
        let took = began.elapsed();
        println!("cold start with {} records after it was {how}: {took:?}", writer.state().roles.len());
        disk.release();
        if close {
            // Leaves the store like an owner that did not close it.
            drop(writer);
        } else {
            writer.close()?;
        }
    }
    Ok(())
}

fn open(which: &str, path: &Path, disk: &MemoryDisk) -> Fallible<Box<dyn Engine>> {
    Ok(match which {
        "sqlite" => Box::new(Sqlite::open(path)?),
        "memory" => Box::new(Memory::open(disk)?),
        config => Box::new(Postgres::open(config)?),
    })
}

fn start(engine: Box<dyn Engine>) -> Fallible<Store> {
    let writer = Writer::open(engine, Timestamp(0), Incarnation::from_random([1; 16]))?;
    let ticks = AtomicI64::new(0);
    let clock = Arc::new(move || Timestamp(ticks.fetch_add(1, Ordering::Relaxed)));
    let mut drawn = 0_u128;
    let entropy = Box::new(move || {
        // An odd multiplier spreads ids over the whole tree, like random ids, and repeats none.
        drawn = drawn.wrapping_add(1);
        drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_be_bytes()
    });
    Ok(Store::start(writer, clock, entropy))
}

/// Creates records up to a limit, and then changes them.
async fn commit_for(store: &Store) -> Fallible<usize> {
    let until = Instant::now() + RUN_FOR;
    let tasks = (0..TASKS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut own: Vec<RoleId> = Vec::new();
            let mut count = 0;
            while Instant::now() < until {
                let cause = Cause {
                    actor: "4f0a9c2de1b84c57a3d86f0e2b7c9a15".to_owned(),
                    request_id: "req-2f0a9c2d-e1b8-4c57-a3d8-6f0e2b7c9a15".to_owned(),
                    why: "role write".to_owned(),
                };
                let old = (own.len() >= RECORDS / TASKS).then(|| own[count % own.len()]);
                let id = store.transact(cause, move |txn| Ok(write(txn, old))).await?;
                if old.is_none() {
                    own.push(id);
                }
                count += 1;
            }
            Ok::<usize, Error>(count)
        })
    });
    let mut total = 0;
    for task in tasks.collect::<Vec<_>>() {
        total += task.await??;
    }
    Ok(total)
}

fn write(txn: &mut lenticular_model::Txn<'_>, old: Option<RoleId>) -> RoleId {
    if let Some(id) = old {
        txn.update::<Role>(&id, |role| {
            role.description = Some("changed, with about as much text as before".to_owned())
        });
        return id;
    }
    let id = RoleId::from_random(txn.random());
    let description =
        Some("made, with about as much text as a small record has in a cloud at work".to_owned());
    let (created_at, unknown) = (txn.now, Default::default());
    txn.put(Role {
        id,
        created_at,
        updated_at: None,
        name: id.to_string(),
        domain_id: None,
        description,
        unknown,
    });
    id
}
