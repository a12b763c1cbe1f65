//! Placement's bodies: hosts as resource providers, derived but for what operators decide of their resources.

pub mod candidates;
pub mod group;

use crate::{microversion::Microversion, request};
use lenticular_model::{
    compute::server::Server,
    error::{Error, Result},
    host::host::Host,
    State,
};
use serde::Deserialize;
use serde_json::{json, Map, Value};
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

/// A number that changes with the host's record.
pub fn generation(host: &Host) -> i64 {
    host.updated_at.unwrap_or(host.created_at).0
}

/// The classes of what hosts have.
pub const CLASSES: [&str; 3] = ["VCPU", "MEMORY_MB", "DISK_GB"];

/// What a host has of one class.
struct Inventory {
    /// How much can be given out.
    capacity: u64,
    /// How much is.
    used: u64,
    /// How much one server can take.
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

/// What a host is, as Placement's traits say it.
pub fn traits(host: &Host) -> Vec<&'static str> {
    let mut all = host.hypervisor.traits();
    if !host.is_enabled() {
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

/// That a query is not one.
pub fn bad_query(why: &str) -> Error {
    Error::invalid(format!("Invalid query string parameters: {why}"))
}

/// What a host has to give of one class, and how.
fn inventory(total: u64, reserved: u64, ratio: f64) -> Value {
    json!({"total": total, "reserved": reserved, "min_unit": 1, "max_unit": total.max(1), "step_size": 1,
           "allocation_ratio": ratio})
}

/// What a host has to give, by class.
fn all_inventories(host: &Host) -> Map<String, Value> {
    let (all, kept, ratios) = (host.capacity, host.share.reserved, host.ratios());
    let classes = [
        ("VCPU", inventory(all.vcpus, kept.vcpus, ratios.cpu)),
        ("MEMORY_MB", inventory(all.memory_mb, kept.memory_mb, ratios.ram)),
        ("DISK_GB", inventory(all.disk_gb, kept.disk_gb, ratios.disk)),
    ];
    classes.into_iter().map(|(class, inventory)| (class.to_owned(), inventory)).collect()
}

/// What a host has to give.
pub fn inventories(host: &Host) -> Value {
    json!({"resource_provider_generation": generation(host), "inventories": all_inventories(host)})
}

/// What a host has to give of one class.
///
/// # Errors
/// There is no such class.
pub fn one_inventory(host: &Host, class: &str) -> Result<Value> {
    let mut inventory = all_inventories(host).remove(class).ok_or_else(|| no_class(host, class))?;
    inventory["resource_provider_generation"] = json!(generation(host));
    Ok(inventory)
}

/// That a host has nothing of a class.
pub fn no_class(host: &Host, class: &str) -> Error {
    Error::not_found_text(format!("No inventory of class {class} found for resource provider {}", host.id))
}

/// What is to hold for one class; what is not said is as a new inventory has it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetInventory {
    /// How much there is.
    pub total: u64,
    /// How much is kept back.
    #[serde(default)]
    pub reserved: u64,
    /// How often the rest is given out.
    #[serde(default = "one")]
    pub allocation_ratio: f64,
    /// Taken, and changes nothing.
    #[serde(default)]
    pub min_unit: Option<u64>,
    /// Taken, and changes nothing.
    #[serde(default)]
    pub max_unit: Option<u64>,
    /// Taken, and changes nothing.
    #[serde(default)]
    pub step_size: Option<u64>,
}

fn one() -> f64 {
    1.0
}

/// Reads `PUT …/inventories`: the generation that the caller knows, and what is to hold for each class.
///
/// # Errors
/// The body is not one.
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
/// The body is not one.
pub fn read_inventory(body: Value) -> Result<(i64, SetInventory)> {
    let Value::Object(mut fields) = body else {
        return Err(Error::invalid("The request's body must be a JSON object."));
    };
    let generation = fields.remove("resource_provider_generation").as_ref().and_then(Value::as_i64);
    let generation =
        generation.ok_or_else(|| Error::invalid("'resource_provider_generation' is a required property"))?;
    Ok((generation, request::read(fields)?))
}

/// What a host's servers take.
pub fn usages(state: &State, host: &Host) -> Value {
    let taken = state.taken_of_host(host.id).capacity;
    json!({
        "resource_provider_generation": generation(host),
        "usages": {"VCPU": taken.vcpus, "MEMORY_MB": taken.memory_mb, "DISK_GB": taken.disk_gb},
    })
}

/// What one server takes, by resource class.
pub fn resources(server: &Server) -> Value {
    Value::Object(amounts(server).map(|(class, amount)| (class.to_owned(), json!(amount))).collect())
}

/// What one server takes of each resource class of which it takes something.
pub fn amounts(server: &Server) -> impl Iterator<Item = (&'static str, u64)> {
    let classes = [
        ("VCPU", u64::from(server.size.vcpus)),
        ("MEMORY_MB", u64::from(server.size.ram_mb)),
        ("DISK_GB", server.size.all_disk_gb()),
    ];
    classes.into_iter().filter(|(_, amount)| *amount > 0)
}
