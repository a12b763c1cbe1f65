//! What commands, servers' lives and the start of a cloud make of network resources: ports, groups, and what follows from
//! a change.

pub mod cascade;
pub mod group_build;
pub mod port_address;
pub mod port_build;
pub mod rule;
pub mod sharing;
