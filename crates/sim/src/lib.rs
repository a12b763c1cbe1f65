//! A simulated world around the real parts of the cloud: hosts, network, clock and faults are made up; the model, the
//! commands and controllers, the store's writer (over a disk in memory), the agent protocol's types and the agent's
//! decision core are those that run in production.
//!
//! One seed decides everything. Time is virtual, there is no thread, clock or async, and only ordered maps are used,
//! so a seed that fails fails again in the same way:
//!
//! ```text
//! cargo run --release -p lenticular-sim -- --seed 7 --trace
//! ```
//!
//! Architecture invariant: this crate imports model, control, wire and store, and of agent only `core`, which is as
//! pure as they are. It never decides what a real part would decide: it only carries messages, keeps disks and
//! processes, and looks at the facts.

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
mod moves;
mod network;
mod plane;
pub mod rebuild;
pub mod rng;
pub mod run;
pub mod scale;
pub mod scenario;
mod shelf;
mod steps;
pub mod trace;
mod usage;
mod world;

pub use config::{Config, Fault, Mutation};
pub use coverage::Coverage;
pub use run::{complaint, run, storms, Summary, Totals};
pub use world::{Violation, World};
