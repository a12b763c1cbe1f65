//! Checks that the host makes by itself, again and again, beside those that the drivers make.
//!
//! Each check has its task: one that hangs delays neither the agent nor the others. An operator's order makes all of them
//! at once, too.

pub(crate) mod clock;
mod disk;
mod mounts;
pub(crate) mod plugin;
mod reboot;
pub(crate) mod repository;
pub(crate) mod simulated;

use crate::{Config, driver::Measured};
use lenticular_model::host::{
    evidence::{CLOCK, Evidence, Level, TEXT_BYTES_MAX},
    fact::Facts,
};
use std::time::Duration;
use tokio::{sync::mpsc, task::JoinSet};

/// How often the built-in checks are made, in seconds.
const BUILT_IN_S: u64 = 60;

/// The result of a check: its level, and the text if it is not passed.
pub(crate) type Verdict = Option<(Level, String)>;

/// The evidence of a check, its text no longer than the control plane takes.
pub(crate) fn evidence_of(check: &str, verdict: Verdict) -> Evidence {
    let short = |mut text: String| {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text
    };
    let (level, trouble) = verdict.map_or((Level::Fail, None), |(level, text)| (level, Some(short(text))));
    Evidence { check: check.to_owned(), trouble, level }
}

enum Check {
    Disk(disk::Disk),
    Mounts(mounts::Mounts),
    Reboot,
    Plugin(plugin::Plugin),
}

impl Check {
    async fn run(&mut self) -> Verdict {
        match self {
            Self::Disk(disk) => disk.run().await,
            Self::Mounts(mounts) => mounts.run().await,
            Self::Reboot => reboot::check().await,
            Self::Plugin(plugin) => plugin.run().await,
        }
    }
}

/// The checks of a host that runs guests itself, each with its name and how often it is made.
fn all(config: &Config) -> Vec<(String, Duration, Check)> {
    let every = Duration::from_secs(BUILT_IN_S);
    let disk = Check::Disk(disk::Disk::new(&config.state_dir));
    let built_in =
        [("disk", disk), ("mounts", Check::Mounts(mounts::Mounts::default())), ("reboot", Check::Reboot)];
    let built_in = built_in.into_iter().map(|(name, check)| (name.to_owned(), every, check));
    let plugins = config.checks.iter();
    built_in
        .chain(plugins.map(|(name, plugin)| (name.clone(), plugin.every, Check::Plugin(plugin.clone()))))
        .collect()
}

/// What a registration says of checks that were not made since the agent's start: the last result still holds.
pub(crate) fn pending(config: &Config) -> Vec<Evidence> {
    let made_here = all(config).into_iter().map(|(check, ..)| check);
    made_here.chain([CLOCK.to_owned()]).map(|check| pending_of(&check)).collect()
}

/// The same of one check.
pub(crate) fn pending_of(check: &str) -> Evidence {
    Evidence { check: check.to_owned(), trouble: None, level: Level::Pending }
}

/// Makes all checks once, side by side.
pub(crate) async fn make_all(config: &Config) -> Vec<Evidence> {
    let mut running = JoinSet::new();
    for (name, _, mut check) in all(config) {
        running.spawn(async move { evidence_of(&name, check.run().await) });
    }
    running.join_all().await
}

/// Begins to make the checks again and again. Their results are sent until the set is dropped.
pub(crate) fn begin(config: &Config, results: &mpsc::Sender<Measured>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (name, every, mut check) in all(config) {
        let results = results.clone();
        tasks.spawn(async move {
            let mut due = tokio::time::interval(every);
            due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                due.tick().await;
                if results
                    .send((Facts::default(), vec![evidence_of(&name, check.run().await)]))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
    }
    tasks
}
