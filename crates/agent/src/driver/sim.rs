//! A host without processes or files: its delays and failures follow its knobs.

use super::{
    Disks, Exit, Hypervisor, Moves, NetPlan, Network, ProgressSink, Reading, Release, StepSignals, Verified,
    Work, send_disk, sim_console,
};
use crate::{
    core::{Failure, FoundMemory, FoundProcess, Started},
    link::Link,
    peer::Stream,
};
use lenticular_model::{
    DiskId, Lock, ServerId,
    compute::migration::Mode,
    host::host::{Hypervisor as Described, Wiring},
};
use lenticular_wire::agent::{
    Base, ConsoleKind, Diagnostics, DiskCounters, DiskSpec, GuestAssignment, GuestSpec, Outgoing, Peer,
    Receive, RescueSpec,
};
use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, MutexGuard},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// The behaviour of one kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Knob {
    /// The shortest duration, in milliseconds.
    pub delay_ms: u64,
    /// The most additional time, in milliseconds.
    pub jitter_ms: u64,
    /// How many of a thousand fail.
    pub fails_per_mille: u32,
}

/// The behaviour of a simulated host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SimKnobs {
    /// Making a disk.
    pub prepare: Knob,
    /// Starting a guest.
    pub start: Knob,
    /// Shutting a guest down; resetting one takes no time.
    pub shutdown: Knob,
    /// Removing a guest.
    pub remove: Knob,
    /// Sending a guest to another host.
    pub send: Knob,
    /// Hosts of the same seed and the same orders behave alike.
    pub seed: u64,
}

#[derive(Default)]
struct SimGuest {
    disks: BTreeMap<DiskId, u64>,
    boot: Option<u64>,
    paused: bool,
    memory: Option<FoundMemory>,
}

/// Simulated hosts of one process, which hand guests to each other.
#[derive(Default)]
pub struct SimNet {
    inboxes: Lock<HashMap<String, mpsc::Sender<Release>>>,
}

/// The driver: hypervisor, disks, network and moves at once.
pub struct SimHost {
    name: String,
    knobs: SimKnobs,
    inner: Lock<Inner>,
    net: Arc<SimNet>,
}

struct Inner {
    guests: HashMap<ServerId, SimGuest>,
    random: u64,
}

impl SimHost {
    /// A host with no guests, on a net with others; and the receiver of guests that they hand over.
    pub fn new(name: String, knobs: SimKnobs, net: Arc<SimNet>) -> (Self, mpsc::Receiver<Release>) {
        let random = knobs.seed ^ 0x9e37_79b9_7f4a_7c15;
        let (inbox, releases) = mpsc::channel(64);
        net.inboxes.lock().insert(name.clone(), inbox);
        let inner = Lock::new(Inner { guests: HashMap::new(), random });
        (Self { name, knobs, inner, net }, releases)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    fn random(&self) -> u64 {
        // splitmix64: a simulated host needs no secure randomness.
        let mut inner = self.lock();
        inner.random = inner.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = inner.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    async fn turn(&self, knob: Knob, what: &str) -> Result<(), Failure> {
        let wait_ms = knob.delay_ms + self.random() % (knob.jitter_ms + 1);
        if wait_ms > 0 {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        match self.random() % 1000 < u64::from(knob.fails_per_mille) {
            true => Err(Failure::new(
                format!("{what} failed, because this simulated host is set to fail. Try again."),
                format!("{} of 1000 fail", knob.fails_per_mille),
            )),
            false => Ok(()),
        }
    }

    fn stop(&self, server: ServerId) {
        if let Some(guest) = self.lock().guests.get_mut(&server) {
            guest.boot = None;
        }
    }
}

impl SimGuest {
    /// The guest runs from now on, and has no saved memory.
    fn run(&mut self, boot: u64, paused: bool) {
        (self.boot, self.paused, self.memory) = (Some(boot), paused, None);
    }
}

impl SimHost {
    fn set_paused(&self, server: ServerId, paused: bool) -> Work<'_, ()> {
        if let Some(guest) = self.lock().guests.get_mut(&server) {
            guest.paused = paused;
        }
        Box::pin(async { Ok(()) })
    }
}

impl Hypervisor for SimHost {
    fn verify(&self, _again: bool) -> Work<'_, Verified> {
        let described = Described {
            driver: "sim".to_owned(),
            acceleration: "none".to_owned(),
            version: 1_000_000,
            arch: std::env::consts::ARCH.to_owned(),
            cpu_model: "simulated".to_owned(),
            wiring: Wiring::default(),
        };
        Box::pin(async { Ok(Verified { described, trouble: None }) })
    }

    fn keep_user_data<'a>(&'a self, _server: ServerId, _user_data: Option<Vec<u8>>) -> Work<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn start<'a>(
        &'a self,
        assignment: &'a GuestAssignment,
        _disks: Vec<PathBuf>,
        _net: NetPlan,
    ) -> Work<'a, Started> {
        Box::pin(async move {
            self.turn(self.knobs.start, "Starting the guest").await?;
            match self.lock().guests.get_mut(&assignment.server_id) {
                Some(guest) => guest.run(assignment.boot, false),
                None => return Err(Failure::new("The server has no disk here.", "start without a disk")),
            }
            Ok(Started::default())
        })
    }

    fn pause(&self, server: ServerId) -> Work<'_, ()> {
        self.set_paused(server, true)
    }

    fn unpause(&self, server: ServerId) -> Work<'_, ()> {
        self.set_paused(server, false)
    }

    fn suspend<'a>(&'a self, of: &'a GuestAssignment) -> Work<'a, ()> {
        Box::pin(async move {
            self.turn(self.knobs.shutdown, "Suspending the guest").await?;
            if let Some(guest) = self.lock().guests.get_mut(&of.server_id) {
                let memory = |boot| FoundMemory { generation: of.generation, boot };
                guest.memory = guest.boot.take().map(memory);
            }
            Ok(())
        })
    }

    fn wake<'a>(&'a self, of: &'a GuestAssignment, _disks: Vec<PathBuf>, _net: NetPlan) -> Work<'a, Started> {
        Box::pin(async move {
            self.turn(self.knobs.start, "Resuming the guest").await?;
            self.lock().guests.entry(of.server_id).or_default().run(of.boot, of.paused);
            Ok(Started { paused: of.paused, ..Started::default() })
        })
    }

    /// Like a simulated disk, a memory is wherever the control plane believes it to be.
    fn find_memory(&self, server: ServerId, ordered: Option<FoundMemory>) -> Work<'_, Option<FoundMemory>> {
        let mut inner = self.lock();
        let guest = inner.guests.entry(server).or_default();
        guest.memory = guest.memory.or(ordered);
        let memory = guest.memory;
        Box::pin(async move { Ok(memory) })
    }

    fn drop_memory(&self, server: ServerId) -> Work<'_, ()> {
        if let Some(guest) = self.lock().guests.get_mut(&server) {
            guest.memory = None;
        }
        Box::pin(async { Ok(()) })
    }

    fn copy_root(&self, server: ServerId, _into: PathBuf) -> Work<'_, bool> {
        let runs = self.lock().guests.get(&server).is_some_and(|guest| guest.boot.is_some());
        Box::pin(async move { self.turn(self.knobs.prepare, "Copying the disk").await.map(|()| runs) })
    }

    fn end_copy(&self, _server: ServerId) -> Work<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn set_nics(&self, _server: ServerId, _net: NetPlan) -> Work<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn shutdown(&self, server: ServerId, mut cancel: watch::Receiver<bool>) -> Work<'_, ()> {
        Box::pin(async move {
            let result = tokio::select! {
                result = self.turn(self.knobs.shutdown, "Shutting the guest down") => result,
                _ = cancel.wait_for(|cancel| *cancel) => Ok(()),
            };
            if result.is_ok() {
                self.stop(server);
            }
            result
        })
    }

    fn kill(&self, server: ServerId) -> Work<'_, ()> {
        self.stop(server);
        Box::pin(async { Ok(()) })
    }

    fn find(&self, server: ServerId) -> Work<'_, Option<FoundProcess>> {
        let guest = self.lock().guests.get(&server).and_then(|guest| Some((guest.boot?, guest.paused)));
        Box::pin(async move {
            Ok(guest.map(|(boot, paused)| {
                let started = Started { paused, ..Started::default() };
                FoundProcess { boot, started, ended: false }
            }))
        })
    }

    fn list(&self) -> Work<'_, Vec<ServerId>> {
        let running =
            self.lock().guests.iter().filter(|(_, g)| g.boot.is_some()).map(|(id, _)| *id).collect();
        Box::pin(async move { Ok(running) })
    }

    fn watch(&self, _server: ServerId, _exits: mpsc::UnboundedSender<Exit>) {}

    fn console(
        &self,
        server: ServerId,
        _lines: Option<u32>,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        let text = match self.lock().guests.get(&server) {
            Some(SimGuest { boot: Some(boot), .. }) => Ok(format!(
                "simulated guest {server}, boot {boot}\nno kernel was started\nno disk was read\nno user can log in\n"
            )),
            Some(_) => Ok(String::new()),
            None => Err("There is no such guest on this host.".to_owned()),
        };
        Box::pin(async move { text })
    }

    fn open_console(&self, server: ServerId, kind: ConsoleKind) -> Reading<'_, Stream> {
        let runs = self.interrupt(server);
        Box::pin(async move { runs.await.map(|()| sim_console::open(server, kind)) })
    }

    fn set_password<'a>(&'a self, server: ServerId, _user: &'a str, _password: &'a str) -> Reading<'a, ()> {
        self.interrupt(server)
    }

    fn interrupt(&self, server: ServerId) -> Reading<'_, ()> {
        let runs = self.lock().guests.get(&server).is_some_and(|guest| guest.boot.is_some());
        Box::pin(async move { runs.then_some(()).ok_or_else(|| "The server does not run.".to_owned()) })
    }

    /// A simulated guest has a state, and nothing that could be measured.
    fn diagnostics(&self, server: ServerId) -> Reading<'_, Diagnostics> {
        let seen = match self.lock().guests.get(&server) {
            Some(SimGuest { boot: Some(_), disks, paused, .. }) => Ok(Diagnostics {
                state: if *paused { "paused" } else { "running" }.to_owned(),
                disks: disks.iter().map(|_| DiskCounters::default()).collect(),
                ..Diagnostics::default()
            }),
            Some(_) => Err("The guest does not run.".to_owned()),
            None => Err("There is no such guest on this host.".to_owned()),
        };
        Box::pin(async move { seen })
    }

    fn remove(&self, _server: ServerId) -> Work<'_, ()> {
        Box::pin(self.turn(self.knobs.remove, "Removing the guest"))
    }
}

impl Disks for SimHost {
    fn ensure_base<'a>(&'a self, _base: &'a Base, _link: &'a dyn Link) -> Work<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn make<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, ()> {
        Box::pin(async move {
            self.turn(self.knobs.prepare, "Making the disk").await?;
            self.lock().guests.entry(server).or_default().disks.insert(disk.id, disk.generation);
            Ok(())
        })
    }

    fn remake<'a>(&'a self, server: ServerId, disks: &'a [DiskSpec], _keeps_data: bool) -> Work<'a, ()> {
        Box::pin(async move {
            self.turn(self.knobs.prepare, "Making the new disks").await?;
            let made = disks.iter().map(|disk| (disk.id, disk.generation));
            self.lock().guests.entry(server).or_default().disks.extend(made);
            Ok(())
        })
    }

    fn rescue<'a>(&'a self, _server: ServerId, _rescue: Option<&'a RescueSpec>) -> Work<'a, Option<PathBuf>> {
        Box::pin(async { Ok(None) })
    }

    /// A simulated disk exists wherever the control plane believes it to be. So simulated hosts survive a restart
    /// of their process, though they save nothing.
    fn find<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, Option<u64>> {
        let generation =
            *self.lock().guests.entry(server).or_default().disks.entry(disk.id).or_insert(disk.generation);
        Box::pin(async move { Ok(Some(generation)) })
    }

    fn list(&self) -> Work<'_, Vec<(ServerId, DiskId, u64)>> {
        let inner = self.lock();
        let disks =
            inner.guests.iter().flat_map(|(id, guest)| guest.disks.iter().map(move |disk| (*id, disk)));
        let all = disks.map(|(id, (disk, generation))| (id, *disk, *generation)).collect();
        Box::pin(async move { Ok(all) })
    }

    fn grow<'a>(&'a self, _server: ServerId, _disk: &'a DiskSpec) -> Work<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn upload<'a>(
        &'a self,
        server: ServerId,
        _disk: DiskId,
        upload: &'a str,
        link: &'a dyn Link,
    ) -> Work<'a, ()> {
        Box::pin(async move {
            self.turn(self.knobs.prepare, "Sending the disk").await?;
            // There are no bytes: the link of a simulated host knows that.
            send_disk(server, upload, Path::new(""), link).await
        })
    }

    fn make_copy<'a>(&'a self, _server: ServerId, _disk: &'a DiskSpec) -> Work<'a, PathBuf> {
        Box::pin(async { Ok(PathBuf::new()) })
    }

    fn send_copy<'a>(&'a self, server: ServerId, upload: &'a str, link: &'a dyn Link) -> Work<'a, ()> {
        Box::pin(send_disk(server, upload, Path::new(""), link))
    }

    fn remove_copy(&self, _server: ServerId) -> Work<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn relabel<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, ()> {
        self.lock().guests.entry(server).or_default().disks.insert(disk.id, disk.generation);
        Box::pin(async { Ok(()) })
    }

    fn path(&self, _server: ServerId, _disk: DiskId) -> PathBuf {
        PathBuf::new()
    }

    fn remove(&self, server: ServerId) -> Work<'_, ()> {
        self.lock().guests.remove(&server);
        Box::pin(async { Ok(()) })
    }

    fn tidy(&self) -> Work<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl Moves for SimHost {
    fn address(&self) -> String {
        format!("sim:{}", self.name)
    }

    fn receive<'a>(&'a self, receive: &'a Receive, _net: NetPlan, _link: &'a dyn Link) -> Work<'a, ()> {
        let of = &receive.assignment;
        Box::pin(async move {
            self.turn(self.knobs.prepare, "Making ready for the guest").await?;
            let boot = (receive.mode == Mode::Live).then_some(of.boot);
            let disks = of.guest.disks.iter().map(|disk| (disk.id, disk.generation)).collect();
            let guest = SimGuest { disks, boot, paused: of.paused, memory: None };
            self.lock().guests.insert(of.server_id, guest);
            Ok(())
        })
    }

    fn send<'a>(
        &'a self,
        _assignment: &'a GuestAssignment,
        _outgoing: &'a Outgoing,
        _progress: ProgressSink,
        mut signals: StepSignals,
    ) -> Work<'a, ()> {
        Box::pin(async move {
            tokio::select! {
                result = self.turn(self.knobs.send, "Bringing the guest over") => result,
                _ = signals.force.wait_for(|force| *force) => Ok(()),
                _ = signals.cancel.wait_for(|cancel| *cancel) => Err(Failure::new("The move was given up.", "cut short")),
            }
        })
    }

    fn resume(&self, _server: ServerId, _paused: bool) -> Work<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn hand_over<'a>(&'a self, server: ServerId, to: &'a Peer, generation: u64) -> Work<'a, ()> {
        let inbox = self.net.inboxes.lock().get(&to.name).cloned();
        Box::pin(async move {
            let refused = |why: &str| Failure::new("The guest could not be handed over yet.", why);
            let inbox = inbox.ok_or_else(|| refused("there is no such simulated host"))?;
            let (answer, answered) = oneshot::channel();
            let release = Release { server_id: server, generation, from: self.name.clone(), answer };
            inbox.send(release).await.map_err(|_| refused("the host has ended"))?;
            match answered.await {
                Ok(true) => Ok(()),
                Ok(false) => Err(refused("the host was not ready for it")),
                Err(_) => Err(refused("the host has ended")),
            }
        })
    }

    fn adopt<'a>(&'a self, assignment: &'a GuestAssignment, _manner: Mode) -> Work<'a, Option<Started>> {
        let boot = self.lock().guests.get(&assignment.server_id).and_then(|guest| guest.boot);
        let started = Started { paused: assignment.paused, ..Started::default() };
        Box::pin(async move { Ok(boot.map(|_| started)) })
    }
}

impl Network for SimHost {
    fn describe(&self) -> Work<'_, Wiring> {
        Box::pin(async { Ok(Wiring { driver: "sim".to_owned(), ..Wiring::default() }) })
    }

    fn plug<'a>(&'a self, _server: ServerId, _guest: &'a GuestSpec) -> Work<'a, NetPlan> {
        Box::pin(async { Ok(NetPlan::default()) })
    }

    fn unplug(&self, _server: ServerId) -> Work<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
