//! Placement: aggregates, server groups, hints and weighers, through the commands of requests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod aggregates;
mod filters;
mod groups;
mod world;
