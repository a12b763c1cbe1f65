//! Guests as QEMU processes, started detached, so that they outlive the agent and are found again.
//!
//! ```text
//! STATE/guests/<server>/     config.iso  user_data  ready  qemu.log  console.log  console.old  frozen  (and the disk's files)
//! STATE/guests/<server>/     memory.saved  memory.json, if it is suspended (see `memory`)
//! STATE/guests/<server>/run/ pid  qmp  serial  vnc  guest-agent: what QEMU makes
//! ```
//!
//! A process is a guest's if it works in the guest's own directory, as the guest's own user (see `guest_user`).
//! The agent also checks its start time, and that it answers on the guest's socket with the guest's UUID and
//! name. The process's name has the boot, so the agent has to remember nothing.

mod args;
mod cgroup;
mod console;
mod copy;
mod diagnostics;
mod guest_agent;
mod launch;
mod memory;
mod moves;
mod nics;
mod process;
mod qmp;
mod verify;
mod watch;

use super::{Exit, Hypervisor, NetPlan, Reading, Verified, Work, disk_full, file_failure};
use crate::{
    config_drive::{FILES, USER_DATA, keep},
    core::{Failure, FoundMemory, FoundProcess, Started},
    driver::{
        guest_user::{self, GuestUser},
        user_net,
    },
    files::{self, ShortDir},
    peer::Stream,
};
use guest_agent::GuestAgent;
use lenticular_model::{Lock, ServerId};
use lenticular_wire::agent::{ConsoleKind, Diagnostics, GuestAssignment};
pub(super) use moves::Channel;
use process::Process;
use qmp::Qmp;
use serde_json::Value;
use std::{
    collections::HashMap,
    future::Future,
    io::{self, Write},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::UnixListener,
    sync::{mpsc, watch as level},
    task::JoinSet,
};
use verify::Verification;

/// Files in a guest's directory.
const CONFIG: &str = "config.iso";
const CONSOLE: &str = "console.log";
/// The socket where QEMU signals that its own sockets exist.
const READY: &str = "ready";
/// Says that the guest's file systems may be frozen.
const FROZEN: &str = "frozen";
/// QEMU's pid file.
const PID: &str = "run/pid";
/// A file with the process id of a process that lost its pid file; also the pid file of an older agent's QEMU.
const NOTED_PID: &str = "pid";

/// A found process must answer within this time.
const FIND_DEADLINE: Duration = Duration::from_secs(5);
/// How long QEMU may take to end after the command, in seconds.
const QUIT_S_MAX: u64 = 5;
/// A guest that was still booting has not noticed its power button, so the button is pressed again after this
/// time.
const PRESS_AGAIN_S: u64 = 10;

/// A running guest.
struct Live {
    process: Process,
    /// `None` for a found process that did not answer; then it can only be killed.
    qmp: Option<Qmp>,
    boot: u64,
    /// The layout of its machine.
    layout: u32,
    /// Held by who speaks with the guest agent.
    agent_port: Arc<tokio::sync::Mutex<()>>,
}

type LiveMap = Arc<Lock<HashMap<ServerId, Arc<Live>>>>;

/// The QEMU driver.
pub struct Qemu {
    state_dir: PathBuf,
    guests: PathBuf,
    grace: Duration,
    verified: Lock<Option<Arc<Verification>>>,
    live: LiveMap,
    /// Ended with the driver.
    watchers: Lock<JoinSet<()>>,
}

impl Qemu {
    /// Guests below `state_dir`; each has `grace` to shut down.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(state_dir: &Path, grace: Duration) -> io::Result<Self> {
        std::fs::create_dir_all(state_dir.join("guests"))?;
        guest_user::guard(state_dir)?;
        let state_dir = state_dir.canonicalize()?;
        Ok(Self {
            guests: state_dir.join("guests"),
            state_dir,
            grace,
            verified: Lock::default(),
            live: LiveMap::default(),
            watchers: Lock::default(),
        })
    }

    async fn verified(&self) -> Arc<Verification> {
        let known = self.verified.lock().clone();
        match known {
            Some(known) => known,
            None => self.look(false).await,
        }
    }

    async fn look(&self, again: bool) -> Arc<Verification> {
        let mut verified = verify::verify(&self.state_dir, again).await;
        let known = self.verified.lock().clone();
        if let Some(known) = known.filter(|known| known.kvm && !verified.kvm && verified.trouble.is_none()) {
            // Guests here run with KVM. One that was emulated from now on would be too slow, and could not move.
            let trouble =
                "KVM does not run guests any more. Look at /dev/kvm, or restart the agent to do without KVM.";
            verified = Verification { trouble: Some(trouble.to_owned()), ..Verification::clone(&known) };
        }
        let verified = Arc::new(verified);
        *self.verified.lock() = Some(verified.clone());
        verified
    }

    fn dir(&self, server: ServerId) -> PathBuf {
        self.guests.join(server.to_string())
    }

    fn live(&self, server: ServerId) -> Option<Arc<Live>> {
        self.live.lock().get(&server).cloned()
    }

    /// The guest's process, if its pid file leads to it.
    fn process(&self, server: ServerId) -> Result<Option<Process>, Failure> {
        let dir = self.dir(server);
        for pid in [PID, NOTED_PID].iter().filter_map(|name| process::noted(&dir.join(name))) {
            let held = Process::hold(pid, &dir);
            if let Some(process) = held.map_err(|e| file_failure("looking for the process", &e))? {
                return Ok(Some(process));
            }
        }
        Ok(None)
    }

    async fn find_guest(&self, server: ServerId) -> Result<Option<FoundProcess>, Failure> {
        let Some(process) = self.process(server)? else {
            self.live.lock().remove(&server);
            return Ok(None);
        };
        let layout = process.seen.layout;
        let Some(boot) = args::boot_of(&process.seen.name, server) else {
            return Err(stranger(server, &process.seen.name));
        };
        let connected = Qmp::connect(&self.dir(server), FIND_DEADLINE).await;
        let (qmp, ssh_forward, status) = match connected {
            Ok(qmp) => {
                let (uuid, name) = qmp.identity().await.map_err(|e| qmp_failure(&e))?;
                if uuid != server.to_string() || name != process.seen.name {
                    return Err(stranger(server, &name));
                }
                let networks = qmp.user_networks().await.unwrap_or_default();
                let status = qmp.status().await.unwrap_or_default();
                (Some(qmp), user_net::ssh_forward(&networks), status)
            }
            Err(error) => {
                // Command line and start time match. A missing answer does not make it another's process.
                tracing::warn!(%server, pid = process.seen.pid, %error, "a guest's QEMU does not answer");
                (None, None, String::new())
            }
        };
        let (ended, paused) = (status == "shutdown", matches!(status.as_str(), "paused" | "postmigrate"));
        tracing::info!(%server, pid = process.seen.pid, began = process.seen.start_time, boot, "found a guest");
        let live = Arc::new(Live { process, qmp, boot, layout, agent_port: Arc::default() });
        match ended {
            true => end(&live).await?,
            false => drop(self.live.lock().insert(server, live)),
        }
        let started = Started { ssh_forward, layout, paused, memory_lost: None };
        Ok(Some(FoundProcess { boot, started, ended }))
    }

    async fn shut_down(&self, live: &Live, mut cancel: level::Receiver<bool>) -> Result<(), Failure> {
        if let Some(qmp) = &live.qmp {
            let mut level = qmp.level();
            let asked = async {
                // A guest that stands still does not see its power button.
                if qmp.status().await.is_ok_and(|status| status == "paused")
                    && let Err(error) = qmp.resume().await
                {
                    tracing::warn!(pid = live.process.seen.pid, %error, "a paused guest cannot go on to shut down");
                }
                loop {
                    if let Err(error) = qmp.power_down().await {
                        tracing::warn!(pid = live.process.seen.pid, %error, "the power button cannot be pressed");
                    }
                    tokio::time::sleep(Duration::from_secs(PRESS_AGAIN_S)).await;
                }
            };
            tokio::select! {
                () = asked => {}
                _ = level.wait_for(|level| level.shut_down || level.closed) => {}
                _ = live.process.ended() => {}
                () = tokio::time::sleep(self.grace) => {
                    tracing::info!(pid = live.process.seen.pid, "the guest did not shut down in time and is ended");
                }
                _ = cancel.wait_for(|cancel| *cancel) => {}
            }
        }
        end(live).await
    }

    /// Ends and removes the rest of a failed start.
    pub(super) async fn clear(&self, server: ServerId) {
        if let Ok(Some(process)) = self.process(server) {
            let live = Live { process, qmp: None, boot: 0, layout: 0, agent_port: Arc::default() };
            if let Err(error) = end(&live).await {
                tracing::error!(%server, %error, "a failed start left a process");
            }
        }
    }
}

impl Hypervisor for Qemu {
    fn verify(&self, again: bool) -> Work<'_, Verified> {
        Box::pin(async move {
            let Verification { described, trouble, .. } = Verification::clone(&*self.look(again).await);
            Ok(Verified { described, trouble })
        })
    }

    fn keep_user_data<'a>(&'a self, server: ServerId, user_data: Option<Vec<u8>>) -> Work<'a, ()> {
        Box::pin(async move { keep(&self.dir(server), USER_DATA, user_data) })
    }

    fn keep_files<'a>(&'a self, server: ServerId, files: Option<Vec<u8>>) -> Work<'a, ()> {
        Box::pin(async move { keep(&self.dir(server), FILES, files) })
    }

    fn start<'a>(
        &'a self,
        assignment: &'a GuestAssignment,
        disks: Vec<PathBuf>,
        net: NetPlan,
    ) -> Work<'a, Started> {
        Box::pin(async move {
            match self.start_guest(assignment, &disks, &net).await {
                Ok((live, started)) => {
                    self.live.lock().insert(assignment.server_id, live);
                    Ok(started)
                }
                Err(failure) => {
                    self.clear(assignment.server_id).await;
                    Err(failure)
                }
            }
        })
    }

    fn pause(&self, server: ServerId) -> Work<'_, ()> {
        Box::pin(self.pause_guest(server))
    }

    fn unpause(&self, server: ServerId) -> Work<'_, ()> {
        Box::pin(self.stay(server, false))
    }

    fn suspend<'a>(&'a self, assignment: &'a GuestAssignment) -> Work<'a, ()> {
        Box::pin(self.suspend_guest(assignment))
    }

    fn wake<'a>(
        &'a self,
        assignment: &'a GuestAssignment,
        disks: Vec<PathBuf>,
        net: NetPlan,
    ) -> Work<'a, Started> {
        Box::pin(async move { self.wake_guest(assignment, &disks, &net).await })
    }

    fn find_memory(&self, server: ServerId, _ordered: Option<FoundMemory>) -> Work<'_, Option<FoundMemory>> {
        Box::pin(async move { Ok(self.found_memory(server)) })
    }

    fn drop_memory(&self, server: ServerId) -> Work<'_, ()> {
        Box::pin(async move { memory::discard(&self.dir(server)).await })
    }

    fn copy_root(&self, server: ServerId, into: PathBuf) -> Work<'_, bool> {
        Box::pin(self.copy_root_disk(server, into))
    }

    fn end_copy(&self, server: ServerId) -> Work<'_, ()> {
        Box::pin(self.end_root_copy(server))
    }

    fn set_nics(&self, server: ServerId, net: NetPlan) -> Work<'_, ()> {
        Box::pin(async move {
            let live = self.live(server);
            match live.as_ref().and_then(|live| live.qmp.as_ref()) {
                Some(qmp) => nics::set(qmp, &net).await,
                // The next start gives the guest its interfaces.
                None => Ok(()),
            }
        })
    }

    fn shutdown(&self, server: ServerId, cancel: level::Receiver<bool>) -> Work<'_, ()> {
        Box::pin(async move {
            let Some(live) = self.live(server) else { return Ok(()) };
            self.shut_down(&live, cancel).await?;
            remove_ended(&self.live, server, &live);
            Ok(())
        })
    }

    fn kill(&self, server: ServerId) -> Work<'_, ()> {
        Box::pin(async move {
            let Some(live) = self.live(server) else { return Ok(()) };
            end(&live).await?;
            remove_ended(&self.live, server, &live);
            Ok(())
        })
    }

    fn find(&self, server: ServerId) -> Work<'_, Option<FoundProcess>> {
        Box::pin(self.find_guest(server))
    }

    fn list(&self) -> Work<'_, Vec<ServerId>> {
        Box::pin(async move {
            let found = process::scan(&self.guests).map_err(|e| file_failure("reading /proc", &e))?;
            for (server, pid) in &found {
                // The pid file may have been lost in a crash; the command line decides. The new pid file is not
                // written where the guest's user could redirect it.
                if self.process(*server)?.is_none() {
                    let file = files::create(&self.dir(*server).join(NOTED_PID));
                    let written = file.and_then(|mut file| file.write_all(pid.to_string().as_bytes()));
                    written.map_err(|e| file_failure("noting a guest's process", &e))?;
                }
            }
            Ok(found.into_keys().collect())
        })
    }

    fn watch(&self, server: ServerId, exits: mpsc::UnboundedSender<Exit>) {
        let Some(live) = self.live(server) else { return };
        let mut watchers = self.watchers.lock();
        // Removes the watchers that have ended.
        while watchers.try_join_next().is_some() {}
        let (map, dir) = (self.live.clone(), self.dir(server));
        watchers.spawn(watch::watch(server, live, map, dir, exits));
    }

    fn console(
        &self,
        server: ServerId,
        lines: Option<u32>,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        let dir = self.dir(server);
        Box::pin(async move {
            if !dir.is_dir() {
                return Err("There is no such guest on this host.".to_owned());
            }
            console::read(&dir, lines)
                .map_err(|e| format!("The console's log cannot be read ({e}). Ask the operator."))
        })
    }

    fn open_console(&self, server: ServerId, kind: ConsoleKind) -> Reading<'_, Stream> {
        let (live, dir) = (self.live(server), self.dir(server));
        Box::pin(async move {
            let live = live.ok_or("The server does not run.")?;
            Ok(Box::new(console::open(&dir, &live, kind).await?) as Stream)
        })
    }

    fn set_password<'a>(&'a self, server: ServerId, user: &'a str, password: &'a str) -> Reading<'a, ()> {
        let (live, dir) = (self.live(server), self.dir(server));
        Box::pin(async move {
            let live = live.ok_or("The server does not run.")?;
            let set = async { GuestAgent::connect(&dir, &live).await?.set_password(user, password).await };
            set.await.map_err(|error| error.to_string())
        })
    }

    fn interrupt(&self, server: ServerId) -> Reading<'_, ()> {
        let live = self.live(server);
        Box::pin(async move {
            let live = live.ok_or("The server does not run.")?;
            let qmp = live.qmp.as_ref().ok_or("QEMU does not answer. Restart the server.")?;
            let interrupted = qmp.ask("inject-nmi", Value::Null).await;
            interrupted
                .map(drop)
                .map_err(|error| format!("The guest cannot be interrupted ({error}). Try again."))
        })
    }

    fn diagnostics(&self, server: ServerId) -> Reading<'_, Diagnostics> {
        let live = self.live(server);
        Box::pin(async move {
            let live = live.ok_or("The guest does not run.")?;
            let qmp = live.qmp.as_ref().ok_or("QEMU does not answer. Restart the server.")?;
            let looked = diagnostics::look(qmp, live.process.seen.pid, live.process.seen.start_time).await;
            looked.map_err(|error| format!("QEMU does not say what the guest does ({error}). Try again."))
        })
    }

    fn remove(&self, server: ServerId) -> Work<'_, ()> {
        Box::pin(async move {
            self.clear(server).await;
            self.live.lock().remove(&server);
            cgroup::remove(server);
            let dir = self.dir(server);
            let names = [
                CONFIG,
                USER_DATA,
                FILES,
                "qmp",
                "serial",
                READY,
                "memory",
                "disk",
                CONSOLE,
                "console.old",
                "qemu.log",
                FROZEN,
                NOTED_PID,
            ];
            let removed =
                memory::FILES.iter().chain(&names).try_for_each(|name| files::remove(&dir.join(name)));
            removed.map_err(|e| file_failure("removing the guest's files", &e))
        })
    }
}

/// A socket that the guest's QEMU connects to.
fn listen(user: GuestUser, dir: &Path, name: &str) -> io::Result<UnixListener> {
    files::remove(&dir.join(name))?;
    let listener = UnixListener::bind(ShortDir::open(dir)?.path(name))?;
    user.give(&dir.join(name))?;
    Ok(listener)
}

/// A file's path relative to the guest's directory.
fn in_dir<'a>(dir: &Path, file: &'a Path) -> &'a Path {
    file.strip_prefix(dir).unwrap_or(file)
}

fn remove_ended(map: &LiveMap, server: ServerId, ended: &Arc<Live>) {
    let mut map = map.lock();
    if map.get(&server).is_some_and(|live| Arc::ptr_eq(live, ended)) {
        map.remove(&server);
    }
}

/// Ends a process: by a command to QEMU, which flushes the disk, otherwise by force.
async fn end(live: &Live) -> Result<(), Failure> {
    let gone = |seconds: u64| tokio::time::timeout(Duration::from_secs(seconds), live.process.ended());
    if let Some(qmp) = &live.qmp {
        // QEMU may close the socket before it answers.
        let quit = tokio::time::timeout(Duration::from_secs(1), qmp.quit()).await;
        let heard = matches!(quit, Ok(Ok(()) | Err(qmp::QmpError::Closed | qmp::QmpError::Socket(_))));
        if heard && gone(QUIT_S_MAX).await.is_ok() {
            return Ok(());
        }
    }
    let failed =
        |why: String| Failure::new("The server's guest could not be stopped. Its host tries again.", why);
    live.process.kill().map_err(|e| failed(e.to_string()))?;
    match gone(QUIT_S_MAX).await {
        Ok(_) => Ok(()),
        Err(_) => Err(failed(format!("process {} does not end when killed", live.process.seen.pid))),
    }
}

fn qmp_failure(error: &qmp::QmpError) -> Failure {
    Failure::new(
        "The server's guest could not be controlled. Try again; if it fails again, ask the operator.",
        error.to_string(),
    )
}

fn stranger(server: ServerId, name: &str) -> Failure {
    Failure::new(
        "Another process has taken the server's place on its host. Ask the operator.",
        format!("what runs with the files of {server} calls itself '{name}'; end it by hand"),
    )
}
