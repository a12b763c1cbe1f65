//! Nova's resources.

use crate::{
    snapshot::{Shown, UNVERSIONED, assert_answer, show},
    world::World,
};
use axum::http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The lowest and the highest version.
const BOTH: &[&str] = &["2.1", "2.100"];

const SHOWN: &[Shown<'_>] = &[
    ("versions", "/compute", UNVERSIONED),
    ("version", "/compute/v2.1", UNVERSIONED),
    ("server", "/compute/v2.1/servers/{server}", BOTH),
    ("server-in-error", "/compute/v2.1/servers/{huge}", BOTH),
    ("servers", "/compute/v2.1/servers?name=web", BOTH),
    ("servers-detail", "/compute/v2.1/servers/detail?name=moved", BOTH),
    ("server-addresses", "/compute/v2.1/servers/{server}/ips", BOTH),
    ("server-metadata", "/compute/v2.1/servers/{server}/metadata", BOTH),
    ("server-tags", "/compute/v2.1/servers/{server}/tags", &["2.26", "2.100"]),
    ("server-password", "/compute/v2.1/servers/{server}/os-server-password", BOTH),
    ("server-volumes", "/compute/v2.1/servers/{server}/os-volume_attachments", BOTH),
    ("server-security-groups", "/compute/v2.1/servers/{server}/os-security-groups", BOTH),
    ("interfaces", "/compute/v2.1/servers/{server}/os-interface", BOTH),
    ("interface", "/compute/v2.1/servers/{server}/os-interface/{server-port}", BOTH),
    ("operations", "/compute/v2.1/servers/{moved}/os-instance-actions", BOTH),
    ("operation", "/compute/v2.1/servers/{server}/os-instance-actions/{request}", BOTH),
    ("server-migrations", "/compute/v2.1/servers/{moving}/migrations", &["2.23", "2.100"]),
    ("server-migration", "/compute/v2.1/servers/{moving}/migrations/{migration}", &["2.23", "2.100"]),
    ("migrations", "/compute/v2.1/os-migrations?instance_uuid={moved}", BOTH),
    ("flavor", "/compute/v2.1/flavors/{flavor}", BOTH),
    ("flavors", "/compute/v2.1/flavors?minDisk=80", BOTH),
    ("flavors-detail", "/compute/v2.1/flavors/detail?minDisk=80", BOTH),
    ("flavor-extra-specs", "/compute/v2.1/flavors/{flavor}/os-extra_specs", BOTH),
    ("keypair", "/compute/v2.1/os-keypairs/ada", BOTH),
    ("keypairs", "/compute/v2.1/os-keypairs", BOTH),
    ("aggregate", "/compute/v2.1/os-aggregates/{aggregate}", BOTH),
    ("aggregates", "/compute/v2.1/os-aggregates", BOTH),
    ("server-group", "/compute/v2.1/os-server-groups/{server-group}", BOTH),
    ("server-groups", "/compute/v2.1/os-server-groups", BOTH),
    ("hypervisor-by-number", "/compute/v2.1/os-hypervisors/1", &["2.1"]),
    ("hypervisor", "/compute/v2.1/os-hypervisors/{host-1}", &["2.53", "2.100"]),
    ("hypervisors", "/compute/v2.1/os-hypervisors", BOTH),
    ("hypervisors-detail", "/compute/v2.1/os-hypervisors/detail", BOTH),
    ("hypervisor-statistics", "/compute/v2.1/os-hypervisors/statistics", &["2.1", "2.87"]),
    ("hypervisor-uptime", "/compute/v2.1/os-hypervisors/1/uptime", &["2.1"]),
    ("hypervisors-search", "/compute/v2.1/os-hypervisors/host/search", &["2.1", "2.52"]),
    ("hypervisors-servers", "/compute/v2.1/os-hypervisors/host-1/servers", &["2.1", "2.52"]),
    ("os-hosts", "/compute/v2.1/os-hosts", &["2.1", "2.43"]),
    ("os-host", "/compute/v2.1/os-hosts/host-1", &["2.1", "2.42"]),
    ("tenant-usages", "/compute/v2.1/os-simple-tenant-usage?start=2020-01-01", &["2.1", "2.40"]),
    ("usage-audit-log", "/compute/v2.1/os-instance_usage_audit_log", BOTH),
    ("quota-class", "/compute/v2.1/os-quota-class-sets/default", &["2.1", "2.50", "2.57"]),
    ("image", "/compute/v2.1/images/{image}", &["2.1", "2.36"]),
    ("images", "/compute/v2.1/images?name=debian", &["2.1", "2.35"]),
    ("image-metadata", "/compute/v2.1/images/{image}/metadata", &["2.1", "2.39"]),
    ("server-topology", "/compute/v2.1/servers/{server}/topology", &["2.77", "2.78"]),
    ("server-shares", "/compute/v2.1/servers/{server}/shares", &["2.96", "2.97"]),
    ("networks", "/compute/v2.1/os-networks", &["2.1", "2.36"]),
    ("extension", "/compute/v2.1/extensions/os-hosts", &["2.1"]),
    ("gone", "/compute/v2.1/os-cells", BOTH),
    ("availability-zones", "/compute/v2.1/os-availability-zone", BOTH),
    ("availability-zones-detail", "/compute/v2.1/os-availability-zone/detail", BOTH),
    ("services", "/compute/v2.1/os-services", BOTH),
    ("quota", "/compute/v2.1/os-quota-sets/{project}", BOTH),
    ("quota-defaults", "/compute/v2.1/os-quota-sets/{project}/defaults", BOTH),
    ("quota-detail", "/compute/v2.1/os-quota-sets/{admin-project}/detail", BOTH),
    ("limits", "/compute/v2.1/limits", BOTH),
    ("security-group", "/compute/v2.1/os-security-groups/{security-group}", &["2.1", "2.35"]),
    ("floating-ip", "/compute/v2.1/os-floating-ips/{floating-ip}", &["2.1", "2.35"]),
    ("floating-ip-pools", "/compute/v2.1/os-floating-ip-pools", &["2.1", "2.35"]),
    ("tenant-network", "/compute/v2.1/os-tenant-networks/{network}", &["2.1", "2.35"]),
];

#[tokio::test]
async fn resources_are_as_reviewed_at_the_lowest_and_the_highest_version() {
    show(&World::new().await, "compute", SHOWN).await;
}

#[tokio::test]
async fn a_change_of_a_server_is_answered_with_fewer_fields_until_its_version() {
    let world = World::new().await;
    for version in ["2.1", "2.74", "2.75"] {
        let change = json!({"server": {"name": "web"}});
        let call = world.cloud.call(Method::PUT, world.path("/compute/v2.1/servers/{server}"));
        let answer = call.microversion(version).json(&change).send().await;
        let request = format!("PUT /compute/v2.1/servers/{{server}} at {version}");
        assert_answer("compute", &format!("server-changed-at-{version}"), &request, &answer);
    }
}

#[tokio::test]
async fn a_usage_is_the_sum_of_its_servers() {
    let world = World::new().await;
    let path = "/compute/v2.1/os-simple-tenant-usage/{admin-project}?start=2020-01-01";
    let get =
        |more: &str, version| world.cloud.get(world.path(&format!("{path}{more}"))).microversion(version);
    let whole = get("", "2.39").succeeds().await;
    let usage = &whole["tenant_usage"];
    let servers = usage["server_usages"].as_array().expect("servers");
    let names: BTreeSet<_> = servers.iter().filter_map(|server| server["name"].as_str()).collect();
    assert!(["moved", "moving", "web"].iter().all(|name| names.contains(name)), "{names:?}");
    for (total, of) in [("total_memory_mb_usage", "memory_mb"), ("total_local_gb_usage", "local_gb")] {
        let number = |value: &Value| value.as_f64().expect("a number");
        let sum: f64 = servers.iter().map(|server| number(&server["hours"]) * number(&server[of])).sum();
        assert!(sum > 0.0 && (number(&usage[total]) - sum).abs() < 1e-9, "{usage}");
    }
    let page = get("&limit=1", "2.40").succeeds().await;
    let first = page["tenant_usage"]["server_usages"][0]["instance_id"].as_str().expect("an id");
    let next = page["tenant_usage_links"][0]["href"].as_str().expect("a link");
    assert!(next.ends_with(&format!("marker={first}")), "{next}");
    assert_eq!(get("&start=soon", "2.40").send().await.status, 400);
}

#[tokio::test]
async fn a_path_with_another_project_is_refused() {
    let world = World::new().await;
    let status = |path: &str| world.cloud.get(world.path(path)).send();
    assert_eq!(status("/compute/v2.1/{admin-project}/servers").await.status, 200);
    assert_eq!(status("/compute/v2.1/{project}/servers").await.status, 400);
    let member = world.cloud.get(world.path("/compute/v2.1/{project}/servers")).token(&world.member);
    assert_eq!(member.send().await.status, 200);
}

#[tokio::test]
async fn who_may_not_reads_no_hosts_usages_or_measurements() {
    let world = World::new().await;
    for path in [
        "/compute/v2.1/os-hosts",
        "/compute/v2.1/os-hypervisors/1/uptime",
        "/compute/v2.1/os-simple-tenant-usage",
        "/compute/v2.1/os-simple-tenant-usage/{admin-project}",
        "/compute/v2.1/os-quota-class-sets/default",
        "/compute/v2.1/os-instance_usage_audit_log",
    ] {
        let answer = world.cloud.get(world.path(path)).token(&world.member).send().await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
    }
    for path in ["diagnostics", "topology", "shares"] {
        let path = world.path(&format!("/compute/v2.1/servers/{{server}}/{path}"));
        let answer = world.cloud.get(path).microversion("latest").token(&world.member).send().await;
        assert_eq!(answer.status, 404, "{answer:?}");
    }
}

#[tokio::test]
async fn an_operation_names_its_host_as_the_server_does() {
    let world = World::new().await;
    let get = |path| world.cloud.get(world.path(path)).microversion("latest").succeeds();
    let server = get("/compute/v2.1/servers/{server}").await;
    let operation = get("/compute/v2.1/servers/{server}/os-instance-actions/{request}").await;
    assert!(server["server"]["hostId"].is_string(), "{server}");
    assert_eq!(operation["instanceAction"]["events"][0]["hostId"], server["server"]["hostId"]);
}
