//! Which hosts ask which whether they answer: each asks the next few in the order of ids, and the last ones the first.

use crate::{
    HostId, State,
    host::{
        host::{Host, PROTOCOL_WITH_HOST_ORDERS},
        probe::{PEERS, ProbeOrder, ProbePeer, port_name},
    },
};

impl State {
    /// A host's order to ask others; `None` if it has no probe port, or its agent knows no orders about the host.
    pub fn probe_order(&self, host: &Host) -> Option<ProbeOrder> {
        let (mac, address) = host.probe_addresses().filter(|_| host.protocol >= PROTOCOL_WITH_HOST_ORDERS)?;
        let after = self.hosts.from(host.id).skip(1);
        let ring = after.chain(self.hosts.values().take_while(|other| other.id != host.id));
        let peers = ring.filter(|other| other.answers_probes()).take(PEERS).filter_map(|peer| {
            Some(ProbePeer { host: peer.name.clone(), address: peer.probe_addresses()?.1 })
        });
        let (port, lone_project) = (port_name(host.id), self.has_lone_project());
        Some(ProbeOrder { port, mac, address, peers: peers.collect(), lone_project })
    }

    /// True if one project has all servers, or there are none.
    pub fn has_lone_project(&self) -> bool {
        self.index.project_usage.len() < 2
    }

    /// The hosts that ask this host, or would if it answered.
    pub fn probe_askers(&self, host: HostId) -> impl Iterator<Item = HostId> + '_ {
        let before = self.hosts.before(host);
        let ring = before.chain(self.hosts.values().rev().take_while(move |other| other.id != host));
        // Hosts that nobody asks stand between them, and ask too.
        let mut asked = 0;
        let near = ring.take_while(move |other| {
            let near = asked < PEERS;
            asked += usize::from(other.answers_probes());
            near
        });
        near.map(|host| host.id)
    }
}
