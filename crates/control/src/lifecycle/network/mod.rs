//! Shared code for network resources, used by commands, by the lifecycle of servers and at the start of a cloud:
//! ports, groups, and consequences of a change.

pub mod cascade;
pub mod group_build;
pub mod port_address;
pub mod port_build;
pub mod rule;
pub mod sharing;
