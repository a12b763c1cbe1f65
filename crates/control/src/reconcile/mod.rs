//! The controllers: level-triggered, keyed, idempotent. A controller is called when its records change or its time
//! has come. It reads the State, moves the State one step towards the wanted state, and returns when to be called
//! again.

mod disk;
mod host;
mod host_step;
mod migration;
mod plan;
mod restored_server;
mod server;
mod woken;

pub use woken::woken;

use lenticular_model::{DiskId, HostId, Kind, MigrationId, PlanId, ServerId, State, Timestamp, Txn};
use std::collections::{BTreeMap, BTreeSet};

/// The controllers: the key of each, the table of its records, and its step.
macro_rules! controllers {
    ($($(#[$doc:meta])* $name:ident($id:ty), $text:literal, $table:ident => $step:path;)*) => {
        /// The record that a controller is called for.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Key {
            $($(#[$doc])* $name($id),)*
        }

        /// Moves the record of `key` one step towards the wanted state. Returns when to be called again even if
        /// nothing changes.
        pub fn reconcile(key: Key, txn: &mut Txn<'_>) -> Option<Timestamp> {
            match key {
                $(Key::$name(id) => $step(id, txn),)*
            }
        }

        /// The journal's text for a controller's commit.
        pub fn why(key: &Key) -> String {
            match key {
                $(Key::$name(id) => format!(concat!("reconcile ", $text, " {}"), id),)*
            }
        }

        fn all(state: &State) -> BTreeSet<Key> {
            let mut keys = BTreeSet::new();
            $(keys.extend(state.$table.keys().cloned().map(Key::$name));)*
            keys
        }
    };
}

controllers! {
    /// A host.
    Host(HostId), "host", hosts => host::reconcile;
    /// A server.
    Server(ServerId), "server", servers => server::reconcile;
    /// A migration.
    Migration(MigrationId), "migration", migrations => migration::reconcile;
    /// A plan.
    Plan(PlanId), "plan", plans => plan::reconcile;
    /// A disk that a server left behind.
    Disk(DiskId), "disk", disks => disk::reconcile;
}

/// The keys that wait to be reconciled, now or later.
#[derive(Debug, Default, Clone)]
pub struct Queue {
    ready: BTreeSet<Key>,
    wakes: BTreeMap<Key, Timestamp>,
    times: BTreeSet<(Timestamp, Key)>,
}

impl Queue {
    /// A queue of all keys: after a start, every record must be checked.
    pub fn of_all(state: &State) -> Self {
        Self { ready: all(state), ..Self::default() }
    }

    /// Notes the changes of a commit, between the State before and the State after.
    pub fn committed(&mut self, old: &State, new: &State, changes: &[(Kind, String)]) {
        changes.iter().for_each(|(kind, id)| woken(old, new, *kind, id, &mut self.ready));
    }

    /// The next key that is due at `now`.
    pub fn next(&mut self, now: Timestamp) -> Option<Key> {
        while self.times.first().is_some_and(|(time, _)| *time <= now) {
            let Some((_, key)) = self.times.pop_first() else { break };
            self.wakes.remove(&key);
            self.ready.insert(key);
        }
        self.ready.pop_first()
    }

    /// When the next key comes due, if none is now.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.times.first().map(|(time, _)| *time)
    }

    /// Notes when a key wants to be called again.
    pub fn wake(&mut self, key: Key, at: Option<Timestamp>) {
        if let Some(old) = self.wakes.remove(&key) {
            self.times.remove(&(old, key.clone()));
        }
        if let Some(at) = at {
            self.wakes.insert(key.clone(), at);
            self.times.insert((at, key));
        }
    }
}
