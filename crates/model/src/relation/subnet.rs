//! Subnets of projects, subnet pools and address scopes.

use super::relations;
use crate::{
    network::{subnet::Subnet, subnet_pool::SubnetPool},
    AddressScopeId, ProjectId, SubnetPoolId,
};

relations! {
    /// The subnets of a project.
    fn subnets_of_project(ProjectId) -> Subnet = net.project_subnets;
    /// The subnets that were taken from a pool.
    fn subnets_of_pool(SubnetPoolId) -> Subnet = net.pool_subnets;
    /// The subnet pools of an address scope.
    fn pools_of_scope(AddressScopeId) -> SubnetPool = net.scope_pools;
}
