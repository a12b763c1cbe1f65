//! Neutron's commands: one file for each noun, and the files that those commands share.

pub mod address_group;
pub mod address_scope;
pub mod auto_allocated_topology;
pub mod default_security_group_rule;
pub mod floating_ip;
#[expect(clippy::module_inception, reason = "one noun has one file name in every layer")]
pub mod network;
pub mod port;
pub mod port_forwarding;
pub mod qos_policy;
pub mod rbac_policy;
pub mod router;
pub mod security_group;
pub mod subnet;
pub mod subnet_pool;
pub mod tags;
pub mod trunk;

// Code that commands share. These files import no command.
mod check;
mod pool_range;
mod routing;
