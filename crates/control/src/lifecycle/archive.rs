//! The end of a server's record: it leaves State and stays in the store as a past server.

use crate::lifecycle::{network::cascade, operation};
use lenticular_model::{
    DiskId, Kind, ServerId, Txn,
    compute::{
        disk::Disk,
        server::{Server, Wanted},
    },
    network::port::Port,
};
use std::sync::Arc;

/// Archives a server that is wanted absent, if no host has a part of it that could run.
pub fn archive_if_gone(txn: &mut Txn<'_>, id: ServerId) {
    let Some(server) = txn.servers.get(&id).cloned() else { return };
    let may_run = || txn.left_disks_of_server(id).any(|disk| disk.may_run());
    if server.wanted == Wanted::Absent && server.host_id.is_none() && server.restored.is_none() && !may_run()
    {
        archive(txn, &server);
    }
}

/// Removes a server whose guest is gone. Its ports are deleted or freed, and the store keeps it as a past server.
fn archive(txn: &mut Txn<'_>, server: &Server) {
    let ports: Vec<Arc<Port>> = txn.ports_of_server(server.id).cloned().collect();
    for port in ports {
        if port.goes_with_server {
            cascade::delete_port(txn, port.id);
        } else {
            cascade::release_port(txn, port.id);
        }
    }
    operation::finish_task(txn, server, None);
    let disks: Vec<DiskId> = txn.disks_of_server(server.id).map(|disk| disk.id).collect();
    for disk in disks {
        txn.delete::<Disk>(&disk);
    }
    txn.delete::<Server>(&server.id);
    let id = server.id.to_string();
    if server.has_user_data {
        txn.delete_cold(Kind::UserData, id.clone());
    }
    if server.has_files {
        txn.delete_cold(Kind::Personality, id.clone());
    }
    txn.delete_cold(Kind::Verdict, id.clone());
    let past = Server { updated_at: Some(txn.now), ..server.clone() }.past();
    txn.put_cold(Kind::PastServerOf, past.past_key(), past.id);
    txn.put_cold(Kind::PastServer, id, past);
}
