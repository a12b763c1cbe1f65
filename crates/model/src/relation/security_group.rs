//! Security groups by project, their rules, and the ports that use them.

use super::relations;
use crate::{
    AddressGroupId, ProjectId, SecurityGroupId, State,
    index::scoped,
    network::{
        port::Port,
        rbac_policy::{RbacAction, RbacObject},
        security_group::{SecurityGroup, SecurityGroupRule},
    },
};
use std::sync::Arc;

relations! {
    /// The rules of a security group.
    fn rules_of_security_group(SecurityGroupId) -> SecurityGroupRule = group_rules;
    /// The ports in a security group.
    fn ports_of_security_group(SecurityGroupId) -> Port = group_ports;
    /// The rules of a project's security groups.
    fn rules_of_project(ProjectId) -> SecurityGroupRule = net.project_rules;
    /// The rules about the ports of a security group.
    fn rules_about_security_group(SecurityGroupId) -> SecurityGroupRule = net.remote_group_rules;
    /// The rules about the addresses of an address group.
    fn rules_about_address_group(AddressGroupId) -> SecurityGroupRule = net.address_group_rules;
}

impl State {
    /// The security groups of a project in the order of their names.
    pub fn security_groups_of_project(
        &self,
        project: ProjectId,
    ) -> impl Iterator<Item = &Arc<SecurityGroup>> {
        let prefix = scoped(project, "");
        let groups = self.index.project_groups.from(prefix.clone());
        groups
            .take_while(move |(name, _)| name.starts_with(&*prefix))
            .filter_map(|(_, id)| self.security_groups.get(&id))
    }

    /// Whether a project's ports may be in a security group: the project owns the group, or policies allow it.
    pub fn may_use_security_group(&self, project: ProjectId, id: SecurityGroupId) -> bool {
        let (object, action) = (RbacObject::SecurityGroup(id), RbacAction::AccessAsShared);
        let allowed =
            || self.rbac_allows_project(project, object, action) || self.rbac_allows_everyone(object, action);
        self.security_groups.get(&id).is_some_and(|g| g.project_id == project || allowed())
    }

    /// Whether any port is in a security group.
    pub fn has_ports(&self, group: SecurityGroupId) -> bool {
        self.ports_of_security_group(group).next().is_some()
    }
}
