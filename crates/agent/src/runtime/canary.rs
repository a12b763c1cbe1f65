//! Runs a canary: a guest of the agent's own, with which the host proves step by step what it does for servers.
//!
//! The drivers are those of all guests. The guest has no image: its firmware starts the script of
//! `crate::metadata::canary` from the network. Whatever breaks, nothing of the guest is left afterwards; what an agent's
//! end leaves is removed at the next start.

use super::{
    Runtime,
    work::{AbortOnDrop, ready, remove, wake},
};
use crate::{
    check::{evidence_of, simulated},
    core::{Failure, Started},
    driver::{Beat, Drivers, Exit},
    machine,
};
use ipnet::IpNet;
use lenticular_model::{
    DiskId, ServerId, SubnetId,
    compute::flavor::Size,
    host::{
        canary::{CanaryOrder, METADATA, network_id},
        evidence::{CANARY, Evidence, Level},
        probe::{PREFIX, ROUTER},
    },
    network::mtu::TUNNELED,
};
use lenticular_wire::agent::{AddressSpec, Content, DiskSpec, GuestAssignment, GuestSpec, PortSpec};
use std::{
    collections::BTreeMap,
    future::Future,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::Instant,
};

/// How long a step may take. Emulated guests are slow.
const STEP: Duration = Duration::from_secs(60);
/// How long all steps may take together: the control plane waits for five minutes.
const ALL: Duration = Duration::from_secs(240);
/// How long an agent that stops waits for the removal of its canary.
const ENDS_IN: Duration = Duration::from_secs(5);
/// The guest's clock may be off by so much, in seconds.
const CLOCK_OFF_S_MAX: u64 = 2;
/// How many pings measure the latency, over ten seconds.
const PINGS: u32 = 50;
/// A guest that loses one ping in five, or needs this long for half of them, is no use.
const LOST_MAX: usize = PINGS as usize / 5;
const MEDIAN_MAX: Duration = Duration::from_millis(500);

impl Runtime {
    /// Begins the canary that is ordered, if any.
    pub(super) fn begin_canary(&mut self) {
        let Some(order) = self.core.host.begin_canary() else { return };
        tracing::info!(number = order.number, "the host runs a canary");
        let drivers = self.drivers.clone();
        let has_peers = self.core.host.probe().is_some_and(|probe| !probe.peers.is_empty());
        let simulated = self.core.host.hypervisor().is_some_and(|found| found.wiring.driver == "sim");
        let file = self.config.facts_file.clone();
        self.canaries.spawn(async move {
            let number = order.number;
            // A separate task, so that a driver's panic is a failed canary and not a lost one.
            let ran = tokio::spawn(async move {
                match simulated {
                    true => simulated::canary(&file),
                    false => evidence_of(CANARY, run(&drivers, order, has_peers).await),
                }
            });
            let _ends_with_this = AbortOnDrop(ran.abort_handle());
            let lost = |error: tokio::task::JoinError| {
                evidence_of(CANARY, Some((Level::Unknown, format!("the host's agent failed at it: {error}"))))
            };
            (number, ran.await.unwrap_or_else(lost))
        });
    }

    /// Takes in how a canary ended.
    pub(super) fn canary_ended(&mut self, ended: Result<(u64, Evidence), tokio::task::JoinError>) {
        match ended {
            Ok((number, evidence)) => {
                tracing::info!(number, trouble = evidence.trouble, "the canary has ended");
                self.core.canary_ended(number, evidence);
            }
            Err(error) => tracing::error!(%error, "a canary was lost"),
        }
    }

    /// Ends the canary under way before the agent stops. The next agent begins it again.
    pub(super) async fn end_canary(&mut self) {
        if let Some(id) = self.core.host.canary().filter(|_| !self.canaries.is_empty()) {
            self.canaries.shutdown().await;
            // A longer wait helps nobody: the next agent removes what is left.
            let _ = tokio::time::timeout(ENDS_IN, clear(&self.drivers, id)).await;
        }
    }
}

/// Removes what is left of a canary.
pub(super) async fn clear(drivers: &Drivers, id: ServerId) -> Result<(), Failure> {
    drivers.hypervisor.kill(id).await?;
    remove(drivers, id).await
}

/// Runs the canary, and removes it. Returns the step that failed, and why.
async fn run(drivers: &Drivers, order: CanaryOrder, has_peers: bool) -> Option<(Level, String)> {
    let Some(beats) = drivers.network.beats() else {
        return Some((
            Level::Unknown,
            "guests of this host have no network that other hosts share".to_owned(),
        ));
    };
    let id = order.server_id;
    let (exits, ended) = mpsc::unbounded_channel();
    let (of, until) = (Arc::new(assignment(&order)), Instant::now() + ALL);
    let ended = Mutex::new(ended);
    let canary = Canary { drivers, of, address: order.address, beats, exits, ended, until };
    if let Err(failure) = clear(drivers, id).await {
        return Some((Level::Unknown, format!("what an earlier canary left cannot be removed: {failure}")));
    }
    let proven = canary.prove(has_peers).await;
    let cleared = step("remove", Instant::now() + STEP, clear(drivers, id)).await;
    proven.and(cleared).err().map(|why| (Level::Fail, why))
}

/// Does one step, a minute long at most. The error names it.
async fn step<T>(
    name: &str,
    until: Instant,
    doing: impl Future<Output = Result<T, Failure>>,
) -> Result<T, String> {
    let begun = Instant::now();
    let until = until.min(begun + STEP);
    match tokio::time::timeout_at(until, doing).await {
        Ok(Ok(done)) => {
            tracing::info!(step = name, took_ms = begun.elapsed().as_millis() as u64, "the canary goes on");
            Ok(done)
        }
        Ok(Err(Failure { details, .. })) => Err(format!("step '{name}' failed: {details}")),
        Err(_) => Err(format!("step '{name}' was not done after {} s", (until - begun).as_secs())),
    }
}

struct Canary<'a> {
    drivers: &'a Drivers,
    of: Arc<GuestAssignment>,
    address: Ipv4Addr,
    beats: watch::Receiver<Option<Beat>>,
    exits: mpsc::UnboundedSender<Exit>,
    /// The ends of the guest's process.
    ended: Mutex<mpsc::UnboundedReceiver<Exit>>,
    /// When all has to be proven.
    until: Instant,
}

impl Canary<'_> {
    async fn prove(&self, has_peers: bool) -> Result<(), String> {
        // Built, and reached from here.
        step("build", self.until, self.build()).await?;
        self.running("reach", self.reach()).await?;
        // What the guest itself reaches.
        let first = self.running("metadata", self.hear(|_| true)).await?;
        if has_peers {
            self.running("other host", self.hear(|beat| beat.reached.is_some())).await?;
        }
        self.running("clock", self.clock()).await?;
        self.running("latency", self.latency()).await?;
        // Its memory comes back as it was.
        step("suspend", self.until, self.suspend()).await?;
        // The process has ended as ordered.
        while self.ended.lock().await.try_recv().is_ok() {}
        step("resume", self.until, self.resume(first.starts)).await?;
        self.running("clock after resume", self.clock()).await
    }

    /// Does a step for which the guest has to run.
    async fn running<T>(
        &self,
        name: &str,
        doing: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, String> {
        let mut ended = self.ended.lock().await;
        let or_ended = async {
            tokio::select! {
                done = doing => done,
                _ = ended.recv() => Err(trouble("the guest's process has ended".to_owned())),
            }
        };
        step(name, self.until, or_ended).await
    }

    async fn build(&self) -> Result<(), Failure> {
        let id = self.of.server_id;
        self.drivers.hypervisor.keep_user_data(id, None).await?;
        self.drivers.hypervisor.keep_files(id, None).await?;
        for disk in &self.of.guest.disks {
            self.drivers.disks.make(id, disk).await?;
        }
        let (mut net, paths) = ready(self.drivers, &self.of).await?;
        net.nics.iter_mut().for_each(|nic| nic.boots = true);
        self.drivers.hypervisor.start(&self.of, paths, net).await?;
        self.drivers.hypervisor.watch(id, self.exits.clone());
        Ok(())
    }

    /// Waits until the guest answers pings of its host.
    async fn reach(&self) -> Result<(), Failure> {
        while self.drivers.network.ping(self.address, 5).await?.is_empty() {}
        Ok(())
    }

    /// Waits for the guest to say something from now on.
    async fn hear(&self, fits: impl Fn(&Beat) -> bool) -> Result<Beat, Failure> {
        let mut beats = self.beats.clone();
        beats.mark_unchanged();
        loop {
            let ended = |_| Failure::new("The host's network has ended.", "no metadata service");
            beats.changed().await.map_err(ended)?;
            if let Some(beat) = beats.borrow_and_update().filter(|beat| fits(beat)) {
                return Ok(beat);
            }
        }
    }

    /// Compares the guest's clock with the host's.
    async fn clock(&self) -> Result<(), Failure> {
        let beat = self.hear(|_| true).await?;
        let off_s = beat.clock_s.abs_diff(machine::now().unix_s());
        match off_s > CLOCK_OFF_S_MAX {
            true => Err(trouble(format!("the guest's clock is off by {off_s} s"))),
            false => Ok(()),
        }
    }

    async fn latency(&self) -> Result<(), Failure> {
        judge(self.drivers.network.ping(self.address, PINGS).await?)
    }

    async fn suspend(&self) -> Result<(), Failure> {
        self.drivers.hypervisor.suspend(&self.of).await?;
        self.drivers.network.unplug(self.of.server_id).await
    }

    /// The guest goes on where it was: it does not ask for its script again.
    async fn resume(&self, starts: u64) -> Result<(), Failure> {
        let Started { memory_lost, .. } =
            wake(self.drivers, self.of.clone(), |net| net.nics.iter_mut().for_each(|nic| nic.boots = true))
                .await?;
        self.drivers.hypervisor.watch(self.of.server_id, self.exits.clone());
        if let Some(why) = memory_lost {
            return Err(trouble(format!("its memory was lost: {why}")));
        }
        match self.hear(|_| true).await?.starts == starts {
            true => Ok(()),
            false => Err(trouble("the guest began anew".to_owned())),
        }
    }
}

fn trouble(details: String) -> Failure {
    Failure::new("The host cannot run guests as it should.", details)
}

/// Judges the times of answered pings.
fn judge(mut answered: Vec<Duration>) -> Result<(), Failure> {
    let lost = (PINGS as usize).saturating_sub(answered.len());
    if lost > LOST_MAX {
        return Err(trouble(format!("{lost} of {PINGS} pings were not answered")));
    }
    answered.sort_unstable();
    match answered.get(answered.len() / 2) {
        Some(median) if *median > MEDIAN_MAX => {
            Err(trouble(format!("half of the pings took more than {} ms", median.as_millis())))
        }
        _ => Ok(()),
    }
}

/// A guest with a blank disk, on the probes' network.
fn assignment(order: &CanaryOrder) -> GuestAssignment {
    let server_id = order.server_id;
    let size = Size { vcpus: 1, ram_mb: 96, disk_gb: 1, ephemeral_gb: 0, swap_mb: 0, image_gb: 0 };
    let disk = DiskSpec {
        id: DiskId::root_of(server_id),
        generation: 1,
        bytes: 64 << 20,
        content: Content::Blank,
        tag: None,
    };
    let range = Ipv4Addr::from_bits(ROUTER.to_bits() & !(u32::MAX >> PREFIX));
    let address = AddressSpec {
        subnet_id: SubnetId::default(),
        address: IpAddr::V4(order.address),
        cidr: IpNet::new_assert(IpAddr::V4(range), PREFIX),
        gateway: Some(IpAddr::V4(METADATA)),
        dhcp: true,
        ipv6_mode: None,
        dns: Vec::new(),
        routes: Vec::new(),
    };
    let port = PortSpec {
        port_id: order.port_id,
        slot: 0,
        network_id: network_id(),
        mac: order.mac,
        mtu: TUNNELED,
        addresses: vec![address],
        tag: None,
    };
    let guest = GuestSpec {
        name: CANARY.to_owned(),
        hostname: CANARY.to_owned(),
        project_id: Default::default(),
        user_id: Default::default(),
        size,
        disks: vec![disk],
        rescue: None,
        ports: vec![port],
        key: None,
        metadata: BTreeMap::new(),
        launch_index: 0,
        availability_zone: String::new(),
        config_drive: false,
        has_user_data: false,
        has_files: false,
        password: None,
        public_ips: Vec::new(),
        flavor_name: String::new(),
        reservation_id: String::new(),
        floating: Vec::new(),
    };
    GuestAssignment { server_id, generation: 1, boot: 1, paused: false, guest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{
        NetPlan, Network, Work,
        sim::{SimHost, SimKnobs},
    };
    use lenticular_model::{HostId, host::canary, host::host::Wiring};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    /// A network whose guest says what it should, but for one fault.
    #[derive(Default)]
    struct Fake {
        fault: &'static str,
        beats: watch::Sender<Option<Beat>>,
        starts: AtomicU64,
        was_unplugged: AtomicBool,
    }

    impl Network for Fake {
        fn describe(&self) -> Work<'_, Wiring> {
            Box::pin(async { Ok(Wiring::default()) })
        }

        fn plug<'a>(&'a self, _: ServerId, _: &'a GuestSpec) -> Work<'a, NetPlan> {
            let anew = self.fault == "resume" || !self.was_unplugged.load(Ordering::SeqCst);
            self.starts.fetch_add(u64::from(anew), Ordering::SeqCst);
            Box::pin(async { Ok(NetPlan::default()) })
        }

        fn unplug(&self, _: ServerId) -> Work<'_, ()> {
            let begun = self.starts.load(Ordering::SeqCst) > 0;
            self.was_unplugged.store(begun, Ordering::SeqCst);
            Box::pin(async { Ok(()) })
        }

        fn beats(&self) -> Option<watch::Receiver<Option<Beat>>> {
            Some(self.beats.subscribe())
        }

        fn ping(&self, _: Ipv4Addr, times: u32) -> Work<'_, Vec<Duration>> {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let silent = self.fault == "reach" || (self.fault == "latency" && times == PINGS);
                Ok(if silent { Vec::new() } else { vec![Duration::from_millis(2); times as usize] })
            })
        }
    }

    impl Fake {
        /// Speaks once a second.
        async fn speak(self: Arc<Self>) {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let now = machine::now().unix_s();
                let clock_s = if self.fault == "clock" { now - 10 } else { now };
                let reached = (self.fault != "other host").then_some(ROUTER);
                let starts = self.starts.load(Ordering::SeqCst);
                if self.fault != "metadata" {
                    self.beats.send_replace(Some(Beat { clock_s, reached, starts }));
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_fault_is_named_by_its_step_and_nothing_is_left() {
        for fault in ["", "reach", "metadata", "other host", "clock", "latency", "resume"] {
            let network = Arc::new(Fake { fault, ..Fake::default() });
            let (host, _releases) = SimHost::new("a".to_owned(), SimKnobs::default(), Arc::default());
            let host = Arc::new(host);
            let drivers = Drivers {
                moves: host.clone(),
                hypervisor: host.clone(),
                disks: host.clone(),
                network: network.clone(),
            };
            let speaking = tokio::spawn(network.speak());
            let order = canary::order(HostId::from_random([7; 16]), 1, 1).unwrap();
            let said = run(&drivers, order, true).await;
            match fault {
                "" => assert_eq!(said, None),
                step => {
                    let (level, text) = said.unwrap();
                    assert!(level == Level::Fail && text.starts_with(&format!("step '{step}'")), "{text}");
                }
            }
            assert!(drivers.hypervisor.list().await.unwrap().is_empty(), "after {fault}");
            assert!(drivers.disks.list().await.unwrap().is_empty(), "after {fault}");
            speaking.abort();
        }
    }

    #[test]
    fn lost_and_late_pings_are_told() {
        let took = |ms: u64, n: usize| vec![Duration::from_millis(ms); n];
        assert!(judge(took(3, 50)).is_ok());
        assert!(judge(took(3, 40)).is_ok(), "one in five");
        assert!(judge(took(3, 39)).unwrap_err().to_string().contains("11 of 50"));
        assert!(judge([took(3, 20), took(900, 30)].concat()).unwrap_err().to_string().contains("900 ms"));
        assert!(judge([took(3, 30), took(900, 20)].concat()).is_ok());
    }
}
