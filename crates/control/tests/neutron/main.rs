//! Properties of the network commands beyond networks and ports: routers, floating IPs, pools, and what is shared.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod pools;
mod routing;
mod sharing;
mod world;
