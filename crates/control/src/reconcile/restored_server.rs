//! The controller of restored servers: a server that no host has is lost.

use crate::lifecycle::loss;
use lenticular_model::{Txn, compute::server::Server};

/// One step for a restored server: after all hosts have reported, a server that none of them has is lost.
pub fn reconcile(txn: &mut Txn<'_>, server: &Server) {
    if !txn.hosts.values().any(|host| host.may_know_more()) {
        loss::on_lost_in_restore(txn, server);
    }
}
