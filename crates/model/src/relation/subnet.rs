//! Subnets by project and pool, and subnet pools by address scope.

use super::relations;
use crate::{
    AddressScopeId, ProjectId, State, SubnetPoolId,
    network::{subnet::Subnet, subnet_pool::SubnetPool},
};
use std::sync::Arc;

relations! {
    /// The subnets of a project.
    fn subnets_of_project(ProjectId) -> Subnet = net.project_subnets;
    /// The subnets that were taken from a pool.
    fn subnets_of_pool(SubnetPoolId) -> Subnet = net.pool_subnets;
    /// The subnet pools of an address scope.
    fn pools_of_scope(AddressScopeId) -> SubnetPool = net.scope_pools;
}

impl State {
    /// The default subnet pool of an IP version.
    pub fn default_subnet_pool(&self, ip_version: u8) -> Option<&Arc<SubnetPool>> {
        self.subnet_pools.values().find(|p| p.is_default && p.ip_version() == ip_version)
    }
}
