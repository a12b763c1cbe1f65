//! Projects: their creation, change and removal.

use crate::{
    command::identity::{cascade, govern},
    lifecycle::network::group_build,
};
use lenticular_model::{
    ProjectId, Txn,
    error::{Error, Result},
    identity::Project,
    policy::{self, Action, Caller, Reach},
};

/// Writes a project, new or changed; a new one gets its default security group.
pub fn put(txn: &mut Txn<'_>, caller: &Caller, project: Project) -> Result<()> {
    policy::check_in_domain(caller, Action::ProjectWrite, Some(&project.domain_id))?;
    govern::domain(txn, &project.domain_id)?;
    if let Some(parent) = project.parent_id {
        let parent_domain = txn.projects.get(&parent).map(|parent| parent.domain_id.clone());
        if parent_domain.as_ref() != Some(&project.domain_id) {
            // A caller who may not see another domain does not learn what it contains.
            if parent_domain.is_none() || policy::reach(caller, Action::ProjectRead) != Reach::Cloud {
                return Err(govern::missing("project", parent));
            }
            return Err(Error::invalid(format!(
                "The parent project {parent} is in another domain. A project and its parent share one domain."
            )));
        }
    }
    if txn.project_named(&project.domain_id, &project.name).is_some_and(|other| other.id != project.id) {
        return Err(govern::duplicate("project", &project.name));
    }
    let id = project.id;
    let mut project = project;
    if !project.enabled {
        govern::check_nobody_above_in(txn, caller, id)?;
        project.tokens_void_before = txn.now;
    }
    txn.put(project);
    group_build::ensure_default(txn, id);
    Ok(())
}

/// Removes a project. Its resources must be removed first, so that nothing is left without an owner.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: ProjectId) -> Result<()> {
    govern::governed_project(txn, caller, Action::ProjectWrite, id)?;
    govern::check_nobody_above_in(txn, caller, id)?;
    if txn.children_of_project(id).next().is_some() {
        return Err(Error::forbidden(format!(
            "Cannot delete project {id}: it has child projects; delete them first."
        )));
    }
    cascade::delete_project(txn, id)
}
