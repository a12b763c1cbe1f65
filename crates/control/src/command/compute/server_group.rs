//! Server groups: their creation and removal.

use crate::quota;
use lenticular_model::{
    ServerGroupId, ServerId, Txn,
    compute::{
        server::Server,
        server_group::{Policy, ServerGroup},
    },
    error::{Error, Result},
    policy::{self, Action, Caller},
};

/// The settings of a new group.
#[derive(Debug, Clone)]
pub struct NewServerGroup {
    /// Its name.
    pub name: String,
    /// Its policy.
    pub policy: Policy,
    /// With anti-affinity: how many may share a host.
    pub max_server_per_host: Option<u32>,
}

/// Creates a group.
///
/// # Errors
/// The caller may not, or the project's limit is reached.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewServerGroup) -> Result<ServerGroupId> {
    let project = caller.need_project()?;
    policy::check(caller, Action::ServerGroupWrite, Some(project))?;
    if new.max_server_per_host.is_some() && new.policy != Policy::AntiAffinity {
        return Err(Error::invalid("Only anti-affinity policy supports rules."));
    }
    let most = quota::own_limit(txn, project, quota::SERVER_GROUPS);
    if most >= 0 && txn.server_groups_of_project(project).count() as i64 >= most {
        return Err(Error::over_quota("Quota exceeded, too many server groups."));
    }
    let id = ServerGroupId::from_random(txn.random());
    txn.put(ServerGroup {
        id,
        created_at: txn.now,
        updated_at: None,
        project_id: project,
        user_id: caller.user_id,
        name: new.name,
        policy: new.policy,
        max_server_per_host: new.max_server_per_host,
        unknown: Default::default(),
    });
    Ok(id)
}

/// Removes a group; its servers stay and then belong to no group.
///
/// # Errors
/// The group does not exist for the caller, or the caller may not.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: ServerGroupId) -> Result<()> {
    let group = txn.visible::<ServerGroup>(caller, &id)?;
    policy::check(caller, Action::ServerGroupWrite, Some(group.project_id))?;
    let members: Vec<ServerId> = txn.servers_of_group(id).map(|server| server.id).collect();
    for member in members {
        let Some(server) = txn.servers.get(&member).cloned() else { continue };
        // For its owner the server has not changed, so `updated_at` stays.
        txn.put(Server { server_group: None, ..Server::clone(&server) });
    }
    txn.delete::<ServerGroup>(&id);
    Ok(())
}
