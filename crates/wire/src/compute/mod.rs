//! Nova's bodies.

pub mod flavor;
pub mod server;
pub mod server_create;

use crate::microversion::COMPUTE;
use serde_json::{json, Value};

/// The entry of a version document.
pub fn version(url: &str, status: &str) -> Value {
    json!({
        "id": "v2.1",
        "status": status,
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
