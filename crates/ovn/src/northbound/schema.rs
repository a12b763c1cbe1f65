//! The tables of the northbound database that have our rows, and the columns that we set.

use crate::ovsdb::Columns;

macro_rules! tables {
    ($($name:ident $text:literal root $root:literal sets [$($set:literal)*] columns [$($column:literal)*]
        seen [$($seen:literal)*];)*) => {
        /// A table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table {
            $(#[doc = concat!("`", $text, "`")] $name,)*
        }

        impl Table {
            /// All of them.
            pub const ALL: &'static [Table] = &[$(Table::$name,)*];

            /// Its name in the schema.
            pub fn name(self) -> &'static str {
                match self { $(Table::$name => $text,)* }
            }

            /// False if the database removes its rows once no row refers to them.
            pub fn is_root(self) -> bool {
                match self { $(Table::$name => $root,)* }
            }

            /// The columns that we set.
            pub fn columns(self) -> &'static [&'static str] {
                match self { $(Table::$name => &["external_ids", $($column,)*],)* }
            }

            /// The columns with sets of rows; we add our rows to these sets one by one.
            pub fn sets(self) -> &'static [&'static str] {
                match self { $(Table::$name => &[$($set,)*],)* }
            }

            /// The table of this name.
            pub fn from_name(name: &str) -> Option<Table> {
                match name { $($text => Some(Table::$name),)* _ => None }
            }
        }

        /// The columns that a copy of the database needs.
        pub const COLUMNS: Columns = &[
            ("NB_Global", &["external_ids", "nb_cfg"]),
            $(($text, &["external_ids", $($column,)* $($set,)* $($seen,)*]),)*
        ];
    };
}

tables! {
    LogicalSwitch "Logical_Switch" root true sets ["ports" "qos_rules" "dns_records" "load_balancer"]
        columns ["name" "other_config"] seen [];
    LogicalSwitchPort "Logical_Switch_Port" root false sets []
        columns ["name" "type" "options" "parent_name" "tag_request" "addresses" "port_security" "enabled"
            "dhcpv4_options" "dhcpv6_options"] seen ["up"];
    PortGroup "Port_Group" root true sets ["ports" "acls"] columns ["name"] seen [];
    Acl "ACL" root false sets []
        columns ["priority" "direction" "match" "action"] seen [];
    AddressSet "Address_Set" root true sets [] columns ["name" "addresses"] seen [];
    DhcpOptions "DHCP_Options" root true sets [] columns ["cidr" "options"] seen [];
    LogicalRouter "Logical_Router" root true sets ["ports" "static_routes" "nat" "load_balancer"]
        columns ["name" "enabled" "options"] seen [];
    LogicalRouterPort "Logical_Router_Port" root false sets []
        columns ["name" "mac" "networks" "enabled" "options" "ipv6_ra_configs" "ha_chassis_group"] seen [];
    StaticRoute "Logical_Router_Static_Route" root false sets []
        columns ["ip_prefix" "nexthop" "output_port"] seen [];
    Nat "NAT" root false sets []
        columns ["type" "external_ip" "logical_ip" "logical_port" "external_mac"] seen [];
    LoadBalancer "Load_Balancer" root true sets [] columns ["name" "vips" "protocol" "options"] seen [];
    HaChassisGroup "HA_Chassis_Group" root true sets ["ha_chassis"] columns ["name"] seen [];
    HaChassis "HA_Chassis" root false sets [] columns ["chassis_name" "priority"] seen [];
    Qos "QoS" root false sets []
        columns ["priority" "direction" "match" "action" "bandwidth"] seen [];
    Dns "DNS" root true sets [] columns ["records"] seen [];
}

/// The column in which OVN reports whether a port is plugged.
pub const UP: &str = "up";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_found_by_their_names() {
        for table in Table::ALL {
            assert_eq!(Table::from_name(table.name()), Some(*table));
            assert!(table.columns().contains(&"external_ids"));
            assert!(table.sets().iter().all(|set| !table.columns().contains(set)));
        }
        assert_eq!(Table::from_name("Meter"), None);
    }
}
