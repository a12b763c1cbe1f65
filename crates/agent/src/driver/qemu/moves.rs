//! QEMU's part in a move. At the target, QEMU waits for the guest. At the source, it mirrors the disks and sends
//! the memory. Then the guest goes on at one of the two.
//!
//! QEMU does not send memory and disk over the network: they go through sockets in the guest's directory, and the
//! agents connect the sockets of the two hosts.

use super::{Live, NetPlan, Qemu, args, file_failure, listen, qmp::Migration, qmp::QmpError, qmp_failure};
use crate::{
    core::{Failure, Started},
    driver::guest_user::{self, GuestUser, RUN},
};
use lenticular_model::ServerId;
use lenticular_wire::agent::{GuestAssignment, MoveProgress};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc, time::Duration};
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
    pub(super) fn name(self) -> &'static str {
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
        layout: u32,
        disks: Vec<PathBuf>,
        net: &NetPlan,
    ) -> Result<(), Failure> {
        // An older control plane does not say the layout, and its agents know the first alone.
        let layout = layout.max(1);
        if layout > args::LAYOUT || (layout == 1 && disks.len() > 1) {
            return Err(gone(&format!(
                "this agent makes no machine of layout {layout} with {} disks",
                disks.len()
            )));
        }
        self.launch_waiting(of, layout, &disks, net).await.map(drop)
    }

    /// At the target: gives the disks the source's sizes, and opens them for the source.
    pub(in crate::driver) async fn open_disks(&self, server: ServerId, sizes: &[u64]) -> Result<(), Failure> {
        let live = self.with_qmp(server)?;
        let Some(qmp) = &live.qmp else { return Err(gone("it does not answer")) };
        let work = async {
            let here = disk_bytes(&live, sizes.len()).await?;
            let address = json!({ "type": "unix", "data": { "path": format!("{RUN}/{DISK}") } });
            let start = json!({ "addr": address, "max-connections": sizes.len() });
            qmp.ask("nbd-server-start", start).await?;
            for (n, (bytes, has)) in sizes.iter().zip(here).enumerate() {
                let node = args::node(n);
                if has != *bytes {
                    qmp.ask("block_resize", json!({ "node-name": node, "size": bytes })).await?;
                }
                let export = json!({
                    "type": "nbd", "id": job(n), "node-name": node, "name": node, "writable": true,
                });
                qmp.ask("block-export-add", export).await?;
            }
            Ok(())
        };
        work.await.map_err(|e| qmp_failure(&e))
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

    /// At the target: the guest goes on, or stands still as before. `None` if no process waits.
    pub(in crate::driver) async fn go_on(
        &self,
        server: ServerId,
        paused: bool,
    ) -> Result<Option<Started>, Failure> {
        let Some(live) = self.live(server) else { return Ok(None) };
        let Some(qmp) = &live.qmp else { return Ok(None) };
        if qmp.status().await.map_err(|e| qmp_failure(&e))? == "inmigrate" {
            super::end(&live).await?;
            super::remove_ended(&self.live, server, &live);
            return Ok(None);
        }
        // After a restart of this agent there is no NBD server.
        let _ = qmp.ask("nbd-server-stop", Value::Null).await;
        if !paused {
            qmp.resume().await.map_err(|e| qmp_failure(&e))?;
        }
        // QEMU's own announcement was lost, because the guest stood still. The repetition only helps the network
        // to find the guest here sooner.
        let announced =
            qmp.ask("announce-self", json!({ "initial": 20, "max": 200, "rounds": 6, "step": 30 })).await;
        if let Err(error) = announced {
            tracing::warn!(%server, %error, "the guest's new place is not announced; the network finds it by itself");
        }
        let networks = qmp.user_networks().await.unwrap_or_default();
        let ssh_forward = crate::driver::user_net::ssh_forward(&networks);
        Ok(Some(Started { ssh_forward, layout: live.layout, paused, memory_lost: None }))
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

    /// The virtual sizes of the guest's disks, in bytes.
    pub(in crate::driver) async fn disk_bytes(
        &self,
        server: ServerId,
        count: usize,
    ) -> Result<Vec<u64>, Failure> {
        let live = self.with_qmp(server)?;
        disk_bytes(&live, count).await.map_err(|e| qmp_failure(&e))
    }

    /// At the source: copies the disks, and from then on writes to both sides. Returns when both sides are the same.
    pub(in crate::driver) async fn mirror(
        &self,
        server: ServerId,
        count: usize,
        told: &(dyn Fn(MoveProgress) + Send + Sync),
    ) -> Result<(), Failure> {
        let live = self.with_qmp(server)?;
        let Some(qmp) = &live.qmp else { return Err(gone("it does not answer")) };
        let begun = async {
            for n in 0..count {
                let target = json!({
                    "driver": "nbd", "node-name": target_name(n), "export": args::node(n),
                    "server": { "type": "unix", "path": DISK },
                });
                let job = json!({
                    "job-id": job(n), "device": args::node(n), "target": target_name(n), "sync": "top",
                    "copy-mode": "write-blocking", "on-target-error": "report", "on-source-error": "report",
                });
                qmp.ask("blockdev-add", target).await?;
                qmp.ask("blockdev-mirror", job).await?;
            }
            Ok(())
        };
        begun.await.map_err(|e| qmp_failure(&e))?;
        loop {
            let jobs = mirror_jobs(&live).await.map_err(|e| qmp_failure(&e))?;
            if jobs.len() < count {
                return Err(gone("the mirroring of a disk ended before it was whole"));
            }
            let sum = |field: &str| jobs.iter().map(|job| number(&job[field])).sum::<u64>();
            let (all, done) = (sum("len"), sum("offset"));
            let step = "mirroring the disks".to_owned();
            let disk = [all, done, all.saturating_sub(done)];
            told(MoveProgress { server_id: server, step, disk, ..MoveProgress::default() });
            if jobs.iter().all(|job| job["ready"] == json!(true)) {
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
        count: usize,
        told: &(dyn Fn(MoveProgress) + Send + Sync),
        mut force: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let live = self.with_qmp(server)?;
        let Some(qmp) = &live.qmp else { return Err(gone("it does not answer")) };
        let mut level = qmp.level();
        let mut forced = false;
        qmp.leave_postmigrate().await.map_err(|e| qmp_failure(&e))?;
        begin_migration(&live).await.map_err(|e| qmp_failure(&e))?;
        let mut look = tokio::time::interval(LOOK * 5);
        let mut parted = false;
        loop {
            let now = *level.borrow_and_update();
            match now.migration {
                Migration::PreSwitchover if !parted => {
                    part_disks(&live, count).await?;
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

    /// Undoes everything that a move or a suspension has begun. If the guest's process exists, it goes on, or stands
    /// still as before.
    pub(in crate::driver) async fn stay(&self, server: ServerId, paused: bool) -> Result<(), Failure> {
        let Some(live) = self.live(server) else { return Ok(()) };
        let Some(qmp) = &live.qmp else { return Err(gone("it does not answer")) };
        let end = Instant::now() + DRAINED_WITHIN;
        let mut migration = qmp.migration().await.map_err(|e| qmp_failure(&e))?;
        while !migration.is_over() && Instant::now() < end {
            qmp.ask("migrate_cancel", Value::Null).await.map_err(|e| qmp_failure(&e))?;
            tokio::time::sleep(LOOK).await;
            migration = qmp.migration().await.map_err(|e| qmp_failure(&e))?;
        }
        loop {
            let jobs = mirror_jobs(&live).await.map_err(|e| qmp_failure(&e))?;
            if jobs.is_empty() || Instant::now() >= end {
                break;
            }
            for job in jobs {
                // The job may end by itself between the query and the command.
                let _ = qmp.ask("block-job-cancel", json!({ "device": job["device"], "force": true })).await;
            }
            tokio::time::sleep(LOOK).await;
        }
        let nodes =
            qmp.ask("query-named-block-nodes", json!({ "flat": true })).await.map_err(|e| qmp_failure(&e))?;
        let names = nodes.as_array().into_iter().flatten().filter_map(|node| node["node-name"].as_str());
        for name in names.filter(|name| name.starts_with("target")) {
            // A node that is still in use is removed before the next move.
            let _ = qmp.ask("blockdev-del", json!({ "node-name": name })).await;
        }
        match qmp.status().await.map_err(|e| qmp_failure(&e))?.as_str() {
            _ if paused => Ok(()),
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

/// Ends the mirroring with equal disks: of all of them, or the move fails.
async fn part_disks(live: &Live, count: usize) -> Result<(), Failure> {
    let Some(qmp) = &live.qmp else { return Err(gone("it does not answer")) };
    let jobs = mirror_jobs(live).await.map_err(|e| qmp_failure(&e))?;
    if jobs.len() < count {
        return Err(gone("the mirroring of a disk broke off"));
    }
    if jobs.iter().any(|job| job["ready"] != json!(true) || job["io-status"] != json!("ok")) {
        return Err(gone("the mirror of a disk is not whole any more"));
    }
    for job in jobs {
        // For a ready mirror, the cancel completes the job: the target keeps the data.
        let cancel = qmp.ask("block-job-cancel", json!({ "device": job["device"] }));
        cancel.await.map_err(|e| qmp_failure(&e))?;
    }
    let end = Instant::now() + DRAINED_WITHIN;
    while !mirror_jobs(live).await.map_err(|e| qmp_failure(&e))?.is_empty() {
        if Instant::now() > end {
            return Err(gone("the last of the disks did not get over in time"));
        }
        tokio::time::sleep(LOOK_CLOSELY).await;
    }
    Ok(())
}

/// The job that mirrors a disk, and the disk's export. Older agents began the root disk's under this name.
fn job(index: usize) -> String {
    match index {
        0 => "move".to_owned(),
        index => format!("move{index}"),
    }
}

/// The node at the source that leads to a disk of the target.
fn target_name(index: usize) -> String {
    match index {
        0 => "target".to_owned(),
        index => format!("target{index}"),
    }
}

/// The jobs that mirror the guest's disks.
async fn mirror_jobs(live: &Live) -> Result<Vec<Value>, QmpError> {
    let Some(qmp) = &live.qmp else { return Err(QmpError::Closed) };
    let jobs = qmp.ask("query-block-jobs", Value::Null).await?;
    let jobs = jobs.as_array().ok_or(QmpError::Nonsense("query-block-jobs"))?;
    let ours = |job: &&Value| job["device"].as_str().is_some_and(|name| name.starts_with("move"));
    Ok(jobs.iter().filter(ours).cloned().collect())
}

async fn disk_bytes(live: &Live, count: usize) -> Result<Vec<u64>, QmpError> {
    let Some(qmp) = &live.qmp else { return Err(QmpError::Closed) };
    let command = "query-named-block-nodes";
    let nodes = qmp.ask(command, json!({ "flat": true })).await?;
    let nodes = nodes.as_array().ok_or(QmpError::Nonsense(command))?;
    let bytes = |n: usize| {
        let node = nodes.iter().find(|node| node["node-name"] == json!(args::node(n)));
        node.and_then(|node| node["image"]["virtual-size"].as_u64()).ok_or(QmpError::Nonsense(command))
    };
    (0..count).map(bytes).collect()
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
