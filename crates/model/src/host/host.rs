//! Hosts that run servers, and the time of each host's last heartbeat.

use super::{
    action::{ActionOrder, ActionResult},
    canary::{self, CanaryOrder},
    evidence::{self, Finding, Findings},
    package::Packages,
    probe::{self, ProbeOrder},
    version::{self, PackageFormat},
};
use crate::{HostId, PlanId, Timestamp, UserId, network::mac::Mac, record};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// The operator's setting for a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Intent {
    /// It may take new servers.
    Enabled,
    /// It takes no new servers; its servers run on.
    Disabled {
        /// The reason, for people.
        reason: Option<String>,
    },
    /// It takes no servers, and a plan moves its servers away.
    Draining {
        /// The plan.
        plan_id: PlanId,
        /// The setting that the host gets back.
        before: Box<Intent>,
    },
    /// It takes no servers since a plan moved them away, or began to.
    Drained {
        /// The plan.
        plan_id: PlanId,
        /// The plan was aborted.
        #[serde(default)]
        aborted: bool,
        /// The setting that the host gets back.
        before: Box<Intent>,
    },
}

impl Intent {
    /// The setting without drains.
    pub fn before_drain(&self) -> &Self {
        match self {
            Self::Draining { before, .. } | Self::Drained { before, .. } => before.before_drain(),
            Self::Enabled | Self::Disabled { .. } => self,
        }
    }

    /// Why the host takes no servers, as far as its operator goes; `None` if it may.
    pub fn reason(&self) -> Option<String> {
        let also = |before: &Self| match before {
            Self::Disabled { reason: Some(reason) } => format!("; disabled before: {reason}"),
            Self::Disabled { reason: None } => "; disabled before".to_owned(),
            _ => String::new(),
        };
        match self {
            Self::Enabled => None,
            Self::Disabled { reason } => reason.clone(),
            Self::Draining { plan_id, before } => {
                Some(format!("being drained by plan {plan_id}{}", also(before)))
            }
            Self::Drained { plan_id, aborted: false, before } => {
                Some(format!("drained by plan {plan_id}{}", also(before)))
            }
            Self::Drained { plan_id, aborted: true, before } => {
                Some(format!("closed by plan {plan_id}, which was aborted{}", also(before)))
            }
        }
    }
}

/// The resources of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Logical CPUs.
    pub vcpus: u64,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// Disk for servers in GiB.
    pub disk_gb: u64,
}

/// The overcommitment of a host's resources.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Memory given out for each real MiB.
    pub ram_ratio: f64,
    /// Disk given out for each real GiB.
    pub disk_ratio: f64,
    /// Resources reserved for the host itself.
    #[serde(default)]
    pub reserved: Capacity,
}

impl Default for Share {
    fn default() -> Self {
        Self { ram_ratio: 1.0, disk_ratio: 1.0, reserved: Capacity::default() }
    }
}

/// The first version of the agent protocol with orders about the host itself.
pub const PROTOCOL_WITH_HOST_ORDERS: u32 = 3;

/// The first version of the agent protocol in which a guest has several disks, and agents say which layout a guest's
/// virtual machine has.
pub const PROTOCOL_WITH_DISKS: u32 = 3;

/// The first version of the agent protocol in which agents know more questions than that for the console's log.
pub const PROTOCOL_WITH_QUESTIONS: u32 = 3;

/// The first version of the agent protocol with paused and suspended guests.
pub const PROTOCOL_WITH_SUSPEND: u32 = 3;

/// What a host shall do about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostOrder {
    /// Counts the checks that operators asked for. If it is higher than the last check that the agent carried out,
    /// the agent measures its facts and tests the host again.
    #[serde(default)]
    pub check: u64,
    /// The hosts that the host asks whether they answer; `None` for hosts without a probe port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeOrder>,
    /// The canary that the host runs; `None` if it never had to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryOrder>,
    /// The action that the host runs; `None` if it never had to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionOrder>,
    /// The packages whose versions the host reports, because rules name them; in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

/// The network driver that connects guests on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wiring {
    /// `ovn`, `user` or `sim`; empty if the host does not say.
    #[serde(default)]
    pub driver: String,
    /// The physical networks that it reaches, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub physical_networks: Vec<String>,
}

impl Wiring {
    /// True if OVN reports when a port is plugged.
    pub fn is_ovn(&self) -> bool {
        self.driver == "ovn"
    }

    /// True if it reaches the physical network.
    pub fn reaches(&self, physical_network: &str) -> bool {
        self.is_ovn() && self.physical_networks.iter().any(|name| name == physical_network)
    }
}

/// The hypervisor of a host, as its agent verified it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hypervisor {
    /// `qemu` or `sim`.
    pub driver: String,
    /// `kvm`, `tcg` or `none`.
    pub acceleration: String,
    /// The hypervisor's version as a number, as Nova shows it (10.0.2 is 10000002).
    pub version: u64,
    /// The CPU's architecture (`x86_64`).
    pub arch: String,
    /// The CPU's model, for people.
    pub cpu_model: String,
    /// The network driver of its guests.
    #[serde(default)]
    pub wiring: Wiring,
}

/// The declaration that a host is off: nothing runs on the host, and nothing will until the fence is lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// When the host was fenced.
    pub at: Timestamp,
    /// The user or driver that fenced the host.
    pub by: String,
    /// True if the host's disks are lost too: its servers can only be rebuilt from their images.
    #[serde(default)]
    pub disks_lost: bool,
    /// The fencing driver's proof; `None` if only a person said that the host is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// Proof that a fencing driver switched a host off and checked that the host is off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The driver.
    pub driver: String,
    /// The driver's output.
    pub said: String,
}

impl Hypervisor {
    /// The traits of the hypervisor, under Placement's names.
    pub fn traits(&self) -> Vec<&'static str> {
        let mut traits = vec!["COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW", "COMPUTE_NODE"];
        match self.acceleration.as_str() {
            "kvm" => traits.push("CUSTOM_ACCELERATION_KVM"),
            "tcg" => traits.push("CUSTOM_ACCELERATION_TCG"),
            _ => {}
        }
        match self.driver.as_str() {
            "qemu" => traits.push("CUSTOM_DRIVER_QEMU"),
            "sim" => traits.push("CUSTOM_DRIVER_SIM"),
            _ => {}
        }
        match self.arch.as_str() {
            "x86_64" => traits.push("HW_ARCH_X86_64"),
            "aarch64" => traits.push("HW_ARCH_AARCH64"),
            _ => {}
        }
        traits
    }

    /// True if each of its guests has a config drive, requested or not.
    pub fn gives_config_drives(&self) -> bool {
        self.driver == "qemu"
    }

    /// Nova's name for its kind.
    pub fn kind(&self) -> &'static str {
        match self.driver.as_str() {
            "qemu" => "QEMU",
            _ => "fake",
        }
    }
}

/// An operator's decision that a host takes servers in spite of one line of its readiness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The reason, for people.
    pub reason: String,
    /// The operator.
    pub user_id: UserId,
    /// When it ends.
    pub until: Timestamp,
}

/// What a host was when it proved itself. A host that has booted since, or has other versions, must prove itself again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// When.
    pub at: Timestamp,
    /// The kernel's boot id then; `None` if the host was there before hosts had to prove themselves: it is admitted
    /// until it boots.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// The versions then.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// The operator who admitted it in spite of what spoke against it, and the reason; `None` if nothing did.
    #[serde(default)]
    pub by: Option<(UserId, String)>,
}

/// The versions that an admission rests on.
const ADMISSION_VERSIONS: [&str; 7] =
    ["kernel", "qemu", "microcode", "ovs", "ovn", "libc", version::CONFIGURATION];

/// True if every version that an admission rests on is the same. What was not known then, or is not now, has not changed.
fn are_same(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> bool {
    ADMISSION_VERSIONS.iter().all(|name| match (then.get(*name), now.get(*name)) {
        (Some(then), Some(now)) => then == now,
        _ => true,
    })
}

/// The admission of a host that an earlier release wrote.
fn admitted_before() -> Option<Admission> {
    Some(Admission { at: Timestamp::default(), boot_id: None, versions: BTreeMap::new(), by: None })
}

record! {
    /// A host.
    pub struct Host: HostId {
        /// Unique: the host's name.
        pub name: String,
        /// The operator's setting.
        pub intent: Intent,
        /// The availability zone: the zone of its aggregates, or else its own zone.
        pub zone: String,
        /// The host's own zone, while an aggregate gives it another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub own_zone: Option<String>,
        /// The address of its agent, for people.
        pub address: String,
        /// `address:port` where its agent listens for other hosts' agents; empty if it does not.
        #[serde(default)]
        pub peer_address: String,
        /// Its resources.
        pub capacity: Capacity,
        /// Its hypervisor.
        pub hypervisor: Hypervisor,
        /// The kernel's boot id. It changes when the host restarts.
        pub boot_id: String,
        /// When its kernel booted; `None` if its agent does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub booted_at: Option<Timestamp>,
        /// The release of its running kernel; empty if its agent does not say.
        #[serde(default)]
        pub kernel: String,
        /// The release of its agent; empty if the agent does not say.
        #[serde(default)]
        pub agent: String,
        /// The version of the agent protocol that its agent speaks; 0 before the host registered with this
        /// binary.
        #[serde(default)]
        pub protocol: u32,
        /// The versions of software on the host, by their names; empty if its agent does not say.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub versions: BTreeMap<String, String>,
        /// The package format of its distribution.
        #[serde(default)]
        pub package_format: PackageFormat,
        /// Its packages; `None` if its agent does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub packages: Option<Packages>,
        /// What operators say about the host: `rack`, `gateway`, `power`, anything.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub labels: BTreeMap<String, String>,
        /// Its last admission; `None` if it has not proved itself since it was added.
        #[serde(default = "admitted_before")]
        pub admission: Option<Admission>,
        /// The operators' overrides of what speaks against the host, by the line's name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub overrides: BTreeMap<String, Override>,
        /// The last results of its checks.
        #[serde(default, skip_serializing_if = "Findings::is_empty")]
        pub evidence: Findings,
        /// The orders that are about the host itself.
        #[serde(default)]
        pub order: HostOrder,
        /// The last check that the agent carried out, of those that operators asked for.
        #[serde(default)]
        pub checked: u64,
        /// The names of hosts that it asks and that do not answer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub unreached: Vec<String>,
        /// The canaries that the host ran.
        #[serde(default)]
        pub canaries: Canaries,
        /// The names of the actions that its own configuration allows.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub actions: Vec<String>,
        /// The last action that began, of those that were ordered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub action: Option<ActionResult>,
        /// A number for old clients.
        pub number: u64,
        /// The start of the host's silence; `None` while it sends heartbeats.
        #[serde(default)]
        pub silent_since: Option<Timestamp>,
        /// The fence: the host is off and stays off; `None` if the host is not fenced.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub fence: Option<Fence>,
        /// True after a restore of the store, until the host has reported all that it has.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub unheard: bool,
        /// Virtual CPUs given out for each real one.
        pub cpu_ratio: f64,
        /// The overcommitment of the other resources, and the reserved part.
        #[serde(default)]
        pub share: Share,
    }
}

/// The canaries that a host ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canaries {
    /// The last one that ended, of those that were ordered.
    #[serde(default)]
    pub ended: u64,
    /// The last one that the host passed.
    #[serde(default)]
    pub passed: u64,
    /// The last one that was ordered before the host booted or was changed: it proves nothing any more.
    #[serde(default)]
    pub void: u64,
    /// The last one that was ordered before a change that did not void the proof, because too many hosts of the zone had to
    /// prove themselves. The proof holds, and is renewed at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outdated: Option<u64>,
    /// When the last one was ordered.
    #[serde(default)]
    pub ordered_at: Option<Timestamp>,
    /// When the last one ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
}

record! {
    /// The time and session of a host's last heartbeat. Volatile: only its transitions are in the journal
    /// (`Host::silent_since`). After a restart of the control plane every host registers again.
    pub struct Heartbeat: HostId {
        /// When.
        pub at: Timestamp,
        /// The session of the host's last registration. Reports of other sessions are ignored.
        pub session: u64,
        /// The number of the last accepted report of this session; 0 before the first.
        pub number: u64,
    }
}

/// The zone of hosts without another zone.
pub const DEFAULT_ZONE: &str = "nova";

/// A host without a heartbeat for this many seconds counts as silent (Nova's `service_down_time`).
pub const SILENT_AFTER_S: i64 = 60;

impl Host {
    /// True unless the host is silent or fenced.
    pub fn is_up(&self) -> bool {
        self.silent_since.is_none() && self.fence.is_none()
    }

    /// True if the host may have servers or disks that no record names: it has not reported since the store was
    /// restored, and its disks are not known to be lost.
    pub fn may_know_more(&self) -> bool {
        self.unheard && !self.fence.as_ref().is_some_and(|fence| fence.disks_lost)
    }

    /// The addresses of its probe port; `None` if it has none.
    pub fn probe_addresses(&self) -> Option<(Mac, Ipv4Addr)> {
        let has_port = matches!(self.hypervisor.wiring.driver.as_str(), "ovn" | "sim");
        probe::addresses(self.number).filter(|_| has_port)
    }

    /// True if it can tell which of the hosts that it asks do not answer: its switch answers, and some other host.
    pub fn is_witness(&self) -> bool {
        let fails = |check: &str| self.evidence.get(check).is_some_and(|found| !found.has_passed());
        self.is_up() && !fails(evidence::BRIDGE) && !fails(evidence::TUNNELS)
    }

    /// True if its proof is from before a change.
    pub fn has_outdated_proof(&self) -> bool {
        let Canaries { outdated, passed, .. } = self.canaries;
        let proven = self.evidence.get(evidence::CANARY).is_some_and(Finding::has_passed);
        proven && outdated.is_some_and(|outdated| passed <= outdated)
    }

    /// True while it runs a canary, as far as the control plane waits for it.
    pub fn runs_canary(&self, now: Timestamp) -> bool {
        let ordered = self.order.canary.as_ref().is_some_and(|order| order.number > self.canaries.ended);
        let ends = self.canaries.ordered_at.map(|at| at.plus_s(canary::ENDS_WITHIN_S));
        ordered && self.is_up() && ends.is_some_and(|ends| now < ends)
    }

    /// True if other hosts ask it whether it answers. Agents without probes do not answer.
    pub fn answers_probes(&self) -> bool {
        self.is_up() && self.evidence.contains_key(evidence::BRIDGE) && self.probe_addresses().is_some()
    }

    /// What is wrong by the last result of a check; `None` if the host passed or has not said.
    pub fn trouble(&self, check: &str) -> Option<&str> {
        self.evidence.get(check).filter(|found| !found.has_passed())?.trouble.as_deref()
    }

    /// Why the host cannot run guests now; `None` if it can.
    pub fn hypervisor_trouble(&self) -> Option<&str> {
        self.trouble(evidence::HYPERVISOR)
    }

    /// Why the networks of its guests do not follow changes now; `None` if they do.
    pub fn network_trouble(&self) -> Option<&str> {
        self.trouble(evidence::NETWORK)
    }

    /// True if the host has proved itself, as it is now.
    pub fn is_admitted(&self) -> bool {
        let Some(Admission { boot_id, versions, .. }) = &self.admission else { return false };
        boot_id.as_ref().is_none_or(|then| *then == self.boot_id) && are_same(versions, &self.versions)
    }

    /// True if the host has not booted since `other`, its earlier record, and has the same versions.
    pub fn is_unchanged_since(&self, other: &Self) -> bool {
        // A version that is gone may come back as another one.
        let gone = |name: &&str| other.versions.contains_key(*name) && !self.versions.contains_key(*name);
        let same = are_same(&other.versions, &self.versions) && !ADMISSION_VERSIONS.iter().any(gone);
        self.boot_id == other.boot_id && same
    }

    /// Its admission if it proved itself now.
    pub fn admission_now(&self, at: Timestamp, by: Option<(UserId, String)>) -> Admission {
        Admission { at, boot_id: Some(self.boot_id.clone()), versions: self.versions.clone(), by }
    }

    /// True while a plan moves its servers away.
    pub fn is_draining(&self) -> bool {
        matches!(self.intent, Intent::Draining { .. })
    }

    /// True if the operator permits new servers on the host.
    pub fn is_enabled(&self) -> bool {
        self.intent == Intent::Enabled
    }

    /// The overcommitment ratio of each class of resource.
    pub fn ratios(&self) -> Ratios {
        Ratios { cpu: self.cpu_ratio, ram: self.share.ram_ratio, disk: self.share.disk_ratio }
    }

    /// The resources for servers, before overcommitment.
    pub fn net(&self) -> Capacity {
        let (all, kept) = (self.capacity, self.share.reserved);
        Capacity {
            vcpus: all.vcpus.saturating_sub(kept.vcpus),
            memory_mb: all.memory_mb.saturating_sub(kept.memory_mb),
            disk_gb: all.disk_gb.saturating_sub(kept.disk_gb),
        }
    }

    /// The resources that the host may give out.
    pub fn to_give(&self) -> Capacity {
        self.ratios().of(self.net())
    }

    /// Virtual CPUs it may give out.
    pub fn vcpus_to_give(&self) -> u64 {
        self.to_give().vcpus
    }
}

/// The overcommitment ratio of each class of resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratios {
    /// Virtual CPUs.
    pub cpu: f64,
    /// Memory.
    pub ram: f64,
    /// Disk.
    pub disk: f64,
}

impl Ratios {
    /// The resources that may be given out of `net`.
    pub fn of(self, net: Capacity) -> Capacity {
        let times = |amount: u64, ratio: f64| (amount as f64 * ratio) as u64;
        Capacity {
            vcpus: times(net.vcpus, self.cpu),
            memory_mb: times(net.memory_mb, self.ram),
            disk_gb: times(net.disk_gb, self.disk),
        }
    }
}
