//! The indexes of a State against the indexes of the same records, loaded again.

use lenticular_model::{
    Record, State,
    compute::{
        aggregate::Aggregate, disk::Disk, flavor::Flavor, keypair::Keypair, migration::Migration,
        operation::Operation, server::Server, server_group::ServerGroup,
    },
    host::host::Host,
    identity::{Domain, Project, Revocation, Role, RoleAssignment, User},
    image::Image,
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
    quota::Quota,
};

/// Calls a macro with every durable type of record.
macro_rules! every_record {
    ($each:ident) => {
        $each!(
            Domain Project User Role RoleAssignment Revocation Quota Image Flavor Keypair Host Aggregate ServerGroup Server Operation Migration Disk
            Network Subnet Port SecurityGroup SecurityGroupRule Router FloatingIp PortForwarding SubnetPool AddressScope
            AddressGroup QosPolicy Trunk DefaultSecurityGroupRule RbacPolicy
        )
    };
}

/// Checks that two states have the same durable records.
///
/// # Errors
/// The states differ; the error names the kind of record.
pub fn same_tables(a: &State, b: &State) -> Result<(), String> {
    macro_rules! each {
        ($($record:ident)*) => { $(same_table::<$record>(a, b)?;)* };
    }
    every_record!(each);
    Ok(())
}

fn same_table<R: Record + PartialEq>(a: &State, b: &State) -> Result<(), String> {
    let (left, right) = (R::table(a), R::table(b));
    if left.len() != right.len() {
        return Err(format!(
            "{} has {} records and {} when reloaded",
            R::KIND.name(),
            left.len(),
            right.len()
        ));
    }
    let differs = left.iter().zip(right.iter()).find(|((_, a), (_, b))| a != b);
    match differs {
        Some(((_, a), (_, b))) => {
            Err(format!("{} {} is {b:?} when reloaded, not {a:?}", R::KIND.name(), a.id()))
        }
        None => Ok(()),
    }
}

/// Checks that a state's indexes match its records.
///
/// # Errors
/// An index differs; the error names it.
pub fn compare(state: &State) -> Result<(), String> {
    let fresh = state.reloaded().map_err(|error| format!("a record cannot be reloaded: {error}"))?;
    same_tables(state, &fresh)?;
    state.same_indexes(&fresh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, World};

    #[test]
    fn an_index_that_is_wrong_is_noticed() {
        let mut world = World::new(Config::storm(3));
        world.run_until_s(100);
        let good = &*world.plane.published;
        assert_eq!(compare(good), Ok(()));
        let wrong = |change: fn(&mut State)| {
            let mut state = good.clone();
            change(&mut state);
            compare(&state).expect_err("the change is noticed")
        };
        assert!(wrong(|s| s.tables.ports = s.tables.ports.without(&first_port(s))).contains("index"));
    }

    fn first_port(state: &State) -> lenticular_model::PortId {
        state.ports.keys().next().copied().expect("a storm makes ports")
    }
}
