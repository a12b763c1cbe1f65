//! Requests that rescue and unrescue a server; `lifecycle/rescue.rs` shows the states between.

use crate::{
    command::compute::access::{actable, find_image, need_agent, need_condition},
    lifecycle::{condition, operation},
};
use lenticular_model::{
    ImageId, ServerId, Txn,
    compute::{
        operation::OperationKind,
        rescue::Rescue,
        server::{BootStyle, Condition, Server, Wanted},
    },
    error::{Error, Result},
    policy::{Action, Caller},
};

/// Starts a server's guest from another image's disk, with its own disks beside it. Without a word the image is the
/// server's own.
///
/// # Errors
/// The server's state does not permit it, or the image cannot be used.
pub fn rescue(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, image: Option<ImageId>) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerRescue)?;
    need_condition(&server, "rescue", &[Condition::Active, Condition::Stopped, Condition::Error])?;
    if server.host_id.is_none() || !txn.has_made_disks(id) {
        return Err(Error::conflict(format!(
            "Cannot 'rescue' instance {id}: it has no disk on any host, so there is nothing to rescue."
        )));
    }
    need_agent(txn, &server, "rescue")?;
    let image = find_image(txn, caller, image.unwrap_or(server.image_id))?;
    if !matches!(image.disk_format.as_deref(), Some("qcow2" | "raw")) {
        let why = format!("Image {} cannot be used for a rescue: hosts run qcow2 and raw.", image.id);
        return Err(Error::invalid(why));
    }
    // An image with one of these properties asks for a disk beside the guest's own disks, which keep their names.
    let stable =
        ["hw_rescue_device", "hw_rescue_bus"].iter().any(|name| image.properties.contains_key(*name));
    let rescue = Rescue {
        image_id: image.id,
        base: image.data().map_or("", |data| data.sha512.as_str()).into(),
        base_format: image.disk_format.as_deref().unwrap_or("raw").into(),
        stable,
        ran: server.wanted == Wanted::Running || server.condition == Condition::Error,
    };
    start(txn, caller, &server, OperationKind::Rescue, Some(Box::new(rescue)));
    Ok(())
}

/// Starts a rescued server's guest from its own disk again.
///
/// # Errors
/// The server is not rescued, or an operation is under way.
pub fn unrescue(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerUnrescue)?;
    let state = match &server.task {
        Some(task) => format!("task_state {}", task.action.task_state()),
        None => format!("vm_state {}", server.vm_state()),
    };
    if server.rescue.is_none() || server.task.is_some() || server.wanted == Wanted::Absent {
        return Err(Error::conflict(format!("Cannot 'unrescue' instance {id} while it is in {state}")));
    }
    start(txn, caller, &server, OperationKind::Unrescue, None);
    Ok(())
}

fn start(
    txn: &mut Txn<'_>,
    caller: &Caller,
    server: &Server,
    action: OperationKind,
    rescue: Option<Box<Rescue>>,
) {
    let task = operation::begin(txn, server, action, Some(caller));
    txn.update::<Server>(&server.id, |s| {
        s.rescue = rescue;
        s.wanted = Wanted::Running;
        s.boot += 1;
        s.boot_style = BootStyle::Hard;
        s.task = Some(task);
        condition::leave_error(s);
    });
}
