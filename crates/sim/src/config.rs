//! What may go wrong in a run, and which rule is broken on purpose to see that the invariants notice.

use std::collections::BTreeSet;

macro_rules! names {
    ($(#[$meta:meta])* $type:ident { $($(#[$doc:meta])* $name:ident $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $type { $($(#[$doc])* $name,)* }

        impl $type {
            /// All of them.
            pub const ALL: &'static [$type] = &[$($type::$name,)*];

            /// Its name on the command line and in reports.
            pub fn name(self) -> &'static str {
                match self { $($type::$name => $text,)* }
            }

            /// The one with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|f| f.name() == name)
            }
        }
    };
}

names! {
    /// Something that goes wrong by itself.
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
        /// The control plane dies when a commit is written and before anyone hears of it.
        PlaneCrashAfter "plane-crash-after";
        /// The control plane dies between commits.
        PlaneCrashIdle "plane-crash-idle";
        /// The store takes no commit once.
        CommitFails "commit-fails";
        /// A host is silent for more than a minute.
        HostSilent "host-silent";
        /// The disk of a guest that does not run vanishes, perhaps to come back.
        DiskAway "disk-away";
        /// Two hosts do not reach each other; both reach the control plane.
        HostsApart "hosts-apart";
        /// Nothing comes from a host to the control plane, or to it from there; other hosts reach it.
        HostCutOff "host-cut-off";
        /// The control plane's clock is set, forwards or backwards.
        ClockJump "clock-jump";
        /// All that a host does with its disk takes long for a while.
        SlowDisk "slow-disk";
        /// A host's disk is full for a while: nothing is made there, and the agent cannot keep its state.
        FullDisk "full-disk";
        /// The store goes back to a backup, and what was acknowledged since is lost.
        StoreRestored "store-restored";
    }
}

names! {
    /// A rule that is broken on purpose.
    Mutation {
        /// Agents act on orders that they had before.
        StaleOrders "stale-orders";
        /// After a crash the control plane comes back with an older store.
        ForgetsCommits "forgets-commits";
        /// The driver makes a fresh disk where one is missing.
        FreshDisk "fresh-disk";
        /// Agents take what an orders message does not mention for removed.
        AbsenceIsAnOrder "absence-is-an-order";
        /// The scheduler does not look at hosts' intent.
        PlacesAnywhere "places-anywhere";
        /// The scheduler does not hear of server groups.
        IgnoresGroups "ignores-groups";
        /// The control plane confirms tombstones by itself.
        BuriesEarly "buries-early";
        /// Observations of stopped guests are dropped on their way.
        BlindToStops "blind-to-stops";
        /// A step's success is told though nothing was done.
        LyingSteps "lying-steps";
        /// The control plane believes reports in the order in which they arrive.
        BelievesLateReports "believes-late-reports";
        /// A target takes a guest for its own as soon as it is ready for it.
        RunsBeforeRelease "runs-before-release";
        /// A source lets the guest go on when it has released it.
        ResumesAfterRelease "resumes-after-release";
        /// The control plane takes a target that is ready for one that has the guest.
        GrantsOnReady "grants-on-ready";
        /// A ticket names the generation that the disk has already.
        SameGeneration "same-generation";
        /// An operator restores a backup of the store and does not say so.
        RestoresBlindly "restores-blindly";
        /// Agents register their hosts before what they tell is saved.
        TellsUnsaved "tells-unsaved";
    }
}

/// How a world is set up and what happens in it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Decides everything else that is left open.
    pub seed: u64,
    /// How many hosts; if not said, drawn from 3 to 8, and for one seed in twenty from 9 to 50.
    pub hosts: Option<usize>,
    /// What goes wrong by chance.
    pub faults: BTreeSet<Fault>,
    /// Which rule is broken.
    pub mutation: Option<Mutation>,
    /// How long clients and faults are at work, in seconds; 0 for a scenario, which does all by itself.
    pub busy_s: i64,
    /// How many tenants; if not said, as many as the hosts are enough for.
    pub tenants: Option<usize>,
    /// Whether hosts have room for dozens of servers.
    pub roomy: bool,
    /// Every so many commits the indexes are compared with a rebuild.
    pub rebuild_every: u64,
    /// Whether all of the trace is kept.
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

    /// A quiet world of so many hosts, in which only what it is told happens.
    pub fn quiet(seed: u64, hosts: usize) -> Self {
        Self { hosts: Some(hosts), faults: BTreeSet::new(), busy_s: 0, ..Self::storm(seed) }
    }
}
