//! Network interfaces that come and go while the guest runs.

use super::{
    args::{device, netdev},
    qmp::{Qmp, QmpError},
    qmp_failure,
};
use crate::{
    core::Failure,
    driver::{NetPlan, Nic},
};
use serde_json::{json, Value};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// How long a guest may take to let go of an interface.
const LET_GO_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(50);
/// After so long the guest is asked once more: one that was just booting has not heard.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Where QEMU lists the devices that were given an id.
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

/// The interfaces that are there: which place, and its Ethernet address.
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
    // One that a crash left without its device is in the way.
    let _ = qmp.ask("netdev_del", json!({ "id": format!("net{}", nic.slot) })).await;
    qmp.ask("netdev_add", netdev(nic)).await?;
    qmp.ask("device_add", device(nic)).await.map(drop)
}

/// The guest is asked to let go of the interface, as of a card that is drawn.
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
            // Asked a second time too soon QEMU refuses, and the first asking stands.
            let _: Result<Value, QmpError> =
                qmp.ask("device_del", json!({ "id": format!("nic{slot}") })).await;
            asked = Some(Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
    let gone = qmp.ask("netdev_del", json!({ "id": format!("net{slot}") })).await;
    gone.map(drop).map_err(|e| qmp_failure(&e))
}
