//! HTTP: a folder for each OpenStack service, one for operators and one for agents. Clients and operators use one
//! listener. Agents use another listener, which asks for their certificates.
//!
//! A handler reads the request, runs one command in one transaction or reads one snapshot, and renders the
//! answer. It decides nothing that a command could decide, and never calls an agent.

mod agent;
mod app;
mod body;
mod compute;
mod console;
mod ctx;
mod fault;
mod identity;
mod image;
mod image_store;
mod limits;
mod metrics;
mod network;
mod operator;
mod page;
mod path;
mod placement;
mod query;
mod respond;
mod router;
mod routes;
mod serve;
mod settings;

pub use agent::{authority::Authority, enrol::OWN_HOST, tls::AgentTls};
pub use app::{App, Clocks, Config, Parts};
pub use identity::{
    password::{Passwords, hash as hash_password},
    token::Tokens,
};
pub use image_store::ImageStore;
pub use operator::fence::{FenceDriver, FenceDrivers, Fencing};
pub use router::{agent_router, router};
pub use serve::{raise_file_limit, serve, serve_agents};
pub use settings::Settings;
