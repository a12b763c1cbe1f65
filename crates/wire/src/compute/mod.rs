//! Nova's bodies.

pub mod aggregate;
mod block_device;
pub mod diagnostics;
pub mod extra_specs;
pub mod flavor;
pub mod floating_ip;
pub mod image;
pub mod migration;
pub mod public_key;
pub mod query;
pub mod security_group;
pub mod server;
pub mod server_create;
pub mod server_group;
pub mod server_rebuild;
pub mod standard_trait;
pub mod tag;
pub mod tenant_usage;

use crate::microversion::COMPUTE;
use serde_json::{Value, json};

/// The entry of the version before microversions. Its requests are answered as 2.1's.
pub fn old_version(url: &str) -> Value {
    json!({
        "id": "v2.0",
        "status": "SUPPORTED",
        "version": "",
        "min_version": "",
        "updated": "2011-01-21T11:33:21Z",
        "links": [{"rel": "self", "href": format!("{url}/compute/v2/")}],
        "media-types": [{
            "base": "application/json",
            "type": "application/vnd.openstack.compute+json;version=2",
        }],
    })
}

/// The entry of the version with microversions.
pub fn version(url: &str) -> Value {
    json!({
        "id": "v2.1",
        "status": "CURRENT",
        "version": format!("{}.{}", COMPUTE.major, COMPUTE.max),
        "min_version": format!("{}.{}", COMPUTE.major, COMPUTE.min),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": format!("{url}/compute/v2.1/")}],
        "media-types": [{
            "base": "application/json",
            "type": "application/vnd.openstack.compute+json;version=2.1",
        }],
    })
}
