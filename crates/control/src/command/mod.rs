//! What requests change: one file for each noun, each command a function of a transaction, the caller and what is
//! asked. A command that returns an error has changed nothing.

pub mod address_group;
pub mod address_scope;
pub mod aggregate;
pub mod auto_allocated_topology;
pub mod enrolment;
pub mod evacuate;
pub mod fence;
pub mod flavor;
pub mod floating_ip;
pub mod host;
pub mod identity;
pub mod image;
pub mod inventory;
pub mod keypair;
pub mod migrate;
pub mod migration;
pub mod network;
pub mod operation;
pub mod plug;
pub mod port;
pub mod port_forwarding;
pub mod qos_policy;
pub mod quota;
pub mod rbac_policy;
pub mod restore;
pub mod router;
pub mod security_group;
pub mod server;
pub mod server_create;
pub mod server_group;
pub mod shelve;
pub mod subnet;
pub mod subnet_pool;
pub mod tags;
pub mod trunk;
