//! Shared checks of several commands: the servers and flavors that a caller may use, and the states that permit a
//! command.

use crate::quota;
use lenticular_model::{
    FlavorId, ImageId, KeypairId, ProjectId, ServerId, Txn,
    compute::{
        flavor::{Flavor, Size},
        keypair::Keypair,
        maintenance::{self, MAINTENANCE},
        server::{Condition, Key, PersonalityFile, Server, Wanted},
    },
    error::{Error, Result},
    host::host::PROTOCOL_WITH_SUSPEND,
    image::{Image, Phase},
    policy::{self, Action, Caller},
};
use std::{collections::BTreeMap, sync::Arc};

/// The server, if the caller may do `action` to it and no lock forbids it.
pub fn actable(txn: &Txn<'_>, caller: &Caller, id: ServerId, action: Action) -> Result<Arc<Server>> {
    let server = txn.visible::<Server>(caller, &id)?;
    policy::check(caller, action, Some(server.project_id))?;
    if server.locked.is_some() && !caller.is_admin() {
        return Err(Error::conflict(format!("Instance {id} is locked")));
    }
    if server.restored.is_some() && action != Action::ServerDelete {
        return Err(Error::conflict(format!(
            "The store was restored from a backup, and no host has said yet that it has instance {id}. Wait for that; \
             its operator can see which hosts are silent."
        )));
    }
    if !matches!(action, Action::ServerDelete | Action::ServerRestore) {
        need_in_use(&server)?;
    }
    Ok(server)
}

/// Refuses a soft-deleted server.
pub fn need_in_use(server: &Server) -> Result<()> {
    match server.reclaim_at {
        Some(_) => Err(Error::conflict(format!(
            "Instance {} is in vm_state {}. It can be restored, or deleted for good (forceDelete); nothing else can be \
             done with it.",
            server.id,
            server.vm_state()
        ))),
        None => Ok(()),
    }
}

/// Refuses `verb` unless the server has one of these conditions and no operation is under way.
pub fn need_condition(server: &Server, verb: &str, conditions: &[Condition]) -> Result<()> {
    need_idle(server, verb, conditions)?;
    if server.unconfirmed.is_none() {
        return Ok(());
    }
    Err(Error::conflict(format!("Cannot '{verb}' instance {} while it is in vm_state resized", server.id)))
}

/// Like [`need_condition`], but also permits a server whose last move is not confirmed.
pub fn need_idle(server: &Server, verb: &str, conditions: &[Condition]) -> Result<()> {
    if server.wanted == Wanted::Absent {
        let why = format!("Cannot '{verb}' instance {} while it is in task_state deleting", server.id);
        return Err(Error::conflict(why));
    }
    let shelved = server.is_offloaded() && server.host_id.is_none();
    if shelved || server.rescue.is_some() || !conditions.contains(&server.condition) {
        return Err(Error::conflict(format!(
            "Cannot '{verb}' instance {} while it is in vm_state {}",
            server.id,
            server.vm_state()
        )));
    }
    let state = server.task.as_ref().map(|task| task.action.task_state());
    match state.or(server.ticket.is_some().then_some("migrating")) {
        Some(state) => {
            let why = format!("Cannot '{verb}' instance {} while it is in task_state {state}", server.id);
            Err(Error::conflict(why))
        }
        None => Ok(()),
    }
}

/// Refuses `verb` while the host has not yet come back to the server's older disk. A host that still has an older generation
/// takes the disks of the next one for disks to make anew, and cannot send them.
pub fn need_disk_back(txn: &Txn<'_>, server: &Server, verb: &str) -> Result<()> {
    match txn.root_disk(server.id).is_some_and(|disk| disk.revives.is_some()) {
        true => Err(Error::conflict(format!(
            "Cannot '{verb}' instance {}: its host has not yet come back to the server's older disk. Try again later.",
            server.id
        ))),
        false => Ok(()),
    }
}

/// What an owner allows when the server's host is drained has one of a few values, and only the server's project says it.
pub fn check_maintenance(
    caller: &Caller,
    owner: ProjectId,
    (before, after): (&BTreeMap<String, String>, &BTreeMap<String, String>),
) -> Result<()> {
    let said = after.get(MAINTENANCE);
    if before.get(MAINTENANCE) == said {
        return Ok(());
    }
    if caller.project_id() != Some(owner) {
        return Err(Error::forbidden(format!(
            "The metadata key {MAINTENANCE} says what the server's owner allows. Only the server's project changes it."
        )));
    }
    maintenance::check(after)
}

/// Refuses `verb` if the agent of the server's host is too old for it.
pub fn need_agent(txn: &Txn<'_>, server: &Server, verb: &str) -> Result<()> {
    let host = server.host_id.and_then(|id| txn.hosts.get(&id));
    match host.filter(|host| host.protocol < PROTOCOL_WITH_SUSPEND) {
        Some(host) => Err(Error::conflict(format!(
            "Cannot '{verb}' instance {}: the agent of its host speaks version {} of the agent protocol, and this needs \
             version {PROTOCOL_WITH_SUSPEND}. Ask the operator to upgrade the agent, or migrate the instance.",
            server.id, host.protocol
        ))),
        None => Ok(()),
    }
}

/// The flavor, if the caller may make servers with it.
pub fn find_flavor(txn: &Txn<'_>, caller: &Caller, id: &FlavorId) -> Result<Arc<Flavor>> {
    let missing = || Error::invalid(format!("Flavor {id} could not be found."));
    let flavor = txn.need::<Flavor>(id, missing)?;
    let given = caller.project_id().is_some_and(|p| flavor.access.contains(&p));
    (flavor.is_public || given || caller.is_admin()).then_some(flavor).ok_or_else(missing)
}

/// The image, if the caller may use it and its bytes are there.
pub fn find_image(txn: &Txn<'_>, caller: &Caller, id: ImageId) -> Result<Arc<Image>> {
    let missing = || Error::invalid(format!("Image {id} could not be found."));
    let image = txn.need::<Image>(&id, missing)?;
    if !(caller.is_admin() || image.is_open_to(txn, caller.project_id())) {
        return Err(missing());
    }
    match image.phase {
        Phase::Active { .. } => Ok(image),
        _ => Err(Error::invalid(format!("Image {id} is not active: it is {}.", image.status()))),
    }
}

/// The disk size that the image needs, in bytes.
pub fn image_bytes(image: &Image) -> u64 {
    let data = image.data().map_or(0, |d| d.virtual_size.unwrap_or(d.size));
    data.max(u64::from(image.min_disk) << 30)
}

/// Refuses an image that hosts do not run, or that does not fit a server of this size.
pub fn check_fit(image: &Image, size: &Size) -> Result<()> {
    if !matches!(image.disk_format.as_deref(), Some("qcow2" | "raw")) {
        let format = image.disk_format.as_deref().unwrap_or("unknown");
        return Err(Error::invalid(format!(
            "Image {} has the format {format}, which hosts do not run. Convert it to qcow2 or raw.",
            image.id
        )));
    }
    if image.min_ram > size.ram_mb {
        return Err(Error::invalid(format!(
            "Flavor's memory is too small for requested image: it has {} MB, the image needs {} MB.",
            size.ram_mb, image.min_ram
        )));
    }
    // A root disk of 0 GiB means "as large as the image".
    if size.disk_gb == 0 {
        return Ok(());
    }
    let disk = u64::from(size.disk_gb) << 30;
    let needs = image_bytes(image);
    if needs > disk {
        return Err(Error::invalid(format!(
            "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is {disk} \
             bytes, minimum size is {needs} bytes."
        )));
    }
    Ok(())
}

/// Refuses files beyond the project's limits.
pub fn check_files(txn: &Txn<'_>, project: ProjectId, files: &[(PersonalityFile, usize)]) -> Result<()> {
    let path = files.iter().map(|(file, _)| file.path.len()).max().unwrap_or_default();
    let bytes = files.iter().map(|(_, bytes)| *bytes).max().unwrap_or_default();
    for (limit, has, what) in [
        ("injected_files", files.len(), "files"),
        ("injected_file_path_bytes", path, "bytes of a path"),
        ("injected_file_content_bytes", bytes, "bytes of a file"),
    ] {
        let most = quota::own_limit(txn, project, limit);
        if most >= 0 && has as i64 > most {
            return Err(Error::over_quota(format!(
                "Personality limit exceeded: {has} {what}, {most} at most."
            )));
        }
    }
    Ok(())
}

/// The caller's public key of this name.
pub fn find_key(txn: &Txn<'_>, caller: &Caller, name: &str) -> Result<Key> {
    let id = KeypairId::of(caller.user_id, name);
    let missing = || Error::invalid(format!("Invalid key_name provided: there is no keypair '{name}'."));
    let keypair = txn.need::<Keypair>(&id, missing)?;
    Ok(Key { name: name.to_owned(), public_key: keypair.public_key.clone() })
}

/// The most tags that a server may have.
pub const TAGS_MAX: usize = 50;
