//! The records that belong to servers, and servers by host, group and project.

use super::relations;
use crate::{
    HostId, ProjectId, ServerGroupId, ServerId, State,
    compute::{migration::Migration, operation::Operation, server::Server, server_group::ServerGroup},
    index::ServerOrder,
    network::port::Port,
    quota::Usage,
};
use std::sync::Arc;

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
        self.index.server_ports.of(id).filter_map(|port| self.ports.get(&port))
    }

    /// A server's operations that are under way, oldest first.
    pub fn operations_of_server(&self, id: ServerId) -> impl Iterator<Item = &Arc<Operation>> {
        self.index.server_operations.of(id).filter_map(|operation| self.operations.get(&operation))
    }

    /// All servers in Nova's order, newest first, after the given server.
    pub fn servers_newest_first(&self, after: Option<ServerOrder>) -> impl Iterator<Item = &Arc<Server>> {
        self.index.server_order.of((), after).filter_map(|id| self.servers.get(&id))
    }

    /// A project's servers in Nova's order, newest first, after the given server.
    pub fn servers_of_project(
        &self,
        project: ProjectId,
        after: Option<ServerOrder>,
    ) -> impl Iterator<Item = &Arc<Server>> {
        self.index.project_servers.of(project, after).filter_map(|id| self.servers.get(&id))
    }

    /// The resources that a project's servers take.
    pub fn usage_of_project(&self, project: ProjectId) -> Usage {
        self.index.project_usage.get(&project).copied().unwrap_or_default()
    }
}
