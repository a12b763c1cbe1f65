//! Security groups of projects, their rules, and who uses them.

use super::{relations, walk};
use crate::{
    network::{
        port::Port,
        security_group::{SecurityGroup, SecurityGroupRule},
    },
    AddressGroupId, ProjectId, SecurityGroupId, State,
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
        walk(&self.index.project_groups, project).filter_map(|(_, id)| self.security_groups.get(id))
    }
}
