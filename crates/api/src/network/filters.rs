//! The filters of listings, from Neutron's API reference, with the types of their values. Unknown filters are
//! refused: an ignored filter would list everything.

use super::fields::bad;
use crate::query::Query;
use lenticular_model::{
    Timestamp,
    error::{Error, Result},
    network::{mac::Mac, security_group::protocol_number},
};
use lenticular_wire::request::text_bool;
use serde_json::{Value, json};
use std::net::IpAddr;

/// The type of a filter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A text, compared exactly.
    Text,
    /// A text, compared without case.
    AnyCase,
    /// True or false.
    Flag,
    /// A whole number.
    Number,
    /// A project's id, with or without hyphens.
    Project,
    /// An Ethernet address.
    Mac,
    /// An address.
    Address,
    /// A range of addresses.
    Range,
    /// A rule's range: a single address counts as a range.
    Prefix,
    /// `IPv4` or `IPv6`.
    Ethertype,
    /// A protocol's name or number.
    Protocol,
    /// A transport port.
    PortNumber,
    /// The object type of an RBAC policy.
    ObjectType,
    /// `subnet_id=…`, `ip_address=…`, `ip_address_substr=…`
    FixedIp,
    /// True or false; the resource checks the value.
    OwnFlag,
    /// A number; the resource checks the value.
    OwnNumber,
}

use Kind::{
    Address, AnyCase, Ethertype, FixedIp, Flag, Number, ObjectType, OwnFlag, OwnNumber, PortNumber, Prefix,
    Project, Protocol, Range, Text,
};

/// The filters of one kind of resource.
struct Table {
    /// The name of the list in the body.
    many: &'static str,
    /// Whether the resource has Neutron's standard attributes: description, revision number and times.
    standard: bool,
    /// Whether it has tags.
    tags: bool,
    /// Its other filters.
    own: &'static [(&'static str, Kind)],
}

/// The filters of every resource that belongs to a project.
const OWNED: &[(&str, Kind)] = &[("id", Text), ("project_id", Project), ("tenant_id", Project)];

/// The filters of standard attributes.
const STANDARD: &[(&str, Kind)] =
    &[("description", Text), ("revision_number", Number), ("created_at", Text), ("updated_at", Text)];

const TAGS: &[&str] = &["tags", "tags-any", "not-tags", "not-tags-any"];

/// The filter for resources that changed since a time.
const SINCE: &str = "changed_since";

/// Parameters of a listing that filter nothing.
const OTHERS: &[&str] = &["fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir"];

const TABLES: &[Table] = &[
    Table {
        many: "networks",
        standard: true,
        tags: true,
        own: &[
            ("name", Text),
            ("status", Text),
            ("admin_state_up", Flag),
            ("shared", Flag),
            ("router:external", Flag),
            ("is_default", Flag),
            ("mtu", Number),
            ("port_security_enabled", Flag),
            ("provider:network_type", Text),
            ("provider:physical_network", Text),
            ("provider:segmentation_id", Number),
            ("availability_zone_hints", Text),
            ("availability_zones", Text),
            ("dns_domain", AnyCase),
            ("qos_policy_id", Text),
            ("ipv4_address_scope", Text),
            ("ipv6_address_scope", Text),
            ("subnets", Text),
        ],
    },
    Table {
        many: "subnets",
        standard: true,
        tags: true,
        own: &[
            ("name", Text),
            ("network_id", Text),
            ("ip_version", Number),
            ("cidr", Range),
            ("gateway_ip", Address),
            ("enable_dhcp", Flag),
            ("ipv6_ra_mode", Text),
            ("ipv6_address_mode", Text),
            ("subnetpool_id", Text),
            ("dns_publish_fixed_ip", Flag),
            ("dns_nameservers", Address),
            ("service_types", Text),
            ("shared", OwnFlag),
            ("router:external", OwnFlag),
        ],
    },
    Table {
        many: "ports",
        standard: true,
        tags: true,
        own: &[
            ("name", Text),
            ("network_id", Text),
            ("status", Text),
            ("admin_state_up", Flag),
            ("mac_address", Kind::Mac),
            ("fixed_ips", FixedIp),
            ("device_id", Text),
            ("device_owner", Text),
            ("security_groups", Text),
            ("port_security_enabled", Flag),
            ("binding:vnic_type", Text),
            ("binding:vif_type", Text),
            ("binding:host_id", Text),
            ("dns_name", AnyCase),
            ("dns_domain", AnyCase),
            ("qos_policy_id", Text),
            ("qos_network_policy_id", Text),
            ("propagate_uplink_status", Flag),
        ],
    },
    Table {
        many: "routers",
        standard: true,
        tags: true,
        own: &[
            ("name", Text),
            ("status", Text),
            ("admin_state_up", Flag),
            ("distributed", Flag),
            ("ha", Flag),
            ("availability_zone_hints", Text),
            ("availability_zones", Text),
            ("flavor_id", Text),
        ],
    },
    Table {
        many: "floatingips",
        standard: true,
        tags: true,
        own: &[
            ("status", Text),
            ("floating_network_id", Text),
            ("floating_ip_address", Address),
            ("fixed_ip_address", Address),
            ("port_id", Text),
            ("router_id", Text),
            ("dns_name", AnyCase),
            ("dns_domain", AnyCase),
            ("qos_policy_id", Text),
            ("qos_network_policy_id", Text),
        ],
    },
    Table {
        many: "port_forwardings",
        standard: true,
        tags: false,
        own: &[
            ("protocol", AnyCase),
            ("internal_port_id", Text),
            ("internal_ip_address", Address),
            ("internal_port", Number),
            ("internal_port_range", Text),
            ("external_port", Number),
            ("external_port_range", Text),
        ],
    },
    Table {
        many: "security_groups",
        standard: true,
        tags: true,
        own: &[("name", Text), ("shared", Flag), ("stateful", Flag)],
    },
    Table {
        many: "security_group_rules",
        standard: true,
        tags: false,
        own: &[
            ("security_group_id", Text),
            ("direction", Text),
            ("ethertype", Ethertype),
            ("protocol", Protocol),
            ("port_range_min", PortNumber),
            ("port_range_max", PortNumber),
            ("remote_ip_prefix", Prefix),
            ("normalized_cidr", Prefix),
            ("remote_group_id", Text),
            ("remote_address_group_id", Text),
            ("belongs_to_default_sg", Flag),
        ],
    },
    Table {
        many: "default_security_group_rules",
        standard: false,
        tags: false,
        own: &[
            ("description", Text),
            ("direction", Text),
            ("ethertype", Ethertype),
            ("protocol", Protocol),
            ("port_range_min", PortNumber),
            ("port_range_max", PortNumber),
            ("remote_ip_prefix", Prefix),
            ("remote_group_id", Text),
            ("remote_address_group_id", Text),
            ("used_in_default_sg", Flag),
            ("used_in_non_default_sg", Flag),
        ],
    },
    Table {
        many: "subnetpools",
        standard: true,
        tags: true,
        own: &[
            ("name", Text),
            ("ip_version", Number),
            ("prefixes", Range),
            ("min_prefixlen", Number),
            ("max_prefixlen", Number),
            ("default_prefixlen", Number),
            ("default_quota", Number),
            ("address_scope_id", Text),
            ("shared", Flag),
            ("is_default", Flag),
        ],
    },
    Table {
        many: "address_scopes",
        standard: false,
        tags: false,
        own: &[("name", Text), ("ip_version", Number), ("shared", Flag), ("revision_number", Number)],
    },
    Table {
        many: "address_groups",
        standard: true,
        tags: false,
        own: &[("name", Text), ("addresses", Range), ("shared", Flag)],
    },
    Table {
        many: "trunks",
        standard: true,
        tags: true,
        own: &[("name", Text), ("status", Text), ("admin_state_up", Flag), ("port_id", Text)],
    },
    Table {
        many: "policies",
        standard: true,
        tags: true,
        own: &[("name", Text), ("shared", Flag), ("is_default", Flag)],
    },
    Table {
        many: "bandwidth_limit_rules",
        standard: false,
        tags: false,
        own: &[("max_kbps", Number), ("max_burst_kbps", Number), ("direction", Text)],
    },
    Table { many: "dscp_marking_rules", standard: false, tags: false, own: &[("dscp_mark", Number)] },
    Table {
        many: "minimum_bandwidth_rules",
        standard: false,
        tags: false,
        own: &[("min_kbps", Number), ("direction", Text)],
    },
    Table { many: "rule_types", standard: false, tags: false, own: &[("type", Text)] },
    Table {
        many: "rbac_policies",
        standard: false,
        tags: false,
        own: &[
            ("object_type", ObjectType),
            ("object_id", Text),
            ("action", Text),
            ("target_tenant", Project),
            ("target_project", Project),
        ],
    },
    Table {
        many: "agents",
        standard: false,
        tags: false,
        own: &[
            ("agent_type", Text),
            ("binary", Text),
            ("topic", Text),
            ("host", Text),
            ("availability_zone", Text),
            ("alive", Flag),
            ("admin_state_up", Flag),
            ("description", Text),
        ],
    },
    Table {
        many: "availability_zones",
        standard: false,
        tags: false,
        own: &[("name", Text), ("resource", Text), ("state", Text)],
    },
    Table {
        many: "network_ip_availabilities",
        standard: false,
        tags: false,
        own: &[("network_id", Text), ("network_name", Text), ("ip_version", OwnNumber)],
    },
    Table {
        many: "floatingip_pools",
        standard: false,
        tags: false,
        own: &[("subnet_id", Text), ("subnet_name", Text), ("cidr", Range), ("network_id", Text)],
    },
    Table {
        many: "service_providers",
        standard: false,
        tags: false,
        own: &[("service_type", Text), ("name", Text), ("default", Flag)],
    },
];

impl Table {
    fn kind(&self, name: &str) -> Option<Kind> {
        let standard = if self.standard { STANDARD } else { &[] };
        let all = self.own.iter().chain(OWNED).chain(standard);
        all.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

fn wrong(why: String) -> Error {
    Error::invalid(format!("Invalid input for operation: {why}.")).coded("InvalidInput")
}

/// Converts a filter's value into the form that resources show.
fn read(kind: Kind, text: &str) -> Result<Value> {
    let canonical = |found: Option<String>| Ok(json!(found.unwrap_or_else(|| text.to_owned())));
    match kind {
        Text | FixedIp => Ok(json!(text)),
        AnyCase => Ok(json!(text.to_ascii_lowercase())),
        Project => Ok(json!(text.replace('-', ""))),
        Flag | OwnFlag => {
            let flag = text_bool(text).map(Value::from);
            flag.ok_or_else(|| wrong(format!("'{text}' cannot be converted to boolean")))
        }
        Number | OwnNumber => text
            .trim()
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| wrong(format!("'{text}' is not an integer"))),
        Kind::Mac => canonical(text.parse::<Mac>().ok().map(|mac| mac.to_string())),
        Address => canonical(text.parse::<IpAddr>().ok().map(|address| address.to_string())),
        Range => canonical(super::fields::range("", text).ok().map(|range| range.to_string())),
        Prefix if text.is_empty() => Ok(json!("")),
        Prefix => super::fields::range("", text).map(|range| json!(range.to_string())).map_err(|_| {
            Error::invalid(format!("Invalid CIDR {text} given as IP prefix.")).coded("InvalidCIDR")
        }),
        Ethertype => {
            let known = ["IPv4", "IPv6"].into_iter().find(|known| known.eq_ignore_ascii_case(text));
            canonical(known.map(str::to_owned))
        }
        Protocol => match text.to_ascii_lowercase() {
            word if word.is_empty() || protocol_number(&word).is_some() => Ok(json!(word)),
            word => Err(Error::invalid(format!("Security group rule protocol {word} not supported."))
                .coded("SecurityGroupRuleInvalidProtocol")),
        },
        PortNumber if text.is_empty() => Ok(json!("")),
        PortNumber => text.parse::<u16>().map(Value::from).map_err(|_| {
            Error::invalid(format!("Invalid value for port {text}")).coded("SecurityGroupInvalidPortValue")
        }),
        ObjectType => Ok(json!(super::rbac_policy::object_type(text)?)),
    }
}

/// A listing's filters. One of several values of a key must match; all keys must match.
#[derive(Debug, Default)]
pub struct Filters {
    by_field: Vec<(String, Vec<Value>)>,
    fixed_ips: Vec<(String, String)>,
    tags: Vec<(&'static str, Vec<String>)>,
    since: Option<String>,
}

impl Filters {
    /// Reads the filters of the listing that its body calls `many`.
    pub fn read(query: &Query, many: &str) -> Result<Self> {
        let table = TABLES.iter().find(|table| table.many == many);
        let mut filters = Self::default();
        let mut unknown = Vec::new();
        for (name, text) in query.0.iter().filter(|(name, _)| !OTHERS.contains(&name.as_str())) {
            let has_tags = table.is_some_and(|t| t.tags);
            if let Some(tags) = TAGS.iter().find(|known| has_tags && *known == name) {
                filters.add_tags(tags, text);
                continue;
            }
            match table.and_then(|t| t.kind(name)) {
                Some(FixedIp) => filters.add_fixed_ip(text)?,
                Some(kind @ (OwnFlag | OwnNumber)) => drop(read(kind, text)?),
                Some(kind) => filters.add(name, read(kind, text)?),
                None if name == SINCE && table.is_some_and(|t| t.standard) => filters.add_since(text)?,
                None => unknown.push(format!("'{name}'")),
            }
        }
        match unknown.is_empty() {
            true => Ok(filters),
            false => Err(bad(format!("[{}] is invalid attribute for filtering", unknown.join(", ")))),
        }
    }

    fn add(&mut self, name: &str, wanted: Value) {
        match self.by_field.iter_mut().find(|(known, _)| known == name) {
            Some((_, all)) => all.push(wanted),
            None => self.by_field.push((name.to_owned(), vec![wanted])),
        }
    }

    fn add_tags(&mut self, name: &'static str, text: &str) {
        let more = text.split(',').map(str::to_owned);
        match self.tags.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.extend(more),
            None => self.tags.push((name, more.collect())),
        }
    }

    fn add_fixed_ip(&mut self, text: &str) -> Result<()> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let value = match key {
            "ip_address" => read(Address, value)?.as_str().unwrap_or(value).to_owned(),
            "ip_address_substr" | "subnet_id" => value.to_owned(),
            _ => {
                return Err(wrong(format!(
                    "'{text}' is not of the form subnet_id=, ip_address= or ip_address_substr="
                )));
            }
        };
        self.fixed_ips.push((key.to_owned(), value));
        Ok(())
    }

    fn add_since(&mut self, text: &str) -> Result<()> {
        let time = Timestamp::parse(text).ok_or_else(|| {
            wrong(format!("The input {SINCE} must be in the following format: YYYY-MM-DDTHH:MM:SSZ"))
        })?;
        self.since = Some(time.iso());
        Ok(())
    }

    /// Whether a resource, as shown, matches the filters. An attribute that the caller may not see matches no filter.
    pub fn match_item(&self, item: &Value) -> bool {
        let fits = |(name, wanted): &(String, Vec<Value>)| {
            item.get(name).is_some_and(|value| wanted.iter().any(|wanted| is_equal(value, wanted)))
        };
        let since = |time: &String| item["updated_at"].as_str().is_some_and(|at| at >= time.as_str());
        self.by_field.iter().all(fits)
            && self.match_fixed_ips(item)
            && self.tags.iter().all(|(name, tags)| match_tags(item, name, tags))
            && self.since.as_ref().is_none_or(since)
    }

    fn match_fixed_ips(&self, item: &Value) -> bool {
        let addresses = || item["fixed_ips"].as_array().into_iter().flatten();
        let fits = |(key, value): &(String, String)| {
            addresses().any(|ip| match key.as_str() {
                "ip_address_substr" => ip["ip_address"].as_str().is_some_and(|a| a.contains(value.as_str())),
                key => ip[key] == *value,
            })
        };
        let any = |(key, _): &(String, String)| self.fixed_ips.iter().any(|one| one.0 == *key && fits(one));
        self.fixed_ips.iter().all(any)
    }
}

fn is_equal(value: &Value, wanted: &Value) -> bool {
    match value {
        Value::Array(list) => list.iter().any(|one| one == wanted),
        Value::Null => wanted == "",
        value => value == wanted,
    }
}

fn match_tags(item: &Value, name: &str, wanted: &[String]) -> bool {
    let has = |tag: &String| item["tags"].as_array().is_some_and(|list| list.iter().any(|t| t == tag));
    match name {
        "tags" => wanted.iter().all(has),
        "tags-any" => wanted.iter().any(has),
        "not-tags" => !wanted.iter().all(has),
        _ => !wanted.iter().any(has),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(many: &str, query: &str) -> Result<Filters> {
        Filters::read(&Query::parse(Some(query)), many)
    }

    #[test]
    fn values_are_compared_as_what_they_are() {
        let port = json!({"id": "a", "mac_address": "fa:16:3e:00:00:0a", "admin_state_up": true, "tags": ["x", "y"],
            "fixed_ips": [{"subnet_id": "s", "ip_address": "fd00::1"}, {"subnet_id": "t", "ip_address": "10.0.0.7"}],
            "qos_policy_id": null, "updated_at": "2026-01-02T00:00:00Z", "security_groups": ["g"], "project_id": "ab"});
        for (query, found) in [
            ("mac_address=FA-16-3E-0-0-A", true),
            ("admin_state_up=1&admin_state_up=false", true),
            ("admin_state_up=no", false),
            ("fixed_ips=ip_address=fd00:0::1&fixed_ips=subnet_id=t", true),
            ("fixed_ips=ip_address_substr=10.0&fixed_ips=subnet_id=u", false),
            ("fixed_ips=subnet_id=u&fixed_ips=subnet_id=t", true),
            ("tags=x&tags=y", true),
            ("tags=x,z", false),
            ("not-tags=x,z", true),
            ("qos_policy_id=", true),
            ("qos_policy_id=q", false),
            ("security_groups=h&security_groups=g", true),
            ("tenant_id=a-b", false),
            ("project_id=a-b", true),
            ("changed_since=2026-01-01T00:00:00Z", true),
            ("changed_since=2026-01-03T00:00:00Z", false),
            ("binding:host_id=h", false),
            ("limit=1&fields=id", true),
        ] {
            assert_eq!(filters("ports", query).unwrap().match_item(&port), found, "{query}");
        }
    }

    #[test]
    fn what_is_unknown_or_of_the_wrong_type_is_refused() {
        for (many, query, code) in [
            ("ports", "nosuch=1", "HTTPBadRequest"),
            ("ports", "allowed_address_pairs=1", "HTTPBadRequest"),
            ("agents", "tags=a", "HTTPBadRequest"),
            ("nosuch", "id=a", "HTTPBadRequest"),
            ("ports", "fixed_ips=10.0.0.1", "InvalidInput"),
            ("ports", "fixed_ips=colour=red", "InvalidInput"),
            ("ports", "revision_number=x", "InvalidInput"),
            ("ports", "changed_since=yesterday", "InvalidInput"),
            ("networks", "mtu=1.5", "InvalidInput"),
            ("networks", "shared=", "InvalidInput"),
            ("subnets", "shared=maybe", "InvalidInput"),
            ("security_group_rules", "protocol=bogus", "SecurityGroupRuleInvalidProtocol"),
            ("security_group_rules", "port_range_min=65536", "SecurityGroupInvalidPortValue"),
            ("security_group_rules", "remote_ip_prefix=x", "InvalidCIDR"),
            ("rbac_policies", "object_type=flavor", "InvalidInput"),
        ] {
            assert_eq!(filters(many, query).unwrap_err().code, code, "{many}?{query}");
        }
    }
}
