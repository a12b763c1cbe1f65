//! The controller of restored servers: one that no host has is lost.

use crate::lifecycle::loss;
use lenticular_model::{compute::server::Server, host::host::Host, Timestamp, Txn};

/// How often a restored server is looked at, in seconds.
const LOOK_S: i64 = 10;

/// One step for a restored server: once every host has said what it has, one that none has is lost.
pub fn reconcile(txn: &mut Txn<'_>, server: &Server) -> Option<Timestamp> {
    let silent = |host: &Host| host.unheard && !host.fence.as_ref().is_some_and(|fence| fence.disks_lost);
    let own = server.host_id.and_then(|id| txn.hosts.get(&id));
    if own.is_some_and(|host| silent(host)) || txn.hosts.values().any(|host| silent(host)) {
        return Some(txn.now.plus_s(LOOK_S));
    }
    loss::on_lost_in_restore(txn, server);
    None
}
