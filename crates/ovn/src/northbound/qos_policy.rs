//! A QoS policy: what a port may take of the wire, and how its packets are marked.

use super::{network::switch, row::Row, schema::Table, Key, RowId};
use crate::ovsdb::Datum;
use lenticular_model::{
    port::Port,
    qos_policy::{QosPolicy, QosRuleKind},
    security_group::Direction,
    QosPolicyId, State,
};
use std::sync::Arc;

const PRIORITY: i64 = 2002;

/// What holds for a port: its own policy, else its network's.
pub(super) fn policy_of(state: &State, port: &Port) -> Option<QosPolicyId> {
    let of_network = || state.networks.get(&port.network_id)?.qos_policy_id;
    port.qos_policy_id.or_else(of_network)
}

/// The rows of a port's policy.
pub(super) fn rows(state: &State, port: &Port) -> Vec<Row> {
    let policy = policy_of(state, port).and_then(|id| state.qos_policies.get(&id));
    policy.map(|policy| of_policy(port, policy)).unwrap_or_default()
}

fn of_policy(port: &Port, policy: &Arc<QosPolicy>) -> Vec<Row> {
    let row = |part: &str, direction: Direction| {
        let (way, side) = match direction {
            Direction::Egress => ("from-lport", "inport"),
            Direction::Ingress => ("to-lport", "outport"),
        };
        Row::new(RowId::part(Table::Qos, Key::Port(port.id), format!("qos/{part}/{way}")))
            .with_one("direction", way)
            .with_one("match", format!("{side} == \"{}\"", port.id))
            .with_one("priority", PRIORITY)
            .inside(switch(port.network_id), "qos_rules")
    };
    let rows = policy.rules.iter().filter_map(|rule| match rule.kind {
        QosRuleKind::BandwidthLimit { max_kbps, max_burst_kbps, direction } if max_kbps > 0 => {
            let mut limit = vec![("rate", i64::from(max_kbps))];
            if max_burst_kbps > 0 {
                limit.push(("burst", i64::from(max_burst_kbps)));
            }
            Some(row("bandwidth", direction).with("bandwidth", Datum::map(limit)))
        }
        QosRuleKind::DscpMarking { dscp_mark } => {
            let mark = Datum::map([("dscp", i64::from(dscp_mark))]);
            Some(row("dscp", Direction::Egress).with("action", mark))
        }
        // OVN promises no bandwidth.
        QosRuleKind::BandwidthLimit { .. } | QosRuleKind::MinimumBandwidth { .. } => None,
    });
    rows.collect()
}
