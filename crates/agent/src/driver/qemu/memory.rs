//! Saved memories of suspended guests.
//!
//! ```text
//! STATE/guests/<server>/memory.saved   what QEMU sends in a migration: memory and devices
//! STATE/guests/<server>/memory.json    which disks and which machine it belongs to: written last, removed first
//! ```
//!
//! A memory without its note does not exist. The note is removed, durably, before the guest goes on: so a memory is used
//! at most once, whatever dies in between.

use super::{
    Channel, Live, NetPlan, Qemu, end, file_failure, qmp::Migration, qmp::QmpError, qmp_failure, remove_ended,
};
use crate::{
    core::{Failure, FoundMemory, Started},
    driver::{qcow2::blocking, user_net},
    files,
};
use lenticular_model::ServerId;
use lenticular_wire::agent::GuestAssignment;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::io::AsyncWriteExt as _;

const SAVED: &str = "memory.saved";
const NOTE: &str = "memory.json";

/// The files of a saved memory.
pub(super) const FILES: [&str; 2] = [NOTE, SAVED];

/// The note beside a saved memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    generation: u64,
    boot: u64,
    /// The layout of the virtual machine.
    layout: u32,
    /// The size of the file. A shorter file is no memory.
    bytes: u64,
}

/// Why a guest's memory could not be loaded.
enum Unloaded {
    /// No process could be started, so nothing is known about the memory. It stays.
    NotStarted(Failure),
    /// The process ended meanwhile: QEMU does so if the memory is bad, and so does a process that is killed.
    Ended(String),
    /// QEMU refuses the memory, or cannot read it.
    Refused(String),
}

fn read(dir: &Path) -> Option<Note> {
    let note: Note = serde_json::from_slice(&fs::read(dir.join(NOTE)).ok()?).ok()?;
    let whole = fs::metadata(dir.join(SAVED)).is_ok_and(|file| file.len() == note.bytes);
    whole.then_some(note)
}

/// Removes a guest's saved memory. After the call no guest can go on with it.
pub(super) async fn discard(dir: &Path) -> Result<(), Failure> {
    let dir = dir.to_owned();
    blocking("removing the saved memory", move || {
        consume(&dir)?;
        files::remove(&dir.join(SAVED))
    })
    .await
}

/// Marks a saved memory as used, durably.
fn consume(dir: &Path) -> io::Result<()> {
    let note = dir.join(NOTE);
    if !dir.exists() {
        return Ok(());
    }
    files::remove(&note)?;
    // Also if the note was gone: a removal that a crash cut off is perhaps not on the disk.
    files::sync_parent(&note)
}

impl Qemu {
    pub(super) fn found_memory(&self, server: ServerId) -> Option<FoundMemory> {
        let Note { generation, boot, .. } = read(&self.dir(server))?;
        Some(FoundMemory { generation, boot })
    }

    /// Lets a running guest stand still.
    pub(super) async fn pause_guest(&self, server: ServerId) -> Result<(), Failure> {
        let Some(live) = self.live(server) else { return Ok(()) };
        let Some(qmp) = &live.qmp else { return Err(qmp_failure(&QmpError::Closed)) };
        qmp.ask("stop", Value::Null).await.map(drop).map_err(|e| qmp_failure(&e))
    }

    /// Saves the memory of a guest and ends its process. After a failure the guest runs on.
    pub(super) async fn suspend_guest(&self, of: &GuestAssignment) -> Result<(), Failure> {
        let id = of.server_id;
        let Some(live) = self.live(id) else { return Err(failed("its process is gone")) };
        let saved = self.save(&live, of).await;
        if let Err(failure) = saved {
            // The note goes first: the guest goes on, and must never go back to that memory.
            if let Err(error) = discard(&self.dir(id)).await {
                tracing::warn!(server = %id, ?error, "a saved memory that is not used cannot be removed");
            }
            self.stay(id, false).await?;
            return Err(failure);
        }
        end(&live).await?;
        remove_ended(&self.live, id, &live);
        Ok(())
    }

    async fn save(&self, live: &Live, of: &GuestAssignment) -> Result<(), Failure> {
        let Some(qmp) = &live.qmp else { return Err(failed("its process does not answer")) };
        qmp.leave_postmigrate().await.map_err(|e| qmp_failure(&e))?;
        qmp.ask("stop", Value::Null).await.map_err(|e| qmp_failure(&e))?;
        let dir = self.dir(of.server_id);
        let listener = self.way_out(of.server_id, Channel::Memory).await?;
        let mut level = qmp.level();
        begin_saving(live).await.map_err(|e| qmp_failure(&e))?;
        let path = dir.join(SAVED);
        let taken = async {
            let (mut from, _) = listener.accept().await?;
            let mut file = tokio::fs::File::from_std(files::create(&path)?);
            let bytes = tokio::io::copy(&mut from, &mut file).await?;
            file.flush().await?;
            file.sync_all().await?;
            io::Result::Ok(bytes)
        };
        let broken = async {
            let over = |level: &super::qmp::Level| {
                level.closed || matches!(level.migration, Migration::Failed | Migration::Cancelled)
            };
            let _ = level.wait_for(over).await;
        };
        let bytes = tokio::select! {
            bytes = taken => bytes.map_err(|e| file_failure("saving the guest's memory", &e))?,
            () = broken => return Err(failed(&reason(live).await)),
        };
        let mut level = qmp.level();
        let ended = level.wait_for(|level| level.closed || level.migration.has_ended()).await;
        if !ended.is_ok_and(|level| level.migration == Migration::Completed) {
            return Err(failed(&reason(live).await));
        }
        let note = Note { generation: of.generation, boot: live.boot, layout: live.layout, bytes };
        blocking("noting the saved memory", move || {
            files::write_durably(&dir.join(NOTE), &serde_json::to_vec(&note)?)
        })
        .await
    }

    /// Lets a guest go on with its saved memory, or starts it anew and says why.
    pub(super) async fn wake_guest(
        &self,
        of: &GuestAssignment,
        disks: &[PathBuf],
        net: &NetPlan,
    ) -> Result<Started, Failure> {
        let dir = self.dir(of.server_id);
        let why = match read(&dir).filter(|note| note.generation == of.generation) {
            None => "The host does not have the memory of the server's disks.".to_owned(),
            Some(note) => match self.load_twice(of, &note, disks, net).await {
                Ok(live) => return self.go_on_awake(of, live).await,
                Err(Unloaded::NotStarted(failure)) => {
                    self.clear(of.server_id).await;
                    return Err(failure);
                }
                Err(Unloaded::Refused(why) | Unloaded::Ended(why)) => {
                    self.clear(of.server_id).await;
                    format!("The host could not use the saved memory: {why}.")
                }
            },
        };
        tracing::warn!(server = %of.server_id, why, "a suspended guest is started anew");
        discard(&dir).await?;
        let (live, mut started) = self.start_guest(of, disks, net).await?;
        self.live.lock().insert(of.server_id, live);
        started.memory_lost = Some(format!("{why} The guest was started anew."));
        Ok(started)
    }

    /// [`Self::load`], and once more if the process ended: it may have been killed.
    async fn load_twice(
        &self,
        of: &GuestAssignment,
        note: &Note,
        disks: &[PathBuf],
        net: &NetPlan,
    ) -> Result<Arc<Live>, Unloaded> {
        match self.load(of, note, disks, net).await {
            Err(Unloaded::Ended(why)) => {
                tracing::warn!(server = %of.server_id, why, "the memory of a suspended guest is loaded once more");
                self.clear(of.server_id).await;
                self.load(of, note, disks, net).await
            }
            loaded => loaded,
        }
    }

    /// A process with the saved memory, whose guest stands still.
    async fn load(
        &self,
        of: &GuestAssignment,
        note: &Note,
        disks: &[PathBuf],
        net: &NetPlan,
    ) -> Result<Arc<Live>, Unloaded> {
        let id = of.server_id;
        let live = self.launch_waiting(of, note.layout, disks, net).await.map_err(Unloaded::NotStarted)?;
        let Some(qmp) = &live.qmp else { return Err(Unloaded::Ended(QmpError::Closed.to_string())) };
        let path = self.dir(id).join(SAVED);
        let mut level = qmp.level();
        let given = async {
            let mut file = tokio::fs::File::open(&path).await?;
            let mut into = self.enter(id, Channel::Memory).await.map_err(io::Error::other)?;
            tokio::io::copy(&mut file, &mut into).await?;
            into.shutdown().await
        };
        if let Err(error) = given.await {
            // QEMU says why it hung up, if it did.
            let why = format!("{error}: {}", reason(&live).await);
            let has_ended = level.borrow().closed;
            return Err(if has_ended { Unloaded::Ended(why) } else { Unloaded::Refused(why) });
        }
        let loaded = level.wait_for(|level| level.closed || level.migration.has_ended()).await;
        match loaded.map(|level| level.migration) {
            Ok(Migration::Completed) => Ok(live),
            Ok(Migration::Failed) => Err(Unloaded::Refused(reason(&live).await)),
            _ => Err(Unloaded::Ended(reason(&live).await)),
        }
    }

    /// From here on the memory is used: its guest goes on.
    async fn go_on_awake(&self, of: &GuestAssignment, live: Arc<Live>) -> Result<Started, Failure> {
        let dir = self.dir(of.server_id);
        let used = dir.clone();
        blocking("marking the saved memory as used", move || consume(&used)).await?;
        let Some(qmp) = &live.qmp else { return Err(qmp_failure(&QmpError::Closed)) };
        if !of.paused {
            qmp.resume().await.map_err(|e| qmp_failure(&e))?;
        }
        if let Err(error) = files::remove(&dir.join(SAVED)) {
            tracing::warn!(server = %of.server_id, %error, "a used memory cannot be removed");
        }
        let networks = qmp.user_networks().await.unwrap_or_default();
        let ssh_forward = user_net::ssh_forward(&networks);
        Ok(Started { ssh_forward, layout: live.layout, paused: of.paused, memory_lost: None })
    }
}

async fn begin_saving(live: &Live) -> Result<(), QmpError> {
    let Some(qmp) = &live.qmp else { return Err(QmpError::Closed) };
    let set = |name: &str, state: bool| json!({ "capability": name, "state": state });
    let capabilities =
        [set("events", true), set("pause-before-switchover", false), set("auto-converge", false)];
    qmp.ask("migrate-set-capabilities", json!({ "capabilities": capabilities })).await?;
    qmp.ask("migrate-set-parameters", json!({ "max-bandwidth": 64_u64 << 30 })).await?;
    qmp.ask("migrate", json!({ "uri": format!("unix:{}", Channel::Memory.name()) })).await.map(drop)
}

/// What QEMU says about a migration that failed.
async fn reason(live: &Live) -> String {
    let Some(qmp) = &live.qmp else { return "its process does not answer".to_owned() };
    match qmp.ask("query-migrate", Value::Null).await {
        Ok(seen) => seen["error-desc"].as_str().unwrap_or("QEMU gave it up").to_owned(),
        Err(_) => "its process ended".to_owned(),
    }
}

fn failed(details: &str) -> Failure {
    Failure::new("The guest could not be suspended, and runs on. Try again.", details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_counts_only_whole_and_unused() {
        let dir = tempfile::tempdir().unwrap();
        let note = Note { generation: 2, boot: 3, layout: 2, bytes: 4 };
        fs::write(dir.path().join(NOTE), serde_json::to_vec(&note).unwrap()).unwrap();
        assert_eq!(read(dir.path()), None, "without the memory");
        fs::write(dir.path().join(SAVED), b"abc").unwrap();
        assert_eq!(read(dir.path()), None, "with half of it");
        fs::write(dir.path().join(SAVED), b"abcd").unwrap();
        assert_eq!(read(dir.path()), Some(note));
        consume(dir.path()).unwrap();
        assert_eq!(read(dir.path()), None, "used");
        consume(dir.path()).unwrap();
    }
}
