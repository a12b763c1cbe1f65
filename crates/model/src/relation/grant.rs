//! Who holds which role where, and which roles come of it.

use crate::{
    ProjectId, RoleId, RoleInferenceId, State, UserId,
    identity::{Actor, Project, Proof, Role, RoleAssignment, Target},
    policy::{OPERATOR, RoleLevel},
};
use std::sync::Arc;

/// Lower than every other target; the start of index walks.
const LOWEST_TARGET: Target = Target::Project(ProjectId(uuid::Uuid::nil()));

/// The default roles, the highest first. Each implies the next.
const DEFAULT_ROLES: &[(&str, &str)] = &[("admin", "manager"), ("manager", "member"), ("member", "reader")];

impl State {
    /// The roles that a user or group holds, anywhere.
    pub fn role_assignments_of(&self, actor: Actor) -> impl Iterator<Item = &Arc<RoleAssignment>> {
        let from = (actor, LOWEST_TARGET, false, RoleId::default());
        let held = self.index.held_roles.range(from..).take_while(move |((of, ..), _)| *of == actor);
        held.filter_map(|(_, id)| self.role_assignments.get(id))
    }

    /// The roles that a user or group holds on a target itself, or those that projects below the target inherit.
    pub fn role_assignments_of_on<'s>(
        &'s self,
        actor: Actor,
        target: &'s Target,
        inherited: bool,
    ) -> impl Iterator<Item = &'s Arc<RoleAssignment>> {
        let from = (actor, target.clone(), inherited, RoleId::default());
        let here = move |(of, on, below, _): &crate::index::HeldRole| {
            *of == actor && on == target && *below == inherited
        };
        let held = self.index.held_roles.range(from..).take_while(move |(key, _)| here(key));
        held.filter_map(|(_, id)| self.role_assignments.get(id))
    }

    /// The record that a user or group holds a role on a target.
    pub fn role_assignment(
        &self,
        actor: Actor,
        target: &Target,
        inherited: bool,
        role: RoleId,
    ) -> Option<&Arc<RoleAssignment>> {
        self.role_assignments.get(self.index.held_roles.get(&(actor, target.clone(), inherited, role))?)
    }

    /// The holders of a user's roles: the user and its groups.
    fn actors_of(&self, user: UserId) -> impl Iterator<Item = Actor> + '_ {
        std::iter::once(Actor::User(user))
            .chain(self.groups_of_user(user).map(|group| Actor::Group(group.id)))
    }

    /// The role assignments that a user's roles anywhere come of: its own and those of its groups.
    pub fn role_assignments_behind(&self, user: UserId) -> impl Iterator<Item = &Arc<RoleAssignment>> {
        self.actors_of(user).flat_map(|actor| self.role_assignments_of(actor))
    }

    /// The places where an assignment gives roles on a target, and whether the assignment must be inherited there.
    pub fn sources_of(&self, target: &Target) -> Vec<(Target, bool)> {
        let mut sources = vec![(target.clone(), false)];
        if let Target::Project(id) = target {
            sources.extend(self.parents_of_project(*id).map(|parent| (Target::Project(parent.id), true)));
            let domain = self.projects.get(id).map(|p| Target::Domain(p.domain_id.clone()));
            sources.extend(domain.map(|domain| (domain, true)));
        }
        sources
    }

    /// The rules of a role alone: the roles that it implies directly.
    pub fn roles_implied_by<'s>(&'s self, role: &'s Role) -> impl Iterator<Item = &'s Arc<Role>> {
        let chain = DEFAULT_ROLES.iter().find(|(prior, _)| role.domain_id.is_none() && *prior == role.name);
        let chain = chain.and_then(|(_, implied)| self.role_named(None, implied));
        let rules = self.role_inferences.from(RoleInferenceId::of(role.id, RoleId::default()));
        let rules = rules.take_while(|rule| rule.prior_role_id == role.id);
        chain.into_iter().chain(rules.filter_map(|rule| self.roles.get(&rule.implied_role_id)))
    }

    /// The same roles with all roles that they imply, each once.
    pub fn with_implied_roles(&self, roles: Vec<Arc<Role>>) -> Vec<Arc<Role>> {
        let mut found: Vec<Arc<Role>> = Vec::with_capacity(roles.len());
        for role in roles {
            if !found.iter().any(|known| known.id == role.id) {
                found.push(role);
            }
        }
        let mut at = 0;
        // Rules may form a circle.
        while let Some(role) = found.get(at).cloned() {
            for implied in self.roles_implied_by(&role) {
                if !found.iter().any(|known| known.id == implied.id) {
                    found.push(implied.clone());
                }
            }
            at += 1;
        }
        found
    }

    /// The roles that a user has on a target: its own, those of its groups, those inherited from above, and the
    /// roles that these imply. Domain-specific roles count only for what they imply.
    pub fn roles_on(&self, user: UserId, target: &Target) -> Vec<Arc<Role>> {
        let mut held = Vec::new();
        for (source, inherited) in self.sources_of(target) {
            for actor in self.actors_of(user) {
                let given = self.role_assignments_of_on(actor, &source, inherited);
                held.extend(given.filter_map(|given| self.roles.get(&given.role_id).cloned()));
            }
        }
        let mut roles = self.with_implied_roles(held);
        roles.retain(|role| role.domain_id.is_none());
        roles
    }

    /// The roles of a token of a user on a target: what the token's proof gives of the roles that the user has now.
    pub fn roles_by(&self, user: UserId, target: &Target, proof: Proof) -> Vec<Arc<Role>> {
        let (holder, given) = match proof {
            Proof::Own => return self.roles_on(user, target),
            Proof::ApplicationCredential(id) => match self.application_credentials.get(&id) {
                Some(credential) => (user, &credential.role_ids),
                None => return Vec::new(),
            },
            Proof::Trust(id) => match self.trusts.get(&id) {
                Some(trust) => (trust.trustor_user_id, &trust.role_ids),
                None => return Vec::new(),
            },
        };
        let mut kept = self.roles_on(holder, target);
        kept.retain(|role| given.contains(&role.id));
        // A trust holds as a whole, as in Keystone.
        if matches!(proof, Proof::Trust(_)) && kept.len() < given.len() {
            return Vec::new();
        }
        self.with_implied_roles(kept)
    }

    /// The highest level of the policy among roles on a target.
    pub fn level_of(roles: &[Arc<Role>], target: &Target) -> RoleLevel {
        let level = |role: &Arc<Role>| match role.domain_id {
            None if *target == Target::System && role.name == OPERATOR => RoleLevel::Operator,
            _ => role.level(),
        };
        roles.iter().map(level).max().unwrap_or(RoleLevel::None)
    }

    /// Whether a role is the role admin, or implies it.
    pub fn is_admin_role(&self, role: &Arc<Role>) -> bool {
        Self::level_of(&self.with_implied_roles(vec![role.clone()]), &Target::System) == RoleLevel::Admin
    }

    /// The projects in which a user has a role, each once.
    pub fn projects_of_user(&self, user: UserId) -> Vec<Arc<Project>> {
        let mut found: Vec<ProjectId> = Vec::new();
        for given in self.role_assignments_behind(user) {
            match (&given.target, given.inherited) {
                (Target::Project(id), false) => found.push(*id),
                (Target::Project(id), true) => found.extend(self.subtree_of_project(*id).into_iter().skip(1)),
                (Target::Domain(id), true) => {
                    found.extend(self.projects.values().filter(|p| p.domain_id == *id).map(|p| p.id))
                }
                (Target::Domain(_), false) | (Target::System, _) => {}
            }
        }
        found.sort();
        found.dedup();
        found.iter().filter_map(|id| self.projects.get(id)).cloned().collect()
    }
}
