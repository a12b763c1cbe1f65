//! The request that gives a server a new root disk; `lifecycle/rebuild.rs` shows what becomes of it.

use crate::{
    command::compute::access::{
        actable, check_files, check_fit, check_maintenance, find_image, find_key, need_agent, need_condition,
        need_disk_back,
    },
    lifecycle::{condition, operation, rebuild},
};
use lenticular_model::{
    ImageId, Kind, ServerId, Txn,
    compute::{
        operation::OperationKind,
        server::{Condition, PersonalityFile, Server, Wanted},
    },
    error::{Error, Result},
    policy::{Action, Caller},
};
use std::collections::BTreeMap;

/// What a rebuild changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct RebuildServer {
    /// The image of the new root disk.
    pub image_id: ImageId,
    /// The name.
    pub name: Option<String>,
    /// All of the metadata.
    pub metadata: Option<BTreeMap<String, String>>,
    /// The description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// The keypair's name; `Some(None)` removes the key.
    pub key_name: Option<Option<String>>,
    /// User data in Base64; `Some(None)` removes it.
    pub user_data: Option<Option<String>>,
    /// The files for the guest, with the number of each file's bytes.
    pub files: Option<Vec<(PersonalityFile, usize)>>,
    /// The name that the guest gets.
    pub hostname: Option<String>,
    /// Shown back.
    pub access_ipv4: Option<String>,
    /// Shown back.
    pub access_ipv6: Option<String>,
    /// `MANUAL` partitioning.
    pub disk_config_manual: Option<bool>,
    /// True keeps the disks beside the root disk as they are.
    pub preserve_ephemeral: bool,
}

/// Gives a server a new root disk. Its id, ports, host and flavor stay.
///
/// # Errors
/// The server's state does not permit it, the image cannot be used or does not fit, or the key is missing.
pub fn rebuild(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, asked: RebuildServer) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerRebuild)?;
    need_condition(&server, "rebuild", &[Condition::Active, Condition::Stopped, Condition::Error])?;
    if server.host_id.is_none() || !txn.has_made_disks(id) {
        return Err(Error::conflict(format!(
            "Cannot 'rebuild' instance {id}: it has no disk on any host. Delete it and create it again."
        )));
    }
    need_disk_back(txn, &server, "rebuild")?;
    need_agent(txn, &server, "rebuild")?;
    let image = find_image(txn, caller, asked.image_id)?;
    check_fit(&image, &server.size)?;
    let key = match &asked.key_name {
        Some(Some(name)) => Some(Some(find_key(txn, caller, name)?)),
        Some(None) => Some(None),
        None => None,
    };
    if let Some(metadata) = &asked.metadata {
        crate::quota::check_metadata(txn, server.project_id, metadata.len())?;
        check_maintenance(caller, server.project_id, (&server.metadata, metadata))?;
    }
    if let Some(files) = &asked.files {
        check_files(txn, server.project_id, files)?;
        let files: Vec<PersonalityFile> = files.iter().map(|(file, _)| file.clone()).collect();
        txn.put_cold(Kind::Personality, id.to_string(), files);
    }
    if let Some(Some(user_data)) = &asked.user_data {
        txn.put_cold(Kind::UserData, id.to_string(), user_data.clone());
    }
    let task = operation::begin(txn, &server, OperationKind::Rebuild, Some(caller));
    let runs = server.wanted == Wanted::Running || server.condition == Condition::Error;
    txn.update::<Server>(&id, |s| {
        let set = |field: &mut String, value: Option<String>| value.into_iter().for_each(|v| *field = v);
        set(&mut s.name, asked.name);
        set(&mut s.hostname, asked.hostname);
        set(&mut s.access_ipv4, asked.access_ipv4);
        set(&mut s.access_ipv6, asked.access_ipv6);
        s.metadata = asked.metadata.unwrap_or(std::mem::take(&mut s.metadata));
        s.description = asked.description.unwrap_or(s.description.take());
        s.key = key.unwrap_or(s.key.take());
        s.has_user_data = asked.user_data.map_or(s.has_user_data, |data| data.is_some());
        s.has_files = asked.files.as_ref().map_or(s.has_files, |files| !files.is_empty());
        s.disk_config_manual = asked.disk_config_manual.unwrap_or(s.disk_config_manual);
        // The guest that posted it is gone.
        s.guest_password = None;
        s.wanted = if runs { Wanted::Running } else { Wanted::Stopped };
        s.task = Some(task);
        condition::leave_error(s);
    });
    let server = txn.need::<Server>(&id, || Error::not_found("Instance", id))?;
    rebuild::begin(txn, &server, &image, asked.preserve_ephemeral);
    Ok(())
}
