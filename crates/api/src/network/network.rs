//! Networks.

use super::{
    fields::{Fields, bad},
    resource::{Changeable, Names, Resource, by_name},
};
use crate::ctx::Ctx;
use lenticular_control::command::network::network::{self, NetworkChange, NewNetwork};
use lenticular_model::{
    NetworkId, Txn,
    error::Result,
    network::network::{Network as Record, Provider},
    policy::{Action, Caller},
};

/// Networks.
pub struct Network;

fn mtu(fields: &Fields) -> Result<Option<u32>> {
    match fields.number::<u32>("mtu")? {
        Some(0) => Ok(None),
        Some(mtu) if !(68..=9_000).contains(&mtu) => {
            let why = format!("Invalid input for operation: the MTU {mtu} is not between 68 and 9000.");
            Err(bad(why).coded("InvalidInput"))
        }
        mtu => Ok(mtu),
    }
}

impl Resource for Network {
    type Record = Record;
    type New = NewNetwork;
    const NAMES: Names = Names { one: "network", many: "networks", path: "networks" };
    const FIELDS: &'static [&'static str] = &[
        "name",
        "description",
        "admin_state_up",
        "shared",
        "router:external",
        "is_default",
        "mtu",
        "port_security_enabled",
        "project_id",
        "tenant_id",
        "provider:network_type",
        "provider:physical_network",
        "provider:segmentation_id",
        "availability_zone_hints",
        "dns_domain",
        "qos_policy_id",
    ];

    by_name!(network);

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewNetwork> {
        Ok(NewNetwork {
            project_id: fields.project(&ctx.caller, Action::NetworkWrite)?,
            name: fields.text_or_empty("name")?,
            description: fields.text_or_empty("description")?,
            admin_state_up: fields.flag("admin_state_up")?.unwrap_or(true),
            shared: fields.flag("shared")?.unwrap_or(false),
            external: fields.flag("router:external")?.unwrap_or(false),
            is_default: fields.flag("is_default")?.unwrap_or(false),
            mtu: mtu(fields)?,
            port_security_enabled: fields.flag("port_security_enabled")?.unwrap_or(true),
            provider: Provider {
                network_type: fields.text_or_empty("provider:network_type")?,
                physical_network: fields.text("provider:physical_network")?,
                segmentation_id: fields.number("provider:segmentation_id")?,
            },
            dns_domain: fields.dns_name("dns_domain")?.unwrap_or_default(),
            qos_policy_id: match fields.has("qos_policy_id") {
                true => Some(fields.id("qos_policy_id")?),
                false => None,
            },
            availability_zone_hints: fields.get("availability_zone_hints")?.unwrap_or_default(),
        })
    }
}

impl Changeable for Network {
    type Change = NetworkChange;
    const FIXED: &'static [&'static str] = &[
        "project_id",
        "tenant_id",
        "availability_zone_hints",
        "provider:network_type",
        "provider:physical_network",
        "provider:segmentation_id",
    ];

    fn read_change(fields: &Fields) -> Result<NetworkChange> {
        Ok(NetworkChange {
            name: fields.text("name")?,
            description: fields.text("description")?,
            admin_state_up: fields.flag("admin_state_up")?,
            shared: fields.flag("shared")?,
            external: fields.flag("router:external")?,
            is_default: fields.flag("is_default")?,
            mtu: mtu(fields)?,
            port_security_enabled: fields.flag("port_security_enabled")?,
            dns_domain: fields.dns_name("dns_domain")?,
            qos_policy_id: fields.nullable("qos_policy_id")?,
        })
    }

    fn update(txn: &mut Txn<'_>, caller: &Caller, id: NetworkId, change: NetworkChange) -> Result<()> {
        network::update(txn, caller, id, change)
    }
}
