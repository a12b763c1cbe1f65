//! A small model of OVN's access rules: the highest matching priority decides, and a packet without a match passes.
//! It parses the written matches, independent of the code that made them.

use ipnet::IpNet;
use lenticular_model::{PortId, network::security_group::Direction};
use lenticular_ovn::{
    northbound::{Row, Table},
    ovsdb::{Atom, Datum},
};
use std::{collections::BTreeSet, net::IpAddr};

/// The first packet of a connection.
#[derive(Debug, Clone)]
pub struct Packet {
    pub from: IpAddr,
    pub to: IpAddr,
    pub protocol: u8,
    /// The target's port, or the ICMP type.
    pub port: Option<u32>,
    /// The ICMP code.
    pub code: Option<u32>,
}

struct Rows<'r>(&'r [Row]);

fn text<'r>(row: &'r Row, column: &str) -> &'r str {
    row.columns.get(column).and_then(Datum::text).unwrap_or_default()
}

impl Rows<'_> {
    /// The rows of ports in a port group.
    fn members(&self, group: &str) -> impl Iterator<Item = &Row> {
        let id = self
            .0
            .iter()
            .find(|r| r.id.table == Table::PortGroup && text(r, "name") == group)
            .map(|r| r.id.clone());
        let id = id.unwrap_or_else(|| panic!("a match names group {group}, which is not there"));
        self.0.iter().filter(move |row| row.member_of.iter().any(|m| m.of == id && m.column == "ports"))
    }

    /// The addresses of a `$name`.
    fn addresses(&self, name: &str) -> Vec<IpNet> {
        let own = self.0.iter().find(|r| r.id.table == Table::AddressSet && text(r, "name") == name);
        if let Some(set) = own {
            let atoms = set.columns.get("addresses").into_iter().flat_map(Datum::atoms);
            return atoms.filter_map(Atom::as_str).map(|text| text.parse().unwrap()).collect();
        }
        // OVN makes two of each port group.
        let (group, family) = name.rsplit_once('_').unwrap();
        let v4 = match family {
            "ip4" => true,
            "ip6" => false,
            other => panic!("a match names address set {name} ({other}), which is not there"),
        };
        let lines = self
            .members(group)
            .flat_map(|row| row.columns.get("addresses").into_iter().flat_map(Datum::atoms));
        let words = lines.filter_map(Atom::as_str).flat_map(str::split_whitespace);
        words
            .filter_map(|word| word.parse::<IpAddr>().ok())
            .filter(|ip| ip.is_ipv4() == v4)
            .map(IpNet::from)
            .collect()
    }

    fn term(&self, term: &str, port: PortId, packet: &Packet) -> bool {
        let v4 = packet.from.is_ipv4();
        let (tcp, udp, sctp) = (packet.protocol == 6, packet.protocol == 17, packet.protocol == 132);
        let (icmp4, icmp6) = (packet.protocol == 1 && v4, packet.protocol == 58 && !v4);
        let number = |text: &str| text.parse::<u32>().unwrap();
        let words: Vec<&str> = term.split_whitespace().collect();
        match &words[..] {
            ["ip"] => true,
            ["ip4"] => v4,
            ["ip6"] => !v4,
            ["tcp"] => tcp,
            ["udp"] => udp,
            ["sctp"] => sctp,
            ["icmp4"] => icmp4,
            ["icmp6"] => icmp6,
            ["ip.proto", "==", n] => u32::from(packet.protocol) == number(n),
            ["inport" | "outport", "==", group] => {
                let group = group.strip_prefix('@').unwrap();
                self.members(group).any(|row| text(row, "name") == port.to_string())
            }
            [field @ ("ip4.src" | "ip6.src" | "ip4.dst" | "ip6.dst"), "==", far] => {
                let address = if field.ends_with("src") { packet.from } else { packet.to };
                let same_family = field.starts_with("ip4") == v4;
                let ranges = match far.strip_prefix('$') {
                    Some(name) => self.addresses(name),
                    None => vec![far.parse().or_else(|_| far.parse::<IpAddr>().map(IpNet::from)).unwrap()],
                };
                same_family && ranges.iter().any(|range| range.contains(&address))
            }
            [field @ ("tcp.dst" | "udp.dst" | "sctp.dst" | "udp.src"), how, n] => {
                let known = match &field[..3] {
                    "tcp" => tcp,
                    "udp" => udp,
                    _ => sctp,
                };
                // Packets of the model come from a port that no rule names.
                let value = if field.ends_with("src") { Some(60_000) } else { packet.port };
                known && compare(value, how, number(n))
            }
            ["icmp4.type" | "icmp6.type", how, n] => (icmp4 || icmp6) && compare(packet.port, how, number(n)),
            ["icmp4.code" | "icmp6.code", how, n] => (icmp4 || icmp6) && compare(packet.code, how, number(n)),
            _ => panic!("the model does not know '{term}'"),
        }
    }

    fn matches(&self, what: &str, port: PortId, packet: &Packet) -> bool {
        // The model has no packets of neighbour or multicast listener discovery.
        if what.contains("(nd") {
            return false;
        }
        what.split(" && ").all(|term| self.term(term, port, packet))
    }
}

fn compare(value: Option<u32>, how: &str, with: u32) -> bool {
    let Some(value) = value else { return false };
    match how {
        "==" => value == with,
        ">=" => value >= with,
        "<=" => value <= with,
        other => panic!("the model does not know '{other}'"),
    }
}

/// Whether the access rules let a packet pass at a port.
pub fn passes(rows: &[Row], port: PortId, direction: Direction, packet: &Packet) -> bool {
    let all = Rows(rows);
    let way = match direction {
        Direction::Ingress => "to-lport",
        Direction::Egress => "from-lport",
    };
    let mut decided: Option<(i64, BTreeSet<&str>)> = None;
    for row in rows.iter().filter(|row| row.id.table == Table::Acl && text(row, "direction") == way) {
        let Some(Atom::Integer(priority)) = row.columns["priority"].atoms().next() else {
            panic!("no priority")
        };
        if !all.matches(text(row, "match"), port, packet) {
            continue;
        }
        let action = text(row, "action");
        match &mut decided {
            Some((highest, actions)) if highest == priority => drop(actions.insert(action)),
            Some((highest, _)) if *highest > *priority => {}
            _ => decided = Some((*priority, [action].into())),
        }
    }
    decided.is_none_or(|(_, actions)| !actions.contains("drop"))
}
