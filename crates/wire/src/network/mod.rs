//! Neutron's bodies: a file for each resource, and the list of extensions.

pub mod address_group;
pub mod address_scope;
pub mod agent;
pub mod default_security_group_rule;
pub mod floating_ip;
pub mod ip_availability;
#[expect(clippy::module_inception, reason = "one noun has one file name in every layer")]
pub mod network;
pub mod port;
pub mod port_forwarding;
pub mod qos_policy;
pub mod rbac_policy;
pub mod router;
pub mod security_group;
pub mod subnet;
pub mod subnet_pool;
pub mod trunk;

use lenticular_model::{
    State, Timestamp,
    network::rbac_policy::{RbacAction, RbacObject, RbacTarget},
    policy::Caller,
};
use serde_json::{Value, json};

/// The extensions of Neutron's that the cloud has: alias and name.
pub const PRESENT: &[(&str, &str)] = &[
    ("address-group", "Address group"),
    ("address-scope", "Address scope"),
    ("agent", "agent"),
    ("allowed-address-pairs", "Allowed Address Pairs"),
    ("auto-allocated-topology", "Auto Allocated Topology Services"),
    ("availability_zone", "Availability Zone"),
    ("availability_zone_filter", "Availability Zone Filter Extension"),
    ("binding", "Port Binding"),
    ("default-subnetpools", "Default Subnetpools"),
    ("dns-domain-ports", "dns_domain for ports"),
    ("dns-integration", "DNS Integration"),
    ("dvr", "Distributed Virtual Router"),
    ("empty-string-filtering", "Empty String Filtering Extension"),
    ("expose-port-forwarding-in-fip", "Expose Port Forwarding in FIP"),
    ("ext-gw-mode", "Neutron L3 Configurable external gateway mode"),
    ("external-net", "Neutron external network"),
    ("extra_dhcp_opt", "Neutron Extra DHCP options"),
    ("extraroute", "Neutron Extra Route"),
    ("extraroute-atomic", "Atomically add/remove extra routes"),
    ("filter-validation", "Filter parameters validation"),
    ("fip-port-details", "Floating IP Port Details Extension"),
    ("floating-ip-port-forwarding", "Floating IP Port Forwarding"),
    ("floating-ip-port-forwarding-description", "Floating IP Port Forwarding new attribute description"),
    ("floating-ip-port-forwarding-port-ranges", "Floating IP Port Forwarding support of port ranges"),
    ("floatingip-pools", "Floating IP Pools Extension"),
    ("ip-substring-filtering", "IP address substring filtering"),
    ("l3-ha", "HA Router extension"),
    ("net-mtu", "Network MTU"),
    ("net-mtu-writable", "Network MTU (writable)"),
    ("network-ip-availability", "Network IP Availability"),
    ("network_availability_zone", "Network Availability Zone"),
    ("pagination", "Pagination support"),
    ("port-mac-address-regenerate", "Neutron Port MAC address regenerate"),
    ("port-security-groups-filtering", "Port filtering on security groups"),
    ("port-security", "Port Security"),
    ("project-id", "project_id field enabled"),
    ("provider", "Provider Network"),
    ("qos", "Quality of Service"),
    ("qos-bw-limit-direction", "Direction for QoS bandwidth limit rule"),
    ("qos-bw-minimum-ingress", "Ingress direction for QoS minimum bandwidth rule"),
    ("qos-default", "QoS default policy"),
    ("qos-fip", "Floating IP QoS"),
    ("qos-gateway-ip", "Gateway IP QoS"),
    ("qos-rule-type-details", "Details of QoS rule types"),
    ("qos-rules-alias", "Ability to modify QoS rules without policy_id"),
    ("quota_details", "Quota details management support"),
    ("quotas", "Quota management support"),
    ("rbac-address-group", "Add address_group type to RBAC"),
    ("rbac-address-scope", "Add address_scope type to RBAC"),
    ("rbac-policies", "RBAC Policies"),
    ("rbac-security-groups", "Add security_group type to network RBAC"),
    ("rbac-subnetpool", "Add subnetpool type to RBAC"),
    ("revision-if-match", "If-Match constraints based on revision_number"),
    ("router", "Neutron L3 Router"),
    ("router_availability_zone", "Router Availability Zone"),
    ("security-group", "security-group"),
    ("security-groups-default-rules", "Default rules for security groups"),
    ("security-groups-normalized-cidr", "Normalized CIDR field for security group rules"),
    ("security-groups-remote-address-group", "Remote address group id field for security group rules"),
    ("security-groups-rules-belongs-to-default-sg", "Flag for rules of default security groups"),
    ("security-groups-shared-filtering", "Security group filtering on the shared field"),
    ("service-type", "Neutron Service Type Management"),
    ("shared-attributes", "Shared attributes"),
    ("sorting", "Sorting support"),
    ("standard-attr-description", "standard-attr-description"),
    ("standard-attr-revisions", "Resource revision numbers"),
    ("standard-attr-tag", "Tag support for resources with standard attribute"),
    ("standard-attr-timestamp", "Resource timestamps"),
    ("stateful-security-group", "Stateful security group"),
    ("subnet-dns-publish-fixed-ip", "Subnet DNS publish fixed IP"),
    ("subnet-service-types", "Subnet service types"),
    ("subnet_allocation", "Subnet Allocation"),
    ("subnetpool-prefix-ops", "Subnet Pool Prefix Operations"),
    ("tag", "Tag support"),
    ("trunk", "Trunk Extension"),
    ("trunk-details", "Trunk port details"),
    ("uplink-status-propagation", "Port Uplink Status Propagation"),
    ("uplink-status-propagation-updatable", "Updatable Port Uplink Status Propagation"),
];

/// An extension.
pub fn extension(alias: &str, name: &str) -> Value {
    json!({
        "alias": alias,
        "name": name,
        "description": name,
        "updated": "2026-01-01T00:00:00-00:00",
        "links": [],
    })
}

/// Adds the fields that every resource has.
fn stamp(view: &mut Value, created: Timestamp, updated: Option<Timestamp>, revision: u64, description: &str) {
    view["created_at"] = json!(created.iso());
    view["updated_at"] = json!(updated.unwrap_or(created).iso());
    view["revision_number"] = json!(revision);
    view["description"] = json!(description);
}

/// Whether an object is shared with everyone or with the caller's project.
fn shared(state: &State, caller: &Caller, object: RbacObject) -> bool {
    let to = |target| state.rbac_policy(object, RbacAction::AccessAsShared, target).is_some();
    to(RbacTarget::Everyone) || caller.project_id().is_some_and(|own| to(RbacTarget::Project(own)))
}

/// A project's id as Neutron shows it: empty for the cloud's own objects.
fn project(id: lenticular_model::ProjectId) -> Value {
    match id == lenticular_model::ProjectId::CLOUD {
        true => json!(""),
        false => json!(id),
    }
}
