//! HTTP: a folder for each OpenStack service, files for operators and agents; clients and
//! operators come by one listener, agents by another, which asks for their certificates.
//!
//! A handler reads the request, runs one command in one transaction or reads one snapshot, and renders the answer. It
//! decides nothing that a command could decide, and never calls an agent.

mod agent;
mod agent_tls;
mod app;
mod authority;
mod body;
mod compute;
mod connections;
mod ctx;
mod enrol;
mod fault;
mod fencing;
mod identity;
mod image;
mod limits;
mod links;
mod lockout;
mod metrics;
mod network;
mod operator;
mod operator_host;
mod operator_project;
mod page;
mod password;
mod path;
mod placement;
mod query;
mod receipt;
mod refusals;
mod serve;
mod settings;
mod shelved_disk;
mod token;
mod turns;
mod unread;
mod watched;

pub use agent_tls::AgentTls;
pub use app::{agent_router, router, App, Clocks, Config};
pub use authority::Authority;
pub use enrol::OWN_HOST;
pub use fencing::{FenceDriver, FenceDrivers, Fencing};
pub use image::store::ImageStore;
pub use password::{hash as hash_password, Passwords};
pub use serve::{raise_file_limit, serve, serve_agents};
pub use settings::Settings;
pub use token::Tokens;
