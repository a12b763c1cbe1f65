//! Commands on hosts.

pub mod enrolment;
pub mod fence;
pub mod inventory;
