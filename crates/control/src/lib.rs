//! The decisions of the cloud: what a request changes (`command`), what a controller does (`reconcile`), and where
//! a server goes (`schedule`).
//!
//! Architecture invariant: everything here is a function of a transaction and its arguments. It has no I/O, no
//! clock, no async, and no randomness but the transaction's; so the same code runs in the cloud and in simulation.

pub mod bootstrap;
pub mod command;
pub mod lifecycle;
pub mod observe;
pub mod orders;
pub mod plan;
pub mod quota;
pub mod reconcile;
pub mod schedule;
pub mod upgrade;
