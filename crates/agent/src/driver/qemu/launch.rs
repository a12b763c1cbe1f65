//! Starting QEMU: a guest from its disks, or a process that waits for a guest's memory.

use super::{
    CONFIG, CONSOLE, Channel, FROZEN, Live, NetPlan, Qemu, READY, args, cgroup, disk_full, file_failure,
    in_dir, listen, memory, qmp::Qmp, qmp_failure,
};
use crate::{
    config_drive,
    core::{Failure, Started},
    driver::{
        guest_user::{GuestUser, RUN},
        user_net,
    },
    exec, files,
};
use lenticular_wire::agent::GuestAssignment;
use serde_json::json;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::UnixListener;

/// QEMU must be ready within this time, or the agent ends it.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// A killed process releases its locks on files within this time.
const UNLOCKED_WITHIN: Duration = Duration::from_secs(10);
const LOCKED_AGAIN_AFTER: Duration = Duration::from_millis(200);

impl Qemu {
    pub(super) async fn start_guest(
        &self,
        assignment: &GuestAssignment,
        disks: &[PathBuf],
        net: &NetPlan,
    ) -> Result<(Arc<Live>, Started), Failure> {
        let id = assignment.server_id;
        let verified = self.verified().await;
        let Some(binary) = &verified.binary else {
            let trouble = verified.trouble.clone().unwrap_or_default();
            return Err(Failure::new("The server's host cannot run guests now. Ask the operator.", trouble));
        };
        if let Some(process) = self.process(id)? {
            return Err(Failure::new(
                "The server's guest runs already. Stop it, then start it again.",
                format!("process {} ({})", process.seen.pid, process.seen.name),
            ));
        }
        let dir = self.dir(id);
        // No memory of an earlier boot can come back from here on.
        memory::discard(&dir).await?;
        files::remove(&dir.join(FROZEN))
            .map_err(|e| file_failure("removing the mark of a frozen guest", &e))?;
        self.write_config_drive(assignment, &dir, net.carries_ipv6).await?;
        let disks: Vec<&Path> = disks.iter().map(|disk| in_dir(&dir, disk)).collect();
        let machine = args::Machine { disks: disks.clone(), net, kvm: verified.kvm, layout: args::LAYOUT };
        let qmp = self.launch(binary, args::guest(assignment, &machine), &dir, &disks).await?;
        let Some(process) = self.process(id)? else {
            return Err(Failure::new(
                "The server's guest ended as soon as it was started. Try again; if it fails again, ask the operator.",
                "QEMU's pid file leads to no process",
            ));
        };
        cgroup::enter(id, process.seen.pid, assignment.guest.size);
        let ssh_forward = match net.forwards_ssh {
            true => user_net::ssh_forward(&qmp.user_networks().await.map_err(|e| qmp_failure(&e))?),
            false => None,
        };
        let (boot, layout) = (assignment.boot, args::LAYOUT);
        let live = Arc::new(Live { process, qmp: Some(qmp), boot, layout, agent_port: Arc::default() });
        Ok((live, Started { ssh_forward, layout, ..Started::default() }))
    }

    /// Starts QEMU and waits for its answer; without an answer, QEMU is ended.
    ///
    /// A process that was just killed may still have locks on the guest's files for a moment, so the start waits
    /// for them.
    async fn launch(
        &self,
        binary: &Path,
        args: Vec<String>,
        dir: &Path,
        disks: &[&Path],
    ) -> Result<Qmp, Failure> {
        let end = Instant::now() + UNLOCKED_WITHIN;
        loop {
            match self.launch_once(binary, args.clone(), dir, disks).await {
                Err(failure) if is_locked(&failure) && Instant::now() < end => {
                    tracing::info!(
                        details = failure.details,
                        "the guest's files are locked still; trying again"
                    );
                    tokio::time::sleep(LOCKED_AGAIN_AFTER).await;
                }
                launched => return launched,
            }
        }
    }

    async fn launch_once(
        &self,
        binary: &Path,
        args: Vec<String>,
        dir: &Path,
        disks: &[&Path],
    ) -> Result<Qmp, Failure> {
        let log = dir.join("qemu.log");
        let user = GuestUser::of(dir).await.map_err(|e| file_failure("finding a user for the guest", &e))?;
        let (program, args) = user.lasting_command(binary, args);
        let listener =
            make_ready(user, dir, disks).map_err(|e| file_failure("making the guest's files", &e))?;
        let mut child =
            exec::spawn_detached(&program, &args, dir, &log).map_err(|e| start_failure(&e.to_string()))?;
        // QEMU connects here when its own sockets exist, and sends its greeting when it is ready: no polling.
        let answers = async {
            listener.accept().await.map_err(|e| start_failure(&e.to_string()))?;
            Qmp::connect(dir, START_DEADLINE).await.map_err(|e| qmp_failure(&e))
        };
        let said = || std::fs::read_to_string(&log).unwrap_or_default().trim().to_owned();
        let result = tokio::select! {
            answered = answers => answered,
            status = child.ended() => Err(start_failure(&format!("QEMU ended ({status}): {}", said()))),
            () = tokio::time::sleep(START_DEADLINE) => {
                let seconds = START_DEADLINE.as_secs();
                Err(start_failure(&format!("QEMU was not ready within {seconds} s: {}", said())))
            }
        };
        if result.is_err() {
            child.kill().await;
        }
        result
    }

    async fn write_config_drive(
        &self,
        assignment: &GuestAssignment,
        dir: &Path,
        ipv6: bool,
    ) -> Result<(), Failure> {
        let mut seed = [0; 256];
        if let Err(error) = getrandom::fill(&mut seed) {
            return Err(file_failure("getting entropy for the guest", &io::Error::other(error)));
        }
        let write = || -> io::Result<()> {
            let kept = config_drive::Kept::read(dir)?;
            let (id, guest) = (assignment.server_id, &assignment.guest);
            let image = config_drive::image(id, guest, &kept, &seed, ipv6);
            // The image is written again at each start, so it must be whole only during the run.
            files::create(&dir.join(CONFIG))?.write_all(&image)
        };
        write().map_err(|e| file_failure("writing the config drive", &e))
    }

    /// A process that waits for the guest's memory, and runs nothing.
    pub(super) async fn launch_waiting(
        &self,
        of: &GuestAssignment,
        layout: u32,
        disks: &[PathBuf],
        net: &NetPlan,
    ) -> Result<Arc<Live>, Failure> {
        let (id, dir) = (of.server_id, self.dir(of.server_id));
        let verified = self.verified().await;
        let Some(binary) = verified.binary.clone() else {
            let trouble = verified.trouble.clone().unwrap_or_default();
            return Err(Failure::new("The server's host cannot run guests now. Ask the operator.", trouble));
        };
        self.write_config_drive(of, &dir, net.carries_ipv6).await?;
        let disks: Vec<&Path> = disks.iter().map(|disk| super::in_dir(&dir, disk)).collect();
        let machine = args::Machine { disks: disks.clone(), net, kvm: verified.kvm, layout };
        let qmp = self.launch(&binary, args::incoming(args::guest(of, &machine)), &dir, &disks).await?;
        let events = json!({ "capabilities": [{ "capability": "events", "state": true }] });
        let listen = json!({ "uri": format!("unix:{RUN}/{}", Channel::Memory.name()) });
        let ready = async {
            qmp.ask("migrate-set-capabilities", events).await?;
            qmp.ask("migrate-incoming", listen).await
        };
        ready.await.map_err(|e| qmp_failure(&e))?;
        let Some(process) = self.process(id)? else {
            return Err(Failure::new(
                "The server's guest ended as soon as it was started. Try again; if it fails again, ask the operator.",
                "QEMU's pid file leads to no process",
            ));
        };
        cgroup::enter(id, process.seen.pid, of.guest.size);
        let live =
            Arc::new(Live { process, qmp: Some(qmp), boot: of.boot, layout, agent_port: Arc::default() });
        self.live.lock().insert(id, live.clone());
        Ok(live)
    }
}

/// Gives the guest's user the files of the guest's directory that QEMU needs. QEMU connects to the socket when it
/// is ready.
fn make_ready(user: GuestUser, dir: &Path, disks: &[&Path]) -> io::Result<UnixListener> {
    let log = dir.join(CONSOLE);
    if !log.exists() {
        files::create(&log)?;
    }
    let files = [CONFIG, CONSOLE].into_iter().map(Path::new).chain(disks.iter().copied());
    files.into_iter().try_for_each(|name| user.give(&dir.join(name)))?;
    listen(user, dir, READY)
}

/// True if QEMU could not start because another process has a lock on one of the guest's files.
fn is_locked(failure: &Failure) -> bool {
    let words = &failure.details;
    words.contains("Cannot lock pid file") || (words.contains("Failed to get") && words.contains("lock"))
}

fn start_failure(details: &str) -> Failure {
    if details.contains("No space left on device") {
        return disk_full(details);
    }
    if details.contains("Cannot allocate memory") {
        return Failure::new(
            "The host has not enough free memory. Try again later, or ask the operator.",
            details,
        );
    }
    Failure::new(
        "The server's guest could not be started. Try again; if it fails again, ask the operator.",
        details,
    )
}
