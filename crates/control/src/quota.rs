//! Quotas: the limits of a project, and checks against them.

use lenticular_model::{
    ProjectId, ServerGroupId, State,
    compute::flavor::Size,
    error::{Error, Result},
    quota::{COMPUTE_DEFAULTS, NETWORK_DEFAULTS, limit},
};

/// The service of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Nova's.
    Compute,
    /// Neutron's.
    Network,
}

/// The limit on a project's server groups.
pub const SERVER_GROUPS: &str = "server_groups";

/// The limit on the servers of one server group.
pub const SERVER_GROUP_MEMBERS: &str = "server_group_members";

/// All limits of a project, in the service's order.
pub fn limits(state: &State, service: Service, project: ProjectId) -> Vec<(&'static str, i64)> {
    let own = state.quotas.get(&project);
    let (own, defaults) = match service {
        Service::Compute => (own.map(|q| &q.compute), COMPUTE_DEFAULTS),
        Service::Network => (own.map(|q| &q.network), NETWORK_DEFAULTS),
    };
    defaults.iter().map(|(name, default)| (*name, limit(own, defaults, name).unwrap_or(*default))).collect()
}

/// Refuses servers that would exceed the project's limits.
pub fn check_servers(state: &State, project: ProjectId, count: i64, size: &Size) -> Result<()> {
    check_more(state, project, count, count * i64::from(size.vcpus), count * i64::from(size.ram_mb))
}

/// Refuses a server's growth that would exceed the project's limits.
pub fn check_growth(state: &State, project: ProjectId, more: &Size) -> Result<()> {
    check_more(state, project, 0, i64::from(more.vcpus), i64::from(more.ram_mb))
}

fn check_more(state: &State, project: ProjectId, servers: i64, cores: i64, ram: i64) -> Result<()> {
    let used = state.usage_of_project(project);
    let own = state.quotas.get(&project).map(|q| &q.compute);
    let asked =
        [("instances", used.instances, servers), ("cores", used.cores, cores), ("ram", used.ram, ram)];
    for (name, used, wanted) in asked {
        let limit = limit(own, COMPUTE_DEFAULTS, name).unwrap_or(-1);
        if wanted > 0 && limit >= 0 && used + wanted > limit {
            return Err(Error::over_quota(format!(
                "Quota exceeded for {name}: Requested {wanted}, but already used {used} of {limit} {name}"
            )));
        }
    }
    Ok(())
}

/// Refuses one more network resource if the project, which has `used` of them, would exceed its limit.
pub fn check_network(state: &State, project: ProjectId, name: &'static str, used: usize) -> Result<()> {
    let own = state.quotas.get(&project).map(|q| &q.network);
    let limit = limit(own, NETWORK_DEFAULTS, name).unwrap_or(-1);
    if limit >= 0 && used as i64 >= limit {
        return Err(Error::conflict(format!("Quota exceeded for resources: ['{name}'].")).coded("OverQuota"));
    }
    Ok(())
}

/// Refuses one more network resource if the project would exceed its limit.
pub fn need_network(state: &State, project: ProjectId, name: &'static str) -> Result<()> {
    check_network(state, project, name, network_usage(state, project, name))
}

/// The number of a project's network resources of one kind.
pub fn network_usage(state: &State, project: ProjectId, name: &str) -> usize {
    match name {
        "network" => state.networks_of_project(project).count(),
        "subnet" => state.subnets_of_project(project).count(),
        "port" => state.ports_of_project(project).count(),
        "security_group" => state.security_groups_of_project(project).count(),
        "security_group_rule" => state.rules_of_project(project).count(),
        "router" => state.routers_of_project(project).count(),
        "floatingip" => state.floating_ips_of_project(project).count(),
        "subnetpool" => state.subnet_pools.values().filter(|p| p.project_id == project).count(),
        "rbac_policy" => state.rbac_policies.values().filter(|p| p.project_id == project).count(),
        "trunk" => state.trunks.values().filter(|t| t.project_id == project).count(),
        _ => 0,
    }
}

/// A project's limit in Nova; -1 is no limit.
pub fn own_limit(state: &State, project: ProjectId, name: &str) -> i64 {
    limit(state.quotas.get(&project).map(|q| &q.compute), COMPUTE_DEFAULTS, name).unwrap_or(-1)
}

/// Refuses new servers in a server group that the project does not have, or that would become too large.
///
/// # Errors
/// The group does not exist, or the limit is exceeded.
pub fn check_group_members(state: &State, project: ProjectId, id: ServerGroupId, more: u32) -> Result<()> {
    if state.server_groups.get(&id).is_none_or(|group| group.project_id != project) {
        return Err(Error::invalid(format!("Instance group {id} could not be found.")));
    }
    let most = own_limit(state, project, SERVER_GROUP_MEMBERS);
    if most >= 0 && state.servers_of_group(id).count() as i64 + i64::from(more) > most {
        return Err(Error::over_quota("Quota exceeded, too many servers in group."));
    }
    Ok(())
}

/// Refuses more metadata items than a server or a snapshot of the project may have.
///
/// # Errors
/// There are too many.
pub fn check_metadata(state: &State, project: ProjectId, count: usize) -> Result<()> {
    let limits = limits(state, Service::Compute, project);
    let limit = limits.iter().find(|(name, _)| *name == "metadata_items").map_or(-1, |(_, n)| *n);
    if limit >= 0 && count as i64 > limit {
        return Err(Error::over_quota(format!("Maximum number of metadata items exceeds {limit}")));
    }
    Ok(())
}
