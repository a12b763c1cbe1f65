//! Adds and removes network interfaces while the guest runs.

use super::{
    args::{device, netdev},
    qmp::{Qmp, QmpError},
    qmp_failure,
};
use crate::{
    core::Failure,
    driver::{NetPlan, Nic},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// How long a guest may take to release an interface.
const LET_GO_MAX: Duration = Duration::from_secs(30);
/// The pause between two checks of the release.
const LOOK: Duration = Duration::from_millis(50);
/// After this time the guest is asked again: a booting guest missed the first request.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// QEMU's list of devices with an id.
const DEVICES: &str = "/machine/peripheral";

/// Brings the guest's interfaces to the planned set. Wrong interfaces go first, so that their slots are free.
pub(super) async fn set(qmp: &Qmp, net: &NetPlan) -> Result<(), Failure> {
    let there = present(qmp).await.map_err(|e| qmp_failure(&e))?;
    let wanted = |slot: u32, mac: &str| {
        net.nics.iter().any(|nic| nic.slot == slot && nic.mac.to_string().eq_ignore_ascii_case(mac))
    };
    for slot in there.iter().filter(|(slot, mac)| !wanted(**slot, mac)).map(|(slot, _)| *slot) {
        take(qmp, slot).await?;
    }
    for nic in &net.nics {
        let right = there.get(&nic.slot).is_some_and(|mac| wanted(nic.slot, mac));
        if !right {
            give(qmp, nic).await.map_err(|e| qmp_failure(&e))?;
        }
    }
    Ok(())
}

/// The present interfaces: slot and Ethernet address.
async fn present(qmp: &Qmp) -> Result<BTreeMap<u32, String>, QmpError> {
    let mut found = BTreeMap::new();
    for slot in devices(qmp).await? {
        let property = json!({ "path": format!("{DEVICES}/nic{slot}"), "property": "mac" });
        let mac = qmp.ask("qom-get", property).await?;
        found.insert(slot, mac.as_str().unwrap_or_default().to_owned());
    }
    Ok(found)
}

async fn devices(qmp: &Qmp) -> Result<Vec<u32>, QmpError> {
    let listed = qmp.ask("qom-list", json!({ "path": DEVICES })).await?;
    let names = listed.as_array().into_iter().flatten().filter_map(|entry| entry["name"].as_str());
    Ok(names.filter_map(|name| name.strip_prefix("nic")?.parse().ok()).collect())
}

async fn give(qmp: &Qmp, nic: &Nic) -> Result<(), QmpError> {
    // A crash may have left a netdev without its device, which is in the way.
    let _ = qmp.ask("netdev_del", json!({ "id": format!("net{}", nic.slot) })).await;
    qmp.ask("netdev_add", netdev(nic)).await?;
    qmp.ask("device_add", device(nic)).await.map(drop)
}

/// Asks the guest to release the interface, as for a card that is pulled out.
async fn take(qmp: &Qmp, slot: u32) -> Result<(), Failure> {
    let (began, mut asked) = (Instant::now(), None::<Instant>);
    while devices(qmp).await.map_err(|e| qmp_failure(&e))?.contains(&slot) {
        if began.elapsed() > LET_GO_MAX {
            return Err(Failure::new(
                "The guest does not let go of its network interface. Try again when it has booted, or stop the server \
                 first.",
                format!("nic{slot} is still there"),
            ));
        }
        if asked.is_none_or(|at| at.elapsed() > ASK_AGAIN) {
            // QEMU refuses a second request that comes too soon, and the first request stays valid.
            let _: Result<Value, QmpError> =
                qmp.ask("device_del", json!({ "id": format!("nic{slot}") })).await;
            asked = Some(Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
    let gone = qmp.ask("netdev_del", json!({ "id": format!("net{slot}") })).await;
    gone.map(drop).map_err(|e| qmp_failure(&e))
}
