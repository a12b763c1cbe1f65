//! Neutron's resources.

use crate::{
    snapshot::{Shown, UNVERSIONED, show},
    world::World,
};

const SHOWN: &[Shown<'_>] = &[
    ("versions", "/network", UNVERSIONED),
    ("resources", "/network/v2.0", UNVERSIONED),
    ("extensions", "/network/v2.0/extensions", UNVERSIONED),
    ("extension", "/network/v2.0/extensions/router", UNVERSIONED),
    ("network", "/network/v2.0/networks/{network}", UNVERSIONED),
    ("network-external", "/network/v2.0/networks/{public}", UNVERSIONED),
    ("networks", "/network/v2.0/networks?name=net", UNVERSIONED),
    ("subnet", "/network/v2.0/subnets/{subnet}", UNVERSIONED),
    ("port", "/network/v2.0/ports/{port}", UNVERSIONED),
    ("port-of-server", "/network/v2.0/ports/{server-port}", UNVERSIONED),
    ("security-group", "/network/v2.0/security-groups/{security-group}", UNVERSIONED),
    ("security-group-rule", "/network/v2.0/security-group-rules/{security-group-rule}", UNVERSIONED),
    ("default-security-group-rule", "/network/v2.0/default-security-group-rules/{default-rule}", UNVERSIONED),
    ("router", "/network/v2.0/routers/{router}", UNVERSIONED),
    ("floating-ip", "/network/v2.0/floatingips/{floating-ip}", UNVERSIONED),
    ("floating-ip-that-forwards", "/network/v2.0/floatingips/{forwarding-ip}", UNVERSIONED),
    (
        "port-forwarding",
        "/network/v2.0/floatingips/{forwarding-ip}/port_forwardings/{port-forwarding}",
        UNVERSIONED,
    ),
    ("floating-ip-pools", "/network/v2.0/floatingip_pools", UNVERSIONED),
    ("trunk", "/network/v2.0/trunks/{trunk}", UNVERSIONED),
    ("sub-ports", "/network/v2.0/trunks/{trunk}/get_subports", UNVERSIONED),
    ("subnet-pool", "/network/v2.0/subnetpools/{subnet-pool}", UNVERSIONED),
    ("address-scope", "/network/v2.0/address-scopes/{address-scope}", UNVERSIONED),
    ("address-group", "/network/v2.0/address-groups/{address-group}", UNVERSIONED),
    ("rbac-policy", "/network/v2.0/rbac-policies/{rbac-policy}", UNVERSIONED),
    ("qos-policy", "/network/v2.0/qos/policies/{qos-policy}", UNVERSIONED),
    (
        "qos-bandwidth-limit-rule",
        "/network/v2.0/qos/policies/{qos-policy}/bandwidth_limit_rules/{bandwidth-limit-rule}",
        UNVERSIONED,
    ),
    (
        "qos-dscp-marking-rule",
        "/network/v2.0/qos/policies/{qos-policy}/dscp_marking_rules/{dscp-marking-rule}",
        UNVERSIONED,
    ),
    (
        "qos-minimum-bandwidth-rule",
        "/network/v2.0/qos/policies/{qos-policy}/minimum_bandwidth_rules/{minimum-bandwidth-rule}",
        UNVERSIONED,
    ),
    ("qos-rule-types", "/network/v2.0/qos/rule-types", UNVERSIONED),
    ("quota", "/network/v2.0/quotas/{project}", UNVERSIONED),
    ("quota-default", "/network/v2.0/quotas/{project}/default", UNVERSIONED),
    ("quota-details", "/network/v2.0/quotas/{admin-project}/details", UNVERSIONED),
    ("agents", "/network/v2.0/agents", UNVERSIONED),
    ("availability-zones", "/network/v2.0/availability_zones", UNVERSIONED),
    ("network-ip-availability", "/network/v2.0/network-ip-availabilities/{network}", UNVERSIONED),
    ("service-providers", "/network/v2.0/service-providers", UNVERSIONED),
];

#[tokio::test]
async fn resources_are_as_reviewed() {
    show(&World::new().await, "network", SHOWN).await;
}
