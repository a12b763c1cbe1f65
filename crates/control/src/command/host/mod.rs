//! Commands on hosts.

pub mod disk;
pub mod enrolment;
pub mod fence;
#[expect(clippy::module_inception, reason = "one noun has one file name in every layer")]
pub mod host;
pub mod inventory;
pub mod rule;
