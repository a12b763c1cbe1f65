//! Trunks: their creation, their subports, their change and removal.

use crate::{command::network::check, lifecycle::network::cascade, quota};
use lenticular_model::{
    PortId, ProjectId, Scoped, TrunkId, Txn,
    error::{Error, Result},
    network::{
        port::{Port, PortOwner},
        trunk::{SubPort, Trunk},
    },
    policy::{self, Action, Caller},
};
use std::collections::BTreeSet;

/// The highest VLAN tag.
const VLAN_MAX: u16 = 4_094;

/// The settings of a new trunk.
#[derive(Debug, Clone)]
pub struct NewTrunk {
    /// Its project.
    pub project_id: ProjectId,
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// False forbids changes of its subports.
    pub admin_state_up: bool,
    /// The parent port.
    pub port_id: PortId,
    /// The subports.
    pub sub_ports: Vec<SubPort>,
}

/// Creates a trunk.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewTrunk) -> Result<TrunkId> {
    policy::check(caller, Action::TrunkWrite, Some(new.project_id))?;
    quota::need_network(txn, new.project_id, "trunk")?;
    let parent = txn.changeable::<Port>(caller, &new.port_id)?;
    if parent.owner().is_routers() || parent.owner() == PortOwner::Metadata {
        let why = format!("Port {} cannot be a trunk's parent: it is the cloud's own.", parent.id);
        return Err(Error::conflict(why).coded("ParentPortInUse"));
    }
    check::check_not_in_trunk(txn, new.port_id)?;
    let id = TrunkId::from_random(txn.random());
    txn.put(Trunk {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: new.project_id,
        name: new.name,
        description: new.description,
        admin_state_up: new.admin_state_up,
        port_id: new.port_id,
        sub_ports: Vec::new(),
        tags: Vec::new(),
        revision: 1,
        unknown: Default::default(),
    });
    add(txn, caller, id, &new.sub_ports)?;
    Ok(id)
}

/// The changes of an update; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct TrunkChange {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// Whether its subports may be changed.
    pub admin_state_up: Option<bool>,
}

/// Changes a trunk.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: TrunkId, change: TrunkChange) -> Result<()> {
    txn.changeable::<Trunk>(caller, &id)?;
    txn.update::<Trunk>(&id, |t| {
        t.name = change.name.unwrap_or(std::mem::take(&mut t.name));
        t.description = change.description.unwrap_or(std::mem::take(&mut t.description));
        t.admin_state_up = change.admin_state_up.unwrap_or(t.admin_state_up);
        t.revision += 1;
    });
    Ok(())
}

fn check_enabled(trunk: &Trunk) -> Result<()> {
    if trunk.admin_state_up {
        return Ok(());
    }
    let why =
        format!("Trunk {} is currently disabled. Set its admin_state_up to change its subports.", trunk.id);
    Err(Error::conflict(why).coded("TrunkDisabled"))
}

/// Adds subports to a trunk.
pub fn add_subports(txn: &mut Txn<'_>, caller: &Caller, id: TrunkId, more: &[SubPort]) -> Result<()> {
    check_enabled(&*txn.changeable::<Trunk>(caller, &id)?)?;
    add(txn, caller, id, more)
}

fn add(txn: &mut Txn<'_>, caller: &Caller, id: TrunkId, more: &[SubPort]) -> Result<()> {
    let trunk = txn.need::<Trunk>(&id, || Trunk::missing(id))?;
    let mut tags: BTreeSet<u16> = trunk.sub_ports.iter().map(|s| s.segmentation_id).collect();
    let mut sub_ports = trunk.sub_ports.clone();
    for sub in more {
        let port = txn.changeable::<Port>(caller, &sub.port_id)?;
        check::check_not_in_trunk(txn, sub.port_id)?;
        if !port.device_id.is_empty() || sub_ports.iter().any(|s| s.port_id == sub.port_id) {
            let why = format!("Port {} is in use by another device; it cannot be a subport.", sub.port_id);
            return Err(Error::conflict(why).coded("PortInUse"));
        }
        if !(1..=VLAN_MAX).contains(&sub.segmentation_id) {
            let why = format!(
                "Invalid input for segmentation_id. Reason: {} is not in the range 1 to {VLAN_MAX}.",
                sub.segmentation_id
            );
            return Err(Error::invalid(why).coded("InvalidInput"));
        }
        if !tags.insert(sub.segmentation_id) {
            let why = format!(
                "segmentation_type vlan and segmentation_id {} already in use on trunk {id}.",
                sub.segmentation_id
            );
            return Err(Error::conflict(why).coded("DuplicateSubPort"));
        }
        sub_ports.push(*sub);
        txn.update::<Port>(&sub.port_id, |p| {
            p.device_id = id.to_string();
            p.device_owner = PortOwner::TrunkSubport.name().unwrap_or_default().to_owned();
            p.plugged = false;
            p.revision += 1;
        });
    }
    sub_ports.sort_by_key(|s| s.segmentation_id);
    txn.update::<Trunk>(&id, |t| {
        t.sub_ports = sub_ports;
        t.revision += 1;
    });
    Ok(())
}

/// Takes subports from a trunk; the ports stay.
pub fn remove_subports(txn: &mut Txn<'_>, caller: &Caller, id: TrunkId, less: &[PortId]) -> Result<()> {
    let trunk = txn.changeable::<Trunk>(caller, &id)?;
    check_enabled(&trunk)?;
    if let Some(absent) = less.iter().find(|p| trunk.sub_ports.iter().all(|s| s.port_id != **p)) {
        let why = format!(
            "SubPort on trunk {id} with parent port {} and port {absent} could not be found.",
            trunk.port_id
        );
        return Err(Error::not_found_text(why).coded("SubPortNotFound"));
    }
    less.iter().for_each(|port| cascade::free_subport(txn, *port));
    txn.update::<Trunk>(&id, |t| {
        t.sub_ports.retain(|s| !less.contains(&s.port_id));
        t.revision += 1;
    });
    Ok(())
}

/// Removes a trunk whose parent port no server has; its ports stay.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: TrunkId) -> Result<()> {
    let trunk = txn.changeable::<Trunk>(caller, &id)?;
    check_enabled(&trunk)?;
    if txn.ports.get(&trunk.port_id).is_some_and(|p| p.server_id.is_some()) && !trunk.sub_ports.is_empty() {
        let why = format!(
            "Trunk {id} is currently in use: its parent port belongs to a server. Remove its subports first."
        );
        return Err(Error::conflict(why).coded("TrunkInUse"));
    }
    cascade::delete_trunk(txn, id);
    Ok(())
}
