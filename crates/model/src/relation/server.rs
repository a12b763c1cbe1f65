//! The records that belong to servers, and servers by host, group and project.

use super::{relations, walk};
use crate::{
    HostId, ProjectId, ServerGroupId, ServerId, State,
    compute::{migration::Migration, operation::Operation, server::Server, server_group::ServerGroup},
    index::ServerOrder,
    network::port::Port,
    quota::Usage,
};
use std::{
    cmp::Reverse,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

relations! {
    /// A server's migrations that are under way or not confirmed.
    fn migrations_of_server(ServerId) -> Migration = server_migrations;
    /// The servers on a host.
    fn servers_on_host(HostId) -> Server = host_servers;
    /// The servers of a server group.
    fn servers_of_group(ServerGroupId) -> Server = server_group_members;
    /// The server groups of a project.
    fn server_groups_of_project(ProjectId) -> ServerGroup = project_server_groups;
}

impl State {
    /// A server's ports, in the order of its interfaces.
    pub fn ports_of_server(&self, id: ServerId) -> impl Iterator<Item = &Arc<Port>> {
        walk(&self.index.server_ports, id).filter_map(|(_, port)| self.ports.get(port))
    }

    /// A server's operations that are under way, oldest first.
    pub fn operations_of_server(&self, id: ServerId) -> impl Iterator<Item = &Arc<Operation>> {
        walk(&self.index.server_operations, id).filter_map(|(_, operation)| self.operations.get(operation))
    }

    /// All servers in Nova's order, newest first, after the given server.
    pub fn servers_newest_first(&self, after: Option<ServerOrder>) -> impl Iterator<Item = &Arc<Server>> {
        let from = after.map_or(Unbounded, Excluded);
        let servers = self.index.server_order.range((from, Unbounded));
        servers.filter_map(|(_, Reverse(id))| self.servers.get(id))
    }

    /// A project's servers in Nova's order, newest first, after the given server.
    pub fn servers_of_project(
        &self,
        project: ProjectId,
        after: Option<ServerOrder>,
    ) -> impl Iterator<Item = &Arc<Server>> {
        let first = (Reverse(crate::Timestamp(i64::MAX)), Reverse(ServerId(uuid::Uuid::max())));
        let from = after.map_or(Included((project, first)), |after| Excluded((project, after)));
        let servers = self.index.project_servers.range((from, Unbounded));
        let own = servers.take_while(move |(of, _)| *of == project);
        own.filter_map(|(_, (_, Reverse(id)))| self.servers.get(id))
    }

    /// The resources that a project's servers take.
    pub fn usage_of_project(&self, project: ProjectId) -> Usage {
        self.index.project_usage.get(&project).copied().unwrap_or_default()
    }
}
