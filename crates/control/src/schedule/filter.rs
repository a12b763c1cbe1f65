//! The filters by name, each with its meaning in plain words.

macro_rules! filters {
    ($($(#[$doc:meta])* $filter:ident $name:literal $plain:literal;)*) => {
        /// A filter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Filter { $($(#[$doc])* $filter,)* }

        impl Filter {
            /// All filters, in the order in which hosts are checked.
            pub(super) const ALL: &'static [Self] = &[$(Self::$filter,)*];

            /// Nova's name of the filter.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$filter => $name,)* }
            }
        }

        /// The meaning of a filter's refusal; also for names in older verdicts.
        pub(super) fn plain(name: &str) -> &'static str {
            match name { $($name => $plain,)* _ => "unsuitable" }
        }
    };
}

filters! {
    /// Whether the host takes servers at all.
    Compute "ComputeFilter" "disabled or out of order";
    /// Whether the host is the requested host.
    ForcedHost "ForcedHostFilter" "not the host asked for";
    /// Whether the host is ready by the operators' rules.
    Readiness "ReadinessFilter" "not ready for servers";
    /// Whether the host is in the zone.
    Zone "AvailabilityZoneFilter" "in another zone";
    /// Whether the host is in the aggregate that a plan moves servers to.
    Target "TargetAggregateFilter" "not where the plan moves servers to";
    /// Whether the host's aggregates are reserved for other projects.
    Tenancy "AggregateMultiTenancyIsolation" "reserved for other projects";
    /// Whether the host's aggregates are reserved for other images.
    ImageIsolation "AggregateImagePropertiesIsolation" "reserved for other images";
    /// Whether the host's aggregates have the properties that the flavor requires.
    ExtraSpecs "AggregateInstanceExtraSpecsFilter" "in no aggregate that the flavor asks for";
    /// Whether the host can run the image.
    ImageProperties "ImagePropertiesFilter" "unable to run the image";
    /// Whether the host has the capabilities that the flavor requires.
    Capabilities "ComputeCapabilitiesFilter" "without a capability that the flavor asks for";
    /// Whether the host has the traits that flavor and image require.
    Traits "RequiredTraits" "without a trait that is required, or with one that is forbidden";
    /// Whether the guest can move to the host from its present host.
    Migration "MigrationFilter" "unable to take over the guest";
    /// Whether the host has a CPU for the running guest.
    Cpu "CPUCompatibilityFilter" "without a CPU that the guest can move to";
    /// Whether the host is the server's present host.
    SourceHost "SourceHostFilter" "the server's present host";
    /// Whether the host's agent listens for other agents.
    Reach "ReachableFilter" "not reachable for other hosts";
    /// Whether the host's agent is new enough for the server.
    Agent "AgentFilter" "with an agent that is too old for the server";
    /// Whether the host has one of the servers that the hint names.
    SameHost "SameHostFilter" "without any of the servers that same_host names";
    /// Whether the host has none of the servers that the hint names.
    DifferentHost "DifferentHostFilter" "with a server that different_host names";
    /// Whether the group's servers are on the host.
    Affinity "ServerGroupAffinityFilter" "without the server group's servers";
    /// Whether the host may have one more server of the group.
    AntiAffinity "ServerGroupAntiAffinityFilter" "with enough servers of the server group";
    /// Whether the host may take part in one more move now.
    Moves "ConcurrentMovesFilter" "with as many moves as are allowed at a time";
    /// Whether the host has enough CPUs.
    Vcpus "VCPU" "too few CPUs left";
    /// Whether the host has enough memory.
    Memory "MEMORY_MB" "too little memory left";
    /// Whether the host has enough disk.
    Disk "DISK_GB" "too little disk left";
}
