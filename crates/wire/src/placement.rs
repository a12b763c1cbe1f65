//! Placement's bodies: hosts as resource providers. They are derived, except the resource settings of operators.

pub mod candidates;
pub mod group;

use crate::{microversion::Microversion, request};
use lenticular_model::{
    State,
    compute::server::Server,
    error::{Error, Result},
    host::{host::Host, readiness},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

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

/// The generation: a number that changes with the host's record.
pub fn generation(host: &Host) -> i64 {
    host.updated_at.unwrap_or(host.created_at).0
}

/// The resource classes of hosts.
pub const CLASSES: [&str; 3] = ["VCPU", "MEMORY_MB", "DISK_GB"];

/// A host's inventory of one class.
struct Inventory {
    /// The total that servers can take.
    capacity: u64,
    /// The used amount.
    used: u64,
    /// The most that one server can take.
    max_unit: u64,
}

fn inventory_of(state: &State, host: &Host, class: &str) -> Inventory {
    let (all, give) = (host.capacity, host.to_give());
    let used = state.taken_of_host(host.id).capacity;
    let (total, capacity, used) = match class {
        "VCPU" => (all.vcpus, give.vcpus, used.vcpus),
        "MEMORY_MB" => (all.memory_mb, give.memory_mb, used.memory_mb),
        _ => (all.disk_gb, give.disk_gb, used.disk_gb),
    };
    Inventory { capacity, used, max_unit: total.max(1) }
}

/// A host's traits.
pub fn traits(state: &State, host: &Host) -> Vec<&'static str> {
    let mut all = host.hypervisor.traits();
    if !readiness::is_open(state, host) {
        all.push("COMPUTE_STATUS_DISABLED");
    }
    all.sort_unstable();
    all
}

/// Whether some host has a trait, or could get it.
pub fn has_trait(state: &State, name: &str) -> bool {
    let mut classes = state.host_table().classes.iter();
    name == "COMPUTE_STATUS_DISABLED" || classes.any(|(_, class)| class.hypervisor.traits().contains(&name))
}

/// The error for a malformed query.
pub fn bad_query(why: &str) -> Error {
    Error::invalid(format!("Invalid query string parameters: {why}"))
}

/// An inventory as JSON.
fn inventory(total: u64, reserved: u64, ratio: f64) -> Value {
    json!({"total": total, "reserved": reserved, "min_unit": 1, "max_unit": total.max(1), "step_size": 1,
           "allocation_ratio": ratio})
}

/// A host's inventories, by class.
fn all_inventories(host: &Host) -> Map<String, Value> {
    let (all, kept, ratios) = (host.capacity, host.share.reserved, host.ratios());
    let classes = [
        ("VCPU", inventory(all.vcpus, kept.vcpus, ratios.cpu)),
        ("MEMORY_MB", inventory(all.memory_mb, kept.memory_mb, ratios.ram)),
        ("DISK_GB", inventory(all.disk_gb, kept.disk_gb, ratios.disk)),
    ];
    classes.into_iter().map(|(class, inventory)| (class.to_owned(), inventory)).collect()
}

/// A host's inventories, with the generation.
pub fn inventories(host: &Host) -> Value {
    json!({"resource_provider_generation": generation(host), "inventories": all_inventories(host)})
}

/// A host's inventory of one class.
///
/// # Errors
/// The class does not exist.
pub fn one_inventory(host: &Host, class: &str) -> Result<Value> {
    let mut inventory = all_inventories(host).remove(class).ok_or_else(|| no_class(host, class))?;
    inventory["resource_provider_generation"] = json!(generation(host));
    Ok(inventory)
}

/// The error for a host without inventory of a class.
pub fn no_class(host: &Host, class: &str) -> Error {
    Error::not_found_text(format!("No inventory of class {class} found for resource provider {}", host.id))
}

/// New settings for one class; omitted fields get the defaults of a new inventory.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetInventory {
    /// The total.
    pub total: u64,
    /// The reserved amount.
    #[serde(default)]
    pub reserved: u64,
    /// The allocation ratio for the rest.
    #[serde(default = "one")]
    pub allocation_ratio: f64,
    /// Accepted, without effect.
    #[serde(default)]
    pub min_unit: Option<u64>,
    /// Accepted, without effect.
    #[serde(default)]
    pub max_unit: Option<u64>,
    /// Accepted, without effect.
    #[serde(default)]
    pub step_size: Option<u64>,
}

fn one() -> f64 {
    1.0
}

/// Reads `PUT …/inventories`: the generation that the caller knows, and the settings for each class.
///
/// # Errors
/// The body is invalid.
pub fn read_inventories(body: Value) -> Result<(i64, BTreeMap<String, SetInventory>)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        resource_provider_generation: i64,
        inventories: BTreeMap<String, SetInventory>,
    }
    let asked: Body = request::read_value("inventories", body)?;
    Ok((asked.resource_provider_generation, asked.inventories))
}

/// Reads `PUT …/inventories/{class}`.
///
/// # Errors
/// The body is invalid.
pub fn read_inventory(body: Value) -> Result<(i64, SetInventory)> {
    let Value::Object(mut fields) = body else {
        return Err(Error::invalid("The request's body must be a JSON object."));
    };
    let generation = fields.remove("resource_provider_generation").as_ref().and_then(Value::as_i64);
    let generation =
        generation.ok_or_else(|| Error::invalid("'resource_provider_generation' is a required property"))?;
    Ok((generation, request::read(fields)?))
}

/// The usage of a host's servers.
pub fn usages(state: &State, host: &Host) -> Value {
    let taken = state.taken_of_host(host.id).capacity;
    json!({
        "resource_provider_generation": generation(host),
        "usages": {"VCPU": taken.vcpus, "MEMORY_MB": taken.memory_mb, "DISK_GB": taken.disk_gb},
    })
}

/// The allocation of one server, by resource class.
pub fn resources(server: &Server) -> Value {
    Value::Object(amounts(server).map(|(class, amount)| (class.to_owned(), json!(amount))).collect())
}

/// The amounts of the resource classes that a server uses.
pub fn amounts(server: &Server) -> impl Iterator<Item = (&'static str, u64)> {
    let classes = [
        ("VCPU", u64::from(server.size.vcpus)),
        ("MEMORY_MB", u64::from(server.size.ram_mb)),
        ("DISK_GB", server.size.all_disk_gb()),
    ];
    classes.into_iter().filter(|(_, amount)| *amount > 0)
}
