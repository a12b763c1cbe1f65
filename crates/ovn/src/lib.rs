//! The network's state in OVN: an OVSDB client, and the northbound database kept equal to State.
//!
//! [`northbound`] is pure: the rows of a State, and the operations that bring the database to those rows. [`ovsdb`]
//! speaks the protocol. [`sync`] joins the two.
//!
//! Architecture invariant: rows that do not carry our key in their `external_ids` are never touched.

#![warn(unreachable_pub)]

pub mod northbound;
pub mod ovsdb;
pub mod sync;
