//! Floating IPs.

use super::{
    fields::{Fields, bad, required},
    resource::{Changeable, Names, Resource, by_name},
    view::{self, Listed},
};
use crate::{ctx::Ctx, fault::Handled};
use lenticular_control::command::network::floating_ip::{self, FloatingIpChange, NewFloatingIp, Target};
use lenticular_model::{
    FloatingIpId, Txn,
    error::Result,
    network::floating_ip::FloatingIp as Record,
    policy::{self, Action, Caller},
};
use serde_json::json;

/// Floating IPs.
pub struct FloatingIp;

/// Reads the port that the floating IP is associated with; null removes the association.
fn target(fields: &Fields) -> Result<Option<Target>> {
    let fixed_ip = fields.address("fixed_ip_address")?;
    match fields.id("port_id")? {
        Some(port_id) => Ok(Some(Target { port_id, fixed_ip })),
        None if fixed_ip.is_some() => {
            let why = "Invalid input for operation: fixed_ip_address cannot be specified without a port_id.";
            Err(bad(why).coded("BadRequest"))
        }
        None => Ok(None),
    }
}

impl Resource for FloatingIp {
    type Record = Record;
    type New = NewFloatingIp;
    const NAMES: Names = Names { one: "floatingip", many: "floatingips", path: "floatingips" };
    const FIELDS: &'static [&'static str] = &[
        "project_id",
        "tenant_id",
        "description",
        "floating_network_id",
        "floating_ip_address",
        "subnet_id",
        "port_id",
        "fixed_ip_address",
        "dns_name",
        "dns_domain",
        "qos_policy_id",
    ];

    by_name!(floating_ip);

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewFloatingIp> {
        let missing = || required("floating_network_id");
        Ok(NewFloatingIp {
            project_id: fields.project(&ctx.caller, Action::FloatingIpWrite)?,
            description: fields.text_or_empty("description")?,
            network_id: fields.id("floating_network_id")?.ok_or_else(missing)?,
            subnet_id: fields.id("subnet_id")?,
            address: fields.address("floating_ip_address")?,
            target: target(fields)?,
            dns_name: fields.dns_name("dns_name")?.unwrap_or_default(),
            dns_domain: fields.dns_name("dns_domain")?.unwrap_or_default(),
            qos_policy_id: fields.id("qos_policy_id")?,
        })
    }
}

impl Changeable for FloatingIp {
    type Change = FloatingIpChange;
    const FIXED: &'static [&'static str] = &[
        "project_id",
        "tenant_id",
        "floating_network_id",
        "floating_ip_address",
        "subnet_id",
        "dns_name",
        "dns_domain",
    ];

    fn read_change(fields: &Fields) -> Result<FloatingIpChange> {
        Ok(FloatingIpChange {
            description: fields.text("description")?,
            target: match fields.has("port_id") || fields.has("fixed_ip_address") {
                true => Some(target(fields)?),
                false => None,
            },
            qos_policy_id: fields.nullable("qos_policy_id")?,
        })
    }

    fn update(txn: &mut Txn<'_>, caller: &Caller, id: FloatingIpId, change: FloatingIpChange) -> Result<()> {
        floating_ip::update(txn, caller, id, change)
    }
}

/// `GET /v2.0/floatingip_pools`: the subnets that floating IPs come from.
pub async fn pools(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::NetworkRead, None)?;
    let project = ctx.caller.need_project()?;
    let networks = ctx.state.networks.values().filter(|n| ctx.state.is_external_for(&ctx.caller, n));
    let subnets = networks.flat_map(|n| ctx.state.subnets_of_network(n.id));
    let subnets = subnets.filter(|s| s.cidr.addr().is_ipv4() && s.serves("network:floatingip"));
    let items = subnets.map(|s| {
        json!({
            "subnet_id": s.id,
            "subnet_name": s.name,
            "cidr": s.cidr,
            "network_id": s.network_id,
            "tenant_id": project,
            "project_id": project,
        })
    });
    view::listing(&ctx, &Listed::plain("floatingip_pools", "floatingip_pools"), items.collect())
}
