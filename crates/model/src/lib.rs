//! What a cloud is: typed ids, records, the State that holds them, transactions that change it, and the rules that
//! need nothing else.
//!
//! Architecture invariant: this crate is pure. It does no I/O, reads no clock, draws no randomness but what it is
//! handed, and knows no async.

pub mod address_group;
pub mod address_scope;
pub mod aggregate;
pub mod default_security_group_rule;
pub mod dhcp_option;
pub mod disk_copy;
pub mod enrolment;
pub mod error;
pub mod flavor;
pub mod floating_ip;
pub mod host;
pub mod id;
pub mod identity;
pub mod image;
pub mod index;
pub mod keypair;
pub mod migration;
pub mod network;
pub mod observation;
pub mod operation;
pub mod policy;
pub mod port;
pub mod port_forwarding;
pub mod qos_policy;
pub mod quota;
pub mod rbac_policy;
pub mod record;
pub mod revision;
pub mod room;
pub mod router;
pub mod security_group;
pub mod server;
pub mod server_group;
pub mod state;
pub mod subnet;
pub mod subnet_pool;
pub mod time;
pub mod trunk;
pub mod txn;

pub use error::{Error, Result};
pub use id::*;
pub use record::{Durability, Kind, Record};
pub use state::State;
pub use time::Timestamp;
pub use txn::{Cause, Change, Txn};
