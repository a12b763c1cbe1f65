//! Server groups as Nova shows them, and requests about them.

use crate::{microversion::Microversion, request};
use lenticular_model::{
    State,
    compute::server_group::{Policy, ServerGroup},
    error::{Error, Result},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A group with the servers in it.
pub fn view(state: &State, group: &ServerGroup, version: Microversion) -> Value {
    let members: Vec<String> = state.servers_of_group(group.id).map(|server| server.id.to_string()).collect();
    let mut view = json!({"id": group.id, "name": group.name, "members": members});
    if version.has(13) {
        view["project_id"] = json!(group.project_id);
        view["user_id"] = json!(group.user_id);
    }
    if version.has(64) {
        view["policy"] = json!(group.policy.name());
        let rule = group.max_server_per_host.map(|most| ("max_server_per_host".to_owned(), json!(most)));
        view["rules"] = Value::Object(rule.into_iter().collect());
    } else {
        view["policies"] = json!([group.policy.name()]);
        view["metadata"] = json!({});
    }
    view
}

/// A new group.
#[derive(Debug, PartialEq, Eq)]
pub struct CreateServerGroup {
    /// Its name.
    pub name: String,
    /// Its policy.
    pub policy: Policy,
    /// With anti-affinity: how many may share a host.
    pub max_server_per_host: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Old {
    name: String,
    policies: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    policy: String,
    #[serde(default)]
    rules: Map<String, Value>,
}

/// Reads `POST /os-server-groups`: a list of one policy before 2.64, a policy with rules from 2.64.
///
/// # Errors
/// The body is invalid.
pub fn read_create(body: Value, version: Microversion) -> Result<CreateServerGroup> {
    let fields = request::sole(body, "server_group")?;
    let (name, policy, max_server_per_host) = if version.has(64) {
        let New { name, policy, rules } = request::read(fields)?;
        let most =
            rules.into_iter().map(|(name, value)| read_rule(&name, &value)).collect::<Result<Vec<_>>>()?;
        (name, read_policy("policy", &policy, version)?, most.last().copied())
    } else {
        let Old { name, policies } = request::read(fields)?;
        let [policy] = &policies[..] else {
            let why = "Invalid input for field/attribute policies. There must be exactly one.";
            return Err(Error::invalid(why));
        };
        (name, read_policy("policies", policy, version)?, None)
    };
    request::check_name("name", &name)?;
    Ok(CreateServerGroup { name, policy, max_server_per_host })
}

fn read_policy(field: &str, name: &str, version: Microversion) -> Result<Policy> {
    let soft = |policy: &Policy| matches!(policy, Policy::SoftAffinity | Policy::SoftAntiAffinity);
    let found = Policy::from_name(name).filter(|policy| version.has(15) || !soft(policy));
    found.ok_or_else(|| {
        Error::invalid(format!(
            "Invalid input for field/attribute {field}. Value: {name}. There is no such policy."
        ))
    })
}

fn read_rule(name: &str, value: &Value) -> Result<u32> {
    if name != "max_server_per_host" {
        return Err(request::unexpected(name));
    }
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let number = number.and_then(|n| u32::try_from(n).ok()).filter(|n| *n >= 1);
    number.ok_or_else(|| {
        Error::invalid(format!(
            "Invalid input for field/attribute {name}. Value: {value}. It must be 1 or more."
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: Value, version: u16) -> Result<CreateServerGroup> {
        read_create(json!({ "server_group": fields }), Microversion(version))
    }

    #[test]
    fn policies_are_a_list_of_one_and_then_a_word() {
        let of = |fields, version| read(fields, version).map(|new| new.policy).ok();
        assert_eq!(of(json!({"name": "g", "policies": ["affinity"]}), 1), Some(Policy::Affinity));
        assert_eq!(of(json!({"name": "g", "policies": ["soft-affinity"]}), 14), None);
        assert_eq!(of(json!({"name": "g", "policies": ["soft-affinity"]}), 15), Some(Policy::SoftAffinity));
        assert_eq!(of(json!({"name": "g", "policies": ["affinity"]}), 64), None);
        assert_eq!(of(json!({"name": "g", "policy": "anti-affinity"}), 63), None);
        assert_eq!(of(json!({"name": "g", "policy": "anti-affinity"}), 64), Some(Policy::AntiAffinity));
        for bad in [json!([]), json!(["affinity", "anti-affinity"]), json!(["near"]), json!("affinity")] {
            assert_eq!(of(json!({"name": "g", "policies": bad}), 1), None, "{bad}");
        }
    }

    #[test]
    fn the_one_rule_is_a_number_or_a_text_of_one() {
        let most = |rule: Value| {
            let fields =
                json!({"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": rule}});
            read(fields, 64).map(|new| new.max_server_per_host).ok().flatten()
        };
        assert_eq!([most(json!(3)), most(json!("2"))], [Some(3), Some(2)]);
        assert_eq!([most(json!(0)), most(json!(-1)), most(json!("x"))], [None; 3]);
        assert!(read(json!({"name": "g", "policy": "affinity", "rules": {"colour": 1}}), 64).is_err());
    }
}
