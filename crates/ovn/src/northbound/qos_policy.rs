//! A QoS policy: the bandwidth of a port, a floating IP or a router's gateway, and the marks of its packets.

use super::{Key, RowId, network::switch, row::Row, schema::Table};
use crate::ovsdb::Datum;
use lenticular_model::{
    NetworkId, QosPolicyId, State,
    network::{qos_policy::QosRuleKind, security_group::Direction},
};

/// The priority of a port's rules.
pub(super) const OF_PORT: i64 = 2002;
/// The priority of a floating IP's rules: higher than its router's gateway's.
pub(super) const OF_FLOATING_IP: i64 = 2003;

/// The object that a policy applies to.
pub(super) struct Subject<M> {
    /// The key of the rows.
    pub key: Key,
    /// The network of the switch that has the rows.
    pub network: NetworkId,
    /// The object's own policy; without one, its network's policy applies.
    pub policy: Option<QosPolicyId>,
    /// The priority among matching rows.
    pub priority: i64,
    /// The match for the object's packets, in OVN's language: packets that enter the switch from it (`inport`,
    /// `src`) or leave to it (`outport`, `dst`).
    pub packets: M,
}

/// The rows: one for each direction, because OVN follows only one of several equal matches.
pub(super) fn rows(state: &State, of: &Subject<impl Fn(&str, &str) -> String>) -> Vec<Row> {
    let of_network = || state.networks.get(&of.network)?.qos_policy_id;
    let policy = of.policy.or_else(of_network).and_then(|id| state.qos_policies.get(&id));
    let Some(policy) = policy else { return Vec::new() };
    let ways = [
        (Direction::Egress, "from-lport", (of.packets)("inport", "src")),
        (Direction::Ingress, "to-lport", (of.packets)("outport", "dst")),
    ];
    let rows = ways.into_iter().filter_map(|(direction, way, packets)| {
        let mut row = Row::new(RowId::part(Table::Qos, of.key, format!("qos/{way}")))
            .with_one("direction", way)
            .with_one("match", packets)
            .with_one("priority", of.priority)
            .inside(switch(of.network), "qos_rules");
        let mut says_something = false;
        for rule in &policy.rules {
            let (column, said) = match rule.kind {
                QosRuleKind::BandwidthLimit { max_kbps, max_burst_kbps, direction: way }
                    if way == direction && max_kbps > 0 =>
                {
                    let burst = (max_burst_kbps > 0).then_some(("burst", i64::from(max_burst_kbps)));
                    ("bandwidth", Datum::map([("rate", i64::from(max_kbps))].into_iter().chain(burst)))
                }
                QosRuleKind::DscpMarking { dscp_mark } if direction == Direction::Egress => {
                    ("action", Datum::map([("dscp", i64::from(dscp_mark))]))
                }
                // OVN guarantees no bandwidth.
                _ => continue,
            };
            row = row.with(column, said);
            says_something = true;
        }
        says_something.then_some(row)
    });
    rows.collect()
}
