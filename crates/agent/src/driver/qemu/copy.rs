//! Copies of a running guest's root disk, as it is at one moment.
//!
//! QEMU's backup job keeps the moment: before the guest overwrites a part, that part is copied. The guest goes on. If the
//! guest runs a guest agent, its file systems are frozen at this moment, so the copy is consistent. The file `frozen` is
//! there meanwhile: if the host's agent dies, the next one finds the file and thaws the guest.

use super::{
    FROZEN, Live, Qemu, args,
    guest_agent::{GuestAgent, GuestAgentError},
    in_dir,
    qmp::QmpError,
    qmp_failure,
};
use crate::{core::Failure, driver::file_failure, files};
use lenticular_model::ServerId;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// The name of the job, and of the node that it fills.
const COPY: &str = "copy";
/// How often the job is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The pause before a guest that could not be thawed is thawed again.
const THAW_AGAIN: Duration = Duration::from_secs(5);
/// A cancelled job ends within this many looks.
const LOOKS_MAX: u32 = 600;

impl Qemu {
    pub(super) async fn copy_root_disk(&self, server: ServerId, into: PathBuf) -> Result<bool, Failure> {
        let Some(live) = self.live(server) else { return Ok(false) };
        self.end_root_copy(server).await?;
        let dir = self.dir(server);
        let file = in_dir(&dir, &into).to_owned();
        let asked = Instant::now();
        let frozen = freeze(&dir, &live).await?;
        let begun = begin(&live, &file.to_string_lossy()).await;
        // Over the same connection, because another would cost the guest time.
        let thawed = match frozen {
            Some(mut agent) => agent.thaw().await.is_ok() && files::remove(&dir.join(FROZEN)).is_ok(),
            None => false,
        };
        if thawed {
            // From before the freezing to after the thawing: the guest's writes waited for less.
            tracing::info!(%server, stood_ms = asked.elapsed().as_millis() as u64, "the guest's file systems were frozen");
        } else {
            thaw(&dir, &live).await;
        }
        begun.map_err(|e| qmp_failure(&e))?;
        loop {
            // Each look thaws a guest that could not be thawed before.
            thaw(&dir, &live).await;
            let job = job(&live).await.map_err(|e| qmp_failure(&e))?;
            let Some(job) = job else { return Err(failed("the job is gone")) };
            match (job["status"].as_str(), job["error"].as_str()) {
                (Some("concluded"), None) => break,
                (Some("concluded"), Some(error)) => return Err(failed(error)),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
        self.end_root_copy(server).await?;
        Ok(true)
    }

    pub(super) async fn end_root_copy(&self, server: ServerId) -> Result<(), Failure> {
        let Some(live) = self.live(server) else { return Ok(()) };
        let dir = self.dir(server);
        if !thaw(&dir, &live).await {
            self.watchers.lock().spawn(keep_thawing(dir, live.clone()));
        }
        end(&live).await.map_err(|e| qmp_failure(&e))
    }
}

/// Freezes the guest's file systems, if the guest runs a guest agent. A guest without one is copied as after a power cut.
/// Returns the connection to the guest agent, if the guest is frozen.
async fn freeze(dir: &Path, live: &Live) -> Result<Option<GuestAgent>, Failure> {
    let unfrozen = |error| {
        tracing::warn!(pid = live.process.seen.pid, %error, "a guest is copied without being frozen");
    };
    let mut agent = match GuestAgent::connect(dir, live).await {
        Ok(agent) => agent,
        Err(GuestAgentError::Absent) => return Ok(None),
        Err(error) => {
            unfrozen(error);
            return Ok(None);
        }
    };
    // Before the guest is frozen: an agent that finds the mark thaws it.
    files::write_durably(&dir.join(FROZEN), b"").map_err(|e| file_failure("noting a frozen guest", &e))?;
    match agent.freeze().await {
        Ok(_) => Ok(Some(agent)),
        Err(error) => {
            unfrozen(error);
            Ok(None)
        }
    }
}

/// Tries to thaw the guest again and again, as long as it may be frozen.
async fn keep_thawing(dir: PathBuf, live: Arc<Live>) {
    let try_again = async {
        while !thaw(&dir, &live).await {
            tokio::time::sleep(THAW_AGAIN).await;
        }
    };
    tokio::select! {
        () = try_again => {}
        _ = live.process.ended() => {}
    }
}

/// Thaws the guest's file systems, if they may be frozen. The mark stays until that succeeds; then the result is true.
async fn thaw(dir: &Path, live: &Live) -> bool {
    let mark = dir.join(FROZEN);
    if !mark.exists() {
        return true;
    }
    let thawed = async { GuestAgent::connect(dir, live).await?.thaw().await };
    let removed = match thawed.await {
        Ok(()) => files::remove(&mark).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = &removed {
        tracing::error!(
            pid = live.process.seen.pid,
            why,
            "a guest may be frozen; it is thawed as soon as possible"
        );
    }
    removed.is_ok()
}

async fn begin(live: &Live, file: &str) -> Result<(), QmpError> {
    let Some(qmp) = &live.qmp else { return Err(QmpError::Closed) };
    let target = json!({
        "driver": "qcow2", "node-name": COPY, "file": { "driver": "file", "filename": file },
    });
    qmp.ask("blockdev-add", target).await?;
    let backup = json!({
        "job-id": COPY, "device": args::node(0), "target": COPY, "sync": "full", "auto-dismiss": false,
        "on-source-error": "report", "on-target-error": "report",
    });
    qmp.ask("blockdev-backup", backup).await.map(drop)
}

async fn job(live: &Live) -> Result<Option<Value>, QmpError> {
    let Some(qmp) = &live.qmp else { return Err(QmpError::Closed) };
    let jobs = qmp.ask("query-jobs", Value::Null).await?;
    Ok(jobs.as_array().into_iter().flatten().find(|job| job["id"] == json!(COPY)).cloned())
}

/// Ends the job, whatever it does, and closes the file.
async fn end(live: &Live) -> Result<(), QmpError> {
    let Some(qmp) = &live.qmp else { return Ok(()) };
    for _ in 0..LOOKS_MAX {
        let Some(job) = job(live).await? else { break };
        match job["status"].as_str() {
            Some("concluded") => {
                qmp.ask("job-dismiss", json!({ "id": COPY })).await?;
            }
            _ => {
                // The job may end by itself between the look and the command.
                let _ = qmp.ask("job-cancel", json!({ "id": COPY })).await;
                tokio::time::sleep(LOOK).await;
            }
        }
    }
    match qmp.ask("blockdev-del", json!({ "node-name": COPY })).await {
        // There is no such node.
        Ok(_) | Err(QmpError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn failed(details: &str) -> Failure {
    Failure::new(
        "The server's disk could not be copied. Try again; if it fails again, ask the operator.",
        details,
    )
}
