//! An agent's report of what changed.

use lenticular_model::{
    Incarnation,
    compute::migration::MoveProgress,
    host::{evidence::Evidence, fact::Facts, observation::Observation},
};
use serde::{Deserialize, Serialize};

/// An agent's report: what changed since the reports that were answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The session from the last welcome.
    pub session: u64,
    /// Its number in the session: higher than the number of every report made before it.
    pub number: u64,
    /// The incarnation of the store that the agent's orders came from.
    pub incarnation: Incarnation,
    /// Guests with a changed observation.
    #[serde(alias = "observations")]
    pub guests: Vec<Observation>,
    /// The facts of the host that changed.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub host: Facts,
    /// The results of checks that changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// The progress of moves from this host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<MoveProgress>,
}
