//! QEMU's part in a move. At the target, QEMU waits for the guest. At the source, it mirrors the disk and sends
//! the memory. Then the guest goes on at one of the two.
//!
//! QEMU does not send memory and disk over the network: they go through sockets in the guest's directory, and the
//! agents connect the sockets of the two hosts.

use super::{
    Live, NetPlan, Qemu, args, cgroup, file_failure, in_dir, listen, qmp::Migration, qmp::QmpError,
    qmp_failure,
};
use crate::{
    core::Failure,
    driver::guest_user::{self, GuestUser, RUN},
};
use lenticular_model::ServerId;
use lenticular_wire::agent::{GuestAssignment, MoveProgress};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    time::Instant,
};

/// The name of the memory's socket in `run`: the target's QEMU listens there, the source's QEMU connects.
const MEMORY: &str = "memory";
/// The name of the disk's socket: the target's QEMU serves the disk, the source's QEMU mirrors to it.
const DISK: &str = "disk";
/// How often the progress is checked.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is checked while the guest stands still.
const LOOK_CLOSELY: Duration = Duration::from_millis(1);
/// How long the guest may stand still, in milliseconds: QEMU switches over when it expects to need no longer.
const DOWNTIME_MS: u64 = 300;
/// The target must load the rest within this time.
const LOADED_WITHIN: Duration = Duration::from_secs(30);
/// The rest of the disk must be transferred within this time.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

/// A socket that carries a migration's bytes into or out of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver) enum Channel {
    Memory,
    Disk,
}

impl Channel {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => MEMORY,
            Self::Disk => DISK,
        }
    }
}

impl Qemu {
    fn with_qmp(&self, server: ServerId) -> Result<Arc<Live>, Failure> {
        let live = self.live(server).filter(|live| live.qmp.is_some());
        live.ok_or_else(|| gone("there is no process, or it does not answer"))
    }

    /// At the target: starts a process that waits for the guest's memory, and runs nothing.
    pub(in crate::driver) async fn await_guest(
        &self,
        of: &GuestAssignment,
        disk: &Path,
        net: &NetPlan,
    ) -> Result<(), Failure> {
        let id = of.server_id;
        let dir = self.dir(id);
        let Some(binary) = self.probed().await.binary.clone() else {
            return Err(gone("QEMU is not installed here"));
        };
        self.write_config_drive(of, &dir, net.carries_ipv6).await?;
        let args = args::incoming(args::guest(of, in_dir(&dir, disk), net, self.probed().await.kvm));
        let qmp = self.launch(&binary, args, &dir).await?;
        let events = json!({ "capabilities": [{ "capability": "events", "state": true }] });
        let listen = json!({ "uri": format!("unix:{RUN}/{MEMORY}") });
        let ready = async {
            qmp.ask("migrate-set-capabilities", events).await?;
            qmp.ask("migrate-incoming", listen).await
        };
        ready.await.map_err(|e| qmp_failure(&e))?;
        let Some(process) = self.process(id)? else {
            return Err(gone("QEMU's pid file leads to no process"));
        };
        cgroup::enter(id, process.seen.pid, of.guest.size);
        self.live.lock().insert(id, Arc::new(Live { process, qmp: Some(qmp), boot: of.boot }));
        Ok(())
    }

    /// At the target: gives the disk the source's size, and opens it for the source.
    pub(in crate::driver) async fn open_disk(&self, server: ServerId, bytes: u64) -> Result<(), Failure> {
        let live = self.with_qmp(server)?;
        let Some(qmp) = &live.qmp else { return Err(gone("it does not answer")) };
        let work = async {
            let has = disk_bytes(&live).await?;
            if has != bytes {
                qmp.ask("block_resize", json!({ "node-name": "root", "size": bytes })).await?;
            }
            let address = json!({ "type": "unix", "data": { "path": format!("{RUN}/{DISK}") } });
            qmp.ask("nbd-server-start", json!({ "addr": address, "max-connections": 1 })).await?;
            let export =
                json!({ "type": "nbd", "id": "move", "node-name": "root", "name": "root", "writable": true });
            qmp.ask("block-export-add", export).await
        };
        work.await.map(drop).map_err(|e| qmp_failure(&e))
    }

    /// At the target: connects to its QEMU.
    pub(in crate::driver) async fn enter(
        &self,
        server: ServerId,
        channel: Channel,
    ) -> Result<UnixStream, Failure> {
        let connected = guest_user::connect(&self.dir(server), channel.name()).await;
        connected.map_err(|e| file_failure("reaching the waiting guest", &e))
    }

    /// At the target: returns when all of the guest's memory and devices are loaded.
    pub(in crate::driver) async fn loaded(&self, server: ServerId) -> Result<(), Failure> {
        let live = self.with_qmp(server)?;
        let Some(qmp) = &live.qmp else { return Err(gone("it does not answer")) };
        let end = Instant::now() + LOADED_WITHIN;
        loop {
            match qmp.status().await.map_err(|e| qmp_failure(&e))?.as_str() {
                "paused" => return Ok(()),
                "inmigrate" | "prelaunch" if Instant::now() < end => tokio::time::sleep(LOOK_CLOSELY).await,
                other => return Err(gone(&format!("the waiting process is in state {other}"))),
            }
        }
    }

    /// At the target: the guest goes on. `None` if no process waits.
    pub(in crate::driver) async fn go_on(&self, server: ServerId) -> Result<Option<Option<String>>, Failure> {
        let Some(live) = self.live(server) else { return Ok(None) };
        let Some(qmp) = &live.qmp else { return Ok(None) };
        if qmp.status().await.map_err(|e| qmp_failure(&e))? == "inmigrate" {
            super::end(&live).await?;
            super::remove_ended(&self.live, server, &live);
            return Ok(None);
        }
        // After a restart of this agent there is no NBD server.
        let _ = qmp.ask("nbd-server-stop", Value::Null).await;
        qmp.resume().await.map_err(|e| qmp_failure(&e))?;
        // QEMU's own announcement was lost, because the guest stood still. The repetition only helps the network
        // to find the guest here sooner.
        let announced =
            qmp.ask("announce-self", json!({ "initial": 20, "max": 200, "rounds": 6, "step": 30 })).await;
        if let Err(error) = announced {
            tracing::warn!(%server, %error, "the guest's new place is not announced; the network finds it by itself");
        }
        let networks = qmp.user_networks().await.unwrap_or_default();
        Ok(Some(crate::driver::user_net::ssh_forward(&networks)))
    }

    /// At the source: the socket that QEMU connects to.
    pub(in crate::driver) async fn way_out(
        &self,
        server: ServerId,
        channel: Channel,
    ) -> Result<UnixListener, Failure> {
        let dir = self.dir(server);
        let listener = match GuestUser::of(&dir).await {
            Ok(user) => listen(user, &dir, channel.name()),
            Err(error) => Err(error),
        };
        listener.map_err(|e| file_failure("making the guest's sockets", &e))
    }

    /// The virtual size of the guest's disk, in bytes.
    pub(in crate::driver) async fn disk_bytes(&self, server: ServerId) -> Result<u64, Failure> {
        let live = self.with_qmp(server)?;
        disk_bytes(&live).await.map_err(|e| qmp_failure(&e))
    }

    /// At the source: copies the disk, and from then on writes to both. Returns when both are the same.
    pub(in crate::driver) async fn mirror(
        &self,
        server: ServerId,
        told: &(dyn Fn(MoveProgress) + Send + Sync),
    ) -> Result<(), Failure> {
        let live = self.with_qmp(server)?;
        let Some(qmp) = &live.qmp else { return Err(gone("it does not answer")) };
        let target = json!({
            "driver": "nbd", "node-name": "target", "export": "root",
            "server": { "type": "unix", "path": DISK },
        });
        let job = json!({
            "job-id": "move", "device": "root", "target": "target", "sync": "top",
            "copy-mode": "write-blocking", "on-target-error": "report", "on-source-error": "report",
        });
        let begun = async {
            qmp.ask("blockdev-add", target).await?;
            qmp.ask("blockdev-mirror", job).await
        };
        begun.await.map_err(|e| qmp_failure(&e))?;
        loop {
            let Some(job) = mirror_job(&live).await.map_err(|e| qmp_failure(&e))? else {
                return Err(gone("the mirroring of the disk ended before it was whole"));
            };
            let (all, done) = (number(&job["len"]), number(&job["offset"]));
            let step = "mirroring the disk".to_owned();
            let disk = [all, done, all.saturating_sub(done)];
            told(MoveProgress { server_id: server, step, disk, ..MoveProgress::default() });
            if job["ready"] == json!(true) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// At the source: sends the memory. Returns when the target has all of it and the guest stands still. The
    /// mirroring ends when both disks are the same and no write is left.
    pub(in crate::driver) async fn send_memory(
        &self,
        server: ServerId,
        told: &(dyn Fn(MoveProgress) + Send + Sync),
        mut force: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let live = self.with_qmp(server)?;
        let Some(qmp) = &live.qmp else { return Err(gone("it does not answer")) };
        let mut level = qmp.level();
        let mut forced = false;
        begin_migration(&live).await.map_err(|e| qmp_failure(&e))?;
        let mut look = tokio::time::interval(LOOK * 5);
        let mut parted = false;
        loop {
            let now = *level.borrow_and_update();
            match now.migration {
                Migration::PreSwitchover if !parted => {
                    part_disks(&live).await?;
                    parted = true;
                    let state = json!({ "state": "pre-switchover" });
                    qmp.ask("migrate-continue", state).await.map_err(|e| qmp_failure(&e))?;
                }
                Migration::Completed => {
                    note_downtime(&live, server).await;
                    return Ok(());
                }
                Migration::Failed | Migration::Cancelled => return Err(migration_failure(&live).await),
                _ if now.closed => return Err(gone("its process ended")),
                _ => {}
            }
            tokio::select! {
                changed = level.changed() => changed.map_err(|_| gone("its process ended"))?,
                _ = look.tick() => told(memory_progress(&live, server).await),
                // A stopped guest writes nothing, so the rest of its memory is soon sent.
                true = turned(&mut force), if !forced => {
                    forced = true;
                    qmp.ask("stop", Value::Null).await.map_err(|e| qmp_failure(&e))?;
                }
            }
        }
    }

    /// At the source: undoes everything that a move has begun. The guest goes on if its process exists.
    pub(in crate::driver) async fn stay(&self, server: ServerId) -> Result<(), Failure> {
        let Some(live) = self.live(server) else { return Ok(()) };
        let Some(qmp) = &live.qmp else { return Err(gone("it does not answer")) };
        let end = Instant::now() + DRAINED_WITHIN;
        let mut migration = qmp.migration().await.map_err(|e| qmp_failure(&e))?;
        while !migration.is_over() && Instant::now() < end {
            qmp.ask("migrate_cancel", Value::Null).await.map_err(|e| qmp_failure(&e))?;
            tokio::time::sleep(LOOK).await;
            migration = qmp.migration().await.map_err(|e| qmp_failure(&e))?;
        }
        while mirror_job(&live).await.map_err(|e| qmp_failure(&e))?.is_some() && Instant::now() < end {
            // The job may end by itself between the query and the command.
            let _ = qmp.ask("block-job-cancel", json!({ "device": "move", "force": true })).await;
            tokio::time::sleep(LOOK).await;
        }
        let _ = qmp.ask("blockdev-del", json!({ "node-name": "target" })).await;
        match qmp.status().await.map_err(|e| qmp_failure(&e))?.as_str() {
            "running" | "shutdown" | "io-error" | "guest-panicked" | "internal-error" => Ok(()),
            _ => qmp.resume().await.map_err(|e| qmp_failure(&e)),
        }
    }
}

/// Returns true when the signal turns true; false if it never can.
async fn turned(sign: &mut watch::Receiver<bool>) -> bool {
    sign.wait_for(|sign| *sign).await.is_ok()
}

async fn begin_migration(live: &Live) -> Result<(), QmpError> {
    let Some(qmp) = &live.qmp else { return Err(QmpError::Closed) };
    let on = |name: &str| json!({ "capability": name, "state": true });
    let capabilities =
        json!({ "capabilities": [on("events"), on("pause-before-switchover"), on("auto-converge")] });
    qmp.ask("migrate-set-capabilities", capabilities).await?;
    // The operating system shares the link; QEMU's limit would only slow it down.
    let limits = json!({ "downtime-limit": DOWNTIME_MS, "max-bandwidth": 64_u64 << 30 });
    qmp.ask("migrate-set-parameters", limits).await?;
    qmp.ask("migrate", json!({ "uri": format!("unix:{MEMORY}") })).await.map(drop)
}

/// Ends the mirroring with equal disks.
async fn part_disks(live: &Live) -> Result<(), Failure> {
    let Some(qmp) = &live.qmp else { return Err(gone("it does not answer")) };
    let Some(job) = mirror_job(live).await.map_err(|e| qmp_failure(&e))? else {
        return Err(gone("the mirroring of the disk broke off"));
    };
    if job["ready"] != json!(true) || job["io-status"] != json!("ok") {
        return Err(gone("the mirror of the disk is not whole any more"));
    }
    // For a ready mirror, the cancel completes the job: the target keeps the data.
    qmp.ask("block-job-cancel", json!({ "device": "move" })).await.map_err(|e| qmp_failure(&e))?;
    let end = Instant::now() + DRAINED_WITHIN;
    while mirror_job(live).await.map_err(|e| qmp_failure(&e))?.is_some() {
        if Instant::now() > end {
            return Err(gone("the last of the disk did not get over in time"));
        }
        tokio::time::sleep(LOOK_CLOSELY).await;
    }
    Ok(())
}

async fn mirror_job(live: &Live) -> Result<Option<Value>, QmpError> {
    let Some(qmp) = &live.qmp else { return Err(QmpError::Closed) };
    let jobs = qmp.ask("query-block-jobs", Value::Null).await?;
    let jobs = jobs.as_array().ok_or(QmpError::Nonsense("query-block-jobs"))?;
    Ok(jobs.iter().find(|job| job["device"] == json!("move")).cloned())
}

async fn disk_bytes(live: &Live) -> Result<u64, QmpError> {
    let Some(qmp) = &live.qmp else { return Err(QmpError::Closed) };
    let command = "query-named-block-nodes";
    let nodes = qmp.ask(command, json!({ "flat": true })).await?;
    let nodes = nodes.as_array().ok_or(QmpError::Nonsense(command))?;
    let root = nodes.iter().find(|node| node["node-name"] == json!("root"));
    root.and_then(|node| node["image"]["virtual-size"].as_u64()).ok_or(QmpError::Nonsense(command))
}

async fn memory_progress(live: &Live, server: ServerId) -> MoveProgress {
    let step = "sending the memory".to_owned();
    let mut progress = MoveProgress { server_id: server, step, ..MoveProgress::default() };
    let Some(qmp) = &live.qmp else { return progress };
    let Ok(seen) = qmp.ask("query-migrate", Value::Null).await else { return progress };
    let ram = &seen["ram"];
    progress.memory = [number(&ram["total"]), number(&ram["transferred"]), number(&ram["remaining"])];
    progress.dirty_bytes_per_s = number(&ram["dirty-pages-rate"]) * number(&ram["page-size"]).max(4096);
    progress
}

/// Logs how long the guest stood still.
async fn note_downtime(live: &Live, server: ServerId) {
    let Some(qmp) = &live.qmp else { return };
    if let Ok(seen) = qmp.ask("query-migrate", Value::Null).await {
        let (downtime_ms, total_ms) = (number(&seen["downtime"]), number(&seen["total-time"]));
        tracing::info!(%server, downtime_ms, total_ms, "QEMU has sent the guest");
    }
}

async fn migration_failure(live: &Live) -> Failure {
    let Some(qmp) = &live.qmp else { return gone("it does not answer") };
    let seen = qmp.ask("query-migrate", Value::Null).await.unwrap_or_default();
    gone(seen["error-desc"].as_str().unwrap_or("QEMU gave the migration up"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn gone(details: &str) -> Failure {
    Failure::new("The guest could not be moved, and stays where it is. Try again.", details)
}
