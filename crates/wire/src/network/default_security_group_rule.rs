//! Default rules of security groups, as Neutron shows them.

use lenticular_model::network::{
    default_security_group_rule::{DefaultRemote, DefaultSecurityGroupRule},
    security_group::Remote,
};
use serde_json::{Value, json};

/// A rule.
pub fn view(rule: &DefaultSecurityGroupRule) -> Value {
    let (prefix, group, addresses) = match &rule.remote {
        DefaultRemote::Parent => (None, Some("PARENT".to_owned()), None),
        DefaultRemote::Is(Remote::Any) => (None, None, None),
        DefaultRemote::Is(Remote::Range(range)) => (Some(range), None, None),
        DefaultRemote::Is(Remote::Group(id)) => (None, Some(id.to_string()), None),
        DefaultRemote::Is(Remote::AddressGroup(id)) => (None, None, Some(id)),
    };
    json!({
        "id": rule.id,
        "direction": rule.direction,
        "ethertype": super::security_group::ethertype(rule.ip_version),
        "protocol": rule.protocol,
        "port_range_min": rule.port_range_min,
        "port_range_max": rule.port_range_max,
        "remote_ip_prefix": prefix,
        "remote_group_id": group,
        "remote_address_group_id": addresses,
        "used_in_default_sg": rule.used_in_default_sg,
        "used_in_non_default_sg": rule.used_in_non_default_sg,
        "description": rule.description,
    })
}
