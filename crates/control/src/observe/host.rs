//! Reports of hosts about themselves: registration, sessions, and the order of reports.

use crate::{
    lifecycle::{canary, host::admit_if_proven, migration},
    observe::{guest, restore},
};
use lenticular_model::{
    HostId, Incarnation, State, Timestamp, Txn,
    compute::migration::MoveProgress,
    error::{Error, Result},
    host::{
        evidence::{CANARY, Evidence, Finding, Level, check_count, check_evidence},
        fact::Facts,
        host::{Capacity, Heartbeat, Host, Hypervisor, Intent},
        observation::Observation,
        version::sane,
    },
};
use std::sync::Arc;

/// The registration of a host.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its name.
    pub name: String,
    /// The version of the agent protocol that its agent speaks.
    pub protocol: u32,
    /// Its zone when it is new.
    pub zone: String,
    /// All its facts.
    pub facts: Facts,
    /// The results of all its checks.
    pub evidence: Vec<Evidence>,
    /// The incarnation of the store that the host has entered, if any.
    pub life: Option<Incarnation>,
}

/// A host's report of what changed.
#[derive(Debug, Clone)]
pub struct Report {
    /// The session that the report belongs to.
    pub session: u64,
    /// The report's number in the session.
    pub number: u64,
    /// Guests with a changed observation.
    pub guests: Vec<Observation>,
    /// Changed facts.
    pub facts: Facts,
    /// Changed results of checks.
    pub evidence: Vec<Evidence>,
    /// The progress of moves from the host.
    pub progress: Vec<MoveProgress>,
}

/// Virtual CPUs given out for each real CPU, Nova's default.
const CPU_RATIO: f64 = 4.0;

/// Registers a host with all that it has. A host that has not entered this incarnation of the store only learns the
/// incarnation. No session begins, so its reports do not count until it has given up the orders of the other
/// incarnation.
///
/// # Errors
/// See [`begin_session`].
pub fn register(
    txn: &mut Txn<'_>,
    registration: Registration,
    inventory: &[Observation],
) -> Result<Heartbeat> {
    if registration.life != Some(txn.incarnation) {
        let known = txn.host_named(&registration.name).map(|host| host.id);
        let id = known.unwrap_or_else(|| HostId::from_random(txn.random()));
        return Ok(new_heartbeat(txn, id, None));
    }
    let heartbeat = begin_session(txn, registration)?;
    restore::inventory(txn, heartbeat.id, inventory);
    guest::observe(txn, heartbeat.id, inventory);
    Ok(heartbeat)
}

/// Registers a host, new or known by its name, and begins a session with it.
///
/// # Errors
/// The name is empty or too long, or a fact or a piece of evidence is one that no host has.
pub fn begin_session(txn: &mut Txn<'_>, registration: Registration) -> Result<Heartbeat> {
    if registration.name.is_empty() || registration.name.len() > 255 {
        return Err(Error::invalid("A host's name must have 1 to 255 characters."));
    }
    let Registration { name, protocol, zone, facts, evidence, .. } = registration;
    facts.check()?;
    check_evidence(&evidence)?;
    let known = txn.host_named(&name).map(|host| host.id);
    let id = known.unwrap_or_else(|| HostId::from_random(txn.random()));
    let host = txn.hosts.get(&id).map(|host| Host::clone(host));
    let host = host.unwrap_or_else(|| new_host(txn, id, name, zone));
    // An agent that does not say its release, the kernel or the boot's time is older than one that did.
    let (kernel, agent) = (String::new(), String::new());
    let (versions, unreached, actions, action) = Default::default();
    let now =
        Host { protocol, silent_since: None, booted_at: None, kernel, agent, versions, unreached, ..host };
    let mut now = Host { packages: None, actions, action, ..now };
    // A registration has all evidence: a check that it does not name is not made any more.
    now.evidence.retain(|check, _| evidence.iter().any(|seen| seen.check == *check));
    note(&mut now, facts, &evidence, txn.now);
    put_if_changed(txn, now);
    admit_if_proven(txn, id);
    Ok(open_session(txn, id))
}

fn new_host(txn: &Txn<'_>, id: HostId, name: String, zone: String) -> Host {
    Host {
        id,
        created_at: txn.now,
        updated_at: None,
        name,
        intent: Intent::Enabled,
        zone,
        own_zone: None,
        address: String::new(),
        peer_address: String::new(),
        capacity: Capacity::default(),
        hypervisor: Hypervisor::default(),
        boot_id: String::new(),
        booted_at: None,
        kernel: String::new(),
        agent: String::new(),
        protocol: 0,
        versions: Default::default(),
        package_format: Default::default(),
        packages: None,
        labels: Default::default(),
        admission: None,
        overrides: Default::default(),
        evidence: Default::default(),
        order: Default::default(),
        checked: 0,
        unreached: Vec::new(),
        canaries: Default::default(),
        actions: Vec::new(),
        action: None,
        number: txn.hosts.values().map(|h| h.number).max().unwrap_or(0) + 1,
        silent_since: None,
        fence: None,
        unheard: false,
        cpu_ratio: CPU_RATIO,
        share: Default::default(),
        unknown: Default::default(),
    }
}

/// Writes facts and evidence into the host's record.
fn note(host: &mut Host, facts: Facts, evidence: &[Evidence], now: Timestamp) {
    let Facts {
        boot_id,
        address,
        peer_address,
        capacity,
        hypervisor,
        kernel,
        agent,
        checked,
        canary,
        unreached,
        booted_at,
        versions,
        package_format,
        packages,
        actions,
        action,
    } = facts;
    if booted_at.is_some() {
        host.booted_at = booted_at;
    }
    // A host from before admissions is admitted until it boots.
    let boots = boot_id.as_ref().is_some_and(|now| *now != host.boot_id && !host.boot_id.is_empty());
    host.admission.take_if(|admission| boots && admission.boot_id.is_none());
    set(&mut host.boot_id, boot_id);
    set(&mut host.address, address);
    set(&mut host.peer_address, peer_address);
    set(&mut host.capacity, capacity);
    set(&mut host.hypervisor, hypervisor);
    set(&mut host.kernel, kernel);
    set(&mut host.agent, agent);
    set(&mut host.versions, versions.map(sane));
    set(&mut host.unreached, unreached);
    set(&mut host.package_format, package_format);
    if packages.is_some() {
        host.packages = packages;
    }
    set(&mut host.actions, actions);
    let ordered = host.order.action.as_ref().map_or(0, |order| order.number);
    if action.as_ref().is_some_and(|action| action.number <= ordered) {
        host.action = action;
    }
    // A number that nobody has asked for is of another record of the host, or made up.
    set(&mut host.checked, checked.map(|checked| if checked > host.order.check { 0 } else { checked }));
    let counts = note_canary(host, canary, evidence, now);
    for Evidence { check, trouble, level } in evidence.iter().filter(|seen| seen.level != Level::Pending) {
        if check == CANARY && !counts {
            continue;
        }
        let same =
            host.evidence.get(check).is_some_and(|known| (&known.trouble, known.level) == (trouble, *level));
        if !same {
            let found = Finding { trouble: trouble.clone(), level: *level, since: now };
            host.evidence.insert(check.clone(), found);
        }
    }
}

/// Notes the end of a canary. False if what the host says of a canary proves nothing: it said so before, or the canary
/// began before the host booted or was changed.
fn note_canary(host: &mut Host, ended: Option<u64>, evidence: &[Evidence], now: Timestamp) -> bool {
    let outdated = host.canaries.outdated;
    let ordered = host.order.canary.as_ref().map_or(0, |order| order.number);
    let ended = ended.filter(|ended| *ended <= ordered && *ended > host.canaries.ended);
    let Some(ended) = ended else { return false };
    (host.canaries.ended, host.canaries.ended_at) = (ended, Some(now));
    let counts = ended > host.canaries.void && outdated.is_none_or(|outdated| ended > outdated);
    let seen = evidence.iter().find(|seen| seen.check == CANARY && seen.level != Level::Pending);
    if counts && seen.is_some_and(|seen| seen.trouble.is_none()) {
        host.canaries.passed = ended;
    }
    counts
}

fn set<T>(field: &mut T, fact: Option<T>) {
    if let Some(fact) = fact {
        *field = fact;
    }
}

fn put_if_changed(txn: &mut Txn<'_>, host: Host) {
    match txn.hosts.get(&host.id) {
        Some(known) if **known == host => {}
        Some(known) => {
            let mut host = Host { updated_at: Some(txn.now), ..host };
            if !host.is_unchanged_since(known) {
                // Overrides were given for the host as it was, and so was its proof.
                host.overrides.clear();
                let last = host.order.canary.as_ref().map_or(0, |order| order.number);
                if host.boot_id == known.boot_id && !canary::may_void(txn, known) {
                    host.canaries.outdated = Some(last);
                } else {
                    host.evidence.remove(CANARY);
                    host.canaries.void = last;
                }
            }
            txn.put(host);
        }
        None => txn.put(host),
    }
}

fn open_session(txn: &mut Txn<'_>, id: HostId) -> Heartbeat {
    let before = txn.heartbeats.get(&id).map(|heartbeat| heartbeat.session);
    let heartbeat = new_heartbeat(txn, id, before);
    txn.put(heartbeat.clone());
    heartbeat
}

fn new_heartbeat(txn: &mut Txn<'_>, id: HostId, before: Option<u64>) -> Heartbeat {
    let session = match before {
        Some(before) => before.wrapping_add(1),
        // Sessions do not survive a restart. A random number avoids the numbers of an earlier process.
        None => txn.random().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)),
    };
    let now = txn.now;
    let unknown = Default::default();
    Heartbeat { id, created_at: now, updated_at: None, at: now, session, number: 0, unknown }
}

/// The heartbeat record of a host in its present session.
///
/// # Errors
/// The host's session is another or none: the host must register again.
pub fn in_session(state: &State, id: HostId, session: u64) -> Result<&Arc<Heartbeat>> {
    let heartbeat = state.heartbeats.get(&id).filter(|heartbeat| heartbeat.session == session);
    heartbeat.ok_or_else(|| Error::not_found_text("The host's session has ended; register the host again."))
}

/// Records a heartbeat of a host.
///
/// # Errors
/// See [`in_session`].
pub fn heartbeat(txn: &mut Txn<'_>, id: HostId, session: u64) -> Result<()> {
    in_session(txn, id, session)?;
    let now = txn.now;
    txn.update::<Heartbeat>(&id, |heartbeat| heartbeat.at = now);
    Ok(())
}

/// Accepts a host's report, unless a later report of the session was accepted before.
///
/// # Errors
/// See [`in_session`]; or a fact is one that no host can have.
pub fn report(txn: &mut Txn<'_>, id: HostId, report: Report) -> Result<()> {
    let Report { session, number, guests, facts, evidence, progress } = report;
    if number <= in_session(txn, id, session)?.number {
        // The report is a duplicate or was overtaken, so its facts are out of date.
        return Ok(());
    }
    facts.check()?;
    check_evidence(&evidence)?;
    let now = txn.now;
    txn.update::<Heartbeat>(&id, |heartbeat| (heartbeat.at, heartbeat.number) = (now, number));
    if let Some(host) = txn.hosts.get(&id).filter(|_| !facts.is_empty() || !evidence.is_empty()) {
        let mut host = Host::clone(host);
        note(&mut host, facts, &evidence, now);
        check_count(host.evidence.len())?;
        put_if_changed(txn, host);
        admit_if_proven(txn, id);
    }
    guest::observe(txn, id, &guests);
    progress.iter().for_each(|seen| migration::note_progress(txn, id, seen));
    Ok(())
}
