//! Neutron's nouns.

pub mod address_group;
pub mod address_scope;
pub mod default_security_group_rule;
pub mod dhcp_option;
pub mod floating_ip;
pub mod mac;
pub mod mtu;
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
pub mod trunk;
