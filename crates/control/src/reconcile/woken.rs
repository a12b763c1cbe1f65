//! The controllers that a change of a record wakes: those with a possibly different next step. A controller that
//! waits for something is named here, and does not poll.

use super::Key;
use crate::lifecycle::canary;
use lenticular_model::{
    HostId, Kind, Record, ServerId, State,
    change::Pair,
    compute::{disk::Disk, migration::Migration, server::Server},
    host::{
        evidence::{BRIDGE, CANARY, GUESTS, TUNNELS},
        host::Host,
        rule::HostRule,
    },
    ops::{host_step::HostStep, plan_step::PlanStep},
};
use std::{collections::BTreeSet, str::FromStr};

/// Adds the keys of the controllers that a record's change wakes.
pub fn woken(old: &State, new: &State, kind: Kind, id: &str, keys: &mut BTreeSet<Key>) {
    match kind {
        Kind::Host => of_host(old, new, id, keys),
        // Both may close the target of a move, or be what kept a host from its admission.
        Kind::HostRule | Kind::Aggregate => {
            keys.extend(new.migrations.keys().copied().map(Key::Migration));
            // And the target of a plan.
            keys.extend(running_plans(new));
            of_unadmitted(new, keys);
            let asks = |rule: &HostRule| rule.check() == Some(CANARY) || rule.package().is_some();
            if [old, new].iter().any(|state| state.host_rules.values().any(|rule| asks(rule))) {
                keys.extend(new.hosts.keys().copied().map(Key::Host));
            }
        }
        Kind::Heartbeat => keys.extend(id.parse().map(Key::Host)),
        Kind::Server => {
            of_server(old, new, id, keys);
            // Hosts are told whether one project has all servers.
            if old.has_lone_project() != new.has_lone_project() {
                keys.extend(new.hosts.keys().copied().map(Key::Host));
            }
        }
        Kind::Migration => {
            keys.extend(own::<Migration>(id).map(Key::Migration));
            // A move that ended makes room for others.
            keys.extend(running_plans(new));
        }
        Kind::Plan => keys.extend([Key::Plan(id.into())]),
        Kind::HostStep => {
            let steps = Pair::<HostStep>::of(old, new, id);
            keys.extend(
                steps.iter().flat_map(|(_, pair)| pair.each()).map(|step| Key::Plan(step.plan_id.clone())),
            );
        }
        Kind::PlanStep => {
            let steps = Pair::<PlanStep>::of(old, new, id);
            keys.extend(
                steps.iter().flat_map(|(_, pair)| pair.each()).map(|step| Key::Plan(step.plan_id.clone())),
            );
            // A server that another plan no longer moves is for the drain of its host.
            let gone = steps.iter().filter(|(_, pair)| pair.new.is_none());
            let hosts = gone.filter_map(|(id, _)| new.servers.get(id)?.host_id);
            keys.extend(
                hosts.filter_map(|host| new.drain_of_host(host)).map(|plan| Key::Plan(plan.id.clone())),
            );
        }
        Kind::Freeze => keys.extend(running_plans(new)),
        Kind::Disk => {
            let left = Pair::<Disk>::of(old, new, id)
                .filter(|(_, pair)| pair.each().any(|disk| disk.left.is_some()));
            keys.extend(left.map(|(id, _)| Key::Disk(id)));
        }
        _ => {}
    }
}

fn running_plans(state: &State) -> impl Iterator<Item = Key> {
    state.plans.values().filter(|plan| plan.is_running()).map(|plan| Key::Plan(plan.id.clone()))
}

fn own<R: Record>(id: &str) -> Option<R::Id> {
    R::Id::from_str(id).ok()
}

/// A host that falls silent, or is no longer ready, ends the moves that wait for it. A host that reports, or is lost, may
/// decide the place of restored servers. When a host is removed, the disks on it are gone.
fn of_host(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Some((id, pair)) = Pair::<Host>::of(old, new, id) else { return };
    keys.insert(Key::Host(id));
    if pair.differs(|host| (&host.versions, host.is_admitted())) {
        // It is a sibling of others.
        of_unadmitted(new, keys);
    }
    if pair.differs(|host| [BRIDGE, GUESTS, TUNNELS].map(|check| host.trouble(check).is_some())) {
        // Whether others are dark depends on how many fail together.
        keys.extend(new.migrations.keys().copied().map(Key::Migration));
    }
    if pair.differs(|host| host.is_witness().then(|| host.unreached.clone()).filter(|lost| !lost.is_empty()))
    {
        // Others are dark by its word, or no longer.
        keys.extend(new.migrations.keys().copied().map(Key::Migration));
    }
    let closes = |host: &Host| (host.is_up(), host.intent.clone(), host.is_admitted(), host.labels.clone());
    if pair.differs(closes) || pair.differs(|host| (&host.versions, &host.overrides, &host.evidence)) {
        keys.extend(running_plans(new));
        let waits = |migration: &&std::sync::Arc<Migration>| migration.to == id;
        keys.extend(new.migrations.values().filter(waits).map(|migration| Key::Migration(migration.id)));
    }
    // A plan waits until it has booted, or has proved itself.
    if pair.differs(|host| (&host.boot_id, &host.action, host.checked, &host.canaries, host.silent_since)) {
        keys.extend(new.host_steps.get(&id).map(|step| Key::Plan(step.plan_id.clone())));
    }
    // Others of its zone wait for their turn.
    if pair.differs(|host| (host.canaries.ended, host.is_up()))
        && let Some(host) = pair.each().next()
    {
        keys.extend(canary::waiting(new, &host.zone).map(Key::Host));
        keys.extend(new.host_steps.values().map(|step| Key::Plan(step.plan_id.clone())));
    }
    if pair.differs(|host| (host.answers_probes(), host.name.clone())) {
        keys.extend(new.probe_askers(id).map(Key::Host));
    }
    if pair.differs(Host::may_know_more) {
        let restored = new.servers.values().filter(|server| server.restored.is_some());
        keys.extend(restored.map(|server| Key::Server(server.id)));
    }
    if pair.new.is_none() {
        of_lost_disks(new, id, keys);
    }
}

/// The hosts that wait for their admission. Mostly there are none, and then no class has them.
fn of_unadmitted(state: &State, keys: &mut BTreeSet<Key>) {
    if state.host_table().classes.iter().all(|(_, class)| class.admitted) {
        return;
    }
    let waiting = state.hosts.values().filter(|host| !host.is_admitted());
    keys.extend(waiting.map(|host| Key::Host(host.id)));
}

fn of_lost_disks(state: &State, host: HostId, keys: &mut BTreeSet<Key>) {
    keys.extend(state.left_disks_on_host(host).map(|disk| Key::Disk(disk.id)));
}

/// A server's moves wait for its ticket to change; the disks that it left behind wait for the end of its restore.
fn of_server(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Some((id, pair)) = Pair::<Server>::of(old, new, id) else { return };
    keys.insert(Key::Server(id));
    if pair.differs(|server| (&server.ticket, &server.unconfirmed, server.restored)) {
        of_moves(new, id, keys);
    }
    let steps = [old, new].into_iter().filter_map(|state| state.plan_steps.get(&id));
    keys.extend(steps.map(|step| Key::Plan(step.plan_id.clone())));
    // A move that was under way ended on a host that is drained, or the last claim on the host is gone.
    let hosts = pair.each().flat_map(|server| server.claims()).map(|(host, _)| host);
    let drains = hosts.filter_map(|host| new.drain_of_host(host));
    keys.extend(drains.map(|plan| Key::Plan(plan.id.clone())));
    if pair.differs(|server| server.restored.is_some()) {
        keys.extend(new.left_disks_of_server(id).map(|disk| Key::Disk(disk.id)));
    }
}

fn of_moves(state: &State, server: ServerId, keys: &mut BTreeSet<Key>) {
    keys.extend(state.migrations_of_server(server).map(|migration| Key::Migration(migration.id)));
}
