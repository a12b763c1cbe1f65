//! Tags of network resources: the same labels, by the same rules, on every kind (Neutron's standard-attr-tag).

use lenticular_model::{
    FloatingIpId, NetworkId, Owned, PortId, ProjectId, QosPolicyId, RouterId, SecurityGroupId, State,
    SubnetId, SubnetPoolId, TrunkId, Txn,
    error::{Error, Result},
    network::{
        floating_ip::FloatingIp, network::Network, port::Port, qos_policy::QosPolicy, router::Router,
        security_group::SecurityGroup, subnet::Subnet, subnet_pool::SubnetPool, trunk::Trunk,
    },
    policy::{self, Action, Caller},
};

/// The most tags on one resource.
pub const TAGS_MAX: usize = 50;

macro_rules! tagged {
    ($($(#[$doc:meta])* $record:ident($id:ty);)*) => {
        /// A resource that can have tags.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Tagged { $($(#[$doc])* $record($id),)* }

        /// The tags and the owner of a resource that exists for the caller, and the action that changes it.
        fn look(state: &State, caller: &Caller, on: Tagged) -> Result<(Vec<String>, ProjectId, Action)> {
            match on {
                $(Tagged::$record(id) => {
                    let found = state.visible::<$record>(caller, &id)?;
                    Ok((found.tags.clone(), found.project(), <$record as Owned>::WRITE))
                })*
            }
        }

        fn put(txn: &mut Txn<'_>, on: Tagged, new: Vec<String>) {
            match on {
                $(Tagged::$record(id) => {
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
    Network(NetworkId);
    /// A subnet.
    Subnet(SubnetId);
    /// A port.
    Port(PortId);
    /// A security group.
    SecurityGroup(SecurityGroupId);
    /// A router.
    Router(RouterId);
    /// A floating IP.
    FloatingIp(FloatingIpId);
    /// A subnet pool.
    SubnetPool(SubnetPoolId);
    /// A QoS policy.
    QosPolicy(QosPolicyId);
    /// A trunk.
    Trunk(TrunkId);
}

/// The tags of a resource that exists for the caller.
///
/// # Errors
/// It does not exist for the caller.
pub fn of(state: &State, caller: &Caller, on: Tagged) -> Result<Vec<String>> {
    look(state, caller, on).map(|(tags, ..)| tags)
}

/// Changes the tags of a resource: `edit` changes the present tags in place.
///
/// # Errors
/// The caller may not, or the result has too many tags or a tag that is too long.
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
