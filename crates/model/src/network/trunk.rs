//! Trunks: ports of several networks that reach a guest through one port, separated by VLAN tags (Neutron's noun).

use crate::{
    Owned, PortId, ProjectId, Scoped, State, TrunkId,
    error::Error,
    policy::{Action, Caller},
    record,
};
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// A port that reaches the guest through the trunk's parent port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubPort {
    /// The port.
    pub port_id: PortId,
    /// The VLAN tag that the guest uses for the port, 1 to 4094.
    pub segmentation_id: u16,
}

record! {
    /// A trunk.
    pub struct Trunk: TrunkId {
        /// Its project.
        pub project_id: ProjectId,
        /// Need not be unique.
        #[serde(default)]
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// False forbids changes of its subports.
        pub admin_state_up: bool,
        /// The parent port, which the guest has.
        pub port_id: PortId,
        /// The subports, by VLAN tag.
        #[serde(default)]
        pub sub_ports: Vec<SubPort>,
        /// Labels.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}

impl Scoped for Trunk {
    fn missing(id: impl Display) -> Error {
        Error::not_found("Trunk", id).coded("TrunkNotFound")
    }

    fn visible_to(&self, _: &State, caller: &Caller) -> bool {
        caller.sees(self.project_id)
    }
}

impl Owned for Trunk {
    const WRITE: Action = Action::TrunkWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}
