//! The formats on the wire: OpenStack's bodies and microversions, the agent protocol, the operators' API.
//!
//! Architecture invariant: this crate turns State into bytes and bytes into typed requests. It decides nothing.

pub mod agent;
pub mod certificate;
pub mod compute;
pub mod enrol;
pub mod fault;
mod hex;
pub mod identity;
pub mod image;
pub mod microversion;
pub mod network;
pub mod operator;
pub mod placement;
pub mod request;
pub mod tls;

pub use hex::hex;
