//! Subnet pools: ranges that subnets are allocated from, without overlap (Neutron's noun).

use crate::{
    AddressScopeId, Owned, ProjectId, Scoped, State, SubnetPoolId,
    error::Error,
    network::rbac_policy::{RbacAction, RbacObject},
    policy::{Action, Caller},
    record,
};
use ipnet::IpNet;
use std::fmt::Display;

record! {
    /// A subnet pool.
    pub struct SubnetPool: SubnetPoolId {
        /// Its project.
        pub project_id: ProjectId,
        /// Need not be unique.
        #[serde(default)]
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// The ranges of the pool: of one family, and they neither overlap nor touch.
        pub prefixes: Vec<IpNet>,
        /// The shortest prefix that a subnet may have.
        pub min_prefixlen: u8,
        /// The longest prefix that a subnet may have.
        pub max_prefixlen: u8,
        /// The prefix of a subnet that asks for none.
        pub default_prefixlen: u8,
        /// The quota of one project: addresses for IPv4, /64 networks for IPv6; `None` for no limit.
        #[serde(default)]
        pub default_quota: Option<u64>,
        /// The scope in which its addresses are unique.
        #[serde(default)]
        pub address_scope_id: Option<AddressScopeId>,
        /// True shows it to every project.
        #[serde(default)]
        pub shared: bool,
        /// True for the default pool: subnets that ask for the default pool get it.
        #[serde(default)]
        pub is_default: bool,
        /// Labels.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}

impl SubnetPool {
    /// 4 or 6.
    pub fn ip_version(&self) -> u8 {
        if self.prefixes.first().is_none_or(|p| p.addr().is_ipv4()) { 4 } else { 6 }
    }
}

impl Scoped for SubnetPool {
    fn missing(id: impl Display) -> Error {
        Error::not_found("Subnet pool", id).coded("SubnetPoolNotFound")
    }

    fn visible_to(&self, state: &State, caller: &Caller) -> bool {
        caller.sees(self.project_id)
            || state.rbac_allows(caller, RbacObject::SubnetPool(self.id), RbacAction::AccessAsShared)
    }
}

impl Owned for SubnetPool {
    const WRITE: Action = Action::SubnetPoolWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}
