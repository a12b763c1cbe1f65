//! Properties of the network commands besides networks and ports: routers, floating IPs, pools, and sharing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod pools;
mod routing;
mod sharing;
mod world;
