//! Runs many seeds, and reports failures.

use crate::{
    config::{Config, Fault},
    coverage::Coverage,
    world::{Violation, World},
};
use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Summary {
    /// How many events happened.
    pub events: u64,
    /// A digest of the trace.
    pub hash: u64,
    /// The counts of events.
    pub coverage: Coverage,
    /// The violated invariant, if any.
    pub violation: Option<Violation>,
    /// The end of the trace.
    pub tail: String,
}

/// Runs one world to its end.
pub fn run(config: Config) -> Summary {
    let mut world = World::new(config);
    world.run();
    world.summary()
}

impl World {
    /// The result of the run so far.
    pub fn summary(&self) -> Summary {
        Summary {
            events: self.steps,
            hash: self.trace.hash(),
            coverage: self.coverage.clone(),
            violation: self.violation.clone(),
            tail: self.trace.tail(),
        }
    }

    /// The lines of the trace that were kept.
    pub fn trace_lines(&self) -> Vec<String> {
        self.trace.lines().map(str::to_owned).collect()
    }
}

/// The report on a failing seed: the invariant, the end of the trace, and how to repeat the run.
pub fn complaint(config: &Config, violation: &Violation, tail: &str) -> String {
    let seed = config.seed;
    format!(
        "seed {seed} violates invariant {}: {}\n\n{tail}\nTo replay it:\n    \
         cargo run --release -p lenticular-sim -- --seed {seed}{} --trace\n",
        violation.invariant,
        violation.what,
        flags(config)
    )
}

/// The command line flags for this storm.
fn flags(config: &Config) -> String {
    let faults: Vec<String> = match (config.faults.len(), Fault::ALL.len()) {
        (some, all) if some == all => Vec::new(),
        (0, _) => Fault::ALL.iter().map(|fault| format!(" --without {}", fault.name())).collect(),
        _ => config.faults.iter().map(|fault| format!(" --only {}", fault.name())).collect(),
    };
    let mutation = config.mutation.map(|mutation| format!(" --mutation {}", mutation.name()));
    faults.into_iter().chain(mutation).collect()
}

/// The totals of many storms.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// How many seeds ran.
    pub seeds: u64,
    /// How many events happened.
    pub events: u64,
    /// The fewest events of one seed.
    pub events_min: u64,
    /// The counts of events.
    pub coverage: Coverage,
    /// The failed seeds, with their reports.
    pub failures: Vec<(u64, String)>,
}

impl Totals {
    /// Adds the totals of other seeds.
    pub fn add(&mut self, other: Self) {
        self.events_min = match self.seeds {
            0 => other.events_min,
            _ => self.events_min.min(other.events_min),
        };
        self.seeds += other.seeds;
        self.events += other.events;
        self.coverage.add(&other.coverage);
        self.failures.extend(other.failures);
    }
}

/// Runs storms for these seeds.
pub fn storms(seeds: Range<u64>, config: impl Fn(u64) -> Config) -> Totals {
    let mut totals = Totals::default();
    for seed in seeds {
        let config = config(seed);
        let summary = run(config.clone());
        let failure = summary.violation.map(|v| (seed, complaint(&config, &v, &summary.tail)));
        totals.add(Totals {
            seeds: 1,
            events: summary.events,
            events_min: summary.events,
            coverage: summary.coverage,
            failures: failure.into_iter().collect(),
        });
    }
    totals
}

/// How many seeds a thread takes at a time.
const CHUNK: u64 = 50;

/// Runs storms for these seeds on all processors; the totals are the same as on one.
pub fn storms_in_parallel(seeds: Range<u64>, config: impl Fn(u64) -> Config + Sync) -> Totals {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut totals = Totals::default();
        loop {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= seeds.end {
                return totals;
            }
            totals.add(storms(from..(from + CHUNK).min(seeds.end), &config));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut totals = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut totals = work();
        for other in others {
            match other.join() {
                Ok(more) => totals.add(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        totals
    });
    totals.failures.sort();
    totals
}
