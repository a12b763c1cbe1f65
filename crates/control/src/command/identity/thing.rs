//! The resources of a project, in the order of their removal.

use crate::lifecycle::network::group_build;
use lenticular_model::{
    AddressGroupId, AddressScopeId, FloatingIpId, ImageId, NetworkId, PortId, ProjectId, QosPolicyId,
    RouterId, SecurityGroupId, ServerGroupId, ServerId, State, SubnetId, SubnetPoolId, TrunkId,
    error::{Error, Result},
    network::{
        port::{Port, PortOwner},
        security_group::SecurityGroup,
    },
};
use std::collections::BTreeMap;

macro_rules! things {
    ($($(#[$doc:meta])* $name:ident($id:ty, $noun:literal);)*) => {
        /// A resource of a project; the variants are in the order of removal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Thing { $($(#[$doc])* $name($id),)* }

        impl Thing {
            /// The name of its kind.
            pub fn noun(&self) -> &'static str {
                match self { $(Self::$name(_) => $noun,)* }
            }

            /// Its id.
            pub fn id(&self) -> String {
                match self { $(Self::$name(id) => id.to_string(),)* }
            }
        }
    };
}

things! {
    /// A server; its record goes when its host has confirmed the deletion.
    Server(ServerId, "server");
    /// A server group.
    ServerGroup(ServerGroupId, "server group");
    /// A floating IP, with its port forwardings.
    FloatingIp(FloatingIpId, "floating IP");
    /// A trunk.
    Trunk(TrunkId, "trunk");
    /// A router, with its legs and routes.
    Router(RouterId, "router");
    /// A port.
    Port(PortId, "port");
    /// A subnet.
    Subnet(SubnetId, "subnet");
    /// A network.
    Network(NetworkId, "network");
    /// A subnet pool.
    SubnetPool(SubnetPoolId, "subnet pool");
    /// An address scope.
    AddressScope(AddressScopeId, "address scope");
    /// A security group, with its rules.
    SecurityGroup(SecurityGroupId, "security group");
    /// An address group.
    AddressGroup(AddressGroupId, "address group");
    /// A QoS policy.
    QosPolicy(QosPolicyId, "QoS policy");
    /// An image.
    Image(ImageId, "image");
}

/// The number of resources of one kind that the refusal to delete a project names.
const NAMED_MAX: usize = 3;

/// The resources of a project in the order of their removal, each with its name. An unused default security group
/// does not count: it is deleted with the project.
pub fn things(state: &State, id: ProjectId) -> Vec<(Thing, String)> {
    let mut all = Vec::new();
    macro_rules! add {
        ($table:ident, $thing:ident) => {
            add!($table, $thing, one => one.name.clone())
        };
        ($table:ident, $thing:ident, $one:ident => $name:expr) => {
            let own = state.$table.values().filter(|one| one.project_id == id);
            all.extend(own.map(|$one| (Thing::$thing($one.id), $name)));
        };
    }
    add!(servers, Server);
    add!(server_groups, ServerGroup);
    add!(floating_ips, FloatingIp, one => one.address.to_string());
    add!(trunks, Trunk);
    add!(routers, Router);
    let ports = state.ports.values().filter(|port| port.project_id == id && !goes_with_router(state, port));
    all.extend(ports.map(|port| (Thing::Port(port.id), port.name.clone())));
    add!(subnets, Subnet);
    add!(networks, Network);
    add!(subnet_pools, SubnetPool);
    add!(address_scopes, AddressScope);
    let groups = state.security_groups_of_project(id).filter(|group| is_kept(state, group));
    all.extend(groups.map(|group| (Thing::SecurityGroup(group.id), group.name.clone())));
    add!(address_groups, AddressGroup);
    add!(qos_policies, QosPolicy);
    let images = state.images.values().filter(|image| image.owner == Some(id));
    all.extend(images.map(|image| (Thing::Image(image.id), image.name.clone().unwrap_or_default())));
    all
}

/// Whether a port is a leg of a router of the same project, and so goes with the router.
fn goes_with_router(state: &State, port: &Port) -> bool {
    let router = || port.device_id.parse().ok().and_then(|id: RouterId| state.routers.get(&id));
    port.owner() == PortOwner::RouterInterface && router().is_some_and(|r| r.project_id == port.project_id)
}

/// Whether a group is more than an unused default group.
fn is_kept(state: &State, group: &SecurityGroup) -> bool {
    let mut about = state.rules_about_security_group(group.id);
    group.name != group_build::DEFAULT
        || state.has_ports(group.id)
        || about.any(|rule| rule.security_group_id != group.id)
}

/// Refuses to delete a project that still has resources.
pub(crate) fn check_empty(state: &State, id: ProjectId) -> Result<()> {
    let mut by_noun: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (thing, name) in things(state, id) {
        let called = if name.is_empty() { thing.id() } else { name };
        by_noun.entry(thing.noun()).or_default().push(called);
    }
    if by_noun.is_empty() {
        return Ok(());
    }
    let say = |(noun, names): (&str, Vec<String>)| {
        let count = names.len();
        let shown = names.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
        let (plural, more) = (if count == 1 { "" } else { "s" }, if count > NAMED_MAX { ", …" } else { "" });
        // Two nouns end with a y.
        let noun = match (noun.strip_suffix('y'), plural) {
            (Some(stem), "s") => format!("{stem}ies"),
            _ => format!("{noun}{plural}"),
        };
        format!("{count} {noun} ({shown}{more})")
    };
    let left = by_noun.into_iter().map(say).collect::<Vec<_>>().join(", ");
    Err(Error::conflict(format!(
        "Cannot delete project {id}: it still has {left}. Delete them first, or run `lenticular project purge {id}`."
    )))
}
