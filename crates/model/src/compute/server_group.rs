//! Server groups: servers that run together or apart.

use crate::{ProjectId, Scoped, ServerGroupId, State, UserId, error::Error, policy::Caller, record};
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// The policy of a group for its servers' hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// All on one host.
    Affinity,
    /// At most a given number on one host.
    AntiAffinity,
    /// Together where possible.
    SoftAffinity,
    /// Apart where possible.
    SoftAntiAffinity,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Affinity, Self::AntiAffinity, Self::SoftAffinity, Self::SoftAntiAffinity];

    /// Nova's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Affinity => "affinity",
            Self::AntiAffinity => "anti-affinity",
            Self::SoftAffinity => "soft-affinity",
            Self::SoftAntiAffinity => "soft-anti-affinity",
        }
    }

    /// The policy with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

record! {
    /// A server group. Its members are the servers that name it.
    pub struct ServerGroup: ServerGroupId {
        /// The project that owns it.
        pub project_id: ProjectId,
        /// The user who made it.
        pub user_id: UserId,
        /// Need not be unique.
        pub name: String,
        /// The policy of the group.
        pub policy: Policy,
        /// With anti-affinity: how many may share a host; the default is 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub max_server_per_host: Option<u32>,
    }
}

impl ServerGroup {
    /// With anti-affinity: how many of its servers may share a host.
    pub fn most_on_one_host(&self) -> u32 {
        self.max_server_per_host.unwrap_or(1)
    }
}

impl Scoped for ServerGroup {
    fn missing(id: impl Display) -> Error {
        Error::not_found("Instance group", id)
    }

    fn visible_to(&self, _: &State, caller: &Caller) -> bool {
        caller.sees(self.project_id)
    }
}
