//! Revision numbers: they grow with every change of a record, so a client can name the version that it has seen.

use crate::{
    Record,
    network::{
        address_group::AddressGroup,
        address_scope::AddressScope,
        default_security_group_rule::DefaultSecurityGroupRule,
        floating_ip::FloatingIp,
        network::Network,
        port::Port,
        port_forwarding::PortForwarding,
        qos_policy::QosPolicy,
        rbac_policy::RbacPolicy,
        router::Router,
        security_group::{SecurityGroup, SecurityGroupRule},
        subnet::Subnet,
        subnet_pool::SubnetPool,
        trunk::Trunk,
    },
};

/// A record of Neutron.
pub trait Revised: Record {
    /// The revision number; `None` for a kind without revisions.
    fn revision(&self) -> Option<u64>;
}

macro_rules! revised {
    ($($record:ty),*) => {
        $(impl Revised for $record {
            fn revision(&self) -> Option<u64> {
                Some(self.revision)
            }
        })*
    };
}

revised!(
    Network,
    Subnet,
    Port,
    SecurityGroup,
    SecurityGroupRule,
    Router,
    FloatingIp,
    PortForwarding,
    SubnetPool,
    AddressScope,
    AddressGroup,
    QosPolicy,
    Trunk
);

macro_rules! unrevised {
    ($($record:ty),*) => {
        $(impl Revised for $record {
            fn revision(&self) -> Option<u64> {
                None
            }
        })*
    };
}

unrevised!(RbacPolicy, DefaultSecurityGroupRule);
