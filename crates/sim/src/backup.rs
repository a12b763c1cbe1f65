//! Backups of the store: taken now and then, and restored, with the loss of everything acknowledged since.

use crate::{
    client::Known,
    config::Mutation,
    plane::open,
    world::{World, note},
};
use lenticular_control::lifecycle::restore;
use lenticular_model::{Cause, Incarnation, ServerId};
use lenticular_store::MemoryDisk;
use std::collections::BTreeMap;

/// A copy of the store, and the clients' knowledge at that time.
pub(crate) struct Backup {
    disk: MemoryDisk,
    known: BTreeMap<ServerId, Known>,
}

impl World {
    /// Takes a backup if there is none; otherwise restores the backup. True if it restores.
    pub(crate) fn back_up_or_go_back(&mut self) -> bool {
        match self.plane.backup {
            None => self.back_up(),
            Some(_) if self.rng.chance(400) => {
                self.plane.goes_back = true;
                self.kill_plane("to go back to a backup");
                return true;
            }
            Some(_) => {}
        }
        false
    }

    /// Copies the store.
    pub(crate) fn back_up(&mut self) {
        if self.plane.running.is_none() {
            return;
        }
        note!(self, "a backup of commit {}", self.plane.published.seq);
        let (disk, known) = (self.plane.disk.copy(), self.clients.known.clone());
        self.plane.backup = Some(Backup { disk, known });
    }

    /// Replaces the store by the backup, and begins a new incarnation, as an operator does.
    pub(crate) fn restore_store(&mut self) {
        let Some(backup) = self.plane.backup.take() else { return };
        let disk = backup.disk.copy();
        let now = self.clock();
        let (unused, incarnation) =
            (Incarnation::from_random(self.rng.bytes()), Incarnation::from_random(self.rng.bytes()));
        let blindly = self.config.mutation == Some(Mutation::RestoresBlindly);
        let rng = &mut self.rng;
        let mut entropy = || rng.bytes();
        let cause = Cause { why: "restore".to_owned(), ..Cause::default() };
        let restored = open(&disk, now, unused).and_then(|mut writer| {
            let begun = writer.transact(now, &mut entropy, cause, |txn| {
                if !blindly {
                    restore::begin(txn);
                }
                Ok(())
            });
            begun.and_then(|_| writer.new_incarnation(incarnation)).map_err(|error| error.to_string())?;
            let (state, at) = (writer.state().clone(), writer.last_commit_at());
            writer.close().map_err(|error| error.to_string())?;
            Ok((state, at))
        });
        let (state, at) = match restored {
            Ok(restored) => restored,
            Err(why) => return self.violate(2, format!("the backup cannot be restored: {why}")),
        };
        note!(self, "the store goes back from commit {} to {}", self.plane.published.seq, state.seq);
        self.coverage.note("restore", "of the store");
        self.plane.restores += 1;
        (self.plane.disk, self.plane.published, self.plane.known) = (disk, state, true);
        self.plane.last_at = at;
        if self.rng.chance(300) {
            // The same backup may be restored again.
            self.plane.backup = Some(Backup { disk: backup.disk, known: backup.known.clone() });
        }
        // Everything acknowledged since is lost, and clients learn so. Their later requests may still arrive.
        let asked = std::mem::replace(&mut self.clients.known, backup.known);
        for (id, known) in asked.into_iter().filter(|(_, known)| known.delete_asked) {
            if self.clients.known.contains_key(&id) || self.plane.published.servers.contains_key(&id) {
                self.clients.known.entry(id).or_default().delete_asked |= known.delete_asked;
            }
        }
    }
}
