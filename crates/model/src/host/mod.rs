//! Hosts: their records, their enrolment, their reports, and the scheduler's view of them.

pub mod candidate;
pub mod enrolment;
#[expect(clippy::module_inception, reason = "one noun has one file name in every layer")]
pub mod host;
pub mod observation;
