//! Recovery of servers whose host or disk is lost: rebuild them on another host, or return to a disk that they left
//! behind. Both lose the data written since. Only a person decides that.

use crate::schedule::{Moves, Planned, RequestSpec, schedule};
use crate::{
    command::compute::access::actable,
    lifecycle::{
        condition, disk,
        migration::{self, Move},
        operation, run, shelf, snapshot,
    },
};
use lenticular_model::{
    DiskId, HostId, ImageId, MigrationId, ServerId, State, Txn,
    compute::{
        disk::{Disk, Fate, KEPT_S},
        migration::{Leg, Mode, Phase, Purpose},
        operation::OperationKind,
        server::{BootStyle, Condition, Server, Task, Wanted},
    },
    error::{Error, Result},
    host::host::Host,
    policy::{Action, Caller},
};
use std::sync::Arc;

/// One host in this many may be silent or off. With more such hosts, the control plane or the network has more
/// likely failed.
const LOST_ONE_IN: usize = 5;

/// Rebuilds a server from its image on another host, because its own host is off and its disks are lost. The data
/// written since the server's creation is lost; the operator who declared the disks lost has accepted that.
///
/// # Errors
/// The host may come back, so many hosts are silent that something else must be wrong, or no host fits.
pub fn evacuate(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ServerId,
    host: Option<&str>,
    stopped: bool,
) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerEvacuate)?;
    need_movable(&server)?;
    let lost = need_lost(txn, &server)?;
    need_few_lost(txn)?;
    need_decided(txn, &server)?;
    if let Some(name) = host {
        let known = txn.host_named(name).is_some();
        known
            .then_some(())
            .ok_or_else(|| Error::invalid(format!("Compute host {name} could not be found.")))?;
    }
    let moves =
        Moves { from: lost.id, live: false, may_stay: false, has: server.size, planned: Planned::default() };
    let ask = RequestSpec {
        host: host.map(str::to_owned),
        arch: Some(lost.hypervisor.arch.clone()).filter(|arch| !arch.is_empty()),
        moves: Some(moves),
        ..RequestSpec::of_server(txn, &server)
    };
    let (Some(to), _) = schedule(txn, &ask) else {
        return Err(Error::invalid(schedule(txn, &ask).1.explain()));
    };
    migration::cancel(txn, &server);
    rebuild(txn, caller, &server, (lost.id, to), stopped)
}

fn need_movable(server: &Server) -> Result<()> {
    let cannot = |why: &str| Err(Error::conflict(format!("Cannot 'evacuate' instance {} {why}", server.id)));
    match server.condition {
        _ if server.wanted == Wanted::Absent => cannot("while it is in task_state deleting"),
        Condition::Building => cannot("while it is in vm_state building"),
        Condition::Active
        | Condition::Paused
        | Condition::Suspended
        | Condition::Stopped
        | Condition::Error => Ok(()),
    }
}

/// The server's host, if it is declared lost.
fn need_lost(txn: &Txn<'_>, server: &Server) -> Result<Arc<Host>> {
    let host = server.host_id.and_then(|id| txn.hosts.get(&id)).cloned();
    let host = host.ok_or_else(|| Error::conflict(format!("Instance {} is on no host.", server.id)))?;
    if host.is_up() {
        return Err(Error::invalid(format!("Compute service of {} is still in use.", host.name)));
    }
    if host.fence.as_ref().is_some_and(|fence| fence.disks_lost) {
        return Ok(host);
    }
    Err(Error::conflict(format!(
        "Host {name} has local disks. An evacuated server starts again from its image, and what it wrote is \
         lost. Bring the host back if you can. If it is lost for good, run `lenticular host fence {name} \
         --disks-lost`, then evacuate again.",
        name = host.name
    )))
}

fn need_few_lost(state: &State) -> Result<()> {
    let (all, lost) = (state.hosts.len(), state.hosts.values().filter(|host| !host.is_up()).count());
    if lost <= (all / LOST_ONE_IN).max(1) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "{lost} of {all} hosts are silent or declared off. More likely the control plane or the network has \
         failed. Nothing is evacuated until fewer hosts are silent or off."
    )))
}

/// Refuses if the lost host had to decide a move and the target is not up: the target may have the guest. A target
/// that is up would have reported the guest.
fn need_decided(txn: &Txn<'_>, server: &Server) -> Result<()> {
    let Some(ticket) = server.ticket.as_ref().filter(|ticket| ticket.leg != Leg::Prepare) else {
        return Ok(());
    };
    if txn.hosts.get(&ticket.to).is_some_and(|host| host.is_up()) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "Instance {} was moving to another host, which is silent too, and may be there. Bring that host \
         back first.",
        server.id
    )))
}

fn rebuild(
    txn: &mut Txn<'_>,
    caller: &Caller,
    server: &Server,
    (from, to): (HostId, HostId),
    stopped: bool,
) -> Result<()> {
    let decided = Move {
        to,
        mode: Mode::Cold,
        purpose: Purpose::Evacuate,
        snapshot: server.flavor_snapshot(),
        plan_id: None,
    };
    let id = MigrationId::from_random(txn.random());
    migration::record(txn, Some(caller), server, (id, from), &decided, Phase::Moved)?;
    migration::finish(txn, id, Phase::Confirmed);
    operation::finish_task(txn, server, Some("The server was evacuated.".to_owned()));
    let task: Task = operation::begin(txn, server, OperationKind::Evacuate, Some(caller));
    let generation = txn.next_generation(server.id);
    let left = txn.generation_of_server(server.id);
    lay_anew(txn, server)?;
    // The lost host must remove the disk if it comes back.
    let what = "left on a lost host".to_owned();
    disk::leave(txn, server.id, from, left, Fate::Doomed, what);
    run::put_on(txn, server.id, to, generation, None);
    disk::update(txn, server.id, |disk| disk.made = false);
    // The memory of a paused or suspended guest is lost with its host.
    let runs = server.wanted != Wanted::Stopped || server.condition == Condition::Error;
    txn.update::<Server>(&server.id, |s| {
        s.wanted = if runs && !stopped { Wanted::Running } else { Wanted::Stopped };
        s.boot += 1;
        s.boot_style = BootStyle::Hard;
        (s.rebuild, s.rescue) = (None, None);
        condition::set_stopped(s);
        s.fault = None;
        s.task = Some(task);
    });
    Ok(())
}

/// Sets the base of a rebuilt disk: the image of the last unshelving if it still exists, else the image that the
/// server was made from.
fn lay_anew(txn: &mut Txn<'_>, server: &Server) -> Result<()> {
    if !server.is_offloaded() {
        shelf::clear(txn, server);
    }
    snapshot::give_up(txn, server, "The server was evacuated.");
    let Some(base) = server.base_image.filter(|_| !server.is_offloaded()) else { return Ok(()) };
    let has_data =
        |id: &ImageId| txn.images.get(id).and_then(|image| Some((image.clone(), image.data()?.clone())));
    if has_data(&base).is_some() {
        return Ok(());
    }
    let (image, data) = has_data(&server.image_id).ok_or_else(|| {
        Error::conflict(format!(
            "Instance {} was made from image {}, which is gone, so it cannot be made again.",
            server.id, server.image_id
        ))
    })?;
    txn.update::<Server>(&server.id, |s| {
        s.base = data.sha512.as_str().into();
        s.base_format = image.disk_format.as_deref().unwrap_or("raw").into();
        s.base_image = None;
    });
    Ok(())
}

/// Returns a server to a disk that it left behind. The server must be stopped. Its present disk is kept like any
/// disk that is left behind, so that this can be undone.
///
/// # Errors
/// The disk does not exist, its host is not up, or the server runs or moves.
pub fn restore_disk(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, disk: DiskId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerDiskRestore)?;
    let missing = || {
        Error::not_found_text(format!(
            "The server has no disk {disk} to go back to. `lenticular server \
             disk list` shows those that it has."
        ))
    };
    let disk = txn.need::<Disk>(&disk, missing)?;
    if disk.server_id != id || disk.fate().is_none_or(|fate| *fate == Fate::Doomed) {
        return Err(missing());
    }
    txn.visible::<Server>(caller, &id)?;
    if server.shelf.is_some() {
        return Err(Error::conflict(format!("Instance {id} is shelved. Unshelve it first.")));
    }
    let rests = server.task.is_none() && server.ticket.is_none() && server.wanted == Wanted::Stopped;
    if !rests || server.powered {
        return Err(Error::conflict(
            "Stop the server first: its guest must not run while its disk is replaced.",
        ));
    }
    let host = txn.need::<Host>(&disk.host_id.ok_or_else(missing)?, missing)?;
    if !host.is_up() {
        return Err(Error::conflict(format!("The disk is on host {}, which is not up.", host.name)));
    }
    migration::cancel(txn, &server);
    let (generation, present) = (txn.next_generation(id), txn.generation_of_server(id));
    disk::clear(txn, host.id, id);
    if let Some(from) = server.host_id {
        let (fate, why) =
            (Fate::Kept { until: txn.now.plus_s(KEPT_S) }, "exchanged for an older disk".to_owned());
        disk::leave(txn, id, from, present, fate, why);
    }
    run::put_on(txn, id, host.id, generation, Some(disk.generation));
    disk::update(txn, id, |disk| disk.made = true);
    txn.update::<Server>(&id, |s| {
        condition::set_stopped(s);
        s.fault = None;
    });
    Ok(())
}
