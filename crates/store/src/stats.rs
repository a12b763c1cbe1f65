//! Statistics of the store's thread, for the metrics page.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the buckets of [`Stats::batch_sizes`], in transactions. The last bucket has no bound.
pub const BATCH_SIZE_BOUNDS: [u64; 6] = [1, 2, 4, 8, 16, 32];

/// Upper bounds of the buckets of [`Stats::commit_latencies`], in microseconds. The last bucket has no bound.
pub const COMMIT_US_BOUNDS: [u64; 10] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000];

/// Numbers since the start. A bucket counts values up to its bound and above the previous bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Database commits that succeeded.
    pub commits: u64,
    /// Database commits that failed.
    pub commit_failures: u64,
    /// Whether the last database commit failed.
    pub is_failing: bool,
    /// How often the store was opened again after a commit of unknown outcome.
    pub reopenings: u64,
    /// Answered transactions, successful or not.
    pub transactions: u64,
    /// Transactions that were answered with an error.
    pub refusals: u64,
    /// Sizes of the batches.
    pub batch_sizes: [u64; BATCH_SIZE_BOUNDS.len() + 1],
    /// How long database commits took.
    pub commit_latencies: [u64; COMMIT_US_BOUNDS.len() + 1],
    /// How long all database commits took together, in microseconds.
    pub commit_us_sum: u64,
    /// How long the slowest database commit took, in microseconds.
    pub commit_us_max: u64,
}

/// The counters: the store's thread writes them, any thread reads them.
#[derive(Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    commit_failures: AtomicU64,
    is_failing: AtomicBool,
    reopenings: AtomicU64,
    transactions: AtomicU64,
    refusals: AtomicU64,
    batch_sizes: [AtomicU64; BATCH_SIZE_BOUNDS.len() + 1],
    commit_latencies: [AtomicU64; COMMIT_US_BOUNDS.len() + 1],
    commit_us_sum: AtomicU64,
    commit_us_max: AtomicU64,
}

impl Counters {
    pub(crate) fn note_batch(&self, transactions: usize, refusals: usize) {
        let transactions = u64::try_from(transactions).unwrap_or(u64::MAX);
        add(&self.transactions, transactions);
        add(&self.refusals, u64::try_from(refusals).unwrap_or(u64::MAX));
        raise_bucket(&self.batch_sizes, &BATCH_SIZE_BOUNDS, transactions);
    }

    pub(crate) fn note_commit(&self, took: Duration, is_ok: bool) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.is_failing.store(!is_ok, Ordering::Relaxed);
        add(if is_ok { &self.commits } else { &self.commit_failures }, 1);
        add(&self.commit_us_sum, us);
        self.commit_us_max.fetch_max(us, Ordering::Relaxed);
        raise_bucket(&self.commit_latencies, &COMMIT_US_BOUNDS, us);
    }

    /// The store was opened again: the last failure no longer counts.
    pub(crate) fn note_opening(&self) {
        self.is_failing.store(false, Ordering::Relaxed);
        add(&self.reopenings, 1);
    }

    pub(crate) fn read(&self) -> Stats {
        Stats {
            commits: get(&self.commits),
            commit_failures: get(&self.commit_failures),
            is_failing: self.is_failing.load(Ordering::Relaxed),
            reopenings: get(&self.reopenings),
            transactions: get(&self.transactions),
            refusals: get(&self.refusals),
            batch_sizes: self.batch_sizes.each_ref().map(get),
            commit_latencies: self.commit_latencies.each_ref().map(get),
            commit_us_sum: get(&self.commit_us_sum),
            commit_us_max: get(&self.commit_us_max),
        }
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn raise_bucket(buckets: &[AtomicU64], bounds: &[u64], value: u64) {
    add(&buckets[bounds.partition_point(|bound| *bound < value)], 1);
}
