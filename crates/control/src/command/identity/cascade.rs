//! The records that are deleted with a project or a user.

use crate::{command::identity::thing, lifecycle::network::cascade};
use lenticular_model::{
    AssignmentId, ProjectId, Txn, UserId,
    error::Result,
    identity::{Project, RoleAssignment, Target, User},
};

/// Deletes a project without resources, with its quota and its grants.
pub(crate) fn delete_project(txn: &mut Txn<'_>, id: ProjectId) -> Result<()> {
    thing::check_empty(txn, id)?;
    cascade::on_project_deleted(txn, id);
    txn.delete::<lenticular_model::quota::Quota>(&id);
    delete_grants(txn, |a| a.target == Target::Project(id));
    txn.delete::<Project>(&id);
    Ok(())
}

/// Deletes a user with its key pairs and grants.
pub(crate) fn delete_user(txn: &mut Txn<'_>, id: UserId) {
    let keys: Vec<_> = txn.keypairs_of_user(id).map(|k| k.id.clone()).collect();
    for key in keys {
        txn.delete::<lenticular_model::compute::keypair::Keypair>(&key);
    }
    delete_grants(txn, |a| a.user_id == id);
    txn.delete::<User>(&id);
}

/// Deletes the grants that `which` picks.
pub(crate) fn delete_grants(txn: &mut Txn<'_>, which: impl Fn(&RoleAssignment) -> bool) {
    let gone: Vec<AssignmentId> = txn.role_assignments.values().filter(|a| which(a)).map(|a| a.id).collect();
    for id in gone {
        txn.delete::<RoleAssignment>(&id);
    }
}
