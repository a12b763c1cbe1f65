//! The filters by name, each with its meaning for people who do not know Nova's names.

macro_rules! filters {
    ($($(#[$doc:meta])* $filter:ident $name:literal $plain:literal;)*) => {
        /// A filter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Filter { $($(#[$doc])* $filter,)* }

        impl Filter {
            /// All of them, in the order in which hosts are asked.
            pub(super) const ALL: &'static [Self] = &[$(Self::$filter,)*];

            /// The name that operators know.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$filter => $name,)* }
            }
        }

        /// What a filter means when it refuses; for names that older verdicts have, too.
        pub(super) fn plain(name: &str) -> &'static str {
            match name { $($name => $plain,)* _ => "unsuitable" }
        }
    };
}

filters! {
    /// Whether it takes servers at all.
    Compute "ComputeFilter" "disabled or out of order";
    /// Whether it is the one that was asked for.
    ForcedHost "ForcedHostFilter" "not the host asked for";
    /// Whether it is in the zone.
    Zone "AvailabilityZoneFilter" "in another zone";
    /// Whether its aggregates are for other projects alone.
    Tenancy "AggregateMultiTenancyIsolation" "reserved for other projects";
    /// Whether its aggregates are for other images alone.
    ImageIsolation "AggregateImagePropertiesIsolation" "reserved for other images";
    /// Whether its aggregates are what the flavor asks for.
    ExtraSpecs "AggregateInstanceExtraSpecsFilter" "in no aggregate that the flavor asks for";
    /// Whether it runs such images.
    ImageProperties "ImagePropertiesFilter" "unable to run the image";
    /// Whether it can what the flavor asks for.
    Capabilities "ComputeCapabilitiesFilter" "without a capability that the flavor asks for";
    /// Whether it has the traits that flavor and image ask for.
    Traits "RequiredTraits" "without a trait that is required, or with one that is forbidden";
    /// Whether a guest can come there from where it is.
    Migration "MigrationFilter" "unable to take over the guest";
    /// Whether a running guest would find its CPU there.
    Cpu "CPUCompatibilityFilter" "without a CPU that the guest can move to";
    /// Whether the server is there already.
    SourceHost "SourceHostFilter" "the server's present host";
    /// Whether its agent listens for others.
    Reach "ReachableFilter" "not reachable for other hosts";
    /// Whether one of the servers named is there.
    SameHost "SameHostFilter" "without any of the servers that same_host names";
    /// Whether none of the servers named is there.
    DifferentHost "DifferentHostFilter" "with a server that different_host names";
    /// Whether the group is there.
    Affinity "ServerGroupAffinityFilter" "without the server group's servers";
    /// Whether the group may have one more there.
    AntiAffinity "ServerGroupAntiAffinityFilter" "with enough servers of the server group";
    /// Whether there are CPUs.
    Vcpus "VCPU" "too few CPUs left";
    /// Whether there is memory.
    Memory "MEMORY_MB" "too little memory left";
    /// Whether there is disk.
    Disk "DISK_GB" "too little disk left";
}
