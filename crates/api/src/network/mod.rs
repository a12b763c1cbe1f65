//! Neutron.

mod address_group;
mod address_scope;
mod agent;
mod auto_allocated_topology;
mod availability_zone;
mod default_security_group_rule;
mod fields;
mod filters;
mod floating_ip;
mod ip_availability;
#[expect(clippy::module_inception, reason = "one noun has one file name in every layer")]
mod network;
mod port;
mod port_forwarding;
mod qos_policy;
mod quota;
mod rbac_policy;
mod resource;
mod router;
mod security_group;
mod subnet;
mod subnet_pool;
mod tags;
mod trunk;
mod view;

use self::resource::{collection, fixed_member, member};
use crate::{
    app::App,
    ctx::Ctx,
    fault::Handled,
    respond::json,
    routes::{Routes, get, put},
};
use axum::extract::{Path, State};
use lenticular_model::{
    error::Error,
    policy::{self, Action},
};
use lenticular_wire::network as wire;
use serde_json::{Value, json};

/// The routes.
pub fn routes() -> Routes<App> {
    let v2 = Routes::new()
        .route("/", get(resources))
        .route("/extensions", get(extensions))
        .route("/extensions/{alias}", get(extension))
        .route("/networks", collection::<network::Network>())
        .route("/networks/{id}", member::<network::Network>())
        .route("/subnets", collection::<subnet::Subnet>())
        .route("/subnets/{id}", member::<subnet::Subnet>())
        .route("/ports", collection::<port::Port>())
        .route("/ports/{id}", member::<port::Port>())
        .route("/security-groups", collection::<security_group::SecurityGroup>())
        .route("/security-groups/{id}", member::<security_group::SecurityGroup>())
        .route(
            "/default-security-group-rules",
            collection::<default_security_group_rule::DefaultSecurityGroupRule>(),
        )
        .route(
            "/default-security-group-rules/{id}",
            fixed_member::<default_security_group_rule::DefaultSecurityGroupRule>(),
        )
        .route("/security-group-rules", collection::<security_group::SecurityGroupRule>())
        .route("/security-group-rules/{id}", fixed_member::<security_group::SecurityGroupRule>())
        .route("/{collection}/{id}/tags", get(tags::list).put(tags::replace).delete(tags::clear))
        .route("/{collection}/{id}/tags/{tag}", get(tags::has).put(tags::add).delete(tags::remove))
        .route("/quotas", get(quota::list))
        .route("/quotas/{project}", get(quota::show).put(quota::update).delete(quota::reset))
        .route("/quotas/{project}/default", get(quota::defaults))
        .route("/quotas/{project}/details", get(quota::details))
        .merge(joining())
        .merge(addressing())
        .merge(overview());
    Routes::new()
        .route("/network", get(versions))
        .route("/network/", get(versions))
        .nest("/network/v2.0", v2)
        .route("/network/v2.0/", get(resources))
}

/// Routes of resources that connect networks with each other, with the outside, and with guests over one port.
fn joining() -> Routes<App> {
    Routes::new()
        .route("/routers", collection::<router::Router>())
        .route("/routers/{id}", member::<router::Router>())
        .route("/routers/{id}/add_router_interface", put(router::add_interface))
        .route("/routers/{id}/remove_router_interface", put(router::remove_interface))
        .route("/routers/{id}/add_extraroutes", put(router::add_routes))
        .route("/routers/{id}/remove_extraroutes", put(router::remove_routes))
        .route("/floatingips", collection::<floating_ip::FloatingIp>())
        .route("/floatingips/{id}", member::<floating_ip::FloatingIp>())
        .route("/floatingip_pools", get(floating_ip::pools))
        // The API reference spells the path so, and Neutron accepts it.
        .route("/floatingip-pools", get(floating_ip::pools))
        .route("/floatingips/{id}/port_forwardings", get(port_forwarding::list).post(port_forwarding::create))
        .route(
            "/floatingips/{id}/port_forwardings/{forwarding}",
            get(port_forwarding::show).put(port_forwarding::update).delete(port_forwarding::delete),
        )
        .route("/trunks", collection::<trunk::Trunk>())
        .route("/trunks/{id}", member::<trunk::Trunk>())
        .route("/trunks/{id}/add_subports", put(trunk::add))
        .route("/trunks/{id}/remove_subports", put(trunk::remove))
        .route("/trunks/{id}/get_subports", get(trunk::sub_ports_of))
        .route(
            "/auto-allocated-topology/{project}",
            get(auto_allocated_topology::show).delete(auto_allocated_topology::delete),
        )
}

/// Routes of address ranges, sharing and quotas.
fn addressing() -> Routes<App> {
    Routes::new()
        .route("/subnetpools", collection::<subnet_pool::SubnetPool>())
        .route("/subnetpools/{id}", member::<subnet_pool::SubnetPool>())
        .route("/subnetpools/{id}/add_prefixes", put(subnet_pool::add_prefixes))
        .route("/subnetpools/{id}/remove_prefixes", put(subnet_pool::remove_prefixes))
        .route("/address-scopes", collection::<address_scope::AddressScope>())
        .route("/address-scopes/{id}", member::<address_scope::AddressScope>())
        .route("/address-groups", collection::<address_group::AddressGroup>())
        .route("/address-groups/{id}", member::<address_group::AddressGroup>())
        .route("/address-groups/{id}/add_addresses", put(address_group::add))
        .route("/address-groups/{id}/remove_addresses", put(address_group::remove))
        .route("/rbac-policies", collection::<rbac_policy::RbacPolicy>())
        .route("/rbac-policies/{id}", member::<rbac_policy::RbacPolicy>())
        .route("/qos/policies", collection::<qos_policy::QosPolicy>())
        .route("/qos/policies/{id}", member::<qos_policy::QosPolicy>())
        .route("/qos/policies/{id}/{rules}", get(qos_policy::rules).post(qos_policy::create_rule))
        .route(
            "/qos/policies/{id}/{rules}/{rule}",
            get(qos_policy::rule).put(qos_policy::update_rule).delete(qos_policy::delete_rule),
        )
        .route("/qos/rule-types", get(qos_policy::rule_types))
        .route(
            "/qos/{rules}/{rule}",
            get(qos_policy::alias).put(qos_policy::update_alias).delete(qos_policy::delete_alias),
        )
}

/// Routes of overviews, for operators and tools.
fn overview() -> Routes<App> {
    Routes::new()
        .route("/agents", get(agent::list))
        .route("/agents/{id}", get(agent::show).put(agent::update).delete(agent::delete))
        .route("/availability_zones", get(availability_zone::list))
        .route("/network-ip-availabilities", get(ip_availability::list))
        .route("/network-ip-availabilities/{id}", get(ip_availability::show))
        .route("/service-providers", get(service_providers))
}

async fn versions(State(app): State<App>) -> Handled {
    let href = format!("{}/network/v2.0/", app.config.public_url);
    json(
        200,
        &json!({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": href}]}]}),
    )
}

/// Resources and their paths.
const RESOURCES: &[(&str, &str)] = &[
    ("network", "networks"),
    ("subnet", "subnets"),
    ("port", "ports"),
    ("security_group", "security-groups"),
    ("security_group_rule", "security-group-rules"),
    ("default_security_group_rule", "default-security-group-rules"),
    ("router", "routers"),
    ("floatingip", "floatingips"),
    ("floatingip_pool", "floatingip_pools"),
    ("trunk", "trunks"),
    ("subnetpool", "subnetpools"),
    ("address_scope", "address-scopes"),
    ("address_group", "address-groups"),
    ("rbac_policy", "rbac-policies"),
    ("policy", "qos/policies"),
    ("rule_type", "qos/rule-types"),
    ("agent", "agents"),
    ("availability_zone", "availability_zones"),
    ("network_ip_availability", "network-ip-availabilities"),
    ("service_provider", "service-providers"),
    ("quota", "quotas"),
    ("extension", "extensions"),
];

async fn resources(State(app): State<App>) -> Handled {
    let view = |(name, path): &(&str, &str)| {
        let href = format!("{}/network/v2.0/{path}", app.config.public_url);
        let collection = path.rsplit('/').next().unwrap_or(path).replace('-', "_");
        json!({"name": name, "collection": collection, "links": [{"rel": "self", "href": href}]})
    };
    let list: Vec<Value> = RESOURCES.iter().map(view).collect();
    json(200, &json!({ "resources": list }))
}

async fn extensions(_: Ctx) -> Handled {
    let list: Vec<Value> = wire::PRESENT.iter().map(|(alias, name)| wire::extension(alias, name)).collect();
    json(200, &json!({ "extensions": list }))
}

async fn extension(_: Ctx, Path(alias): Path<String>) -> Handled {
    match wire::PRESENT.iter().find(|(a, _)| *a == alias) {
        Some((alias, name)) => json(200, &json!({"extension": wire::extension(alias, name)})),
        None => Err(Error::not_found_text(format!("Extension with alias {alias} does not exist"))
            .coded("ExtensionNotFound")
            .into()),
    }
}

/// The provider of each service type: OVN provides routers.
async fn service_providers(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::NetworkRead, None)?;
    let items = vec![json!({"service_type": "L3_ROUTER_NAT", "name": "ovn", "default": true})];
    view::listing(&ctx, &view::Listed::plain("service_providers", "service-providers"), items)
}
