//! The disks of servers, and the disks that servers left behind.

use crate::{
    DiskId, HostId, ServerId, State,
    compute::{disk::Disk, server::Server},
};
use std::sync::Arc;

impl State {
    /// A server's own disks, in order: the first is the root disk.
    pub fn disks_of_server(&self, id: ServerId) -> impl Iterator<Item = &Arc<Disk>> {
        self.index.server_disks.of(id).filter_map(|disk| self.disks.get(&disk))
    }

    /// A server's root disk.
    pub fn root_disk(&self, id: ServerId) -> Option<&Arc<Disk>> {
        self.disks_of_server(id).next()
    }

    /// The generation of a server's disks, which all have the same; 0 if it has no disk.
    pub fn generation_of_server(&self, id: ServerId) -> u64 {
        self.root_disk(id).map_or(0, |disk| disk.generation)
    }

    /// True if a host reported that it made the server's disks.
    pub fn has_made_disks(&self, id: ServerId) -> bool {
        self.root_disk(id).is_some_and(|disk| disk.made)
    }

    /// The generation that the server's next ticket names: it was never used for any of its disks.
    pub fn next_generation(&self, id: ServerId) -> u64 {
        let used = self.disks_of_server(id).map(|disk| disk.generation.max(disk.issued));
        used.max().unwrap_or_default().saturating_add(1)
    }

    /// A disk of a server that is not where the server is, or of another generation than the server's root disk. Only
    /// damage can make one: all disks of a server move together.
    pub fn stray_disk(&self, server: &Server) -> Option<&Arc<Disk>> {
        let generation = self.generation_of_server(server.id);
        let mut disks = self.disks_of_server(server.id);
        disks.find(|disk| disk.host_id != server.host_id || disk.generation != generation)
    }

    /// The disks that a server left behind; of one host, the root disk comes first.
    pub fn left_disks_of_server(&self, id: ServerId) -> impl Iterator<Item = &Arc<Disk>> {
        self.index.server_left_disks.of(id).filter_map(|disk| self.disks.get(&disk))
    }

    /// The disks that a server left behind on a host, the root disk first.
    pub fn left_disks_on(&self, host: HostId, server: ServerId) -> impl Iterator<Item = &Arc<Disk>> {
        self.left_disks_of_server(server).filter(move |disk| disk.host_id == Some(host))
    }

    /// The root disk that a server left behind on a host.
    pub fn left_disk_on(&self, host: HostId, server: ServerId) -> Option<&Arc<Disk>> {
        self.left_disks_on(host, server).next()
    }

    /// The disks that servers left behind on a host.
    pub fn left_disks_on_host(&self, host: HostId) -> impl Iterator<Item = &Arc<Disk>> {
        self.index.host_left_disks.of(host).filter_map(|id: DiskId| self.disks.get(&id))
    }
}
