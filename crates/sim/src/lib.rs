//! A simulated world around the real parts of the cloud. Hosts, network, clock and faults are simulated. The real
//! parts run as in production: the model, commands and controllers, the store's writer (over a disk in memory),
//! the agent protocol's types and the agent's decision core.
//!
//! One seed decides everything. Time is virtual; there are no threads, no clock and no async; all maps are
//! ordered. So a failing seed always fails in the same way:
//!
//! ```text
//! cargo run --release -p lenticular-sim -- --seed 7 --trace
//! ```
//!
//! Architecture invariant: this crate imports model, control, wire and store, and of agent only `core`, which is
//! as pure as they are. It never decides what a real part would decide: it only carries messages, keeps disks and
//! processes, and checks the facts.

#![warn(unreachable_pub)]

mod backup;
mod check;
mod client;
pub mod config;
mod copies;
pub mod coverage;
pub mod drill;
mod event;
mod fault;
mod host;
mod jobs;
mod memory;
mod moves;
mod network;
mod old_agent;
mod plane;
mod plans;
mod real;
pub mod rng;
pub mod run;
pub mod scale;
pub mod scenario;
mod self_report;
mod shelf;
mod steps;
pub mod trace;
mod usage;
mod world;

pub use config::{Config, Fault, Mutation};
pub use coverage::Coverage;
pub use run::{Summary, Totals, complaint, run, storms};
pub use world::{Violation, World};
