//! The faults of a run, and the rule that is broken on purpose to prove that the invariants notice.

use std::collections::BTreeSet;

macro_rules! names {
    ($(#[$meta:meta])* $type:ident { $($(#[$doc:meta])* $name:ident $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $type { $($(#[$doc])* $name,)* }

        impl $type {
            /// All values.
            pub const ALL: &'static [$type] = &[$($type::$name,)*];

            /// The name on the command line and in reports.
            pub fn name(self) -> &'static str {
                match self { $($type::$name => $text,)* }
            }

            /// The value with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|f| f.name() == name)
            }
        }
    };
}

names! {
    /// A fault that happens by itself.
    Fault {
        /// An agent's process dies and comes back; guests run on.
        AgentCrash "agent-crash";
        /// A host restarts: its guests die, its boot id changes.
        HostReboot "host-reboot";
        /// A message is lost.
        MessageLost "message-lost";
        /// A message arrives twice.
        MessageRepeated "message-repeated";
        /// A message arrives long after others that were sent later.
        MessageLate "message-late";
        /// A step takes minutes.
        SlowStep "slow-step";
        /// A step fails.
        FailingStep "failing-step";
        /// A guest's process is killed from outside.
        GuestKilled "guest-killed";
        /// A guest shuts itself down.
        GuestShutdown "guest-shutdown";
        /// The control plane dies before a commit is written.
        PlaneCrashBefore "plane-crash-before";
        /// The control plane dies after a commit is written and before any client learns of it.
        PlaneCrashAfter "plane-crash-after";
        /// The control plane dies between commits.
        PlaneCrashIdle "plane-crash-idle";
        /// The store refuses one commit.
        CommitFails "commit-fails";
        /// A host is silent for more than a minute.
        HostSilent "host-silent";
        /// The disk of a stopped guest vanishes, perhaps to come back.
        DiskAway "disk-away";
        /// Two hosts do not reach each other; both reach the control plane.
        HostsApart "hosts-apart";
        /// No message gets through between a host and the control plane, in one direction; other hosts reach the
        /// host.
        HostCutOff "host-cut-off";
        /// The control plane's clock is set, forwards or backwards.
        ClockJump "clock-jump";
        /// All of a host's disk work is slow for a while.
        SlowDisk "slow-disk";
        /// A host's disk is full for a while: nothing is made there, and the agent cannot save its state.
        FullDisk "full-disk";
        /// A host's network gets into trouble, or out of trouble.
        NetworkTrouble "network-trouble";
        /// A host's own switch stops answering, or answers again.
        BridgeDown "bridge-down";
        /// The store goes back to a backup, and everything acknowledged since is lost.
        StoreRestored "store-restored";
    }
}

names! {
    /// A rule that is broken on purpose.
    Mutation {
        /// Agents carry out outdated orders.
        StaleOrders "stale-orders";
        /// After a crash the control plane comes back with an older store.
        ForgetsCommits "forgets-commits";
        /// The driver makes a new disk in place of a missing disk.
        FreshDisk "fresh-disk";
        /// Agents treat servers that an orders message does not mention as removed.
        AbsenceIsAnOrder "absence-is-an-order";
        /// The scheduler ignores disabled hosts.
        PlacesAnywhere "places-anywhere";
        /// Commands ignore the operators' rules about hosts.
        IgnoresRules "ignores-rules";
        /// Commands do not know which hosts are dark.
        IgnoresDark "ignores-dark";
        /// Plans move as many servers at once as there are.
        PlansHurry "plans-hurry";
        /// Plans boot hosts before their guests rest.
        BootsEarly "boots-early";
        /// The scheduler ignores server groups.
        IgnoresGroups "ignores-groups";
        /// The control plane confirms tombstones by itself.
        BuriesEarly "buries-early";
        /// Observations of stopped guests are lost.
        BlindToStops "blind-to-stops";
        /// A step reports success without any effect.
        LyingSteps "lying-steps";
        /// The control plane takes reports in the order of arrival.
        BelievesLateReports "believes-late-reports";
        /// A target adopts a guest as soon as it is ready for it.
        RunsBeforeRelease "runs-before-release";
        /// A source resumes a guest after it has released it.
        ResumesAfterRelease "resumes-after-release";
        /// The control plane treats a target that is ready as one that has the guest.
        GrantsOnReady "grants-on-ready";
        /// A ticket names the disk's current generation.
        SameGeneration "same-generation";
        /// An operator restores a backup of the store and does not say so.
        RestoresBlindly "restores-blindly";
        /// The control plane forgets the facts that come with reports.
        ForgetsFacts "forgets-facts";
        /// Agents register before the reported state is saved.
        TellsUnsaved "tells-unsaved";
    }
}

/// The set-up and the events of a world.
#[derive(Debug, Clone)]
pub struct Config {
    /// Decides everything that the other settings leave open.
    pub seed: u64,
    /// The number of hosts; by default drawn from 3 to 8, and for one seed in twenty from 9 to 50.
    pub hosts: Option<usize>,
    /// The random faults.
    pub faults: BTreeSet<Fault>,
    /// The broken rule.
    pub mutation: Option<Mutation>,
    /// How long clients and faults are active, in seconds; 0 for a scenario, which makes its own events.
    pub busy_s: i64,
    /// The number of tenants; by default as many as the hosts have room for.
    pub tenants: Option<usize>,
    /// Whether hosts have room for dozens of servers.
    pub roomy: bool,
    /// The number of commits between two comparisons of the indexes with a rebuild.
    pub rebuild_every: u64,
    /// Whether the whole trace is kept.
    pub keep_trace: bool,
}

impl Config {
    /// A storm of creates, actions and deletes under every fault.
    pub fn storm(seed: u64) -> Self {
        Self {
            seed,
            hosts: None,
            faults: Fault::ALL.iter().copied().collect(),
            mutation: None,
            busy_s: 200,
            tenants: None,
            roomy: false,
            rebuild_every: 60,
            keep_trace: false,
        }
    }

    /// A quiet world with this many hosts: only explicit events happen.
    pub fn quiet(seed: u64, hosts: usize) -> Self {
        Self { hosts: Some(hosts), faults: BTreeSet::new(), busy_s: 0, ..Self::storm(seed) }
    }
}
