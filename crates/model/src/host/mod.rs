//! Hosts: their records, their enrolment, their reports, and the scheduler's view of them.

pub mod action;
pub mod canary;
pub mod candidate;
pub mod enrolment;
pub mod evidence;
pub mod fact;
pub mod guest_spec;
#[expect(clippy::module_inception, reason = "one noun has one file name in every layer")]
pub mod host;
pub mod observation;
pub mod order;
pub mod package;
pub mod probe;
pub mod readiness;
pub mod rule;
pub mod version;
