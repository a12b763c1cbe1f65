//! The records that are deleted with a project, a user, a group or a role.

use crate::{command::identity::thing, lifecycle::network::cascade};
use lenticular_model::{
    ApplicationCredentialId, AssignmentId, GroupId, MembershipId, ProjectId, RoleId, RoleInferenceId, Txn,
    UserId,
    error::Result,
    identity::{
        AccessRule, Actor, ApplicationCredential, Group, Membership, Project, Role, RoleAssignment,
        RoleInference, Target, Trust, User,
    },
    image::ImageMember,
};

/// Deletes a project without resources, with its quota, its grants and its application credentials.
pub(crate) fn delete_project(txn: &mut Txn<'_>, id: ProjectId) -> Result<()> {
    thing::check_empty(txn, id)?;
    cascade::on_project_deleted(txn, id);
    txn.delete::<lenticular_model::quota::Quota>(&id);
    let credentials: Vec<_> = txn.application_credentials_in_project(id).map(|c| c.id).collect();
    delete_credentials(txn, credentials);
    delete_grants(txn, |a| a.target == Target::Project(id));
    delete_trusts(txn, |trust| trust.project_id == id);
    let shared = txn.image_members.values().filter(|member| member.project_id == id);
    let shared: Vec<_> = shared.map(|member| member.id.clone()).collect();
    for member in shared {
        txn.delete::<ImageMember>(&member);
    }
    txn.delete::<Project>(&id);
    Ok(())
}

/// Deletes a user with its key pairs, grants, memberships, application credentials and access rules.
pub(crate) fn delete_user(txn: &mut Txn<'_>, id: UserId) {
    let keys: Vec<_> = txn.keypairs_of_user(id).map(|k| k.id.clone()).collect();
    for key in keys {
        txn.delete::<lenticular_model::compute::keypair::Keypair>(&key);
    }
    delete_credentials_of_user(txn, id);
    delete_trusts(txn, |trust| trust.trustor_user_id == id || trust.trustee_user_id == id);
    let rules: Vec<_> = txn.access_rules_of_user(id).map(|rule| rule.id).collect();
    for rule in rules {
        txn.delete::<AccessRule>(&rule);
    }
    let groups: Vec<GroupId> = txn.groups_of_user(id).map(|group| group.id).collect();
    for group in groups {
        txn.delete::<Membership>(&MembershipId::of(group, id));
    }
    delete_grants(txn, |a| a.actor == Actor::User(id));
    txn.delete::<User>(&id);
}

/// Deletes a group with its memberships and grants.
pub(crate) fn delete_group(txn: &mut Txn<'_>, id: GroupId) {
    let users: Vec<UserId> = txn.users_of_group(id).map(|user| user.id).collect();
    for user in &users {
        txn.delete::<Membership>(&MembershipId::of(id, *user));
    }
    delete_grants(txn, |a| a.actor == Actor::Group(id));
    txn.delete::<Group>(&id);
    for user in users {
        end_credentials(txn, user);
    }
}

/// Deletes a role with all grants of it and all rules about it.
pub(crate) fn delete_role(txn: &mut Txn<'_>, id: RoleId) {
    delete_grants(txn, |a| a.role_id == id);
    let rules = txn.role_inferences.values();
    let rules = rules.filter(|rule| rule.prior_role_id == id || rule.implied_role_id == id);
    let rules: Vec<RoleInferenceId> = rules.map(|rule| rule.id.clone()).collect();
    for rule in rules {
        txn.delete::<RoleInference>(&rule);
    }
    txn.delete::<Role>(&id);
    end_all_credentials(txn);
}

/// Deletes the grants that `which` picks.
pub(crate) fn delete_grants(txn: &mut Txn<'_>, which: impl Fn(&RoleAssignment) -> bool) {
    let gone: Vec<AssignmentId> = txn.role_assignments.values().filter(|a| which(a)).map(|a| a.id).collect();
    for id in gone {
        txn.delete::<RoleAssignment>(&id);
    }
}

fn delete_credentials(txn: &mut Txn<'_>, which: Vec<ApplicationCredentialId>) {
    for id in which {
        txn.delete::<ApplicationCredential>(&id);
    }
}

fn delete_trusts(txn: &mut Txn<'_>, which: impl Fn(&Trust) -> bool) {
    let gone: Vec<_> = txn.trusts.values().filter(|trust| which(trust)).map(|trust| trust.id).collect();
    for id in gone {
        txn.delete::<Trust>(&id);
    }
}

/// Deletes all application credentials of a user.
pub(crate) fn delete_credentials_of_user(txn: &mut Txn<'_>, user: UserId) {
    let all: Vec<_> = txn.application_credentials_of_user(user).map(|c| c.id).collect();
    delete_credentials(txn, all);
}

/// Deletes the application credentials of a user that rest on a role that the user has no more.
pub(crate) fn end_credentials(txn: &mut Txn<'_>, user: UserId) {
    let lost = txn.application_credentials_of_user(user).filter(|c| !is_held(txn, c));
    let lost = lost.map(|c| c.id).collect();
    delete_credentials(txn, lost);
}

/// Deletes every application credential that rests on a role that its user has no more.
pub(crate) fn end_all_credentials(txn: &mut Txn<'_>) {
    let lost = txn.application_credentials.values().filter(|c| !is_held(txn, c));
    let lost = lost.map(|c| c.id).collect();
    delete_credentials(txn, lost);
}

fn is_held(txn: &Txn<'_>, credential: &ApplicationCredential) -> bool {
    let roles = txn.roles_on(credential.user_id, &Target::Project(credential.project_id));
    credential.role_ids.iter().all(|id| roles.iter().any(|role| role.id == *id))
}
