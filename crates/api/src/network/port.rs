//! Ports.

use super::{
    fields::{Fields, bad, check_distinct, required},
    resource::{Changeable, Names, Resource, by_name},
};
use crate::ctx::Ctx;
use lenticular_control::command::network::port::{
    self, AskIp, DhcpOptionChange, MacChange, NewPort, PortChange,
};
use lenticular_model::{
    NetworkId, PortId, SecurityGroupId, State, Txn,
    error::Result,
    network::{
        mac::Mac,
        port::{AddressPair, DhcpOption, Port as Record},
    },
    policy::{Action, Caller},
};
use serde_json::{Map, Value};
use std::{net::IpAddr, sync::Arc};

/// Ports.
pub struct Port;

/// The VNIC types that Neutron knows. All but the first need hardware that no host of this cloud has.
const VNIC_TYPES: &[&str] = &[
    "normal",
    "direct",
    "macvtap",
    "baremetal",
    "direct-physical",
    "virtio-forwarder",
    "smart-nic",
    "vdpa",
    "accelerator-direct",
    "accelerator-direct-physical",
    "remote-managed",
];

/// Reads the requested addresses.
pub fn fixed_ips(fields: &Fields, name: &str) -> Result<Option<Vec<AskIp>>> {
    let Some(list) = fields.objects(name, &["subnet_id", "ip_address"])? else { return Ok(None) };
    let read = |ip: Fields| Ok(AskIp { subnet: ip.id("subnet_id")?, address: ip.address("ip_address")? });
    let asked: Vec<AskIp> = list.into_iter().map(read).collect::<Result<_>>()?;
    let addresses: Vec<IpAddr> = asked.iter().filter_map(|ip| ip.address).collect();
    check_distinct(name, &addresses)?;
    Ok(Some(asked))
}

fn groups(fields: &Fields) -> Result<Option<Vec<SecurityGroupId>>> {
    // Null removes all groups; an absent field keeps them.
    Ok(fields.ids("security_groups")?.or_else(|| fields.has("security_groups").then(Vec::new)))
}

fn pairs(fields: &Fields) -> Result<Option<Vec<AddressPair>>> {
    let Some(list) = fields.objects("allowed_address_pairs", &["ip_address", "mac_address"])? else {
        return Ok(fields.has("allowed_address_pairs").then(Vec::new));
    };
    let read = |pair: Fields| {
        let missing =
            || bad("AllowedAddressPair must contain ip_address").coded("AllowedAddressPairsMissingIP");
        pair.range("ip_address")?.ok_or_else(missing)?;
        Ok(AddressPair { ip_address: pair.need("ip_address")?, mac_address: pair.get("mac_address")? })
    };
    list.into_iter().map(read).collect::<Result<_>>().map(Some)
}

fn dhcp_options(fields: &Fields) -> Result<Vec<DhcpOptionChange>> {
    let known = &["opt_name", "opt_value", "ip_version"];
    let Some(list) = fields.objects("extra_dhcp_opts", known)? else { return Ok(Vec::new()) };
    let read = |option: Fields| {
        let name: String = option.text("opt_name")?.unwrap_or_default();
        let ip_version = option.number::<u8>("ip_version")?.unwrap_or(4);
        if name.trim().is_empty() || !matches!(ip_version, 4 | 6) {
            return Err(bad(
                "Invalid input for extra_dhcp_opts. Reason: an option has a name, and is for IPv4 or IPv6.",
            ));
        }
        Ok(DhcpOptionChange { name, value: option.text("opt_value")?, ip_version })
    };
    list.into_iter().map(read).collect()
}

fn vnic_type(fields: &Fields) -> Result<Option<String>> {
    let Some(named) = fields.text("binding:vnic_type")? else { return Ok(None) };
    match named.as_str() {
        "normal" => Ok(Some(named)),
        known if VNIC_TYPES.contains(&known) => Err(bad(format!(
            "Invalid input for binding:vnic_type. Reason: no host of this cloud can plug '{known}': ports are 'normal'."
        ))),
        other => Err(bad(format!(
            "Invalid input for binding:vnic_type. Reason: '{other}' is not in {VNIC_TYPES:?}."
        ))),
    }
}

fn mac(fields: &Fields) -> Result<Option<Mac>> {
    let mac = fields.get::<Mac>("mac_address")?;
    match mac.filter(|mac| mac.0[0] & 1 == 1 || mac.0 == [0; 6]) {
        Some(wrong) => {
            Err(bad(format!("Invalid input for mac_address. Reason: '{wrong}' is not a valid MAC address.")))
        }
        None => Ok(mac),
    }
}

impl Resource for Port {
    type Record = Record;
    type New = NewPort;
    const NAMES: Names = Names { one: "port", many: "ports", path: "ports" };
    const FIELDS: &'static [&'static str] = &[
        "name",
        "description",
        "network_id",
        "project_id",
        "tenant_id",
        "admin_state_up",
        "mac_address",
        "fixed_ips",
        "device_id",
        "device_owner",
        "security_groups",
        "port_security_enabled",
        "allowed_address_pairs",
        "binding:vnic_type",
        "binding:host_id",
        "binding:profile",
        "extra_dhcp_opts",
        "dns_name",
        "dns_domain",
        "qos_policy_id",
        "propagate_uplink_status",
    ];

    by_name!(port);

    /// The most frequent queries are answered without reading every port.
    fn candidates(ctx: &Ctx, state: &State) -> Vec<Arc<Record>> {
        let by_device: Vec<&str> = ctx.query.all("device_id").filter(|d| !d.is_empty()).collect();
        let by_network: Option<Vec<NetworkId>> =
            ctx.query.all("network_id").map(|n| n.parse().ok()).collect();
        match (&by_device[..], by_network.as_deref()) {
            ([], None | Some([])) => state.ports.values().cloned().collect(),
            ([], Some(networks)) => {
                networks.iter().flat_map(|id| state.ports_of_network(*id)).cloned().collect()
            }
            (devices, _) => {
                let of = |device: &str| {
                    let device = device.to_owned();
                    state.ports_of_device(&device).cloned()
                };
                devices.iter().flat_map(|device| of(device)).collect()
            }
        }
    }

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewPort> {
        let missing = || required("network_id");
        let options = dhcp_options(fields)?.into_iter();
        let set = |o: DhcpOptionChange| {
            Some(DhcpOption { name: o.name, value: o.value?, ip_version: o.ip_version })
        };
        Ok(NewPort {
            project_id: fields.project(&ctx.caller, Action::PortWrite)?,
            network_id: fields.id("network_id")?.ok_or_else(missing)?,
            name: fields.text_or_empty("name")?,
            description: fields.text_or_empty("description")?,
            admin_state_up: fields.flag("admin_state_up")?.unwrap_or(true),
            mac: mac(fields)?,
            fixed_ips: fixed_ips(fields, "fixed_ips")?,
            device_id: fields.text_or_empty("device_id")?,
            device_owner: fields.text_or_empty("device_owner")?,
            security_groups: groups(fields)?,
            port_security_enabled: fields.flag("port_security_enabled")?,
            allowed_address_pairs: pairs(fields)?.unwrap_or_default(),
            vnic_type: vnic_type(fields)?.unwrap_or_else(|| "normal".to_owned()),
            binding_profile: fields.get("binding:profile")?.unwrap_or_default(),
            binding_host: fields.text_or_empty("binding:host_id")?,
            dns_name: fields.dns_name("dns_name")?.unwrap_or_default(),
            dns_domain: fields.dns_name("dns_domain")?.unwrap_or_default(),
            extra_dhcp_opts: options.filter_map(set).collect(),
            qos_policy_id: fields.id("qos_policy_id")?,
            propagate_uplink_status: fields.flag("propagate_uplink_status")?.unwrap_or(true),
        })
    }
}

impl Changeable for Port {
    type Change = PortChange;
    const FIXED: &'static [&'static str] = &["network_id", "project_id", "tenant_id"];

    fn read_change(fields: &Fields) -> Result<PortChange> {
        let nulled = |name: &str| fields.has(name) && fields.get::<Value>(name).ok().flatten().is_none();
        Ok(PortChange {
            mac: match nulled("mac_address") {
                true => Some(MacChange::Regenerate),
                false => mac(fields)?.map(MacChange::To),
            },
            name: fields.text("name")?,
            description: fields.text("description")?,
            admin_state_up: fields.flag("admin_state_up")?,
            fixed_ips: fixed_ips(fields, "fixed_ips")?,
            device_id: fields.text("device_id")?,
            device_owner: fields.text("device_owner")?,
            security_groups: groups(fields)?,
            port_security_enabled: fields.flag("port_security_enabled")?,
            allowed_address_pairs: pairs(fields)?,
            vnic_type: vnic_type(fields)?,
            binding_profile: match nulled("binding:profile") {
                true => Some(Map::new()),
                false => fields.get("binding:profile")?,
            },
            binding_host: match nulled("binding:host_id") {
                true => Some(String::new()),
                false => fields.text("binding:host_id")?,
            },
            dns_name: fields.dns_name("dns_name")?,
            dns_domain: fields.dns_name("dns_domain")?,
            extra_dhcp_opts: dhcp_options(fields)?,
            qos_policy_id: fields.nullable("qos_policy_id")?,
            propagate_uplink_status: fields.flag("propagate_uplink_status")?,
        })
    }

    fn update(txn: &mut Txn<'_>, caller: &Caller, id: PortId, change: PortChange) -> Result<()> {
        port::update(txn, caller, id, change)
    }
}
