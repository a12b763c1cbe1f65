//! The network's truth, told to OVN: an OVSDB client, and the northbound database kept equal to what State says.
//!
//! [`northbound`] is pure: what rows a State means, and which operations lead from what is there to that. [`ovsdb`]
//! speaks the protocol. [`sync`] joins the two.
//!
//! Architecture invariant: rows that do not carry our key in their `external_ids` are never touched.

#![warn(unreachable_pub)]

pub mod northbound;
pub mod ovsdb;
pub mod sync;
