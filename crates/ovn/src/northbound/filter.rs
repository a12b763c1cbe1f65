//! The rules for every filtered port: all traffic is dropped unless a security group permits it. Only the traffic
//! that a guest needs to get an address is always permitted.

use super::{Key, RowId, row::Row, schema::Table};

/// The port group of all filtered ports.
pub(super) const GROUP: &str = "lenticular_filter";
/// The priority of the security groups' permissions.
pub(super) const ALLOW: i64 = 1002;
const DROP: i64 = 1001;

/// The rows.
pub(super) fn rows() -> Vec<Row> {
    let group = group();
    let acl = |part: &str, direction: &str, priority: i64, what: &str, action: &str| {
        let port = if direction == "to-lport" { "outport" } else { "inport" };
        Row::new(RowId::part(Table::Acl, Key::Filter, part))
            .with_one("direction", direction)
            .with_one("priority", priority)
            .with_one("match", format!("{port} == @{GROUP} && {what}"))
            .with_one("action", action)
            .inside(group.clone(), "acls")
    };
    let dhcp4 = "ip4 && udp.src == 68 && udp.dst == 67";
    let dhcp6 = "ip6 && udp.src == 546 && udp.dst == 547";
    // Neighbour discovery must work without connection tracking; only routers advertise.
    let asks = "ip6 && (nd || nd_rs || mldv1 || mldv2)";
    let answers = "ip6 && (nd || nd_rs || nd_ra || mldv1 || mldv2)";
    vec![
        Row::new(group.clone()).with_one("name", GROUP),
        acl("in", "to-lport", DROP, "ip", "drop"),
        acl("out", "from-lport", DROP, "ip", "drop"),
        acl("out-dhcp4", "from-lport", ALLOW, dhcp4, "allow"),
        acl("out-dhcp6", "from-lport", ALLOW, dhcp6, "allow"),
        acl("out-nd", "from-lport", ALLOW, asks, "allow"),
        acl("in-nd", "to-lport", ALLOW, answers, "allow"),
    ]
}

/// The group's row.
pub(super) fn group() -> RowId {
    RowId::of(Table::PortGroup, Key::Filter)
}
