//! The first invariant: at most one running copy of a server, and only where its record says. After each change,
//! the checker looks at what the change can affect.

use crate::{host::Host, real::Real, world::World};
use lenticular_model::{
    DiskId, HostId, Kind, PortId, ServerId,
    compute::server::{Server, Wanted},
    host::host::Host as HostRecord,
};
use lenticular_store::Commit;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The servers to check.
#[derive(Debug, Default)]
pub(crate) struct Look {
    all: bool,
    some: BTreeSet<ServerId>,
    /// The hosts that ever had anything of a server.
    places: BTreeMap<ServerId, BTreeSet<usize>>,
}

impl Look {
    /// Every server may have changed.
    pub(crate) fn at_all(&mut self) {
        self.all = true;
    }

    /// A guest started, or its record changed.
    pub(crate) fn at(&mut self, id: ServerId) {
        self.some.insert(id);
    }
}

impl World {
    /// The real state of a guest on a host; notes that the state exists.
    pub(crate) fn real(&mut self, n: usize, id: ServerId) -> &mut Real {
        self.look.places.entry(id).or_default().insert(n);
        self.hosts[n].guests.entry(id).or_default()
    }

    /// The host with this id.
    pub(crate) fn host_of(&self, id: HostId) -> Option<&Host> {
        self.host_numbers.get(&id).map(|n| &self.hosts[*n]).filter(|host| host.id == Some(id))
    }

    /// Notes the servers whose records a commit changed.
    pub(crate) fn look_after(&mut self, commit: &Commit) -> BTreeSet<ServerId> {
        let state = &commit.state;
        let mut changed = BTreeSet::new();
        for (kind, id) in &commit.changes {
            match kind {
                Kind::Server => changed.extend(id.parse::<ServerId>().ok()),
                Kind::Port => {
                    let port = id.parse::<PortId>().ok().and_then(|id| state.ports.get(&id));
                    changed.extend(port.and_then(|port| port.server_id));
                }
                Kind::Disk => {
                    let disk = id
                        .parse::<DiskId>()
                        .ok()
                        .and_then(|id| state.disks.get(&id).or_else(|| self.plane.published.disks.get(&id)));
                    changed.extend(disk.map(|disk| disk.server_id));
                }
                Kind::Host if self.plane.restores > 0 => self.look.all = true,
                _ => {}
            }
        }
        self.look.some.extend(changed.iter().copied());
        changed
    }

    /// 1: at most one running copy of a server, and only on the host and the generation that its record names.
    pub(crate) fn check_copies(&mut self) {
        let some = std::mem::take(&mut self.look.some);
        let ids: Vec<ServerId> = match std::mem::take(&mut self.look.all) {
            true => self.look.places.keys().copied().collect(),
            false => some.into_iter().collect(),
        };
        for id in ids {
            if let Err(what) = self.check_copies_of(id) {
                let name = self.name(id);
                return self.violate(1, format!("{name} {what}"));
            }
        }
    }

    fn check_copies_of(&self, id: ServerId) -> Result<(), String> {
        let mut first: Option<&Host> = None;
        for n in self.look.places.get(&id).into_iter().flatten() {
            let host = &self.hosts[*n];
            let Some(real) = host.guests.get(&id).filter(|real| real.running().is_some()) else { continue };
            if let Some(other) = first.replace(host) {
                return Err(format!("runs on {} and on {}", other.name, host.name));
            }
            let generation = real.disk.as_ref().map(|d| d.generation);
            let record = self.plane.published.servers.get(&id);
            let granted = self.plane.published.generation_of_server(id);
            if !self.may_run(host, generation, id, record) && !self.is_unsettled(host, id) {
                let why = record.map_or("it has no record".to_owned(), |s| {
                    format!("its record names host {:?} and generation {granted}", s.host_id)
                });
                return Err(format!("runs on {} at generation {generation:?}, and {why}", host.name));
            }
        }
        Ok(())
    }

    fn may_run(
        &self,
        host: &Host,
        generation: Option<u64>,
        id: ServerId,
        record: Option<&Arc<Server>>,
    ) -> bool {
        let (Some(host), Some(server)) = (host.id, record) else { return false };
        let granted = self.plane.published.generation_of_server(id);
        let owns = server.host_id == Some(host) && generation == Some(granted);
        // The guest has arrived, and the control plane does not know yet.
        let ticket = server.ticket.as_ref();
        let arrived = ticket.is_some_and(|t| t.to == host && generation == Some(t.generation));
        // The host does not know yet that it shall replace the disks.
        let old = server.rebuild.as_deref().is_some_and(|former| generation == Some(former.generation));
        let rebuilt = server.host_id == Some(host) && old;
        // A server that is being deleted may run, as long as its host has the order to remove it.
        let copy = self.plane.published.left_disk_on(host, id).is_some();
        owns || arrived || rebuilt || (server.wanted == Wanted::Absent && copy)
    }

    /// After a restore of the store, a guest may run that the record does not place there. That is allowed until
    /// its host was heard, or while no host has reported the server. It is also allowed if the record of the disk
    /// there has `may_run`.
    pub(crate) fn is_unsettled(&self, host: &Host, id: ServerId) -> bool {
        let state = &self.plane.published;
        let unheard =
            host.id.and_then(|id| state.hosts.get(&id)).is_none_or(|host: &Arc<HostRecord>| host.unheard);
        let restored = state.servers.get(&id).is_some_and(|server| server.restored.is_some());
        let left = host.id.and_then(|host| state.left_disk_on(host, id));
        let may_run = left.is_some_and(|disk| disk.may_run());
        self.plane.restores > 0 && (unheard || restored || may_run)
    }
}
