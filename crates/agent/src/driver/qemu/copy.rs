//! Copies of a running guest's root disk, as it is at one moment.
//!
//! QEMU's backup job keeps the moment: before the guest overwrites a part, that part is copied. The guest goes on. If the
//! guest has an agent, its file systems are frozen at this moment, and so are whole in the copy. An agent of the host that
//! dies meanwhile leaves a mark, and its successor thaws the guest.

use super::{FROZEN, Live, Qemu, args, guest_agent::GuestAgent, in_dir, qmp::QmpError, qmp_failure};
use crate::{core::Failure, driver::file_failure, files};
use lenticular_model::ServerId;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The name of the job, and of the node that it fills.
const COPY: &str = "copy";
/// How often the job is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A cancelled job ends within this many looks.
const LOOKS_MAX: u32 = 600;

impl Qemu {
    pub(super) async fn copy_root_disk(&self, server: ServerId, into: PathBuf) -> Result<bool, Failure> {
        let Some(live) = self.live(server) else { return Ok(false) };
        self.end_root_copy(server).await?;
        let dir = self.dir(server);
        let file = in_dir(&dir, &into).to_owned();
        freeze(&dir, &live).await?;
        let begun = begin(&live, &file.to_string_lossy()).await.map_err(|e| qmp_failure(&e));
        thaw(&dir, &live).await;
        begun?;
        loop {
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
        thaw(&self.dir(server), &live).await;
        end(&live).await.map_err(|e| qmp_failure(&e))
    }
}

/// Freezes the guest's file systems, if the guest has an agent. A guest without one is copied as after a power cut.
async fn freeze(dir: &Path, live: &Live) -> Result<(), Failure> {
    let Ok(mut agent) = GuestAgent::connect(dir, live).await else { return Ok(()) };
    // Before the guest is frozen: whoever finds the mark thaws it.
    files::write_durably(&dir.join(FROZEN), b"").map_err(|e| file_failure("noting a frozen guest", &e))?;
    if let Err(error) = agent.freeze().await {
        tracing::warn!(pid = live.process.seen.pid, %error, "a guest is copied without being frozen");
    }
    Ok(())
}

/// Thaws the guest's file systems, if they may be frozen. The mark stays until that succeeds.
async fn thaw(dir: &Path, live: &Live) {
    let mark = dir.join(FROZEN);
    if !mark.exists() {
        return;
    }
    let thawed = async { GuestAgent::connect(dir, live).await?.thaw().await };
    match thawed.await {
        Ok(()) => {
            if let Err(error) = files::remove(&mark) {
                tracing::warn!(%error, "the mark of a frozen guest cannot be removed");
            }
        }
        Err(error) => tracing::error!(pid = live.process.seen.pid, %error, "a guest may stay frozen"),
    }
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
