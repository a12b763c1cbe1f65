//! Domains, projects, users and roles by name, and the tree of projects.

use crate::{
    DomainId, KeypairId, ProjectId, State, UserId,
    compute::keypair::Keypair,
    identity::{Domain, Project, Role, Target, User},
    index::scoped,
};
use std::sync::Arc;

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

    /// The role with this name in a domain, or of the whole cloud.
    pub fn role_named(&self, domain: Option<&DomainId>, name: &str) -> Option<&Arc<Role>> {
        let domain = domain.map_or("", DomainId::as_str);
        self.roles.get(&self.index.role_names.get(&scoped(domain, name))?)
    }

    /// The projects directly below a project.
    pub fn children_of_project(&self, project: ProjectId) -> impl Iterator<Item = &Arc<Project>> {
        self.index.project_children.of(project).filter_map(|id| self.projects.get(&id))
    }

    /// The projects above a project, the nearest first.
    pub fn parents_of_project(&self, project: ProjectId) -> impl Iterator<Item = &Arc<Project>> {
        let parent = move |of: &&Arc<Project>| of.parent_id.and_then(|id| self.projects.get(&id));
        let nearest = self.projects.get(&project).and_then(|of| parent(&of));
        std::iter::successors(nearest, move |of| parent(of))
    }

    /// A project and all projects below it.
    pub fn subtree_of_project(&self, project: ProjectId) -> Vec<ProjectId> {
        let mut found = vec![project];
        let mut at = 0;
        while let Some(parent) = found.get(at) {
            let below: Vec<ProjectId> = self.index.project_children.of(*parent).collect();
            found.extend(below);
            at += 1;
        }
        found
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
}
