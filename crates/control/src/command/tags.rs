//! Tags of network resources: the same labels, by the same rules, on every kind (Neutron's standard-attr-tag).

use super::{network, port, security_group, subnet};
use lenticular_model::{
    error::{Error, Result},
    network::Network,
    policy::{self, Action, Caller},
    port::Port,
    security_group::SecurityGroup,
    subnet::Subnet,
    NetworkId, PortId, SecurityGroupId, State, SubnetId, Txn,
};

/// What can have tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tagged {
    /// A network.
    Network(NetworkId),
    /// A subnet.
    Subnet(SubnetId),
    /// A port.
    Port(PortId),
    /// A security group.
    SecurityGroup(SecurityGroupId),
}

/// The most tags on one resource.
pub const TAGS_MAX: usize = 50;

/// The tags of a resource that exists for the caller.
///
/// # Errors
/// It does not.
pub fn of(state: &State, caller: &Caller, on: Tagged) -> Result<Vec<String>> {
    Ok(match on {
        Tagged::Network(id) => network::visible(state, caller, id)?.tags.clone(),
        Tagged::Subnet(id) => subnet::visible(state, caller, id)?.tags.clone(),
        Tagged::Port(id) => port::visible(state, caller, id)?.tags.clone(),
        Tagged::SecurityGroup(id) => security_group::visible(state, caller, id)?.tags.clone(),
    })
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
    let mut tags = of(txn, caller, on)?;
    let (owner, action) = match on {
        Tagged::Network(id) => (txn.networks.get(&id).map(|n| n.project_id), Action::NetworkWrite),
        Tagged::Subnet(id) => (txn.subnets.get(&id).map(|s| s.project_id), Action::NetworkWrite),
        Tagged::Port(id) => (txn.ports.get(&id).map(|p| p.project_id), Action::PortWrite),
        Tagged::SecurityGroup(id) => {
            (txn.security_groups.get(&id).map(|g| g.project_id), Action::SecurityGroupWrite)
        }
    };
    policy::check(caller, action, owner)?;
    edit(&mut tags)?;
    tags.sort();
    tags.dedup();
    let legal = |tag: &String| (1..=255).contains(&tag.chars().count()) && !tag.contains(',');
    if tags.len() > TAGS_MAX || !tags.iter().all(legal) {
        let why =
            format!("A resource has at most {TAGS_MAX} tags, each of 1 to 255 characters without a comma.");
        return Err(Error::invalid(why).coded("HTTPBadRequest"));
    }
    put(txn, on, tags.clone());
    Ok(tags)
}

fn put(txn: &mut Txn<'_>, on: Tagged, new: Vec<String>) {
    let set = |tags: &mut Vec<String>, revision: &mut u64| {
        *tags = new;
        *revision += 1;
    };
    match on {
        Tagged::Network(id) => txn.update::<Network>(&id, |n| set(&mut n.tags, &mut n.revision)),
        Tagged::Subnet(id) => txn.update::<Subnet>(&id, |s| set(&mut s.tags, &mut s.revision)),
        Tagged::Port(id) => txn.update::<Port>(&id, |p| set(&mut p.tags, &mut p.revision)),
        Tagged::SecurityGroup(id) => txn.update::<SecurityGroup>(&id, |g| set(&mut g.tags, &mut g.revision)),
    };
}
