//! The controllers: level-triggered, keyed, idempotent. Each is called when what it watches changed or its time came,
//! reads the state, moves it one step nearer and says when it wants to be called again.

mod disk_copy;
mod host;
mod migration;
mod restored_server;
mod server;
mod woken;

pub use woken::woken;

use lenticular_model::{DiskCopyId, HostId, Kind, MigrationId, ServerId, State, Timestamp, Txn};
use std::collections::{BTreeMap, BTreeSet};

/// The controllers: the key of each, the table whose records it is called for, and its step.
macro_rules! controllers {
    ($($(#[$doc:meta])* $name:ident($id:ty), $text:literal, $table:ident => $step:path;)*) => {
        /// What a controller is called for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Key {
            $($(#[$doc])* $name($id),)*
        }

        /// Moves what `key` names one step nearer to what is wanted. Returns when to be called again even if nothing
        /// changes.
        pub fn reconcile(key: Key, txn: &mut Txn<'_>) -> Option<Timestamp> {
            match key {
                $(Key::$name(id) => $step(id, txn),)*
            }
        }

        /// What the journal says of a controller's commit.
        pub fn why(key: Key) -> String {
            match key {
                $(Key::$name(id) => format!(concat!("reconcile ", $text, " {}"), id),)*
            }
        }

        fn all(state: &State) -> BTreeSet<Key> {
            let mut keys = BTreeSet::new();
            $(keys.extend(state.$table.keys().copied().map(Key::$name));)*
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
    /// A disk that a server left behind.
    DiskCopy(DiskCopyId), "disk copy", disk_copies => disk_copy::reconcile;
}

/// Which keys wait to be reconciled, and which will.
#[derive(Debug, Default, Clone)]
pub struct Queue {
    ready: BTreeSet<Key>,
    wakes: BTreeMap<Key, Timestamp>,
    times: BTreeSet<(Timestamp, Key)>,
}

impl Queue {
    /// A queue of everything there is: after a start, nothing is known to be as it should.
    pub fn of_all(state: &State) -> Self {
        Self { ready: all(state), ..Self::default() }
    }

    /// Notes what a commit changed, between the State before and the State after.
    pub fn committed(&mut self, old: &State, new: &State, changes: &[(Kind, String)]) {
        changes.iter().for_each(|(kind, id)| woken(old, new, *kind, id, &mut self.ready));
    }

    /// The next key that is due at `now`.
    pub fn next(&mut self, now: Timestamp) -> Option<Key> {
        while let Some((time, key)) = self.times.first().copied().filter(|(time, _)| *time <= now) {
            self.times.remove(&(time, key));
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
            self.times.remove(&(old, key));
        }
        if let Some(at) = at {
            self.wakes.insert(key, at);
            self.times.insert((at, key));
        }
    }
}
