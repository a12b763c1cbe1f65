//! The migration controller: gives up migrations that are overdue or impossible. Reports of hosts advance the
//! others.

use crate::lifecycle::migration;
use lenticular_model::{
    MigrationId, Timestamp, Txn,
    compute::migration::{Leg, Phase, Purpose},
    host::readiness,
};

/// One step for one migration.
pub fn reconcile(id: MigrationId, txn: &mut Txn<'_>) -> Option<Timestamp> {
    let current = txn.migrations.get(&id)?.clone();
    let server = txn.servers.get(&current.server_id).cloned();
    let of_server = |s: &lenticular_model::compute::server::Server| {
        let moves = s.ticket.as_ref().is_some_and(|ticket| ticket.migration_id == id);
        moves || s.unconfirmed.as_ref().is_some_and(|last| last.migration_id == id)
    };
    let Some(server) = server.filter(|s| of_server(s)) else {
        migration::finish(txn, id, Phase::Failed { why: "The server is gone.".to_owned() });
        return None;
    };
    if server.restored.is_some() {
        return None;
    }
    let ticket = server.ticket.as_ref().filter(|ticket| ticket.migration_id == id)?;
    if ticket.leg == Leg::Withdraw {
        // Only the source's report, or a fence of the source, can end the migration.
        return None;
    }
    let silent = |host| {
        txn.hosts.get(&host).is_none_or(|h: &std::sync::Arc<_>| !lenticular_model::host::host::Host::is_up(h))
    };
    if ticket.leg == Leg::Prepare && silent(ticket.to) {
        let why = format!("The target host {} fell silent before it was ready.", current.to_name);
        migration::fail(txn, &server, why);
        return None;
    }
    // A move back to the former host, or to another size at home, is no new place.
    let is_new = current.purpose != Purpose::Revert && ticket.to != current.from;
    let refusal = txn.hosts.get(&ticket.to).filter(|_| is_new);
    if let Some(plan) = refusal.and_then(|host| txn.drain_of_host(host.id)).map(|plan| plan.id.clone()) {
        let why = format!("The target host {} is being drained by plan {plan}.", current.to_name);
        migration::fail(txn, &server, why);
        return None;
    }
    if let Some(why) = refusal.and_then(|host| readiness::refusal_of_host(txn, host)) {
        migration::fail(txn, &server, format!("The target host {} is {why}", current.to_name));
        return None;
    }
    let due = migration::due(&current, txn.took_over_at);
    if txn.now < due {
        return Some(due);
    }
    let why = match ticket.leg {
        Leg::Prepare => format!("The target host {} was not ready in time.", current.to_name),
        Leg::Send | Leg::Withdraw => "The guest could not be moved in time.".to_owned(),
    };
    migration::fail(txn, &server, why);
    None
}
