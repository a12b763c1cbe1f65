//! RBAC policies by their content, and the permissions that they give.

use crate::{
    ProjectId, State,
    network::rbac_policy::{RbacAction, RbacObject, RbacPolicy, RbacTarget},
    policy::Caller,
};
use std::sync::Arc;

impl State {
    /// The policy with this object, action and target. No two policies have the same three.
    pub fn rbac_policy(
        &self,
        object: RbacObject,
        action: RbacAction,
        target: RbacTarget,
    ) -> Option<&Arc<RbacPolicy>> {
        self.rbac_policies.get(self.index.net.rbac.get(&(object, action, target))?)
    }

    /// The policies about an object.
    pub fn rbac_policies_of(&self, object: RbacObject) -> impl Iterator<Item = &Arc<RbacPolicy>> {
        // The lowest key of this object: the first variant of the action and of the target.
        let from = (object, RbacAction::AccessAsShared, RbacTarget::Everyone);
        let policies = self.index.net.rbac.range(from..).take_while(move |((of, ..), _)| *of == object);
        policies.filter_map(|(_, id)| self.rbac_policies.get(id))
    }

    /// Whether policies allow the caller an action on an object of another project.
    pub fn rbac_allows(&self, caller: &Caller, object: RbacObject, action: RbacAction) -> bool {
        let named = || caller.project_id().is_some_and(|own| self.rbac_allows_project(own, object, action));
        caller.may_read() && (self.rbac_allows_everyone(object, action) || named())
    }

    /// Whether a policy allows everyone an action on an object.
    pub fn rbac_allows_everyone(&self, object: RbacObject, action: RbacAction) -> bool {
        self.rbac_policy(object, action, RbacTarget::Everyone).is_some()
    }

    /// Whether a policy for this one project allows an action on an object.
    pub fn rbac_allows_project(&self, project: ProjectId, object: RbacObject, action: RbacAction) -> bool {
        self.rbac_policy(object, action, RbacTarget::Project(project)).is_some()
    }

    /// The project that owns an object; `None` if the object does not exist.
    pub fn owner_of_object(&self, object: RbacObject) -> Option<ProjectId> {
        match object {
            RbacObject::Network(id) => self.networks.get(&id).map(|n| n.project_id),
            RbacObject::QosPolicy(id) => self.qos_policies.get(&id).map(|p| p.project_id),
            RbacObject::SecurityGroup(id) => self.security_groups.get(&id).map(|g| g.project_id),
            RbacObject::AddressScope(id) => self.address_scopes.get(&id).map(|s| s.project_id),
            RbacObject::SubnetPool(id) => self.subnet_pools.get(&id).map(|p| p.project_id),
            RbacObject::AddressGroup(id) => self.address_groups.get(&id).map(|g| g.project_id),
        }
    }

    /// The projects that use an object under an action. The list may repeat a project.
    pub fn projects_using(&self, object: RbacObject, action: RbacAction) -> Vec<ProjectId> {
        match (object, action) {
            (RbacObject::Network(id), RbacAction::AccessAsShared) => {
                self.ports_of_network(id).map(|p| p.project_id).collect()
            }
            (RbacObject::Network(id), RbacAction::AccessAsExternal) => {
                let floating = self.floating_ips_of_network(id);
                let routers = self.routers_with_gateway_in(id);
                floating.map(|f| f.project_id).chain(routers.map(|r| r.project_id)).collect()
            }
            (RbacObject::QosPolicy(id), _) => self.projects_using_qos_policy(id),
            (RbacObject::SecurityGroup(id), _) => {
                self.ports_of_security_group(id).map(|p| p.project_id).collect()
            }
            (RbacObject::AddressScope(id), _) => self.pools_of_scope(id).map(|p| p.project_id).collect(),
            (RbacObject::SubnetPool(id), _) => self.subnets_of_pool(id).map(|s| s.project_id).collect(),
            (RbacObject::AddressGroup(id), _) => {
                self.rules_about_address_group(id).map(|r| r.project_id).collect()
            }
        }
    }
}
