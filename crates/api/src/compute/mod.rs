//! Nova.

mod action;
mod aggregate;
mod flavor;
mod floating_ip;
mod host;
mod interface;
mod keypair;
mod list;
mod metadata;
mod migrate;
mod migration;
mod operation;
mod password;
mod pattern;
mod quota;
mod rebuild;
mod rescue;
mod security_group;
mod server;
mod server_filter;
mod server_group;
mod snapshot;

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
        .route("/extensions", get(extensions))
        .route("/servers/{id}/migrations", get(migration::of_server))
        .route("/servers/{id}/migrations/{number}", get(migration::show).delete(migration::abort))
        .route("/servers/{id}/migrations/{number}/action", post(migration::act))
        .route("/os-migrations", get(migration::list))
        .merge(placing())
        .merge(networking());
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
        .route("/os-hypervisors", get(host::hypervisors))
        .route("/os-hypervisors/detail", get(host::hypervisors_detail))
        .route("/os-hypervisors/statistics", get(host::statistics))
        .route("/os-hypervisors/{id}", get(host::hypervisor))
        .route("/os-services", get(host::services))
        .route("/os-services/{id}", put(host::update_service).delete(host::delete_service))
        .route("/os-server-groups", get(server_group::list).post(server_group::create))
        .route("/os-server-groups/{id}", get(server_group::show).delete(server_group::delete))
        .route("/os-aggregates", get(aggregate::list).post(aggregate::create))
        .route("/os-aggregates/{id}", get(aggregate::show).put(aggregate::update).delete(aggregate::delete))
        .route("/os-aggregates/{id}/action", post(aggregate::act))
        .route("/os-aggregates/{id}/images", post(aggregate::images))
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
        .route("/os-tenant-networks", get(floating_ip::networks))
        .route("/os-tenant-networks/{id}", get(floating_ip::network))
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

async fn extensions(_: crate::ctx::Ctx) -> Handled {
    json(200, &json!({"extensions": []}))
}

/// Reads a server's id. A malformed id gives the same error as an unknown id.
fn server_id(text: &str) -> Result<ServerId, Error> {
    text.parse().map_err(|_| Error::not_found("Instance", text))
}
