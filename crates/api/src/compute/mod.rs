//! Nova.

mod action;
mod aggregate;
mod argument;
pub mod console;
mod diagnostics;
mod extension;
mod external_event;
mod flavor;
mod floating_ip;
mod guest;
mod host;
mod hypervisor;
mod image;
mod interface;
mod keypair;
mod list;
mod metadata;
mod migrate;
mod migration;
mod operation;
mod os_host;
mod password;
mod past_server;
mod pattern;
mod quota;
mod rebuild;
mod rescue;
mod rsa;
mod security_group;
mod server;
mod server_filter;
mod server_group;
mod share;
mod snapshot;
mod tenant_usage;
mod usage_audit;

use crate::{
    app::App,
    fault::Handled,
    respond::json,
    routes::{Routes, get, post, put},
};
use axum::extract::State;
use lenticular_model::{ServerId, error::Error};
use lenticular_wire::compute as wire;
use serde_json::json;

/// The routes.
pub fn routes() -> Routes<App> {
    let v21 = Routes::new()
        .route("/", get(version))
        .route("/servers", get(list::brief).post(server::create))
        .route("/servers/detail", get(list::detail))
        .route("/servers/{id}", get(server::show).put(server::update).delete(server::delete))
        .route("/servers/{id}/action", post(action::act))
        .route("/servers/{id}/ips", get(server::ips))
        .route("/servers/{id}/ips/{network}", get(server::ips_of))
        .route("/servers/{id}/os-server-password", get(password::show).delete(password::clear))
        .route("/servers/{id}/os-interface", get(interface::list).post(interface::attach))
        .route("/servers/{id}/os-interface/{port}", get(interface::show).delete(interface::detach))
        .route("/servers/{id}/os-security-groups", get(security_group::of_server))
        .route("/servers/{id}/os-instance-actions", get(operation::list))
        .route("/servers/{id}/os-instance-actions/{request}", get(operation::show))
        .route("/servers/{id}/os-volume_attachments", get(server::volumes))
        .route("/servers/{id}/metadata", get(metadata::list).post(metadata::merge).put(metadata::replace))
        .route(
            "/servers/{id}/metadata/{key}",
            get(metadata::show).put(metadata::set).delete(metadata::delete),
        )
        .route(
            "/servers/{id}/tags",
            get(metadata::tags).put(metadata::replace_tags).delete(metadata::clear_tags),
        )
        .route(
            "/servers/{id}/tags/{tag}",
            get(metadata::has_tag).put(metadata::add_tag).delete(metadata::remove_tag),
        )
        .route("/flavors", get(flavor::list).post(flavor::create))
        .route("/flavors/detail", get(flavor::detail))
        .route("/flavors/{id}", get(flavor::show).put(flavor::update).delete(flavor::delete))
        .route("/flavors/{id}/action", post(flavor::act))
        .route("/flavors/{id}/os-flavor-access", get(flavor::access))
        .route("/flavors/{id}/os-extra_specs", get(flavor::specs).post(flavor::add_specs))
        .route(
            "/flavors/{id}/os-extra_specs/{key}",
            get(flavor::spec).put(flavor::set_spec).delete(flavor::drop_spec),
        )
        .route("/os-keypairs", get(keypair::list).post(keypair::create))
        .route("/os-keypairs/{name}", get(keypair::show).delete(keypair::delete))
        .route("/limits", get(quota::limits))
        .route("/os-quota-sets/{project}", get(quota::show).put(quota::update).delete(quota::reset))
        .route("/os-quota-sets/{project}/defaults", get(quota::defaults))
        .route("/os-quota-sets/{project}/detail", get(quota::detail))
        .route("/servers/{id}/migrations", get(migration::of_server))
        .route("/servers/{id}/migrations/{number}", get(migration::show).delete(migration::abort))
        .route("/servers/{id}/migrations/{number}/action", post(migration::act))
        .route("/os-migrations", get(migration::list))
        .merge(placing())
        .merge(measures())
        .merge(images())
        .merge(networking())
        .merge(gone());
    Routes::new()
        .route("/compute", get(versions))
        .route("/compute/", get(versions))
        .nest("/compute/v2.1", v21)
        .route("/compute/v2.1/", get(version))
        .route("/compute/v2", get(old_version))
        .route("/compute/v2/", get(old_version))
}

/// Routes of hosts, aggregates and the other things that decide placement.
fn placing() -> Routes<App> {
    Routes::new()
        .route("/os-availability-zone", get(host::zones))
        .route("/os-availability-zone/detail", get(host::zones_detail))
        .route("/os-hypervisors", get(hypervisor::hypervisors))
        .route("/os-hypervisors/detail", get(hypervisor::hypervisors_detail))
        .route("/os-hypervisors/statistics", get(hypervisor::statistics))
        .route("/os-hypervisors/{id}", get(hypervisor::hypervisor))
        .route("/os-hypervisors/{id}/uptime", get(hypervisor::show_uptime))
        .route("/os-hypervisors/{id}/search", get(hypervisor::search))
        .route("/os-hypervisors/{id}/servers", get(hypervisor::servers))
        .route("/os-hosts", get(os_host::list))
        .route("/os-hosts/{name}", get(os_host::show).put(os_host::update))
        .route("/os-hosts/{name}/{action}", get(os_host::power))
        .route("/os-services", get(host::services))
        .route("/os-services/{id}", put(host::update_service).delete(host::delete_service))
        .route("/os-server-groups", get(server_group::list).post(server_group::create))
        .route("/os-server-groups/{id}", get(server_group::show).delete(server_group::delete))
        .route("/os-aggregates", get(aggregate::list).post(aggregate::create))
        .route("/os-aggregates/{id}", get(aggregate::show).put(aggregate::update).delete(aggregate::delete))
        .route("/os-aggregates/{id}/action", post(aggregate::act))
        .route("/os-aggregates/{id}/images", post(aggregate::images))
}

/// Routes of what is counted, measured and told.
fn measures() -> Routes<App> {
    Routes::new()
        .route("/os-quota-class-sets/{class}", get(quota::show_class).put(quota::update_class))
        .route("/extensions", get(extension::list))
        .route("/extensions/{alias}", get(extension::show))
        .route("/servers/{id}/remote-consoles", post(console::create))
        .route("/os-console-auth-tokens/{token}", get(console::show_token))
        .route("/servers/{id}/diagnostics", get(diagnostics::show))
        .route("/servers/{id}/topology", get(diagnostics::topology))
        .route("/servers/{id}/shares", get(share::list).post(share::attach))
        .route("/servers/{id}/shares/{share}", get(share::show).delete(share::detach))
        .route("/os-server-external-events", post(external_event::create))
        .route("/os-simple-tenant-usage", get(tenant_usage::list))
        .route("/os-simple-tenant-usage/{project}", get(tenant_usage::show))
        .route("/os-instance_usage_audit_log", get(usage_audit::list))
        .route("/os-instance_usage_audit_log/{before}", get(usage_audit::show))
}

/// Glance's images under Nova's old paths.
fn images() -> Routes<App> {
    Routes::new()
        .route("/images", get(image::list))
        .route("/images/detail", get(image::detail))
        .route("/images/{id}", get(image::show).delete(image::delete))
        .route("/images/{id}/metadata", get(image::metadata).post(image::merge).put(image::replace))
        .route(
            "/images/{id}/metadata/{key}",
            get(image::item).put(image::set_item).delete(image::delete_item),
        )
}

/// Paths that Nova answers in no version any more.
const GONE: &[&str] = &[
    "/os-agents",
    "/os-cells",
    "/os-certificates",
    "/os-cloudpipe",
    "/os-fixed-ips",
    "/os-floating-ip-dns",
    "/os-floating-ips-bulk",
    "/os-fping",
    "/os-security-group-default-rules",
    "/servers/{id}/consoles",
    "/servers/{id}/os-virtual-interfaces",
];

fn gone() -> Routes<App> {
    let all = || get(extension::gone).post(extension::gone).put(extension::gone).delete(extension::gone);
    GONE.iter().fold(Routes::new(), |routes, path| {
        routes.route(path, all()).route(&format!("{path}/{{*rest}}"), all())
    })
}

/// Neutron's resources under Nova's old names.
fn networking() -> Routes<App> {
    Routes::new()
        .route("/os-security-groups", get(security_group::list).post(security_group::create))
        .route(
            "/os-security-groups/{id}",
            get(security_group::show).put(security_group::update).delete(security_group::delete),
        )
        .route("/os-security-group-rules", post(security_group::create_rule))
        .route("/os-security-group-rules/{id}", crate::routes::delete(security_group::delete_rule))
        .route("/os-floating-ips", get(floating_ip::list).post(floating_ip::create))
        .route("/os-floating-ips/{id}", get(floating_ip::show).delete(floating_ip::delete))
        .route("/os-floating-ip-pools", get(floating_ip::pools))
        .route("/os-tenant-networks", get(floating_ip::networks).post(extension::gone))
        .route("/os-tenant-networks/{id}", get(floating_ip::network).delete(extension::gone))
        .route("/os-networks", get(floating_ip::all_networks).post(extension::gone))
        .route("/os-networks/add", post(extension::gone))
        .route("/os-networks/{id}", get(floating_ip::one_network).delete(extension::gone))
        .route("/os-networks/{id}/action", post(extension::gone))
}

/// Refuses a resource that a version has removed.
fn retired(ctx: &crate::ctx::Ctx, since: u16) -> Result<(), Error> {
    match ctx.version.has(since) {
        true => Err(Error::not_found_text("The resource could not be found.")),
        false => Ok(()),
    }
}

async fn versions(State(app): State<App>) -> Handled {
    let url = &app.config.public_url;
    json(200, &json!({"versions": [wire::old_version(url), wire::version(url)]}))
}

async fn version(State(app): State<App>) -> Handled {
    json(200, &json!({"version": wire::version(&app.config.public_url)}))
}

/// Requests under this version are mapped to 2.1's routes before they get here.
async fn old_version(State(app): State<App>) -> Handled {
    json(200, &json!({"version": wire::old_version(&app.config.public_url)}))
}

/// Reads a server's id. A malformed id gives the same error as an unknown id.
fn server_id(text: &str) -> Result<ServerId, Error> {
    text.parse().map_err(|_| Error::not_found("Instance", text))
}
