//! Which versions of the protocol the control plane understands.

use super::{Registration, VERSION, VERSION_MIN, v2};
use serde::Deserialize;
use serde_json::Value;

/// An agent speaks a version that the control plane does not understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "The agent speaks version {0} of the agent protocol, the control plane versions {VERSION_MIN} to {VERSION}. Run \
     the control plane's release on the host."
)]
pub struct OtherVersion(pub u32);

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Reads a registration of any version that the control plane understands.
///
/// # Errors
/// The version is another, or the body is no registration; the text says what to do.
pub fn read_registration(body: &Value) -> Result<Registration, String> {
    let unreadable = |error: serde_json::Error| format!("The registration cannot be read: {error}.");
    match Version::deserialize(body).map_err(unreadable)?.version {
        VERSION => Registration::deserialize(body).map_err(unreadable),
        v2::VERSION => v2::Hello::deserialize(body).map(Registration::from).map_err(unreadable),
        other => Err(OtherVersion(other).to_string()),
    }
}
