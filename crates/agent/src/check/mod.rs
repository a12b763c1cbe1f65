//! Checks that the host makes by itself, again and again, beside those that the drivers make.
//!
//! Each check runs in a task of its own: one that hangs delays neither the agent nor the others. A result is told when
//! its level changes, not each time.

mod disk;
pub(crate) mod plugin;
mod reboot;

use crate::Config;
use lenticular_model::host::evidence::{Evidence, Level, TEXT_BYTES_MAX};
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

/// What a check is, without its schedule.
#[derive(Clone)]
enum Check {
    Disk,
    Reboot,
    Plugin(plugin::Plugin),
}

/// The checks of a host that runs guests itself, each with its name and how often it is made.
fn all(config: &Config) -> Vec<(String, Duration, Check)> {
    let built_in = [("disk", Check::Disk), ("reboot", Check::Reboot)];
    let built_in =
        built_in.map(|(name, check)| (name.to_owned(), Duration::from_secs(BUILT_IN_S), check)).into_iter();
    let plugins = config.checks.iter();
    built_in
        .chain(plugins.map(|(name, plugin)| (name.clone(), plugin.every, Check::Plugin(plugin.clone()))))
        .collect()
}

/// What a registration says of checks that were not made since the agent's start: the last result still holds.
pub(crate) fn pending(config: &Config) -> Vec<Evidence> {
    let pending =
        |(check, ..): (String, Duration, Check)| Evidence { check, trouble: None, level: Level::Pending };
    all(config).into_iter().map(pending).collect()
}

/// Begins to make the checks. Their results come through the channel, until the set is dropped.
pub(crate) fn begin(config: &Config) -> (JoinSet<()>, mpsc::Receiver<Evidence>) {
    let (results, seen) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    for (name, every, check) in all(config) {
        let (config, results) = (config.clone(), results.clone());
        tasks.spawn(async move {
            let mut due = tokio::time::interval(every);
            due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut told: Option<Option<Level>> = None;
            loop {
                due.tick().await;
                let verdict = match &check {
                    Check::Disk => disk::check(&config.state_dir).await,
                    Check::Reboot => reboot::check().await,
                    Check::Plugin(plugin) => plugin.run().await,
                };
                // The texts of most checks have numbers that change each time.
                let level = verdict.as_ref().map(|(level, _)| *level);
                if told != Some(level) && results.send(evidence_of(&name, verdict)).await.is_err() {
                    return;
                }
                told = Some(level);
            }
        });
    }
    (tasks, seen)
}
