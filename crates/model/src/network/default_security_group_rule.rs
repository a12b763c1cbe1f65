//! Rules that new security groups begin with (Neutron's noun).

use crate::{
    DefaultSecurityGroupRuleId, State, Timestamp,
    network::security_group::{Direction, Remote},
    record,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

/// The remote side of such a rule, once it is a rule of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultRemote {
    /// Ports in the group that has the rule (`PARENT`).
    Parent,
    /// The remote side of an ordinary rule.
    Is(Remote),
}

record! {
    /// A rule that new security groups begin with.
    pub struct DefaultSecurityGroupRule: DefaultSecurityGroupRuleId {
        /// The direction.
        pub direction: Direction,
        /// 4 or 6.
        pub ip_version: u8,
        /// `tcp`, `udp`, a number, …; `None` for all.
        #[serde(default)]
        pub protocol: Option<String>,
        /// The lowest port, or the ICMP type.
        #[serde(default)]
        pub port_range_min: Option<u32>,
        /// The highest port, or the ICMP code.
        #[serde(default)]
        pub port_range_max: Option<u32>,
        /// The remote side of the rule.
        pub remote: DefaultRemote,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// Whether projects' default groups begin with it.
        pub used_in_default_sg: bool,
        /// Whether all other groups do.
        pub used_in_non_default_sg: bool,
        /// True for a built-in rule that was removed.
        #[serde(default)]
        pub removed: bool,
    }
}

/// The rules that every cloud has until they are removed. All traffic may leave a group, and the members of a
/// project's default group reach one another. The store does not hold these rules, so older stores have them too.
fn built_in() -> impl Iterator<Item = DefaultSecurityGroupRule> {
    let kinds = [Direction::Egress, Direction::Ingress].into_iter().flat_map(|way| [(way, 4), (way, 6)]);
    kinds.zip(1..).map(|((direction, ip_version), number)| {
        let out = direction == Direction::Egress;
        DefaultSecurityGroupRule {
            id: DefaultSecurityGroupRuleId(Uuid::from_u128(0x4000_8000_0000_0000_0000 + number)),
            created_at: Timestamp::default(),
            updated_at: None,
            direction,
            ip_version,
            protocol: None,
            port_range_min: None,
            port_range_max: None,
            remote: if out { DefaultRemote::Is(Remote::Any) } else { DefaultRemote::Parent },
            description: String::new(),
            used_in_default_sg: true,
            used_in_non_default_sg: out,
            removed: false,
            unknown: BTreeMap::new(),
        }
    })
}

/// All default rules, in the order of their ids.
pub fn all(state: &State) -> Vec<Arc<DefaultSecurityGroupRule>> {
    let records = &state.default_security_group_rules;
    let first = built_in().filter(|rule| !records.contains_key(&rule.id)).map(Arc::new);
    first.chain(records.values().filter(|rule| !rule.removed).cloned()).collect()
}

/// The default rules with this remote side.
pub fn about<'s>(
    state: &'s State,
    remote: &'s Remote,
) -> impl Iterator<Item = DefaultSecurityGroupRuleId> + 's {
    let all = state.default_security_group_rules.values();
    all.filter(move |rule| rule.remote == DefaultRemote::Is(remote.clone())).map(|rule| rule.id)
}

/// Whether the rule is built in: every cloud has it from the beginning.
pub fn is_built_in(id: DefaultSecurityGroupRuleId) -> bool {
    built_in().any(|rule| rule.id == id)
}
