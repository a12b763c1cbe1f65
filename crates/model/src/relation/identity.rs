//! Domains, projects, users and roles by name, and who holds which role.

use crate::{
    DomainId, KeypairId, RoleId, State, UserId,
    compute::keypair::Keypair,
    identity::{Domain, Project, Role, RoleAssignment, Target, User},
    index::scoped,
    policy::RoleLevel,
};
use std::sync::Arc;

/// Lower than every other target; the start of index walks.
const LOWEST_TARGET: Target = Target::Project(crate::ProjectId(uuid::Uuid::nil()));

impl State {
    /// The domain with this name.
    pub fn domain_named(&self, name: &str) -> Option<&Arc<Domain>> {
        self.domains.get(&self.index.domain_names.get(name)?)
    }

    /// The project with this name in a domain.
    pub fn project_named(&self, domain: &DomainId, name: &str) -> Option<&Arc<Project>> {
        self.projects.get(&self.index.project_names.get(&scoped(domain, name))?)
    }

    /// The user with this name in a domain.
    pub fn user_named(&self, domain: &DomainId, name: &str) -> Option<&Arc<User>> {
        self.users.get(&self.index.user_names.get(&scoped(domain, name))?)
    }

    /// The role with this name.
    pub fn role_named(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(&self.index.role_names.get(name)?)
    }

    /// The roles that a user holds, anywhere.
    pub fn role_assignments_of_user(&self, user: UserId) -> impl Iterator<Item = &Arc<RoleAssignment>> {
        let from = (user, LOWEST_TARGET, RoleId::default());
        let held = self.index.user_roles.range(from..).take_while(move |((of, ..), _)| *of == user);
        held.filter_map(|(_, id)| self.role_assignments.get(id))
    }

    /// The roles that a user holds on a target.
    pub fn role_assignments_of_user_on<'s>(
        &'s self,
        user: UserId,
        target: &'s Target,
    ) -> impl Iterator<Item = &'s Arc<RoleAssignment>> {
        let from = (user, target.clone(), RoleId::default());
        let held = self.index.user_roles.range(from..);
        let held = held.take_while(move |((of, on, _), _)| *of == user && on == target);
        held.filter_map(|(_, id)| self.role_assignments.get(id))
    }

    /// The record that a user holds a role on a target.
    pub fn role_assignment(
        &self,
        user: UserId,
        target: &Target,
        role: RoleId,
    ) -> Option<&Arc<RoleAssignment>> {
        self.role_assignments.get(self.index.user_roles.get(&(user, target.clone(), role))?)
    }

    /// The keypairs of a user.
    pub fn keypairs_of_user(&self, user: UserId) -> impl Iterator<Item = &Arc<Keypair>> {
        self.keypairs.from(KeypairId::of(user, "")).take_while(move |k| k.user_id == user)
    }

    /// The domain in which a role on a target holds; `None` for the system and for a target that does not exist.
    pub fn domain_of(&self, target: &Target) -> Option<DomainId> {
        match target {
            Target::Project(id) => self.projects.get(id).map(|p| p.domain_id.clone()),
            Target::Domain(id) => self.domains.get(id).map(|d| d.id.clone()),
            Target::System => None,
        }
    }

    /// The roles that a role implies, the highest first.
    pub fn roles_implied_by(&self, role: &Role) -> Vec<Arc<Role>> {
        let level = RoleLevel::of(&role.name);
        let below = ["manager", "member", "reader"].into_iter().filter(|name| RoleLevel::of(name) < level);
        below.filter_map(|name| self.role_named(name).cloned()).collect()
    }

    /// The roles that a user holds on a target, with the roles that they imply.
    pub fn roles_on(&self, user: UserId, target: &Target) -> Vec<Arc<Role>> {
        let held = self.role_assignments_of_user_on(user, target);
        let mut roles: Vec<Arc<Role>> =
            held.filter_map(|held| self.roles.get(&held.role_id).cloned()).collect();
        let implied: Vec<Arc<Role>> = roles.iter().flat_map(|role| self.roles_implied_by(role)).collect();
        for role in implied {
            if !roles.iter().any(|held| held.id == role.id) {
                roles.push(role);
            }
        }
        roles
    }
}
