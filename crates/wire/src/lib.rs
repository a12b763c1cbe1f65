//! What goes over the wire: OpenStack's bodies and microversions, the agent protocol, the operators' API.
//!
//! Architecture invariant: this crate turns State into bytes and bytes into typed requests. It decides nothing.

pub mod agent;
