//! Reports of hosts about themselves: registration, sessions, and the order of reports.

use crate::{
    lifecycle::migration,
    observe::{guest, restore},
};
use lenticular_model::{
    HostId, Incarnation, State, Txn,
    compute::migration::MoveProgress,
    error::{Error, Result},
    host::{
        host::{Capacity, Heartbeat, Host, Hypervisor, Intent},
        observation::Observation,
    },
};
use std::sync::Arc;

/// The registration that a host sends.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its name.
    pub name: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Its address.
    pub address: String,
    /// The address on which its agent listens for other hosts' agents; empty if it does not listen.
    pub peer_address: String,
    /// Its zone when it is new.
    pub zone: String,
    /// Its resources.
    pub capacity: Capacity,
    /// Its hypervisor.
    pub hypervisor: Hypervisor,
    /// The incarnation of the store that the host has entered, if any.
    pub life: Option<Incarnation>,
}

/// Virtual CPUs given out for each real CPU, Nova's default.
const CPU_RATIO: f64 = 4.0;

/// Registers a host with all that it has. A host that has not entered this incarnation of the store only learns the
/// incarnation. No session begins, so its reports do not count until it has given up the orders of the other
/// incarnation.
///
/// # Errors
/// See [`hello`].
pub fn register(
    txn: &mut Txn<'_>,
    registration: Registration,
    inventory: &[Observation],
) -> Result<Heartbeat> {
    if registration.life != Some(txn.incarnation) {
        let known = txn.host_named(&registration.name).map(|host| host.id);
        let id = known.unwrap_or_else(|| HostId::from_random(txn.random()));
        return Ok(new_heartbeat(txn, id, None));
    }
    let heartbeat = hello(txn, registration)?;
    restore::inventory(txn, heartbeat.id, inventory);
    guest::observe(txn, heartbeat.id, inventory);
    Ok(heartbeat)
}

/// Registers a host, new or known by its name, and begins a session with it.
///
/// # Errors
/// The name is empty or too long.
pub fn hello(txn: &mut Txn<'_>, registration: Registration) -> Result<Heartbeat> {
    if registration.name.is_empty() || registration.name.len() > 255 {
        return Err(Error::invalid("A host's name must have 1 to 255 characters."));
    }
    let known = txn.host_named(&registration.name).map(|host| host.id);
    let id = known.unwrap_or_else(|| HostId::from_random(txn.random()));
    match txn.hosts.get(&id).cloned() {
        Some(host) => {
            let now = Host {
                boot_id: registration.boot_id,
                address: registration.address,
                peer_address: registration.peer_address,
                capacity: registration.capacity,
                hypervisor: registration.hypervisor,
                silent_since: None,
                ..Host::clone(&host)
            };
            if now != *host {
                txn.put(Host { updated_at: Some(txn.now), ..now });
            }
        }
        None => {
            let number = txn.hosts.values().map(|h| h.number).max().unwrap_or(0) + 1;
            txn.put(Host {
                id,
                created_at: txn.now,
                updated_at: None,
                name: registration.name,
                intent: Intent::Enabled,
                zone: registration.zone,
                own_zone: None,
                address: registration.address,
                peer_address: registration.peer_address,
                capacity: registration.capacity,
                hypervisor: registration.hypervisor,
                boot_id: registration.boot_id,
                number,
                silent_since: None,
                fence: None,
                unheard: false,
                cpu_ratio: CPU_RATIO,
                share: Default::default(),
                unknown: Default::default(),
            });
        }
    }
    Ok(begin_session(txn, id))
}

fn begin_session(txn: &mut Txn<'_>, id: HostId) -> Heartbeat {
    let before = txn.heartbeats.get(&id).map(|heartbeat| heartbeat.session);
    let heartbeat = new_heartbeat(txn, id, before);
    txn.put(heartbeat.clone());
    heartbeat
}

fn new_heartbeat(txn: &mut Txn<'_>, id: HostId, before: Option<u64>) -> Heartbeat {
    let session = match before {
        Some(before) => before.wrapping_add(1),
        // Sessions do not survive a restart. A random number avoids the numbers of an earlier process.
        None => txn.random().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)),
    };
    let now = txn.now;
    let unknown = Default::default();
    Heartbeat { id, created_at: now, updated_at: None, at: now, session, number: 0, unknown }
}

/// The heartbeat record of a host in its present session.
///
/// # Errors
/// The host's session is another or none: the host must register again.
pub fn in_session(state: &State, id: HostId, session: u64) -> Result<&Arc<Heartbeat>> {
    let heartbeat = state.heartbeats.get(&id).filter(|heartbeat| heartbeat.session == session);
    heartbeat.ok_or_else(|| Error::not_found_text("The host's session has ended; register the host again."))
}

/// Records a heartbeat of a host.
///
/// # Errors
/// See [`in_session`].
pub fn heartbeat(txn: &mut Txn<'_>, id: HostId, session: u64) -> Result<()> {
    in_session(txn, id, session)?;
    let now = txn.now;
    txn.update::<Heartbeat>(&id, |heartbeat| heartbeat.at = now);
    Ok(())
}

/// Accepts a host's report, unless a later report of the session was accepted before.
///
/// # Errors
/// See [`in_session`].
pub fn report(
    txn: &mut Txn<'_>,
    id: HostId,
    session: u64,
    number: u64,
    observations: &[Observation],
    progress: &[MoveProgress],
) -> Result<()> {
    if number <= in_session(txn, id, session)?.number {
        // The report is a duplicate or was overtaken, so its facts are out of date.
        return Ok(());
    }
    let now = txn.now;
    txn.update::<Heartbeat>(&id, |heartbeat| (heartbeat.at, heartbeat.number) = (now, number));
    guest::observe(txn, id, observations);
    progress.iter().for_each(|seen| migration::note_progress(txn, id, seen));
    Ok(())
}
