//! Security groups as Nova shows them: only ingress rules, under Nova's own field names.

use lenticular_model::{
    State,
    network::security_group::{Direction, Remote, SecurityGroup, SecurityGroupRule},
};
use serde_json::{Value, json};

/// The ports of a rule as Nova shows them: a rule without ports is about all ports.
fn ports(rule: &SecurityGroupRule) -> (Value, Value) {
    match (rule.protocol.as_deref(), rule.port_range_min, rule.port_range_max) {
        (Some("tcp" | "udp"), None, None) => (json!(1), json!(65_535)),
        (Some(_), None, None) => (json!(-1), json!(-1)),
        (_, min, max) => (json!(min), json!(max)),
    }
}

/// A rule.
pub fn rule(state: &State, rule: &SecurityGroupRule) -> Value {
    let everyone = if rule.ip_version == 4 { "0.0.0.0/0" } else { "::/0" };
    let (group, range) = match &rule.remote {
        Remote::Group(id) => {
            let group = state.security_groups.get(id);
            (group.map_or(json!({}), |g| json!({"name": g.name, "tenant_id": g.project_id})), json!({}))
        }
        Remote::Range(range) => (json!({}), json!({"cidr": range})),
        Remote::AddressGroup(_) => (json!({}), json!({})),
        Remote::Any => (json!({}), json!({"cidr": everyone})),
    };
    let (from, to) = ports(rule);
    json!({
        "id": rule.id,
        "parent_group_id": rule.security_group_id,
        "ip_protocol": rule.protocol,
        "from_port": from,
        "to_port": to,
        "group": group,
        "ip_range": range,
    })
}

/// A group with its ingress rules.
pub fn view(state: &State, group: &SecurityGroup) -> Value {
    let rules = state.rules_of_security_group(group.id);
    let rules = rules.filter(|r| r.direction == Direction::Ingress);
    json!({
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "rules": rules.map(|r| rule(state, r)).collect::<Vec<_>>(),
    })
}
