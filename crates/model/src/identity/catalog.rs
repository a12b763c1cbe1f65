//! The catalog: regions, services and their endpoints.

use crate::{EndpointId, RegionId, ServiceId, record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The first region.
pub const REGION: &str = "RegionOne";

/// The services of the cloud itself: type, name, path below the cloud's URL.
pub const OWN_SERVICES: &[(&str, &str, &str)] = &[
    ("identity", "keystone", "/identity/v3"),
    ("compute", "nova", "/compute/v2.1"),
    ("image", "glance", "/image"),
    ("network", "neutron", "/network"),
    ("placement", "placement", "/placement"),
];

/// Stands for the cloud's own URL in the URL of an endpoint: an operator may move the cloud.
pub const PUBLIC_URL: &str = "$(public_url)s";

record! {
    /// A region.
    pub struct Region: RegionId {
        /// For people.
        #[serde(default)]
        pub description: String,
        /// The region that it is a part of.
        #[serde(default)]
        pub parent_region_id: Option<RegionId>,
        /// Attributes that the region's creator chose.
        #[serde(default)]
        pub extra: BTreeMap<String, serde_json::Value>,
    }
}

record! {
    /// A service: what clients look for in the catalog, by its type.
    pub struct Service: ServiceId {
        /// `compute`, …
        pub kind: String,
        /// For people.
        #[serde(default)]
        pub name: Option<String>,
        /// For people.
        #[serde(default)]
        pub description: Option<String>,
        /// False leaves it out of the catalog.
        pub enabled: bool,
        /// Attributes that the service's creator chose.
        #[serde(default)]
        pub extra: BTreeMap<String, serde_json::Value>,
    }
}

/// Who an endpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interface {
    /// For everyone.
    Public,
    /// For the cloud's own network.
    Internal,
    /// For operators.
    Admin,
}

impl Interface {
    /// All interfaces.
    pub const ALL: [Self; 3] = [Self::Public, Self::Internal, Self::Admin];

    /// Keystone's word for the interface.
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

record! {
    /// The URL of a service in a region.
    pub struct Endpoint: EndpointId {
        /// Its service.
        pub service_id: ServiceId,
        /// Who it is for.
        pub interface: Interface,
        /// Its region; `None` in all of them.
        #[serde(default)]
        pub region_id: Option<RegionId>,
        /// Its URL, with `$(public_url)s`, `$(project_id)s`, `$(tenant_id)s` and `$(user_id)s` for what differs.
        pub url: String,
        /// False leaves it out of the catalog.
        pub enabled: bool,
        /// Attributes that the endpoint's creator chose.
        #[serde(default)]
        pub extra: BTreeMap<String, serde_json::Value>,
    }
}

/// The id of one of the cloud's own services, or with an interface's word of its endpoint. It is the same in every
/// cloud: clients may have noted it before services were records.
pub fn own_id(kind: &str, word: &str) -> Uuid {
    let mix = |salt: u64| {
        kind.bytes().chain(word.bytes()).fold(0xcbf2_9ce4_8422_2325_u64 ^ salt, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    Uuid::from_u64_pair(mix(1), mix(0x5bd1_e995))
}
