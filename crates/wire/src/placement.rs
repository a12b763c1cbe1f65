//! Placement's bodies: hosts as resource providers, read-only and derived.

use crate::microversion::Microversion;
use lenticular_model::{host::Host, server::Server, State};
use serde_json::{json, Map, Value};

/// The version document.
pub fn versions(url: &str) -> Value {
    let range = crate::microversion::PLACEMENT;
    json!({"versions": [{
        "id": "v1.0",
        "status": "CURRENT",
        "min_version": format!("{}.{}", range.major, range.min),
        "max_version": format!("{}.{}", range.major, range.max),
        "links": [{"rel": "self", "href": format!("{url}/placement/")}],
    }]})
}

/// A host as a resource provider.
pub fn provider(host: &Host, version: Microversion) -> Value {
    let url = format!("/placement/resource_providers/{}", host.id);
    let mut rels = vec!["inventories", "usages"];
    let more: &[(u16, &str)] = &[(1, "aggregates"), (6, "traits"), (11, "allocations")];
    rels.extend(more.iter().filter(|(since, _)| version.has(*since)).map(|(_, rel)| *rel));
    let mut links = vec![json!({"rel": "self", "href": url})];
    links.extend(rels.iter().map(|rel| json!({"rel": rel, "href": format!("{url}/{rel}")})));
    let mut view = json!({
        "uuid": host.id,
        "name": host.name,
        "generation": generation(host),
        "links": links,
    });
    if version.has(14) {
        view["parent_provider_uuid"] = Value::Null;
        view["root_provider_uuid"] = json!(host.id);
    }
    view
}

/// A number that changes with the host's record.
pub fn generation(host: &Host) -> i64 {
    host.updated_at.unwrap_or(host.created_at).unix_s()
}

/// What a host has to give.
pub fn inventories(host: &Host) -> Value {
    let class = |total: u64, ratio: f64| {
        json!({"total": total, "reserved": 0, "min_unit": 1, "max_unit": total.max(1), "step_size": 1,
               "allocation_ratio": ratio})
    };
    json!({
        "resource_provider_generation": generation(host),
        "inventories": {
            "VCPU": class(host.capacity.vcpus, host.cpu_ratio),
            "MEMORY_MB": class(host.capacity.memory_mb, 1.0),
            "DISK_GB": class(host.capacity.disk_gb, 1.0),
        },
    })
}

/// What a host's servers take.
pub fn usages(state: &State, host: &Host) -> Value {
    let taken = state.index.host_usage.get(&host.id).copied().unwrap_or_default().capacity;
    json!({
        "resource_provider_generation": generation(host),
        "usages": {"VCPU": taken.vcpus, "MEMORY_MB": taken.memory_mb, "DISK_GB": taken.disk_gb},
    })
}

/// What one server takes, by resource class.
pub fn resources(server: &Server) -> Value {
    let mut resources = Map::new();
    let classes = [
        ("VCPU", u64::from(server.size.vcpus)),
        ("MEMORY_MB", u64::from(server.size.ram_mb)),
        ("DISK_GB", server.size.all_disk_gb()),
    ];
    for (class, amount) in classes.into_iter().filter(|(_, amount)| *amount > 0) {
        resources.insert(class.to_owned(), json!(amount));
    }
    Value::Object(resources)
}
