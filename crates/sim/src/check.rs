//! The invariants of the design, as far as the built parts can break them. Each check reads the facts of the
//! world, never the beliefs of a part.

use crate::{
    client::Known,
    plans,
    self_report::unknown_of,
    usage,
    world::{BEGIN, World, note},
};
use lenticular_model::{
    DiskId, HostId, Kind, ServerId, State, Timestamp,
    compute::{
        disk::Fate,
        migration::Phase,
        operation::{Operation, OperationKind},
        server::{Condition, Server, Wanted},
        server_group::Policy,
    },
    host::{
        evidence::{BRIDGE, CANARY, Finding},
        host::{Host, PROTOCOL_WITH_DISKS, PROTOCOL_WITH_HOST_ORDERS, SILENT_AFTER_S},
        rule::{HostRule, Subject},
    },
};
use lenticular_store::{Commit, Page, Reader};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How late the report of a host's silence may come, in milliseconds.
const NOTICE_MS: i64 = 2_000;

/// How long after a change of the clock the time says nothing about hosts' silence, in milliseconds.
const CLOCK_NEWS_MS: i64 = 60_000;

impl World {
    /// Checks a commit against the state before it.
    pub(crate) fn check_commit(&mut self, before: &State, commit: &Commit) {
        let after = &commit.state;
        let durable = after.seq > before.seq;
        if durable && commit.at < self.plane.last_at {
            self.violate(0, format!("commit {} is of {:?}, before the one before it", after.seq, commit.at));
        }
        self.commits += u64::from(durable);
        self.plane.last_at = if durable { commit.at } else { self.plane.last_at };
        for (kind, id) in &commit.changes {
            if let (Kind::Disk, Ok(id)) = (*kind, id.parse::<DiskId>()) {
                self.note_left_disk(before, after, id);
            }
            if *kind == Kind::Image {
                self.forget_shelved(after, id);
            }
            if *kind == Kind::Host {
                self.check_canaries(after, commit.at);
                self.check_plan_boot((before, after), id);
            }
            if *kind == Kind::PlanStep {
                self.check_plan_rest((before, after), id);
            }
            if *kind == Kind::Migration {
                self.check_plan_move((before, after), id, commit.at);
            }
            if *kind != Kind::Server {
                continue;
            }
            let Ok(id) = id.parse::<ServerId>() else { continue };
            let (old, new) = (before.servers.get(&id), after.servers.get(&id));
            self.note_server(id, old, new);
            self.note_restored((before, after), old, new);
            self.check_placement((before, after, commit.at), id, old, new);
            self.check_lifeline((before, after), id, old, new);
            self.check_group(after, new);
        }
        self.check_usage(before, commit);
        if durable
            && after.seq.is_multiple_of(self.config.rebuild_every)
            && let Err(what) = after.check_indexes()
        {
            self.violate(6, what);
        }
    }

    /// Only a few hosts of a zone run a canary at once. The worlds here have too few hosts for more than two.
    fn check_canaries(&mut self, after: &State, at: Timestamp) {
        let running = after.hosts.values().filter(|host| host.runs_canary(at));
        let running: Vec<_> = running.map(|host| (&host.name, &host.canaries)).collect();
        if running.len() > 2 {
            self.violate(7, format!("more than two hosts run a canary: {running:?}"));
        }
    }

    fn note_left_disk(&mut self, before: &State, after: &State, id: DiskId) {
        let gone = if after.disks.contains_key(&id) { "" } else { " gone" };
        let Some(disk) = after.disks.get(&id).or_else(|| before.disks.get(&id)).cloned() else { return };
        let Some(fate) = disk.fate() else { return };
        let name = self.name(disk.server_id);
        let host = disk.host_id.and_then(|id| after.hosts.get(&id)).map_or("a former host", |h| &h.name);
        if matches!(fate, Fate::Found { .. }) {
            self.coverage.note("restore", "unexplained");
        }
        note!(self, "{name} left {:?} g{} on {host}: {fate:?}{gone}", disk.kind, disk.generation);
    }

    /// Counts the outcomes for servers of a restored store.
    fn note_restored(
        &mut self,
        (before, after): (&State, &State),
        old: Option<&Arc<Server>>,
        new: Option<&Arc<Server>>,
    ) {
        let (Some(old), Some(new)) = (old.filter(|s| s.restored.is_some()), new) else { return };
        if new.restored.is_none() {
            let generation = |state: &State| state.generation_of_server(new.id);
            let same = new.host_id == old.host_id && generation(before) == generation(after);
            let what = match new.host_id {
                Some(_) if same => "confirmed",
                Some(_) => "found elsewhere",
                None => "lost",
            };
            self.coverage.note("restore", what);
        }
    }

    fn note_server(&mut self, id: ServerId, old: Option<&Arc<Server>>, new: Option<&Arc<Server>>) {
        let task = |s: Option<&Arc<Server>>| s.and_then(|s| s.task.as_ref().map(|t| t.operation_id));
        let name = self.name(id);
        let Some(new) = new else {
            note!(self, "{name} is buried");
            return;
        };
        if task(old) != task(Some(new))
            && let Some(begun) = &new.task
        {
            self.coverage.note("task", task_name(begun.action));
        }
        let differs = old.is_none_or(|old| {
            (old.condition, old.wanted, old.boot, task(Some(old)))
                != (new.condition, new.wanted, new.boot, task(Some(new)))
        });
        if differs {
            self.coverage.note("status", new.status());
            let task = new.task.as_ref().map_or("", |t| task_name(t.action));
            let (wanted, boot) = (new.wanted, new.boot);
            note!(self, "{name} is {} wanted {wanted:?} boot {boot} {task}", new.status());
        }
    }

    /// 4: no commit places a server on a host that is disabled, silent or full.
    fn check_placement(
        &mut self,
        (before, after, at): (&State, &State, Timestamp),
        id: ServerId,
        old: Option<&Arc<Server>>,
        new: Option<&Arc<Server>>,
    ) {
        // The host that the server goes to. On its way back, and at its arrival, that was checked before.
        let goes = |s: &Arc<Server>| s.ticket.as_ref().map_or(s.host_id, |ticket| Some(ticket.to));
        let back =
            |h: &HostId| old.is_some_and(|s| s.unconfirmed.as_ref().is_some_and(|last| last.from == *h));
        let stays = |h: &HostId| old.and_then(goes) == Some(*h) || old.and_then(|s| s.host_id) == Some(*h);
        // After a restore of the store, the server stays where its host found it, even against the record.
        let found = |h: &HostId| old.is_some_and(|s| s.restored.is_some()) || self.is_found(after, *h, id);
        let placed = new.and_then(goes).filter(|h| !stays(h) && !back(h) && !found(h));
        let Some(host_id) = placed else {
            if old.is_none() && new.is_some() {
                self.coverage.note("placement", "no valid host");
            }
            return;
        };
        self.coverage.note("placement", "placed");
        let name = self.name(id);
        let Some(host) = before.hosts.get(&host_id) else {
            return self.violate(4, format!("{name} is placed on a host that does not exist"));
        };
        let heartbeat = before.heartbeats.get(&host_id).map_or(BEGIN, |c| c.at).max(before.took_over_at);
        let silent_ms = at.since_ms(heartbeat);
        // After the clock was set, all hosts seem silent until each makes contact again.
        let clock_is_good = self.plane.set_at.is_none_or(|set| self.now.since_ms(set) > CLOCK_NEWS_MS);
        let silent = silent_ms > SILENT_AFTER_S * 1_000 + NOTICE_MS && clock_is_good;
        let several = after.disks_of_server(id).count() > 1;
        if several && host.protocol < PROTOCOL_WITH_DISKS {
            self.violate(
                4,
                format!("{name} has several disks and is placed on {}, whose agent is too old", host.name),
            );
        }
        if !host.is_admitted() && host.protocol >= PROTOCOL_WITH_HOST_ORDERS {
            let kernels = host.versions.get("kernel").zip(self.hosts.iter().find(|h| h.id == Some(host_id)));
            let kernels = kernels.map(|(said, real)| format!("kernel {said}, boot {}", real.boots));
            self.violate(
                4,
                format!("{name} is placed on {}, which has not proved itself: {kernels:?}", host.name),
            );
        }
        if let Some(rule) = before.host_rules.values().find(|rule| denies(rule, host)) {
            self.violate(4, format!("{name} is placed on {}, which the rule {} denies", host.name, rule.id));
        }
        if host.trouble(BRIDGE).is_some() {
            self.violate(4, format!("{name} is placed on {}, which is dark", host.name));
        }
        if !host.is_enabled() || !host.is_up() || silent {
            let what = format!(
                "intent {:?}, silent since {:?}, heard of {silent_ms} ms ago",
                host.intent, host.silent_since
            );
            self.violate(4, format!("{name} is placed on {}: {what}", host.name));
        }
    }

    /// 5: no commit breaks a server group. A server counts on the host that it goes to, and on the host of a
    /// possible revert.
    fn check_group(&mut self, after: &State, new: Option<&Arc<Server>>) {
        let Some(group) = new.and_then(|s| after.server_groups.get(&s.server_group?)) else { return };
        let mut members: BTreeMap<HostId, BTreeSet<ServerId>> = BTreeMap::new();
        for server in after.servers.values().filter(|s| s.server_group == Some(group.id)) {
            for (host, _) in server.claims() {
                members.entry(host).or_default().insert(server.id);
            }
        }
        let most = members.values().map(BTreeSet::len).max().unwrap_or(0);
        let all: BTreeSet<&ServerId> = members.values().flatten().collect();
        self.coverage.note("group", group.policy.name());
        // After a restore, the places of found guests are no decision of the control plane.
        let found = self.plane.restores > 0;
        let broken = match group.policy {
            _ if found => false,
            // A single server may be on its way.
            Policy::Affinity => all.len() > 1 && members.len() > 1,
            Policy::AntiAffinity => most > group.most_on_one_host() as usize,
            Policy::SoftAffinity | Policy::SoftAntiAffinity => false,
        };
        if broken {
            let what = format!("the {} group {} has {members:?}", group.policy.name(), group.name);
            self.violate(5, what);
        }
    }

    /// True if the store went back to a backup and the server's disk is on that host.
    fn is_found(&self, after: &State, host: HostId, id: ServerId) -> bool {
        let host = self.host_of(host);
        let disk = host.and_then(|h| h.guests.get(&id)).and_then(|real| real.disk.as_ref());
        let generation = after.generation_of_server(id);
        self.plane.restores > 0 && generation > 0 && disk.is_some_and(|disk| disk.generation == generation)
    }

    /// A server goes only by its tombstone, after its host has confirmed, and a server that must go stays so.
    fn check_lifeline(
        &mut self,
        (before, after): (&State, &State),
        id: ServerId,
        old: Option<&Arc<Server>>,
        new: Option<&Arc<Server>>,
    ) {
        let Some(old) = old else { return };
        let name = self.name(id);
        let (was, is) = (before.generation_of_server(id), after.generation_of_server(id));
        match new {
            Some(new) if old.wanted == Wanted::Absent && new.wanted != Wanted::Absent => {
                self.violate(2, format!("{name} was to be deleted and is wanted again"));
            }
            Some(new)
                if new.host_id.is_some()
                    && old.host_id.is_some()
                    && new.host_id != old.host_id
                    && is <= was =>
            {
                self.violate(1, format!("{name} moves without a new generation"));
            }
            Some(_) if is < was => {
                self.violate(1, format!("{name} goes back to an older generation"));
            }
            Some(_) => {}
            // A server without a host is gone as soon as it is deleted.
            None if old.wanted != Wanted::Absent && old.host_id.is_some() => {
                self.violate(2, format!("the record of {name} goes without a tombstone"));
            }
            None => {
                let doomed =
                    |h: &crate::host::Host| h.id.is_some_and(|host| after.left_disk_on(host, id).is_some());
                let left = |h: &&crate::host::Host| {
                    let unsettled = self.plane.restores > 0 && self.is_unsettled(h, id);
                    h.guests.get(&id).is_some_and(crate::real::Real::is_there) && !doomed(h) && !unsettled
                };
                let there = self.hosts.iter().find(left);
                if let Some(host) = there.map(|h| h.name.clone()) {
                    self.violate(
                        6,
                        format!("the record of {name} is gone, and there is something of it on {host}"),
                    );
                }
            }
        }
    }

    /// 2: acknowledged results exist.
    pub(crate) fn check_memory(&mut self) {
        let all: Vec<ServerId> = self.clients.known.keys().copied().collect();
        self.check_memory_of(all);
    }

    /// 2: acknowledged results exist, for these servers.
    pub(crate) fn check_memory_of(&mut self, ids: impl IntoIterator<Item = ServerId>) {
        let state = self.plane.published.clone();
        let mut wrong = None;
        let mut gone = Vec::new();
        for id in ids {
            let Some(known) = self.clients.known.get(&id) else { continue };
            match (state.servers.get(&id), known) {
                (Some(_), Known { gone: true, .. }) => wrong = Some((id, "was deleted and is there again")),
                (Some(s), Known { delete_acknowledged: true, .. }) if s.wanted != Wanted::Absent => {
                    wrong = Some((id, "has lost its acknowledged delete"));
                }
                (None, Known { delete_asked: false, .. }) => {
                    wrong = Some((id, "is gone and nobody deleted it"))
                }
                (None, Known { gone: false, .. }) => gone.push(id),
                _ => {}
            }
        }
        for id in gone {
            match self.stored(Kind::PastServer, &id.to_string()) {
                Some(_) => self.clients.known.entry(id).or_default().gone = true,
                None => wrong = Some((id, "is gone and left no past")),
            }
        }
        if let Some((id, what)) = wrong {
            let name = self.name(id);
            self.violate(2, format!("{name} {what}"));
        }
    }

    /// A reopened store has the published records. It may have more only if the last commit was in doubt.
    pub(crate) fn check_reload(&mut self, loaded: &Arc<State>) {
        let published = self.plane.published.clone();
        if loaded.seq < published.seq {
            let what = format!("commit {} was published and the store ends at {}", published.seq, loaded.seq);
            return self.violate(2, what);
        }
        if self.plane.known && loaded.seq != published.seq {
            return self.violate(2, format!("the store has commit {} that nobody made", loaded.seq));
        }
        // The indexes built commit by commit must equal the indexes built by loading.
        if loaded.seq == published.seq {
            if let Err(what) = published.same_tables(loaded) {
                return self.violate(2, what);
            }
            let same = published.same_indexes(loaded);
            if let Err(what) = same.and_then(|()| loaded.orders_are_as_new(&published)) {
                self.violate(6, what);
            }
        }
    }

    /// The first thing that is not at rest, if any.
    pub(crate) fn restless(&self) -> Option<String> {
        if self.plane.running.is_none() {
            return Some("the control plane is away".to_owned());
        }
        if self.has_mail() {
            return Some("messages are under way".to_owned());
        }
        let state = &self.plane.published;
        for server in state.servers.values() {
            if server.restored.is_some() {
                return Some(format!("nobody has said where {} is", self.known_name(server.id)));
            }
            if let Some(task) = &server.task {
                return Some(format!("{} has the task {:?}", self.known_name(server.id), task.action));
            }
            if server.reclaim_at.is_some_and(|at| at < self.now) {
                return Some(format!("the time of {} is over", self.known_name(server.id)));
            }
            if server.wanted == Wanted::Absent {
                return Some(format!("the tombstone of {} stands", self.known_name(server.id)));
            }
            if let Err(what) = self.server_is_settled(server) {
                return Some(format!("{} {what}", self.known_name(server.id)));
            }
        }
        if let Some(host) = state.hosts.values().find(|h| !h.is_up()) {
            return Some(format!("host {} is silent", host.name));
        }
        for host in &self.hosts {
            if let Some(what) = unknown_of(host, state) {
                return Some(format!("{} {what}, and the cloud does not know", host.name));
            }
        }
        if let Some(migration) = state.migrations.values().find(|m| m.phase != Phase::Moved) {
            return Some(format!("the migration of {} is under way", self.known_name(migration.server_id)));
        }
        if let Some(copy) = state.disks.values().find(|disk| disk.fate() == Some(&Fate::Doomed)) {
            return Some(format!("a disk that {} left behind stands", self.known_name(copy.server_id)));
        }
        if let Some(what) = plans::unfinished(state, self.clock()) {
            return Some(what);
        }
        let busy = self.hosts.iter().find(|h| h.agent.as_ref().is_none_or(|a| !a.is_quiet(state)));
        busy.map(|host| format!("{} is at work", host.name))
    }

    /// The guest is as wanted, or the server is in error with a reason; its record and ports agree on whether it
    /// runs.
    fn server_is_settled(&self, server: &Server) -> Result<(), String> {
        let host = server.host_id.and_then(|id| self.host_of(id));
        let runs = host.and_then(|h| h.guests.get(&server.id)).is_some_and(|real| real.running().is_some());
        let explained = server.fault.as_ref().is_some_and(|f| !f.message.is_empty());
        if server.snapshot.is_some() || server.rebuild.is_some() {
            return Err("has a snapshot or a rebuild under way".to_owned());
        }
        if server.condition == Condition::Error {
            return if explained { Ok(()) } else { Err("is in error without a reason".to_owned()) };
        }
        let real = host.and_then(|h| h.guests.get(&server.id));
        let held = real.and_then(|real| real.process.as_ref()).is_some_and(|p| p.held && !p.ended);
        let saved = real.is_some_and(|real| real.memory.is_some() && real.process.is_none());
        let is = match (runs, held, saved) {
            (true, ..) => (Wanted::Running, Condition::Active),
            (_, true, _) => (Wanted::Paused, Condition::Paused),
            (.., true) => (Wanted::Suspended, Condition::Suspended),
            _ => (Wanted::Stopped, Condition::Stopped),
        };
        if is != (server.wanted, server.condition) {
            return Err(format!(
                "is {:?} and wanted {:?}, and its guest {is:?}",
                server.condition, server.wanted
            ));
        }
        let there = runs || held;
        if there != server.powered {
            return Err(format!("says that its guest runs: {}, and that is wrong", server.powered));
        }
        let mut ports = self.plane.published.ports_of_server(server.id);
        if let Some(port) = ports.find(|p| p.plugged != there) {
            return Err(format!("has the port {} plugged: {}, and that is wrong", port.id, port.plugged));
        }
        Ok(())
    }

    /// The end of a run: nothing is left over, and the reopened store has everything.
    pub(crate) fn check_end(&mut self) {
        self.check_rest();
        self.plane.running = None;
        self.start_plane();
    }

    /// 6: after the faults, when all is at rest, nothing is left over.
    pub(crate) fn check_rest(&mut self) {
        let state = self.plane.published.clone();
        if let Some(operation) = state.all::<Operation>().next() {
            self.violate(6, format!("the operation {} is left over", operation.id));
        }
        for n in 0..self.hosts.len() {
            self.check_orphans(n, &state);
        }
        for result in [usage::is_right(&state, self.plane.restores > 0), state.check_indexes()] {
            if let Err(what) = result {
                self.violate(6, what);
            }
        }
        self.check_operations();
        self.check_memory();
    }

    fn check_orphans(&mut self, n: usize, state: &State) {
        let host = &self.hosts[n];
        let believed = host.agent.iter().flat_map(|agent| agent.core.servers());
        let there = host.guests.iter().filter(|(_, r)| r.is_there());
        let all = believed.chain(there.map(|(id, _)| *id));
        let copy = |id: &ServerId| host.id.is_some_and(|h| state.left_disk_on(h, *id).is_some());
        let of_host = |id: &ServerId| state.servers.get(id).is_some_and(|s| s.host_id == host.id) || copy(id);
        let orphan = all.into_iter().find(|id| !of_host(id));
        if let Some(id) = orphan {
            let (name, host) = (self.name(id), self.hosts[n].name.clone());
            self.violate(6, format!("{name} is an orphan on {host}"));
        }
    }

    /// 2: every acknowledged request on a server left its operation.
    fn check_operations(&mut self) {
        let known: Vec<(ServerId, Vec<String>)> =
            self.clients.known.iter().map(|(id, k)| (*id, k.requests.clone())).collect();
        for (id, requests) in known {
            let prefix = format!("{id}/");
            let page = Page {
                kind: Kind::PastOperation,
                prefix: &prefix,
                after: None,
                limit: 1_000,
                reverse: false,
            };
            let past = self.plane.disk.list(&page).unwrap_or_default();
            let asked: Vec<String> = past
                .iter()
                .filter_map(|(_, doc)| serde_json::from_str::<Operation>(doc).ok())
                .map(|operation| operation.request_id)
                .collect();
            if let Some(lost) = requests.iter().find(|request| !asked.contains(request)) {
                let name = self.name(id);
                self.violate(2, format!("{lost} on {name} was acknowledged and left no operation"));
            }
        }
    }
}

/// An action's name; unlike Nova's, it tells the two reboots apart.
fn task_name(action: OperationKind) -> &'static str {
    match action {
        OperationKind::SoftReboot => "soft reboot",
        OperationKind::HardReboot => "hard reboot",
        other => other.name(),
    }
}

/// Whether a rule of those that clients here make denies a host: it names one version. A host that does not say its version
/// is denied too.
fn denies(rule: &HostRule, host: &Host) -> bool {
    match &rule.subject {
        _ if rule.draft => false,
        Subject::Check(_) => !host.evidence.get(CANARY).is_some_and(Finding::has_passed),
        Subject::Version(name) => {
            host.versions.get(name).is_none_or(|version| *version == rule.range.to_string())
        }
    }
}
