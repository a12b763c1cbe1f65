//! What a host does its work with: traits with few methods, each saying what it relies on and what it leaves behind.
//!
//! The runtime calls at most one method for a guest at a time (but `console` and `room` at any time), in the order
//! that [`crate::core`] decides. Every method may be called again after it failed or was interrupted by a crash.

mod guest_user;
mod incoming;
pub mod migrator;
pub mod ovn_net;
pub mod qcow2;
pub mod qemu;
pub mod sim;
pub(crate) mod user_fence;
pub mod user_net;

use crate::{
    core::{Ended, Failure, FoundProcess},
    link::{Link, LinkError},
};
use lenticular_model::{
    compute::migration::Mode,
    host::host::{Hypervisor as Described, Wiring},
    network::port::Mac,
    ServerId,
};
use lenticular_wire::agent::{Base, GuestAssignment, GuestSpec, MoveProgress, Outgoing, Peer, Receive};
use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Work under way; dropping it gives it up, leaving what a crash at that moment would.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// A guest's process ended without a step having ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The process's server.
    pub server_id: ServerId,
    /// The boot that it was started for.
    pub boot: u64,
    /// How.
    pub how: Ended,
}

/// What a network driver gives a hypervisor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetPlan {
    /// The guest's interfaces.
    pub nics: Vec<Nic>,
    /// True if one of them forwards a port of the host to the guest's ssh.
    pub forwards_ssh: bool,
    /// True if they carry IPv6.
    pub carries_ipv6: bool,
}

/// One network interface of a guest, in QEMU's own words.
#[derive(Debug, Clone, PartialEq)]
pub struct Nic {
    /// Its place in the guest.
    pub slot: u32,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The largest packet that its network takes, in bytes.
    pub mtu: u32,
    /// What it is joined to: a `Netdev` of QEMU's, but for its `id`.
    pub netdev: serde_json::Value,
}

/// Runs guests.
pub trait Hypervisor: Send + Sync {
    /// What it is and whether it can run guests; called before the first hello. It may take seconds, never minutes.
    fn probe(&self) -> Work<'_, Described>;

    /// Keeps what the guest will be told that must be fetched first. Called after the disk was made, before `start`.
    fn keep_user_data<'a>(&'a self, server: ServerId, user_data: Option<Vec<u8>>) -> Work<'a, ()>;

    /// Starts the guest on its made disk; when it returns, the guest's process runs or there is none. Refuses if a
    /// process of the guest is there. Returns where its ssh is reached, if anywhere.
    fn start<'a>(
        &'a self,
        assignment: &'a GuestAssignment,
        disk: PathBuf,
        net: NetPlan,
    ) -> Work<'a, Option<String>>;

    /// Gives a running guest these interfaces, and takes those away that are not among them. May be called again.
    fn set_nics(&self, server: ServerId, net: NetPlan) -> Work<'_, ()>;

    /// Asks the guest to shut down, and ends its process when it has, when the deadline has passed, or when `cancel`
    /// turns true. No process is left when it returns; that there was none is no error.
    fn shutdown(&self, server: ServerId, cancel: watch::Receiver<bool>) -> Work<'_, ()>;

    /// Ends the process. None is left when it returns; that there was none is no error.
    fn kill(&self, server: ServerId) -> Work<'_, ()>;

    /// The guest's process, by more than its number; after the agent's restart, before any step.
    fn find(&self, server: ServerId) -> Work<'_, Option<FoundProcess>>;

    /// All guests of which there is a process.
    fn list(&self) -> Work<'_, Vec<ServerId>>;

    /// Tells when the process ends by itself. Called once for each successful `start`, for each guest that came from
    /// another host, and for each process that was found.
    fn watch(&self, server: ServerId, exits: mpsc::UnboundedSender<Exit>);

    /// The last lines of the guest's console; all that is kept for `None`. The error is for the asker.
    fn console(
        &self,
        server: ServerId,
        lines: Option<u32>,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>>;

    /// Removes all it keeps of a guest that has no process. Called before the disk is removed.
    fn remove(&self, server: ServerId) -> Work<'_, ()>;
}

/// Keeps guests' disks.
pub trait Disks: Send + Sync {
    /// Has the base in the cache, whole and of the right digest. Concurrent calls for one base share one download.
    fn ensure_base<'a>(&'a self, base: &'a Base, link: &'a dyn Link) -> Work<'a, ()>;

    /// Makes the guest's disk over the base, which must be there. It is made wholly, or not at all. A disk of an older
    /// generation is replaced; one of this generation is left as it is.
    fn make<'a>(&'a self, assignment: &'a GuestAssignment) -> Work<'a, ()>;

    /// The generation of the guest's disk, if a whole one is there now.
    fn find<'a>(&'a self, assignment: &'a GuestAssignment) -> Work<'a, Option<u64>>;

    /// All whole disks.
    fn list(&self) -> Work<'_, Vec<(ServerId, u64)>>;

    /// Makes the made disk as large as its guest is to have it, if it is smaller. Called before each start.
    fn grow<'a>(&'a self, assignment: &'a GuestAssignment) -> Work<'a, ()>;

    /// Sends all that the guest sees of its disk, as one file that stands by itself, to the image store. Called while
    /// the guest does not run. It leaves nothing behind on the host, and may be called again.
    fn upload<'a>(
        &'a self,
        assignment: &'a GuestAssignment,
        upload: &'a str,
        link: &'a dyn Link,
    ) -> Work<'a, ()>;

    /// Calls the disk that is there by the generation of the assignment from now on. May be called again.
    fn relabel<'a>(&'a self, assignment: &'a GuestAssignment) -> Work<'a, ()>;

    /// Where the hypervisor finds the disk.
    fn path(&self, server: ServerId) -> PathBuf;

    /// Removes the disk, whole or half, for good. That there was none is no error.
    fn remove(&self, server: ServerId) -> Work<'_, ()>;

    /// Removes bases that no guest needs and no order has asked for lately.
    fn tidy(&self) -> Work<'_, ()>;
}

/// Connects guests.
pub trait Network: Send + Sync {
    /// What it is, and what it reaches; an error says why guests cannot be connected now. Called before the first hello.
    fn describe(&self) -> Work<'_, Wiring>;

    /// Why guests' networks do not follow changes, told whenever it becomes another; by a driver that cannot tell, never.
    fn trouble(&self) -> watch::Receiver<Option<String>> {
        watch::channel(None).1
    }

    /// Notes what a guest that may be plugged is from now on: it may ask. Called whenever its orders change.
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

    /// Removes it. Called after the process has ended; that there was nothing is no error.
    fn unplug(&self, server: ServerId) -> Work<'_, ()>;
}

/// How far a move has come, to be told now and then.
pub type ProgressSink = Arc<dyn Fn(MoveProgress) + Send + Sync>;

/// What the runtime tells a step under way. Each signal turns true once.
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
    /// Where other hosts' agents reach this one; empty if they cannot.
    fn address(&self) -> String;

    /// At the target: removes an older generation's leftovers, makes room and fetches the base. For a live move,
    /// a process then waits for the guest and does not run it. May be called again after a crash.
    fn receive<'a>(&'a self, receive: &'a Receive, net: NetPlan, link: &'a dyn Link) -> Work<'a, ()>;

    /// At the source: brings all of the guest over. When it returns, the target has disk and memory, synced, the guest
    /// runs on neither host, and can still go on at either. A failure leaves the rest to `resume`.
    fn send<'a>(
        &'a self,
        assignment: &'a GuestAssignment,
        outgoing: &'a Outgoing,
        progress: ProgressSink,
        signals: StepSignals,
    ) -> Work<'a, ()>;

    /// At the source, after a `send` that failed or has unknown progress: the guest goes on here if its process
    /// exists, and nothing of the move is left.
    fn resume(&self, server: ServerId) -> Work<'_, ()>;

    /// Tells the target that the guest is its own; returns when the target has made that durable.
    fn hand_over<'a>(&'a self, server: ServerId, to: &'a Peer, generation: u64) -> Work<'a, ()>;

    /// At the target: what came is the guest's disk from now on, and a process that waits goes on. `None` if there is
    /// no such process. May be called again.
    fn adopt<'a>(&'a self, assignment: &'a GuestAssignment, mode: Mode) -> Work<'a, Option<Adopted>>;
}

/// A guest that went on after a move.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Leads to its ssh.
    pub ssh_forward: Option<String>,
}

/// Another host's agent hands a guest over.
#[derive(Debug)]
pub struct Release {
    /// The server.
    pub server_id: ServerId,
    /// The disk's generation from now on.
    pub generation: u64,
    /// The name of the host that hands it over, as was proven.
    pub from: String,
    /// Answered with true once it is durable that the guest is this host's; with false if it will not be.
    pub answer: oneshot::Sender<bool>,
}

/// A host's drivers.
#[derive(Clone)]
pub struct Drivers {
    /// Brings guests from host to host.
    pub moves: Arc<dyn Moves>,
    /// Runs guests.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Keeps disks.
    pub disks: Arc<dyn Disks>,
    /// Connects guests.
    pub network: Arc<dyn Network>,
}

/// How long to wait when the control plane could not be reached.
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
                ))
            }
        }
    }
}

/// A failure of the host's files, in words for both readers.
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
        "The host's disk is full. Its operator must make room. Then start the server again, or delete it and create it again.",
        details,
    )
}
