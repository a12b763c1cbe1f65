//! Trunks by their ports.

use crate::{PortId, State, network::trunk::Trunk};
use std::sync::Arc;

impl State {
    /// The trunk whose parent a port is.
    pub fn trunk_of_parent(&self, port: PortId) -> Option<&Arc<Trunk>> {
        self.trunks.get(&self.index.net.parent_trunk.at(port, 0)?)
    }

    /// The trunk whose subport a port is.
    pub fn trunk_of_subport(&self, port: PortId) -> Option<&Arc<Trunk>> {
        self.trunks.get(&self.index.net.subport_trunk.at(port, 0)?)
    }
}
