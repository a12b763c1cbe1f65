//! Subnets.

use super::{
    fields::{Fields, bad, check_distinct, required},
    resource::{Changeable, Names, Resource, by_name},
};
use crate::ctx::Ctx;
use ipnet::IpNet;
use lenticular_control::command::network::subnet::{self, Gateway, NewSubnet, Range, SubnetChange};
use lenticular_model::{
    NetworkId, State, SubnetId, SubnetPoolId, Txn,
    error::Result,
    network::{
        network::Network,
        subnet::{HostRoute, Pool, Subnet as Record},
        subnet_pool::SubnetPool,
    },
    policy::{Action, Caller},
};
use lenticular_wire::request::text_bool;
use std::{net::IpAddr, sync::Arc};

/// The most DNS servers of a subnet.
const NAMESERVERS_MAX: usize = 5;

/// The most host routes of a subnet.
const ROUTES_MAX: usize = 20;

/// Subnets.
pub struct Subnet;

fn pools(fields: &Fields) -> Result<Option<Vec<Pool>>> {
    let Some(list) = fields.objects("allocation_pools", &["start", "end"])? else { return Ok(None) };
    let read = |pool: Fields| {
        let missing = || bad("Invalid input for allocation_pools. Reason: a pool has a start and an end.");
        let (start, end) = (pool.address("start")?, pool.address("end")?);
        Ok(Pool { start: start.ok_or_else(missing)?, end: end.ok_or_else(missing)? })
    };
    list.into_iter().map(read).collect::<Result<_>>().map(Some)
}

fn check_guests(v4: bool, dns: &[IpAddr], routes: &[HostRoute]) -> Result<()> {
    if let Some(wrong) = routes.iter().find(|r| r.nexthop.is_ipv4() != v4) {
        let why = format!("Invalid input for operation: nexthop {} is of another IP version.", wrong.nexthop);
        return Err(bad(why).coded("InvalidInput"));
    }
    check_distinct("dns_nameservers", dns)?;
    if dns.len() > NAMESERVERS_MAX {
        let why = format!(
            "Unable to complete operation. The number of DNS nameservers exceeds the limit {NAMESERVERS_MAX}."
        );
        return Err(bad(why).coded("DNSNameServersExhausted"));
    }
    if routes.len() > ROUTES_MAX {
        let why = format!(
            "Unable to complete operation. The number of host routes exceeds the limit {ROUTES_MAX}."
        );
        return Err(bad(why).coded("HostRoutesExhausted"));
    }
    Ok(())
}

/// The range of a new subnet, and whether it is IPv4.
fn read_range(ctx: &Ctx, fields: &Fields) -> Result<(Range, bool)> {
    let cidr: Option<IpNet> = fields.range("cidr")?;
    let version = fields.number::<u8>("ip_version")?;
    let prefixlen = fields.number::<u8>("prefixlen")?;
    let default = fields.flag("use_default_subnetpool")? == Some(true);
    let named = fields.id::<SubnetPoolId>("subnetpool_id")?;
    if version.is_some_and(|v| !matches!(v, 4 | 6)) {
        return Err(bad("Invalid input for ip_version. Reason: it is neither 4 nor 6."));
    }
    let pool = match (named, default) {
        (Some(_), true) => {
            return Err(bad("subnetpool_id and use_default_subnetpool cannot both be specified"));
        }
        (Some(id), false) => Some(ctx.state.visible::<SubnetPool>(&ctx.caller, &id)?),
        (None, true) => {
            let found = ctx.state.default_subnet_pool(version.unwrap_or(4)).cloned();
            Some(found.ok_or_else(|| bad("No default subnetpool found").coded("BadRequest"))?)
        }
        (None, false) => None,
    };
    let mismatch = |what: &str| {
        let version = version.unwrap_or_default();
        bad(format!("Invalid input for operation: {what} does not match the ip_version {version}."))
            .coded("InvalidInput")
    };
    if let Some(pool) = pool {
        if version.is_some_and(|v| v != pool.ip_version()) {
            return Err(mismatch("the subnet pool"));
        }
        if cidr.is_some() && prefixlen.is_some() {
            return Err(bad("cidr and prefixlen must not be supplied together").coded("BadRequest"));
        }
        return Ok((Range::Pool { pool: pool.id, cidr, prefixlen }, pool.ip_version() == 4));
    }
    if prefixlen.is_some() {
        return Err(bad("prefixlen can only be specified with a subnet pool").coded("BadRequest"));
    }
    let cidr = cidr
        .ok_or_else(|| bad("A cidr must be specified in the absence of a subnet pool").coded("BadRequest"))?;
    let version = version.ok_or_else(|| required("ip_version"))?;
    if (version == 4) != cidr.addr().is_ipv4() {
        return Err(mismatch(&format!("cidr {cidr}")));
    }
    Ok((Range::Given(cidr), version == 4))
}

impl Resource for Subnet {
    type Record = Record;
    type New = NewSubnet;
    const NAMES: Names = Names { one: "subnet", many: "subnets", path: "subnets" };
    const FIELDS: &'static [&'static str] = &[
        "name",
        "description",
        "network_id",
        "project_id",
        "tenant_id",
        "ip_version",
        "cidr",
        "gateway_ip",
        "enable_dhcp",
        "allocation_pools",
        "dns_nameservers",
        "host_routes",
        "ipv6_ra_mode",
        "ipv6_address_mode",
        "subnetpool_id",
        "prefixlen",
        "use_default_subnetpool",
        "service_types",
        "dns_publish_fixed_ip",
    ];

    by_name!(subnet);

    /// Subnets do not show whether their network is shared or external, but a query can filter by it.
    fn candidates(ctx: &Ctx, state: &State) -> Vec<Arc<Record>> {
        let asked =
            |name: &str, is: bool| ctx.query.get(name).and_then(text_bool).is_none_or(|wanted| wanted == is);
        let fits = |s: &&Arc<Record>| {
            let network = state.networks.get(&s.network_id);
            asked("shared", network.is_some_and(|n| state.is_shared_with(&ctx.caller, n)))
                && asked("router:external", network.is_some_and(|n| n.external))
        };
        state.subnets.values().filter(fits).cloned().collect()
    }

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewSubnet> {
        let missing = || required("network_id");
        let network_id = fields.id::<NetworkId>("network_id")?.ok_or_else(missing)?;
        let owner = ctx.state.visible::<Network>(&ctx.caller, &network_id)?;
        let (range, v4) = read_range(ctx, fields)?;
        let gateway = match fields.has("gateway_ip") {
            false => Gateway::First,
            true => match fields.address("gateway_ip")? {
                Some(address) if !address.is_unspecified() => Gateway::At(address),
                _ => Gateway::None,
            },
        };
        let dns_nameservers = fields.addresses("dns_nameservers")?.unwrap_or_default();
        let host_routes = fields.routes("host_routes")?.unwrap_or_default();
        check_guests(v4, &dns_nameservers, &host_routes)?;
        let named = fields.has("project_id") || fields.has("tenant_id");
        let project_id = match named {
            true => fields.project(&ctx.caller, Action::NetworkWrite)?,
            // A subnet that an admin adds to a project's network belongs to that project.
            false => owner.project_id,
        };
        Ok(NewSubnet {
            project_id,
            network_id,
            name: fields.text_or_empty("name")?,
            description: fields.text_or_empty("description")?,
            range,
            gateway,
            enable_dhcp: fields.flag("enable_dhcp")?.unwrap_or(true),
            pools: pools(fields)?.filter(|p| !p.is_empty()),
            dns_nameservers,
            host_routes,
            ipv6_ra_mode: fields.text("ipv6_ra_mode")?,
            ipv6_address_mode: fields.text("ipv6_address_mode")?,
            service_types: fields.get("service_types")?,
            dns_publish_fixed_ip: fields.flag("dns_publish_fixed_ip")?.unwrap_or(false),
        })
    }
}

impl Changeable for Subnet {
    type Change = SubnetChange;
    const FIXED: &'static [&'static str] = &[
        "network_id",
        "cidr",
        "ip_version",
        "project_id",
        "tenant_id",
        "ipv6_ra_mode",
        "ipv6_address_mode",
        "subnetpool_id",
        "prefixlen",
        "use_default_subnetpool",
    ];

    fn read_change(fields: &Fields) -> Result<SubnetChange> {
        let dns_nameservers = fields.addresses("dns_nameservers")?;
        let host_routes = fields.routes("host_routes")?;
        let first = host_routes.iter().flatten().next().is_none_or(|r| r.nexthop.is_ipv4());
        check_guests(
            first,
            dns_nameservers.as_deref().unwrap_or(&[]),
            host_routes.as_deref().unwrap_or(&[]),
        )?;
        Ok(SubnetChange {
            name: fields.text("name")?,
            description: fields.text("description")?,
            gateway: match fields.has("gateway_ip") {
                true => Some(fields.address("gateway_ip")?),
                false => None,
            },
            enable_dhcp: fields.flag("enable_dhcp")?,
            pools: pools(fields)?,
            dns_nameservers,
            host_routes,
            service_types: fields.get("service_types")?,
            dns_publish_fixed_ip: fields.flag("dns_publish_fixed_ip")?,
        })
    }

    fn update(txn: &mut Txn<'_>, caller: &Caller, id: SubnetId, change: SubnetChange) -> Result<()> {
        subnet::update(txn, caller, id, change)
    }
}
