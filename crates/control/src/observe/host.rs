//! Hosts: their introduction, what they saw of their guests, and what the operator wants of them.

use crate::{
    command::compute::{server, shelve},
    lifecycle::{migration, operation, ports as plug},
    observe::restore,
};
use lenticular_model::{
    compute::{
        migration::{MoveProgress, Ticket},
        operation::Action as Operation,
        server::{BootStyle, Condition, Fault, Server, Wanted},
    },
    error::{Error, Result},
    host::{
        host::{Capacity, Contact, Host, Hypervisor, Intent},
        observation::{Observation, Sight, StopReason},
    },
    policy::{self, Action, Caller},
    HostId, Incarnation, State, Txn,
};
use std::sync::Arc;

/// What a host says of itself.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// Its name.
    pub name: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Where it can be found.
    pub address: String,
    /// Where its agent listens for other hosts' agents; empty if it does not.
    pub peer_address: String,
    /// The zone that it belongs to when it is new.
    pub zone: String,
    /// What it has.
    pub capacity: Capacity,
    /// How it runs guests.
    pub hypervisor: Hypervisor,
    /// The life of the store that it has entered, if any.
    pub life: Option<Incarnation>,
}

/// Virtual CPUs given out for each real one, as Nova's default has it.
const CPU_RATIO: f64 = 4.0;

/// Takes a host in with all that it has. One that has not entered this life of the store is only told which it is: no
/// session begins, so that nothing it says counts before it has given the orders of another life up.
///
/// # Errors
/// See [`hello`].
pub fn introduce(txn: &mut Txn<'_>, intro: Introduction, inventory: &[Observation]) -> Result<Contact> {
    if intro.life != Some(txn.incarnation) {
        let known = txn.host_named(&intro.name).map(|host| host.id);
        let id = known.unwrap_or_else(|| HostId::from_random(txn.random()));
        return Ok(new_contact(txn, id, None));
    }
    let contact = hello(txn, intro)?;
    restore::inventory(txn, contact.id, inventory);
    observe(txn, contact.id, inventory);
    Ok(contact)
}

/// Takes a host in, new or known by its name, and begins a session with it.
///
/// # Errors
/// The name is empty or too long.
pub fn hello(txn: &mut Txn<'_>, intro: Introduction) -> Result<Contact> {
    if intro.name.is_empty() || intro.name.len() > 255 {
        return Err(Error::invalid("A host's name must have 1 to 255 characters."));
    }
    let known = txn.host_named(&intro.name).map(|host| host.id);
    let id = known.unwrap_or_else(|| HostId::from_random(txn.random()));
    match txn.hosts.get(&id).cloned() {
        Some(host) => {
            let now = Host {
                boot_id: intro.boot_id,
                address: intro.address,
                peer_address: intro.peer_address,
                capacity: intro.capacity,
                hypervisor: intro.hypervisor,
                silent_since: None,
                ..Host::clone(&host)
            };
            if now != *host {
                txn.put(Host { updated_at: Some(txn.now), ..now });
            }
        }
        None => {
            let number = txn.hosts.values().map(|h| h.number).max().unwrap_or(0) + 1;
            txn.put(Host {
                id,
                created_at: txn.now,
                updated_at: None,
                name: intro.name,
                intent: Intent::Enabled,
                zone: intro.zone,
                own_zone: None,
                address: intro.address,
                peer_address: intro.peer_address,
                capacity: intro.capacity,
                hypervisor: intro.hypervisor,
                boot_id: intro.boot_id,
                number,
                silent_since: None,
                fence: None,
                unheard: false,
                cpu_ratio: CPU_RATIO,
                share: Default::default(),
                unknown: Default::default(),
            });
        }
    }
    Ok(begin_session(txn, id))
}

fn begin_session(txn: &mut Txn<'_>, id: HostId) -> Contact {
    let before = txn.contacts.get(&id).map(|contact| contact.session);
    let contact = new_contact(txn, id, before);
    txn.put(contact.clone());
    contact
}

fn new_contact(txn: &mut Txn<'_>, id: HostId, before: Option<u64>) -> Contact {
    let session = match before {
        Some(before) => before.wrapping_add(1),
        // Sessions are not kept over a restart: a random one is none that an earlier process gave.
        None => txn.random().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)),
    };
    let now = txn.now;
    let unknown = Default::default();
    Contact { id, created_at: now, updated_at: None, at: now, session, number: 0, unknown }
}

/// The contact with a host in its present session.
///
/// # Errors
/// The host's session is another or none: it must introduce itself again.
pub fn in_session(state: &State, id: HostId, session: u64) -> Result<&Arc<Contact>> {
    let contact = state.contacts.get(&id).filter(|contact| contact.session == session);
    contact.ok_or_else(|| Error::not_found_text("The host's session has ended; introduce the host again."))
}

/// Notes that a host was heard of.
///
/// # Errors
/// See [`in_session`].
pub fn contact(txn: &mut Txn<'_>, id: HostId, session: u64) -> Result<()> {
    in_session(txn, id, session)?;
    let now = txn.now;
    txn.update::<Contact>(&id, |contact| contact.at = now);
    Ok(())
}

/// Takes in what a host reports, unless a later report of the session was taken before.
///
/// # Errors
/// See [`in_session`].
pub fn report(
    txn: &mut Txn<'_>,
    id: HostId,
    session: u64,
    number: u64,
    observations: &[Observation],
    progress: &[MoveProgress],
) -> Result<()> {
    if number <= in_session(txn, id, session)?.number {
        // It comes twice, or was overtaken: what it saw is past.
        return Ok(());
    }
    let now = txn.now;
    txn.update::<Contact>(&id, |contact| (contact.at, contact.number) = (now, number));
    observe(txn, id, observations);
    progress.iter().for_each(|seen| migration::note_progress(txn, id, seen));
    Ok(())
}

/// Takes in what a host saw. It is believed about guests whose grant or ticket names it, at that generation, and about
/// disks that were left behind there.
pub fn observe(txn: &mut Txn<'_>, host: HostId, observations: &[Observation]) {
    for seen in observations {
        if restore::judge(txn, host, seen) {
            continue;
        }
        let owned = |s: &Server| s.host_id == Some(host) && s.disk.generation == seen.generation;
        let mut server = txn.servers.get(&seen.server_id).cloned();
        if let Some(current) = &server {
            let comes = |t: &Ticket| t.to == host && t.generation == seen.generation;
            match &seen.handover {
                Some(handover) if owned(current) => migration::decided(txn, current, handover),
                _ if current.ticket.as_ref().is_some_and(|t| comes(t)) => {
                    migration::heard_of_target(txn, current, seen);
                }
                _ => {}
            }
            server = txn.servers.get(&seen.server_id).cloned();
        }
        match server.filter(|s| owned(s)) {
            Some(server) => {
                observe_one(txn, &server, seen);
                observe_unsaved(txn, seen);
            }
            None => migration::copy_is_gone(txn, host, seen),
        }
    }
}

/// A disk could not be sent to the image store.
fn observe_unsaved(txn: &mut Txn<'_>, seen: &Observation) {
    let server = txn.servers.get(&seen.server_id).cloned();
    if let (Some(server), Some(unsaved)) = (server, &seen.unsaved) {
        shelve::unsaved(txn, &server, unsaved);
    }
}

fn observe_one(txn: &mut Txn<'_>, server: &Server, seen: &Observation) {
    if server.wanted == Wanted::Absent {
        // Only the confirmation counts; what the guest does until then is nobody's business any more.
        if seen.sight == Sight::Absent {
            txn.update::<Server>(&server.id, |s| s.host_id = None);
            server::bury_if_gone(txn, server.id);
        }
        return;
    }
    let made = match &seen.sight {
        Sight::Preparing { disk_made, .. } | Sight::Failed { disk_made, .. } => *disk_made,
        Sight::Running { .. } | Sight::Stopped { .. } => true,
        Sight::Receiving { .. } | Sight::Ready | Sight::Unready { .. } | Sight::Kept | Sight::Absent => false,
    };
    if made && !server.disk.made {
        txn.update::<Server>(&server.id, |s| s.disk.made = true);
    }
    if matches!(seen.sight, Sight::Running { .. } | Sight::Stopped { .. }) {
        shelve::came_back(txn, server);
    }
    if seen.boot < server.boot {
        // It has not acted on the present boot yet; only whether the guest runs is news.
        let runs = matches!(seen.sight, Sight::Running { .. });
        if server.powered != runs {
            txn.update::<Server>(&server.id, |s| s.powered = runs);
        }
        return;
    }
    match &seen.sight {
        // Said by a host that has not heard yet that the server is its own.
        Sight::Receiving { .. } | Sight::Ready | Sight::Unready { .. } | Sight::Kept => {}
        Sight::Preparing { .. } => {}
        Sight::Running { ssh_forward } => saw_running(txn, server, ssh_forward.clone()),
        Sight::Stopped { why } => saw_stopped(txn, server, *why),
        Sight::Failed { message, details, .. } if shelve::never_came(server, made) => {
            shelve::go_back(txn, server, message, details);
        }
        Sight::Failed { message, details, .. } => fail(txn, server, message.clone(), details.clone()),
        Sight::Absent => fail(
            txn,
            server,
            "The server's disk is gone from its host. Its operator can say what happened to the host; \
             if nothing brings the disk back, delete the server."
                .to_owned(),
            "the agent reports the guest as absent without having been told to remove it".to_owned(),
        ),
    }
}

fn saw_running(txn: &mut Txn<'_>, server: &Server, ssh_forward: Option<String>) {
    plug::seen(txn, server, true);
    // A stop, or a move, is under way and not done; the guest's running is not its outcome.
    if server.wanted == Wanted::Stopped || server.ticket.is_some() {
        if !server.powered {
            txn.update::<Server>(&server.id, |s| s.powered = true);
        }
        return;
    }
    let settled = server.condition == Condition::Active && server.task.is_none() && server.powered;
    if settled && server.ssh_forward == ssh_forward {
        return;
    }
    if plug::must_wait(txn, server) {
        txn.update::<Server>(&server.id, |s| (s.powered, s.awaits_ports) = (true, Some(s.boot)));
        return;
    }
    settle_running(txn, server, ssh_forward);
}

/// The guest runs and can be reached.
pub(crate) fn settle_running(txn: &mut Txn<'_>, server: &Server, ssh_forward: Option<String>) {
    finish_task(txn, server, None);
    let now = txn.now;
    txn.update::<Server>(&server.id, |s| {
        s.condition = Condition::Active;
        s.fault = None;
        s.task = None;
        s.powered = true;
        s.awaits_ports = None;
        s.ssh_forward = ssh_forward;
        s.launched_at = s.launched_at.or(Some(now));
    });
}

fn saw_stopped(txn: &mut Txn<'_>, server: &Server, why_stopped: StopReason) {
    plug::seen(txn, server, false);
    match (server.wanted, why_stopped) {
        (Wanted::Running, StopReason::Died) => {
            let message =
                "The server's guest process ended without having been asked to. Start the server again.";
            fail(txn, server, message.to_owned(), "the hypervisor process vanished".to_owned());
            txn.update::<Server>(&server.id, |s| s.wanted = Wanted::Stopped);
        }
        // The move is decided first: it may have been released before.
        (Wanted::Running, StopReason::HostRestarted) if server.ticket.is_some() => {
            let why = "The source host restarted.".to_owned();
            migration::fail(txn, server, why);
            txn.update::<Server>(&server.id, |s| s.powered = false);
            if let Some(still) = txn.servers.get(&server.id).filter(|s| s.ticket.is_none()).cloned() {
                saw_stopped(txn, &still, why_stopped);
            }
        }
        (Wanted::Running, StopReason::HostRestarted) => {
            // The host's disk is the newest there is, and no other host may run it: it comes back by itself.
            txn.update::<Server>(&server.id, |s| {
                s.powered = false;
                s.boot += 1;
            });
        }
        (Wanted::Running, StopReason::ByGuest) | (Wanted::Stopped, _) => settle_stopped(txn, server),
        // It was stopped to be moved.
        (Wanted::Running, StopReason::Ordered | StopReason::MovedAway) if server.ticket.is_some() => {
            if server.powered {
                txn.update::<Server>(&server.id, |s| s.powered = false);
            }
        }
        // It was stopped to be moved, and stays: it is started again where it is.
        (Wanted::Running, StopReason::Ordered) => {
            txn.update::<Server>(&server.id, |s| {
                s.powered = false;
                s.boot += 1;
                s.boot_style = BootStyle::Hard;
            });
        }
        (Wanted::Running, StopReason::MovedAway) | (Wanted::Absent, _) => {}
    }
}

fn settle_stopped(txn: &mut Txn<'_>, server: &Server) {
    if server.is_being_shelved() {
        // It stands still to be shelved; what comes of that is not known yet.
        if server.powered || server.condition != Condition::Stopped {
            txn.update::<Server>(&server.id, |s| {
                s.powered = false;
                s.condition = Condition::Stopped;
            });
        }
        return;
    }
    let settled = !server.powered && server.task.is_none() && server.wanted == Wanted::Stopped;
    if settled && server.condition != Condition::Active {
        return;
    }
    if server.condition == Condition::Error && server.task.is_none() {
        // Why it is in error stands until somebody acts on it.
        txn.update::<Server>(&server.id, |s| s.powered = false);
        return;
    }
    let failure = match &server.task {
        Some(task) if task.action != Operation::Stop && server.wanted == Wanted::Running => {
            Some("The guest shut itself down.".to_owned())
        }
        _ => None,
    };
    finish_task(txn, server, failure);
    txn.update::<Server>(&server.id, |s| {
        s.condition = Condition::Stopped;
        s.wanted = Wanted::Stopped;
        s.fault = None;
        s.task = None;
        s.powered = false;
        s.ssh_forward = None;
    });
}

fn fail(txn: &mut Txn<'_>, server: &Server, message: String, details: String) {
    let same =
        server.fault.as_ref().is_some_and(|f| f.message == message && f.details.as_ref() == Some(&details));
    if same && server.condition == Condition::Error && server.task.is_none() {
        return;
    }
    plug::seen(txn, server, false);
    finish_task(txn, server, Some(message.clone()));
    if server.is_being_shelved() {
        shelve::forget(txn, server);
    }
    let now = txn.now;
    txn.update::<Server>(&server.id, |s| {
        s.condition = Condition::Error;
        s.task = None;
        s.powered = false;
        s.ssh_forward = None;
        s.fault = Some(Fault { code: 500, message, details: Some(details), at: now });
    });
}

fn finish_task(txn: &mut Txn<'_>, server: &Server, failure: Option<String>) {
    if let Some(task) = &server.task {
        operation::finish(txn, task.operation_id, failure);
    }
}

/// Lets a host take new servers, or not.
pub fn set_intent(txn: &mut Txn<'_>, caller: &Caller, id: HostId, intent: Intent) -> Result<()> {
    policy::check(caller, Action::ServiceWrite, None)?;
    if !txn.update::<Host>(&id, |h| h.intent = intent) {
        return Err(Error::not_found("Service", id));
    }
    Ok(())
}
