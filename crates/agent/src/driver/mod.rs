//! A host's drivers: traits with few methods. Each method says what it relies on and what it leaves behind.
//!
//! The runtime calls at most one method for a guest at a time, in the order that [`crate::core`] decides. It calls those that
//! return a [`Reading`] or a console's log at any time. Every method may be called again after it failed or was
//! interrupted by a crash.

mod disk_file;
mod guest_user;
mod incoming;
pub mod migrator;
pub mod ovn_net;
pub mod qcow2;
pub mod qemu;
mod remake;
pub mod sim;
mod sim_console;
pub(crate) mod user_fence;
pub mod user_net;

use crate::{
    core::{Ended, Failure, FoundMemory, FoundProcess, Started, silence::AskedGuest},
    link::{Link, LinkError},
    peer::Stream,
};
use lenticular_model::{
    DiskId, ServerId,
    compute::migration::Mode,
    host::{
        evidence::Evidence,
        fact::Facts,
        host::{Hypervisor as Described, Wiring},
        probe::ProbeOrder,
    },
    network::mac::Mac,
};
use lenticular_wire::agent::{
    Base, ConsoleKind, Diagnostics, DiskSpec, GuestAssignment, GuestSpec, MoveProgress, Outgoing, Peer,
    Receive, RescueSpec,
};
use std::{
    collections::BTreeSet,
    future::Future,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Work in progress. Dropping it stops the work, and leaves the same state as a crash at that moment.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// Work beside the steps: a look at a guest, or a command to it that leaves nothing on the host. The error is for the user.
pub type Reading<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// The end of a guest's process without a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The process's server.
    pub server_id: ServerId,
    /// The boot that it was started for.
    pub boot: u64,
    /// How the process ended.
    pub how: Ended,
}

/// A network driver's plan for the hypervisor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetPlan {
    /// The guest's interfaces.
    pub nics: Vec<Nic>,
    /// True if an interface forwards a port of the host to the guest's ssh.
    pub forwards_ssh: bool,
    /// True if the interfaces carry IPv6.
    pub carries_ipv6: bool,
}

/// A network interface of a guest, in QEMU's terms.
#[derive(Debug, Clone, PartialEq)]
pub struct Nic {
    /// Its slot in the guest.
    pub slot: u32,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The network's MTU, in bytes.
    pub mtu: u32,
    /// True if the guest starts from the network here, when its disk has no system.
    pub boots: bool,
    /// The host's side: a `Netdev` of QEMU's, without its `id`.
    pub netdev: serde_json::Value,
}

/// What was measured: facts, and the results of checks.
pub type Measured = (Facts, Vec<Evidence>);

/// What a canary said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Its clock, in seconds since 1970.
    pub clock_s: i64,
    /// The probe port of another host that it reached.
    pub reached: Option<Ipv4Addr>,
    /// How often it asked for its script: once for each start.
    pub starts: u64,
}

/// The hypervisor of a host, as it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What it is.
    pub described: Described,
    /// Why it cannot run guests now, and what to do; `None` if it can.
    pub trouble: Option<String>,
}

/// Runs guests.
pub trait Hypervisor: Send + Sync {
    /// The hypervisor, and whether it can run guests; called before the first registration, and at each check of
    /// the host. It may take seconds, never minutes. `again` forbids an earlier answer.
    fn verify(&self, again: bool) -> Work<'_, Verified>;

    /// Saves the user data, which must be fetched before the start. Called before the disks are
    /// made, and so before `start`.
    fn keep_user_data<'a>(&'a self, server: ServerId, user_data: Option<Vec<u8>>) -> Work<'a, ()>;

    /// Saves the files for the guest, like the user data.
    fn keep_files<'a>(&'a self, server: ServerId, files: Option<Vec<u8>>) -> Work<'a, ()> {
        let _ = (server, files);
        Box::pin(async { Ok(()) })
    }

    /// Starts the guest on its made disks, whose paths are in order, its rescue disk's last. After the call, the guest's
    /// process runs or does
    /// not exist. Refuses if the guest already has a process.
    fn start<'a>(
        &'a self,
        assignment: &'a GuestAssignment,
        disks: Vec<PathBuf>,
        net: NetPlan,
    ) -> Work<'a, Started>;

    /// Lets the running guest stand still. May be called again. A missing process is no error.
    fn pause(&self, server: ServerId) -> Work<'_, ()>;

    /// Lets the paused guest go on, and undoes half a suspension. May be called again. A missing process is no error.
    fn unpause(&self, server: ServerId) -> Work<'_, ()>;

    /// Saves the guest's memory and ends its process. The saved memory is durable before the process ends. After a
    /// failure the guest runs on, and there is no saved memory.
    fn suspend<'a>(&'a self, assignment: &'a GuestAssignment) -> Work<'a, ()>;

    /// Lets a guest go on with its saved memory, which is marked as used before, durably. If the memory cannot be used,
    /// it is discarded and the guest starts as by `start`; `Started` says why. After a failure the memory is still there,
    /// unless it was discarded.
    fn wake<'a>(
        &'a self,
        assignment: &'a GuestAssignment,
        disks: Vec<PathBuf>,
        net: NetPlan,
    ) -> Work<'a, Started>;

    /// The saved memory of a guest, if it is whole and unused. `ordered` is the memory that an order speaks of: a
    /// simulated host believes it.
    fn find_memory(&self, server: ServerId, ordered: Option<FoundMemory>) -> Work<'_, Option<FoundMemory>>;

    /// Discards the saved memory. `start` does so too. A missing memory is no error.
    fn drop_memory(&self, server: ServerId) -> Work<'_, ()>;

    /// Copies the root disk of a guest with a process, as it is at one moment, into an empty qcow2 file. The guest stands
    /// still for a moment at most. False if the guest has no process.
    fn copy_root(&self, server: ServerId, into: PathBuf) -> Work<'_, bool>;

    /// Ends a copy of the root disk that was given up, or that an earlier agent began. Nothing of it is left in the guest's
    /// process. A missing copy is no error.
    fn end_copy(&self, server: ServerId) -> Work<'_, ()>;

    /// Gives a running guest these interfaces, and removes all others. May be called again.
    fn set_nics(&self, server: ServerId, net: NetPlan) -> Work<'_, ()>;

    /// Asks the guest to shut down. Ends its process when it has shut down, after the deadline, or when `cancel`
    /// turns true. No process is left after the call. A missing process is no error.
    fn shutdown(&self, server: ServerId, cancel: watch::Receiver<bool>) -> Work<'_, ()>;

    /// Ends the process. No process is left after the call. A missing process is no error.
    fn kill(&self, server: ServerId) -> Work<'_, ()>;

    /// Finds the guest's process by more than its process id; called after the agent's restart, before any step.
    fn find(&self, server: ServerId) -> Work<'_, Option<FoundProcess>>;

    /// All guests with a process.
    fn list(&self) -> Work<'_, Vec<ServerId>>;

    /// Reports when the process ends by itself. Called once for each successful `start`, for each guest that came
    /// from another host, and for each process that was found.
    fn watch(&self, server: ServerId, exits: mpsc::UnboundedSender<Exit>);

    /// The last lines of the guest's console; `None` means everything that is kept. The error is for the user.
    fn console(
        &self,
        server: ServerId,
        lines: Option<u32>,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>>;

    /// Connects to a console of a running guest. A serial line has one client at a time: a second one waits until the
    /// first has closed its connection. The error is for the user.
    fn open_console(&self, server: ServerId, kind: ConsoleKind) -> Reading<'_, Stream>;

    /// Sets the password of one of a running guest's users, by the guest's own agent. The error is for the user.
    fn set_password<'a>(&'a self, server: ServerId, user: &'a str, password: &'a str) -> Reading<'a, ()>;

    /// Sends a running guest an interrupt that it cannot mask; a guest that is set up for it dumps its memory and restarts.
    /// The error is for the user.
    fn interrupt(&self, server: ServerId) -> Reading<'_, ()>;

    /// What can be measured of a running guest. The error is for the user.
    fn diagnostics(&self, server: ServerId) -> Reading<'_, Diagnostics>;

    /// Removes everything of a guest without a process. Called before the disk is removed.
    fn remove(&self, server: ServerId) -> Work<'_, ()>;
}

/// Keeps guests' disks.
pub trait Disks: Send + Sync {
    /// Gets the base into the cache, complete and with the right digest. Concurrent calls for one base share a
    /// download.
    fn ensure_base<'a>(&'a self, base: &'a Base, link: &'a dyn Link) -> Work<'a, ()>;

    /// Makes a disk of a guest; the base must exist. The disk is made completely or not at all. A disk of an older
    /// generation is replaced; a disk of this generation stays.
    fn make<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, ()>;

    /// Makes these disks, and puts them in the place of the disks of an older generation once all are whole; the root disk
    /// last. The bases must exist. With `keeps_data` the disks beside the root disk stay, under their new generation. After a
    /// failure the older root disk is there. May be called again.
    fn remake<'a>(&'a self, server: ServerId, disks: &'a [DiskSpec], keeps_data: bool) -> Work<'a, ()>;

    /// Makes the disk of a rescued guest from its base, which must exist; a disk from that base stays. `None` removes the
    /// rescue disk. Returns the disk's path for the hypervisor.
    fn rescue<'a>(&'a self, server: ServerId, rescue: Option<&'a RescueSpec>) -> Work<'a, Option<PathBuf>>;

    /// The generation of a disk, if it is complete.
    fn find<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, Option<u64>>;

    /// All complete disks, with their generations.
    fn list(&self) -> Work<'_, Vec<(ServerId, DiskId, u64)>>;

    /// Grows the made disk to the ordered size, if it is smaller. Called before each start.
    fn grow<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, ()>;

    /// Sends the whole content of a disk, as one file without a base, to the image store. Called while the guest
    /// does not run. It leaves no file on the host, and may be called again.
    fn upload<'a>(
        &'a self,
        server: ServerId,
        disk: DiskId,
        upload: &'a str,
        link: &'a dyn Link,
    ) -> Work<'a, ()>;

    /// Makes an empty file of the root disk's size, which `copy_root` fills.
    fn make_copy<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, PathBuf>;

    /// Sends the filled file to the image store.
    fn send_copy<'a>(&'a self, server: ServerId, upload: &'a str, link: &'a dyn Link) -> Work<'a, ()>;

    /// Removes that file. A missing file is no error.
    fn remove_copy(&self, server: ServerId) -> Work<'_, ()>;

    /// Gives the existing disk the generation of the specification. May be called again.
    fn relabel<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, ()>;

    /// The disk's path for the hypervisor.
    fn path(&self, server: ServerId, disk: DiskId) -> PathBuf;

    /// Removes all disks of a guest, complete or not, for good. A missing disk is no error.
    fn remove(&self, server: ServerId) -> Work<'_, ()>;

    /// Removes bases that no guest needs and no order has asked for lately.
    fn tidy(&self) -> Work<'_, ()>;
}

/// Connects guests.
pub trait Network: Send + Sync {
    /// The network's kind and reach; the error says why guests cannot be connected now. Called before the
    /// first registration, and at each check of the host.
    fn describe(&self) -> Work<'_, Wiring>;

    /// Why guests' networks do not follow changes; updated at each change. A driver that cannot tell never
    /// reports trouble.
    fn trouble(&self) -> watch::Receiver<Option<String>> {
        watch::channel(None).1
    }

    /// Asks from the host's probe port whether the hosts of the order answer, from now on. `None` ends that. What becomes
    /// known is sent as results of checks, again and again. The call does not wait.
    fn probe(&self, order: Option<ProbeOrder>, results: &mpsc::Sender<Measured>) {
        let _ = (order, results);
    }

    /// Asks these guests whether they answer. Returns those that have answered since they were last asked; `None` if the
    /// network cannot ask. The call does not wait.
    fn ask_guests(&self, guests: &[AskedGuest]) -> Option<BTreeSet<ServerId>> {
        let _ = guests;
        None
    }

    /// What the host's canary says, once it fetches its metadata; `None` if the network has no place for a canary.
    fn beats(&self) -> Option<watch::Receiver<Option<Beat>>> {
        None
    }

    /// Pings an address of the probes' network so many times, five a second. Returns how long each answer took.
    fn ping(&self, address: Ipv4Addr, times: u32) -> Work<'_, Vec<Duration>> {
        let _ = (address, times);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Notes the current specification of a guest that may be plugged, for the metadata service. Called at each
    /// change of its orders.
    fn note(&self, server: ServerId, guest: &GuestSpec) {
        let _ = (server, guest);
    }

    /// Makes what the ports need on the host, and says how the hypervisor connects them. Leftovers of the guest's
    /// other ports are removed, unless its process still has them. Called before each start, and before and after
    /// a running guest's interfaces are changed.
    fn plug<'a>(&'a self, server: ServerId, guest: &'a GuestSpec) -> Work<'a, NetPlan>;

    /// Tells the network that the guest, which came from another host, is now on this host. The call does not
    /// wait, and a lost announcement is no error.
    fn announce(&self, server: ServerId, guest: &GuestSpec) {
        let _ = (server, guest);
    }

    /// Removes the guest's network. Called after the process has ended. A missing network is no error.
    fn unplug(&self, server: ServerId) -> Work<'_, ()>;
}

/// Receives a move's progress now and then.
pub type ProgressSink = Arc<dyn Fn(MoveProgress) + Send + Sync>;

/// The runtime's signals to a step in progress. Each signal turns true once.
#[derive(Debug, Clone)]
pub struct StepSignals {
    /// True once no order needs the step any more.
    pub cancel: watch::Receiver<bool>,
    /// True once the step must complete, even if the guest suffers.
    pub force: watch::Receiver<bool>,
}

/// Moves guests between hosts. The core decides which host may run a guest: of these methods, only `adopt` runs
/// the guest at the target.
pub trait Moves: Send + Sync {
    /// The address that other hosts' agents connect to; empty if they cannot.
    fn address(&self) -> String;

    /// At the target: removes an older generation's leftovers, makes room and fetches the base. For a live move,
    /// a process then waits for the guest and does not run it. May be called again after a crash.
    fn receive<'a>(&'a self, receive: &'a Receive, net: NetPlan, link: &'a dyn Link) -> Work<'a, ()>;

    /// At the source: brings all of the guest over. After the call, the target has disk and memory, synced. The
    /// guest runs on neither host, and can go on at either. After a failure, `resume` does the rest.
    fn send<'a>(
        &'a self,
        assignment: &'a GuestAssignment,
        outgoing: &'a Outgoing,
        progress: ProgressSink,
        signals: StepSignals,
    ) -> Work<'a, ()>;

    /// At the source, after a `send` that failed or has unknown progress: if the guest's process exists, it goes on
    /// here, or stands still as before. Nothing of the move is left.
    fn resume(&self, server: ServerId, paused: bool) -> Work<'_, ()>;

    /// Tells the target that it owns the guest; returns when the target has made that durable.
    fn hand_over<'a>(&'a self, server: ServerId, to: &'a Peer, generation: u64) -> Work<'a, ()>;

    /// At the target: the arrived disks become the guest's disks, and a waiting process goes on, or stands
    /// still if the assignment says so. `None` if no process waits. May be called again.
    fn adopt<'a>(&'a self, assignment: &'a GuestAssignment, mode: Mode) -> Work<'a, Option<Started>>;
}

/// A guest that another host's agent hands over.
#[derive(Debug)]
pub struct Release {
    /// The server.
    pub server_id: ServerId,
    /// The disk's generation from now on.
    pub generation: u64,
    /// The proven name of the host that hands it over.
    pub from: String,
    /// Answered with true once this host's ownership is durable; with false if this host will not own the guest.
    pub answer: oneshot::Sender<bool>,
}

/// A host's drivers.
#[derive(Clone)]
pub struct Drivers {
    /// Moves guests between hosts.
    pub moves: Arc<dyn Moves>,
    /// Runs guests.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Keeps disks.
    pub disks: Arc<dyn Disks>,
    /// Connects guests.
    pub network: Arc<dyn Network>,
}

/// How long to wait after the control plane could not be reached.
const SEND_AGAIN: std::time::Duration = std::time::Duration::from_secs(3);

/// Sends a disk to the image store, and retries while the control plane is away. The core cancels the step if no
/// order needs the disk any more.
async fn send_disk(server: ServerId, upload: &str, disk: &Path, link: &dyn Link) -> Result<(), Failure> {
    loop {
        match link.upload(server, upload, disk).await {
            Ok(()) => return Ok(()),
            Err(error @ (LinkError::Unreachable { .. } | LinkError::Refused { status: 503, .. })) => {
                tracing::warn!(%server, %error, "the disk could not be sent to the image store; it is tried again");
                tokio::time::sleep(SEND_AGAIN).await;
            }
            Err(error) => {
                return Err(Failure::new(
                    "The server's disk could not be sent to the image store. Try again; if it fails again, ask the \
                     operator.",
                    error.to_string(),
                ));
            }
        }
    }
}

/// A failure of the host's files, with words for the user and the operator.
pub(crate) fn file_failure(doing: &str, error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return disk_full(&format!("{doing}: {error}"));
    }
    Failure::new(
        "The host could not write the server's files. Try again; if it fails again, ask the operator.",
        format!("{doing}: {error}"),
    )
}

/// The host has no room.
pub(crate) fn disk_full(details: &str) -> Failure {
    Failure::new(
        "The host's disk is full. Its operator must make room. Then try again. If the server has stopped, start it.",
        details,
    )
}
