//! Networks: what ports and subnets belong to (Neutron's noun).

use crate::{record, NetworkId, ProjectId};

record! {
    /// A network.
    pub struct Network: NetworkId {
        /// Its project.
        pub project_id: ProjectId,
        /// Need not be unique.
        #[serde(default)]
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// False stops its traffic.
        pub admin_state_up: bool,
        /// True shows it to every project.
        #[serde(default)]
        pub shared: bool,
        /// True if it leads out of the cloud.
        #[serde(default)]
        pub external: bool,
        /// True for the network that servers get when they ask for none.
        #[serde(default)]
        pub is_default: bool,
        /// Largest packet in bytes.
        pub mtu: u32,
        /// Whether its ports are filtered unless they say otherwise.
        pub port_security_enabled: bool,
        /// Labels.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
        /// The physical side: type, physical network, segment.
        #[serde(default)]
        pub provider: Provider,
    }
}

/// The physical side of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Provider {
    /// `geneve`, `flat`, `vlan`; empty for what the driver chooses.
    #[serde(default)]
    pub network_type: String,
    /// The physical network's name.
    #[serde(default)]
    pub physical_network: Option<String>,
    /// VLAN or tunnel id.
    #[serde(default)]
    pub segmentation_id: Option<u32>,
}
