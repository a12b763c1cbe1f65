//! HTTP: a folder for each OpenStack service, one for operators, one for agents, on one listener.
//!
//! A handler reads the request, runs one command in one transaction or reads one snapshot, and renders the answer. It
//! decides nothing that a command could decide, and never calls an agent.

mod agent;
mod app;
mod body;
mod compute;
mod ctx;
mod fault;
mod identity;
mod image;
mod limits;
mod links;
mod metrics;
mod network;
mod operator;
mod page;
mod password;
mod path;
mod placement;
mod query;
mod serve;
mod token;

pub use app::{router, App, Config};
pub use image::store::ImageStore;
pub use password::{hash as hash_password, Passwords};
pub use serve::serve;
pub use token::Tokens;
