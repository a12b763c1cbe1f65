//! Quotas: the limits of a project, and checks against them.

use lenticular_model::{
    ProjectId, ServerGroupId, State, UserId,
    compute::{
        flavor::Size,
        server::{Server, Wanted},
    },
    error::{Error, Result},
    quota::{COMPUTE_DEFAULTS, NETWORK_DEFAULTS, Usage, limit},
};
use std::sync::Arc;

/// The service of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Nova's.
    Compute,
    /// Neutron's.
    Network,
}

/// Nova's names of what Neutron limits. The class `default` keeps their values, and nothing reads them.
pub const NETWORK_NAMES: &[&str] = &["fixed_ips", "floating_ips", "security_groups", "security_group_rules"];

/// The limit on a project's server groups.
pub const SERVER_GROUPS: &str = "server_groups";

/// The limit on the servers of one server group.
pub const SERVER_GROUP_MEMBERS: &str = "server_group_members";

/// All limits of a project, in the service's order.
pub fn limits(state: &State, service: Service, project: ProjectId) -> Vec<(&'static str, i64)> {
    match service {
        Service::Compute => {
            COMPUTE_DEFAULTS.iter().map(|(name, _)| (*name, own_limit(state, project, name))).collect()
        }
        Service::Network => {
            let own = state.quotas.get(&project).map(|q| &q.network);
            let value = |name| limit(own, NETWORK_DEFAULTS, name);
            NETWORK_DEFAULTS.iter().map(|(name, default)| (*name, value(name).unwrap_or(*default))).collect()
        }
    }
}

/// A project's limit in Nova; -1 is no limit.
pub fn own_limit(state: &State, project: ProjectId, name: &str) -> i64 {
    let of = |id| state.quotas.get(&id)?.compute.get(name).copied();
    let default = || limit(None, COMPUTE_DEFAULTS, name).unwrap_or(-1);
    of(project).or_else(|| of(ProjectId::CLOUD)).unwrap_or_else(default)
}

/// The limits of the class `default`, in Nova's order.
pub fn default_limits(state: &State) -> Vec<(&'static str, i64)> {
    limits(state, Service::Compute, ProjectId::CLOUD)
}

/// A user's limits in a project: its own, else the project's.
pub fn user_limits(state: &State, project: ProjectId, user: UserId) -> Vec<(&'static str, i64)> {
    let own = state.quotas.get(&project).and_then(|quota| quota.users.get(&user));
    let value = |name: &str, of_project| own.and_then(|own| own.get(name)).copied().unwrap_or(of_project);
    let all = limits(state, Service::Compute, project).into_iter();
    all.map(|(name, limit)| (name, value(name, limit))).collect()
}

/// The resources that a user's servers in a project take.
pub fn user_usage(state: &State, project: ProjectId, user: UserId) -> Usage {
    let mut used = Usage::default();
    let theirs = |s: &&Arc<Server>| s.user_id == user && s.wanted != Wanted::Absent && s.reclaim_at.is_none();
    for server in state.servers_of_project(project, None).filter(theirs) {
        used.instances += 1;
        used.cores += i64::from(server.size.vcpus);
        used.ram += i64::from(server.size.ram_mb);
    }
    used
}

/// Refuses servers of a user that would exceed the project's limits, or the user's.
pub fn check_servers(state: &State, project: ProjectId, user: UserId, count: i64, size: &Size) -> Result<()> {
    let more =
        Usage { instances: count, cores: count * i64::from(size.vcpus), ram: count * i64::from(size.ram_mb) };
    check_more(state, project, user, more)
}

/// Refuses the growth of a user's server that would exceed the project's limits, or the user's.
pub fn check_growth(state: &State, project: ProjectId, user: UserId, more: &Size) -> Result<()> {
    let more = Usage { instances: 0, cores: i64::from(more.vcpus), ram: i64::from(more.ram_mb) };
    check_more(state, project, user, more)
}

fn check_more(state: &State, project: ProjectId, user: UserId, more: Usage) -> Result<()> {
    check_usage(&limits(state, Service::Compute, project), state.usage_of_project(project), more)?;
    // Few users have limits of their own, so only their servers are counted.
    match state.quotas.get(&project).is_some_and(|quota| quota.users.contains_key(&user)) {
        true => check_usage(&user_limits(state, project, user), user_usage(state, project, user), more),
        false => Ok(()),
    }
}

fn check_usage(limits: &[(&str, i64)], used: Usage, more: Usage) -> Result<()> {
    let asked = [
        ("instances", used.instances, more.instances),
        ("cores", used.cores, more.cores),
        ("ram", used.ram, more.ram),
    ];
    for (name, used, wanted) in asked {
        let limit = limits.iter().find(|(known, _)| *known == name).map_or(-1, |(_, limit)| *limit);
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
    let limit = own_limit(state, project, "metadata_items");
    if limit >= 0 && count as i64 > limit {
        return Err(Error::over_quota(format!("Maximum number of metadata items exceeds {limit}")));
    }
    Ok(())
}
