//! The store's tests: one suite over all engines, and tests of SQLite files.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "all of this is tests")]

mod backend;
mod cluster;
mod damage;
mod files;
mod group;
mod kill;
mod random;
mod reopen;
mod suite;
mod takeover;
mod upgrade;

use backend::{Backend, MemoryBackend, PostgresBackend, SqliteBackend};
use cluster::Cluster;
use std::sync::Arc;

fn memory() -> Box<dyn Backend> {
    Box::new(MemoryBackend::default())
}

fn sqlite() -> Box<dyn Backend> {
    Box::new(SqliteBackend::new())
}

/// Runs `test` with a PostgreSQL cluster, unless LENTICULAR_SKIP_POSTGRES=1 says not to.
fn over_postgres(test: impl Fn(&Arc<Cluster>)) {
    if let Some(cluster) = Cluster::shared() {
        test(&cluster);
    }
}

/// Runs `test` with a way to make fresh stores on PostgreSQL.
fn with_postgres_stores(test: impl Fn(&dyn Fn() -> Box<dyn Backend>)) {
    over_postgres(|cluster| test(&|| Box::new(PostgresBackend::new(cluster.clone()))));
}

#[test]
fn the_suite_passes_in_memory() {
    suite::run(&memory);
}

#[test]
fn the_suite_passes_on_sqlite() {
    suite::run(&sqlite);
    damage::run(&sqlite);
}

#[test]
fn the_suite_passes_on_postgresql() {
    with_postgres_stores(|fresh| {
        suite::run(fresh);
        damage::run(fresh);
    });
}

#[test]
fn concurrent_increments_are_all_there_in_memory() {
    group::increments(&*memory(), 200);
}

#[test]
fn concurrent_increments_are_all_there_on_sqlite() {
    group::increments(&*sqlite(), 60);
}

#[test]
fn concurrent_increments_are_all_there_on_postgresql() {
    with_postgres_stores(|fresh| group::increments(&*fresh(), 30));
}

#[test]
fn random_transactions_do_as_a_plain_map_does_in_memory() {
    random::run(&memory, 256);
}

#[test]
fn random_transactions_do_as_a_plain_map_does_on_sqlite() {
    random::run(&sqlite, 32);
}

#[test]
fn random_transactions_do_as_a_plain_map_does_on_postgresql() {
    with_postgres_stores(|fresh| random::run(fresh, 12));
}

#[test]
fn a_store_of_the_first_format_is_taken_over_on_sqlite() {
    upgrade::run(&sqlite, upgrade::SQLITE);
}

#[test]
fn a_store_of_the_first_format_is_taken_over_on_postgresql() {
    with_postgres_stores(|fresh| upgrade::run(fresh, upgrade::POSTGRES));
}
