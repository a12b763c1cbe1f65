//! Tags of network resources: the same labels, by the same rules, on every kind (Neutron's standard-attr-tag).

use crate::command::network::{
    floating_ip, network, port, qos_policy, router, security_group, subnet, subnet_pool, trunk,
};
use lenticular_model::{
    error::{Error, Result},
    network::{
        floating_ip::FloatingIp, network::Network, port::Port, qos_policy::QosPolicy, router::Router,
        security_group::SecurityGroup, subnet::Subnet, subnet_pool::SubnetPool, trunk::Trunk,
    },
    policy::{self, Action, Caller},
    FloatingIpId, NetworkId, PortId, ProjectId, QosPolicyId, RouterId, SecurityGroupId, State, SubnetId,
    SubnetPoolId, TrunkId, Txn,
};

/// The most tags on one resource.
pub const TAGS_MAX: usize = 50;

macro_rules! tagged {
    ($($(#[$doc:meta])* $name:ident($id:ty, $record:ty, $module:ident, $action:ident);)*) => {
        /// What can have tags.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Tagged { $($(#[$doc])* $name($id),)* }

        /// The tags and the owner of a resource that exists for the caller, and the action that changes it.
        fn look(state: &State, caller: &Caller, on: Tagged) -> Result<(Vec<String>, ProjectId, Action)> {
            match on {
                $(Tagged::$name(id) => {
                    let found = $module::visible(state, caller, id)?;
                    Ok((found.tags.clone(), found.project_id, Action::$action))
                })*
            }
        }

        fn put(txn: &mut Txn<'_>, on: Tagged, new: Vec<String>) {
            match on {
                $(Tagged::$name(id) => {
                    txn.update::<$record>(&id, |record| {
                        record.tags = new;
                        record.revision += 1;
                    });
                })*
            }
        }
    };
}

tagged! {
    /// A network.
    Network(NetworkId, Network, network, NetworkWrite);
    /// A subnet.
    Subnet(SubnetId, Subnet, subnet, NetworkWrite);
    /// A port.
    Port(PortId, Port, port, PortWrite);
    /// A security group.
    SecurityGroup(SecurityGroupId, SecurityGroup, security_group, SecurityGroupWrite);
    /// A router.
    Router(RouterId, Router, router, RouterWrite);
    /// A floating IP.
    FloatingIp(FloatingIpId, FloatingIp, floating_ip, FloatingIpWrite);
    /// A subnet pool.
    SubnetPool(SubnetPoolId, SubnetPool, subnet_pool, SubnetPoolWrite);
    /// A QoS policy.
    QosPolicy(QosPolicyId, QosPolicy, qos_policy, QosPolicyWrite);
    /// A trunk.
    Trunk(TrunkId, Trunk, trunk, TrunkWrite);
}

/// The tags of a resource that exists for the caller.
///
/// # Errors
/// It does not.
pub fn of(state: &State, caller: &Caller, on: Tagged) -> Result<Vec<String>> {
    look(state, caller, on).map(|(tags, ..)| tags)
}

/// Changes the tags of a resource: `edit` gets what is there and leaves what shall be.
///
/// # Errors
/// The caller may not, or there would be too many, or one that is too long.
pub fn edit(
    txn: &mut Txn<'_>,
    caller: &Caller,
    on: Tagged,
    edit: impl FnOnce(&mut Vec<String>) -> Result<()>,
) -> Result<Vec<String>> {
    let (mut tags, owner, action) = look(txn, caller, on)?;
    policy::check(caller, action, Some(owner))?;
    edit(&mut tags)?;
    tags.sort();
    tags.dedup();
    let legal = |tag: &String| (1..=255).contains(&tag.chars().count()) && !tag.contains([',', '\0']);
    if tags.len() > TAGS_MAX || !tags.iter().all(legal) {
        let why =
            format!("A resource has at most {TAGS_MAX} tags, each of 1 to 255 characters without a comma.");
        return Err(Error::invalid(why).coded("HTTPBadRequest"));
    }
    put(txn, on, tags.clone());
    Ok(tags)
}
