//! Disks that hosts send to the image store: of servers that are being shelved, and of snapshots.

use crate::lifecycle::{shelf, snapshot};
use lenticular_model::{
    HostId, ImageId, ServerId, State, Txn,
    error::Result,
    image::{Data, Quota},
};

fn is_snapshot(state: &State, server: ServerId, upload: &str) -> bool {
    let snapshot = state.servers.get(&server).and_then(|server| server.snapshot.as_deref());
    snapshot.is_some_and(|snapshot| snapshot.upload == upload)
}

/// The image for the disk that a host will send.
///
/// # Errors
/// The disk is not wanted (any more).
pub fn begin(
    txn: &mut Txn<'_>,
    server: ServerId,
    host: HostId,
    upload: &str,
    sending: &str,
) -> Result<ImageId> {
    match is_snapshot(txn, server, upload) {
        true => snapshot::begin_saving(txn, server, host, upload, sending),
        false => shelf::begin_saving(txn, server, host, upload, sending),
    }
}

/// The bytes are in the image store, complete and durable.
///
/// # Errors
/// The disk is no longer wanted, or a later sending has begun.
pub fn finish(
    txn: &mut Txn<'_>,
    server: ServerId,
    host: HostId,
    names: (&str, &str),
    data: Data,
    quota: &Quota,
) -> Result<()> {
    match is_snapshot(txn, server, names.0) {
        true => snapshot::saved(txn, server, host, names, data, quota),
        false => shelf::saved(txn, server, host, names, data),
    }
}
