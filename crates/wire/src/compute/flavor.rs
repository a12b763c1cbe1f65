//! A flavor as Nova shows it.

use crate::microversion::Microversion;
use lenticular_model::compute::flavor::Flavor;
use serde_json::{Value, json};

fn links(url: &str, id: &str) -> Value {
    json!([
        {"rel": "self", "href": format!("{url}/compute/v2.1/flavors/{id}")},
        {"rel": "bookmark", "href": format!("{url}/compute/flavors/{id}")},
    ])
}

/// A flavor in the short listing.
pub fn brief(url: &str, flavor: &Flavor, version: Microversion) -> Value {
    let mut view = json!({"id": flavor.id, "name": flavor.name, "links": links(url, flavor.id.as_str())});
    if version.has(55) {
        view["description"] = json!(flavor.description);
    }
    view
}

/// A flavor with its details; `with_specs` if the caller may read extra specs.
pub fn full(url: &str, flavor: &Flavor, version: Microversion, with_specs: bool) -> Value {
    let size = flavor.size;
    // No swap is an empty text before 2.75, and a number from then on.
    let swap = match size.swap_mb {
        0 if !version.has(75) => json!(""),
        mb => json!(mb),
    };
    let mut view = json!({
        "id": flavor.id,
        "name": flavor.name,
        "ram": size.ram_mb,
        "disk": size.disk_gb,
        "vcpus": size.vcpus,
        "swap": swap,
        "OS-FLV-EXT-DATA:ephemeral": size.ephemeral_gb,
        "OS-FLV-DISABLED:disabled": false,
        "os-flavor-access:is_public": flavor.is_public,
        "rxtx_factor": flavor.rxtx_factor,
        "links": links(url, flavor.id.as_str()),
    });
    if version.has(55) {
        view["description"] = json!(flavor.description);
    }
    if version.has(61) && with_specs {
        view["extra_specs"] = json!(*flavor.extra_specs);
    }
    view
}
