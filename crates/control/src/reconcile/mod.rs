//! The controllers: level-triggered, keyed, idempotent. Each is called when what it watches changed or its time came,
//! reads the state, moves it one step nearer and says when it wants to be called again.

mod disk_copy;
mod host;
mod migration;
mod restored_server;
mod server;

use lenticular_model::{Change, DiskCopyId, HostId, Kind, MigrationId, ServerId, Timestamp, Txn};
use std::collections::{BTreeMap, BTreeSet};

/// What a controller is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A host.
    Host(HostId),
    /// A server.
    Server(ServerId),
    /// A migration.
    Migration(MigrationId),
    /// A disk that a server left behind.
    DiskCopy(DiskCopyId),
}

impl Key {
    /// The keys that a change of this record concerns.
    pub fn of(kind: Kind, id: &str) -> Option<Key> {
        match kind {
            Kind::Host | Kind::Contact => id.parse().ok().map(Key::Host),
            Kind::Server => id.parse().ok().map(Key::Server),
            Kind::Migration => id.parse().ok().map(Key::Migration),
            Kind::DiskCopy => id.parse().ok().map(Key::DiskCopy),
            _ => None,
        }
    }
}

/// Moves what `key` names one step nearer to what is wanted. Returns when to be called again even if nothing changes.
pub fn reconcile(key: Key, txn: &mut Txn<'_>) -> Option<Timestamp> {
    match key {
        Key::Host(id) => host::reconcile(id, txn),
        Key::Server(id) => server::reconcile(id, txn),
        Key::Migration(id) => migration::reconcile(id, txn),
        Key::DiskCopy(id) => disk_copy::reconcile(id, txn),
    }
}

/// What the journal says of a controller's commit.
pub fn why(key: Key) -> String {
    match key {
        Key::Host(id) => format!("reconcile host {id}"),
        Key::Server(id) => format!("reconcile server {id}"),
        Key::Migration(id) => format!("reconcile migration {id}"),
        Key::DiskCopy(id) => format!("reconcile disk copy {id}"),
    }
}

/// Which keys wait to be reconciled, and which will.
#[derive(Debug, Default, Clone)]
pub struct Queue {
    ready: BTreeSet<Key>,
    wakes: BTreeMap<Key, Timestamp>,
    times: BTreeSet<(Timestamp, Key)>,
}

impl Queue {
    /// A queue of everything there is: after a start, nothing is known to be settled.
    pub fn of_all(state: &lenticular_model::State) -> Self {
        let hosts = state.hosts.keys().map(|id| Key::Host(*id));
        let servers = state.servers.keys().map(|id| Key::Server(*id));
        let migrations = state.migrations.keys().map(|id| Key::Migration(*id));
        let copies = state.disk_copies.keys().map(|id| Key::DiskCopy(*id));
        Self { ready: hosts.chain(servers).chain(migrations).chain(copies).collect(), ..Self::default() }
    }

    /// Notes that a record changed.
    pub fn changed(&mut self, kind: Kind, id: &str) {
        self.ready.extend(Key::of(kind, id));
    }

    /// Notes what a commit changed.
    pub fn committed(&mut self, changes: &[Change]) {
        changes.iter().for_each(|change| self.changed(change.kind, &change.id));
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
