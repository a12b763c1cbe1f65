//! The agent's decisions as a pure state machine: orders and facts go in, steps and observations come out.
//!
//! There is no I/O, clock, randomness or async here, so that the simulator drives the same code that runs on
//! hosts. The states of a guest:
//!
//! ```text
//!            Prepare            Start                      the guest shut itself down, its process vanished,
//!   New ───────────────▶ disk ──────────▶ Running ───────▶ the host restarted
//!    │                   made ▲             │  │                   │
//!    │ failed                 │ higher boot │  │ Shutdown, Kill     ▼
//!    ▼                        │             │  └──────────────▶ Stopped(why)
//!  Failed(why) ───────────────┘◀────────────┼─────────────────────┘
//!    ▲     a higher boot tries again        │
//!    └──────── Start failed, disk missing ──┘
//!
//!   Running ──Pause──▶ Running, paused ──Unpause──▶ Running
//!   Running ──Suspend──▶ Suspended ──Wake──▶ Running        with its saved memory, or started anew, which is said
//!      ▲        │ failed     │
//!      └────────┘            └──DropMemory, or a Start──▶ Stopped, Running
//!
//!   any state ──order to remove──▶ (Kill) ──▶ Remove ──▶ Gone ──Absent acknowledged──▶ forgotten
//! ```
//!
//! [`moves`] has the states of a guest between two hosts.
//!
//! Rules:
//! - Orders count only if they follow the last applied commit, in the incarnation of the store that this host has
//!   entered. Guests that the orders do not mention stay as they are: absence is never an order.
//! - A host that enters another incarnation of the store forgets its earlier orders ([`Core::enter`]), and guests
//!   stay as they are. Nothing starts, moves or is removed until the new incarnation knows the guests here and
//!   has given orders. A released guest stays released and is still handed over; an unreleased guest stays here.
//! - A guest has at most one step in progress. It is started only on a boot higher than the last one acted upon.
//!   It never starts on a disk that is not made, is missing, or is of another generation.
//! - A saved memory is used once: its driver marks it as used, durably, before the guest goes on. A process beside an
//!   unused memory has not gone on, so it is ended, and the memory stays.
//! - A failed start waits for a higher boot. A failed stop or removal is tried again when the runtime says so.
//! - The document of [`Core::snapshot`] is durable before any step from [`Core::begin`] is carried out.

#[cfg(test)]
mod chaos;
mod disks;
mod found;
mod guest;
pub mod host;
mod moves;
pub mod reach;
mod report;
pub mod silence;
mod step;
mod stillness;
#[cfg(test)]
mod tests;

pub use step::{Ended, Failure, FoundGuest, FoundMemory, FoundProcess, Outcome, Started, Step};

use guest::Guest;
use host::{HostState, SavedHost};
use lenticular_model::{
    DiskId, Incarnation, ServerId,
    host::{
        action::{ActionOrder, ActionResult},
        evidence::Evidence,
        fact::Facts,
        observation::{Observation, ObservedState},
    },
};
use lenticular_wire::agent::{Order, Orders, VERSION as PROTOCOL, v2};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Whether the agent took the orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The agent has applied the orders.
    Applied,
    /// The orders do not follow the applied commit: they are a repetition, or a message was lost.
    Ignored,
}

/// The saved state of the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// The document's format.
    version: u32,
    /// The version of the agent protocol that the agent spoke.
    #[serde(default = "first_protocol")]
    protocol: u32,
    /// The host's boot id at the time of writing.
    boot_id: String,
    incarnation: Option<Incarnation>,
    applied_upto: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    guests: Vec<(ServerId, Guest)>,
    #[serde(default)]
    host: SavedHost,
}

/// The protocol of the agents that did not write it down.
fn first_protocol() -> u32 {
    v2::VERSION
}

impl Snapshot {
    /// Marks the snapshot as one of an agent that spoke another version of the agent protocol.
    pub fn set_protocol(&mut self, protocol: u32) {
        self.protocol = protocol;
    }

    /// Marks the snapshot as one of an earlier boot of the host: everything that ran then counts as ended.
    pub fn clear_boot(&mut self) {
        self.boot_id.clear();
    }
}

/// The snapshot has an unknown format.
#[derive(Debug, thiserror::Error)]
#[error(
    "The agent's state has format {0}, and this version reads format {SNAPSHOT_VERSION}. \
     Run the agent version that wrote it, or a newer one."
)]
pub struct WrongFormat(u32);

const SNAPSHOT_VERSION: u32 = 2;

/// Stops and removals are cheap and mostly wait for the guest, so more of them may run at once than starts.
const EASY_STEPS_PER_HARD_ONE: usize = 8;

/// The full state of a host's agent.
#[derive(Debug)]
pub struct Core {
    boot_id: String,
    parallel_max: usize,
    incarnation: Option<Incarnation>,
    applied_upto: u64,
    /// The proof that the control plane told of `applied_upto`.
    receipt: Option<String>,
    guests: BTreeMap<ServerId, Guest>,
    /// The host itself.
    pub host: HostState,
    /// Guests with a possible next step, in the order of arrival.
    queue: VecDeque<ServerId>,
    queued: BTreeSet<ServerId>,
    /// Guests with an observation that may differ from the acknowledged one.
    unsaid: BTreeSet<ServerId>,
    /// Guests with a step under way that must be cancelled.
    cancels: BTreeSet<ServerId>,
    /// Guests with a move under way that must complete, even if the guest suffers.
    forces: BTreeSet<ServerId>,
    hard_steps: usize,
    easy_steps: usize,
    changed: bool,
}

impl Core {
    /// A host with no guests. `parallel_max` bounds how many guests are prepared or started at once.
    pub fn new(boot_id: String, parallel_max: usize) -> Self {
        Self {
            boot_id,
            parallel_max: parallel_max.max(1),
            incarnation: None,
            applied_upto: 0,
            receipt: None,
            guests: BTreeMap::new(),
            host: HostState::default(),
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
            unsaid: BTreeSet::new(),
            cancels: BTreeSet::new(),
            forces: BTreeSet::new(),
            hard_steps: 0,
            easy_steps: 0,
            changed: false,
        }
    }

    /// The host as of its last snapshot. The caller must look for every guest in it and call [`Core::found`],
    /// before [`Core::begin`].
    ///
    /// # Errors
    /// The snapshot was written by a newer agent.
    pub fn restore(snapshot: Snapshot, boot_id: String, parallel_max: usize) -> Result<Self, WrongFormat> {
        if snapshot.version != SNAPSHOT_VERSION {
            return Err(WrongFormat(snapshot.version));
        }
        let restarted = snapshot.boot_id != boot_id;
        let mut core = Self::new(boot_id, parallel_max);
        core.incarnation = snapshot.incarnation;
        core.applied_upto = snapshot.applied_upto;
        core.receipt = snapshot.receipt;
        core.host = HostState::restore(snapshot.host);
        if snapshot.protocol != PROTOCOL {
            // An agent of another version may have passed over what it could not carry out.
            core.start_over();
        }
        for (id, mut guest) in snapshot.guests {
            guest.wake(restarted);
            core.guests.insert(id, guest);
            core.touched(id);
        }
        // The steps of the earlier process have ended with it.
        core.cancels.clear();
        core.forces.clear();
        Ok(core)
    }

    /// The state that must be durable before the next steps begin.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: SNAPSHOT_VERSION,
            protocol: PROTOCOL,
            boot_id: self.boot_id.clone(),
            incarnation: self.incarnation,
            applied_upto: self.applied_upto,
            receipt: self.receipt.clone(),
            guests: self.guests.iter().map(|(id, guest)| (*id, guest.clone())).collect(),
            host: self.host.saved(),
        }
    }

    /// True once after each change of the snapshot's content.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The incarnation of the store that the orders come from; `None` before the first orders.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// The last commit with applied orders.
    pub fn applied_upto(&self) -> u64 {
        self.applied_upto
    }

    /// The proof that the control plane told of that commit; `None` from an older control plane.
    pub fn receipt(&self) -> Option<&str> {
        self.receipt.as_deref()
    }

    /// The known guests, with tombstones.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.guests.keys().copied()
    }

    /// True if the order names made disks that are not known here: then the host looks for the disks first.
    pub fn misses_disk(&self, order: &Order) -> bool {
        let Order::Own(own) = order else { return false };
        own.disk_made && self.guests.get(&order.server_id()).is_none_or(|guest| !guest.has_disk())
    }

    /// The control plane answered, in this incarnation of the store: everything known of the guests is reported
    /// again. True if this host is new to the incarnation. Then orders of another incarnation are forgotten, and
    /// once that is durable the host must register again, because only later observations count in the new
    /// incarnation.
    #[must_use]
    pub fn enter(&mut self, incarnation: Incarnation) -> bool {
        let enters = self.incarnation != Some(incarnation);
        if enters {
            self.incarnation = Some(incarnation);
            self.start_over();
            self.host.clear_order();
        }
        for guest in self.guests.values_mut() {
            guest.acknowledged = None;
            if enters {
                guest.clear_order();
            }
        }
        let all: Vec<ServerId> = self.guests.keys().copied().collect();
        all.into_iter().for_each(|id| self.touched(id));
        enters
    }

    /// Asks for all orders again, because a message does not fit the applied commit.
    pub fn start_over(&mut self) {
        self.applied_upto = 0;
        self.receipt = None;
        self.changed = true;
    }

    /// Takes orders in.
    pub fn apply(&mut self, orders: &Orders) -> Taken {
        let another_incarnation = self.incarnation.is_some_and(|own| own != orders.incarnation);
        if another_incarnation || orders.after != self.applied_upto || orders.upto < orders.after {
            return Taken::Ignored;
        }
        self.changed |=
            orders.upto != self.applied_upto || !orders.servers.is_empty() || orders.host.is_some();
        self.incarnation = Some(orders.incarnation);
        self.applied_upto = orders.upto;
        self.receipt = orders.receipt.clone();
        if let Some(order) = orders.host.clone() {
            self.host.order(order);
        }
        for order in &orders.servers {
            self.apply_one(order);
        }
        Taken::Applied
    }

    fn apply_one(&mut self, order: &Order) {
        let id = order.server_id();
        // A guest that is only on its way has no generation of the disk here yet.
        let generation = if matches!(order, Order::Receive(_)) { 0 } else { order.generation() };
        self.guests.entry(id).or_insert_with(|| Guest::new(generation)).order(order.clone());
        self.touched(id);
    }

    /// Takes in the state of a guest after the agent's restart. An unknown guest is kept and reported, and
    /// touched only on an order.
    pub fn found(&mut self, id: ServerId, found: FoundGuest) {
        let nothing = found.disks.is_empty() && found.process.is_none() && found.memory.is_none();
        if nothing && !self.guests.contains_key(&id) {
            return;
        }
        let generation = found.disks.get(&DiskId::root_of(id)).copied().unwrap_or_default();
        self.guests.entry(id).or_insert_with(|| Guest::new(generation)).found(id, found);
        self.changed = true;
        self.touched(id);
    }

    /// The missing disks were found, perhaps with a saved memory: an operator has put them back.
    pub fn disks_found(&mut self, id: ServerId, generation: u64, memory: Option<FoundMemory>) {
        self.guests.entry(id).or_insert_with(|| Guest::new(generation)).disks_found(generation, memory);
        self.changed = true;
        self.touched(id);
    }

    /// The guest's process ended without a step. An end of an earlier boot's process is ignored.
    pub fn exited(&mut self, id: ServerId, boot: u64, how: Ended) {
        if self.guests.get_mut(&id).is_some_and(|guest| guest.exited(boot, how)) {
            self.changed = true;
            self.touched(id);
        }
    }

    /// The host `from` has released a guest to this host. True if the guest is this host's now: the source may
    /// learn of it once that is durable. False if this host was never ready for the guest.
    pub fn released(&mut self, id: ServerId, generation: u64, from: &str) -> bool {
        let of_another =
            |guest: &Guest| matches!(&guest.order, Some(Order::Receive(r)) if r.from.name != from);
        let guest = self.guests.get_mut(&id).filter(|guest| !of_another(guest));
        let accepted = guest.is_some_and(|guest| guest.accept(generation));
        if accepted {
            self.changed = true;
            self.touched(id);
        }
        accepted
    }

    /// A check of the host has ended, with these results.
    pub fn checked(&mut self, number: u64, facts: Facts, evidence: Vec<Evidence>) {
        self.host.measured(facts, evidence);
        self.host.checked(number);
        self.changed = true;
    }

    /// A canary has ended, with this result.
    pub fn canary_ended(&mut self, number: u64, evidence: Evidence) {
        self.host.measured(Facts::default(), vec![evidence]);
        self.host.canary_ended(number);
        self.changed = true;
    }

    /// The action to begin once the snapshot is durable, if one is ordered. Must be answered with [`Core::action_ended`].
    /// A host on which a guest runs, or something is done to one, does not boot, whatever the control plane believes.
    pub fn begin_action(&mut self) -> Option<ActionOrder> {
        let is_busy = |guest: &Guest| guest.runs() || guest.is_doing();
        if self.host.is_to_boot() && self.guests.values().any(is_busy) {
            return None;
        }
        let order = self.host.begin_action(&self.boot_id);
        self.changed |= order.is_some();
        order
    }

    /// An action has ended.
    pub fn action_ended(&mut self, ended: ActionResult) {
        self.host.action_ended(ended);
        self.changed = true;
    }

    /// Steps that may begin now. Each must be answered with [`Core::done`].
    pub fn begin(&mut self) -> Vec<(ServerId, Step)> {
        let mut steps = Vec::new();
        for _ in 0..self.queue.len() {
            let Some(id) = self.queue.pop_front() else { break };
            let step = self.guests.get(&id).and_then(Guest::next);
            let (Some(step), Some(guest)) = (step, self.guests.get_mut(&id)) else {
                self.queued.remove(&id);
                continue;
            };
            let (under_way, max) = match step.is_hard() {
                true => (&mut self.hard_steps, self.parallel_max),
                false => (&mut self.easy_steps, self.parallel_max * EASY_STEPS_PER_HARD_ONE),
            };
            if *under_way >= max {
                self.queue.push_back(id);
                continue;
            }
            *under_way += 1;
            guest.doing = Some(step.clone());
            if guest.is_forced() {
                self.forces.insert(id);
            }
            self.queued.remove(&id);
            self.changed = true;
            self.unsaid.insert(id);
            steps.push((id, step));
        }
        steps
    }

    /// Guests with a step under way that a later order overtook. The step must be cancelled. Each guest is named
    /// once.
    pub fn take_cancels(&mut self) -> Vec<ServerId> {
        std::mem::take(&mut self.cancels).into_iter().collect()
    }

    /// Guests with a `Send` under way that must be forced, each named once.
    pub fn take_forces(&mut self) -> Vec<ServerId> {
        std::mem::take(&mut self.forces).into_iter().collect()
    }

    /// A step has ended.
    pub fn done(&mut self, id: ServerId, outcome: Outcome) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let Some(step) = guest.doing.take() else { return };
        match step.is_hard() {
            true => self.hard_steps -= 1,
            false => self.easy_steps -= 1,
        }
        guest.done(&step, outcome);
        self.cancels.remove(&id);
        self.changed = true;
        self.touched(id);
    }

    /// True if a stop or a removal failed and waits for [`Core::retry`].
    pub fn is_stuck(&self) -> bool {
        self.guests.values().any(|guest| guest.stuck)
    }

    /// Failed stops and removals are tried again.
    pub fn retry(&mut self) {
        let stuck: Vec<ServerId> = self.guests.iter().filter(|(_, g)| g.stuck).map(|(id, _)| *id).collect();
        for id in stuck {
            if let Some(guest) = self.guests.get_mut(&id) {
                guest.stuck = false;
            }
            self.touched(id);
        }
    }

    /// Observations that differ from the acknowledged ones. Until [`Core::reported`], nobody knows whether the
    /// control plane has them: an observation that goes back to the one before is pending again.
    pub fn pending_reports(&mut self) -> Vec<Observation> {
        let mut pending = Vec::new();
        let guests = &mut self.guests;
        self.unsaid.retain(|id| {
            let Some(guest) = guests.get_mut(id) else { return false };
            let seen = guest.observe(*id);
            let news = guest.acknowledged.as_ref() != Some(&seen);
            if news {
                guest.acknowledged = None;
                pending.push(seen);
            }
            news
        });
        pending
    }

    /// The control plane has made these observations durable.
    pub fn reported(&mut self, observations: &[Observation]) {
        for seen in observations {
            let Some(guest) = self.guests.get_mut(&seen.server_id) else { continue };
            guest.acknowledged = Some(seen.clone());
            if seen.observed == ObservedState::Absent && guest.is_buried(seen.generation) {
                self.guests.remove(&seen.server_id);
                self.unsaid.remove(&seen.server_id);
                self.changed = true;
            }
        }
    }

    /// True if the guest should have a process: it runs, or waits for data from another host.
    pub fn has_process(&self, id: ServerId) -> bool {
        self.guests.get(&id).is_some_and(|guest| guest.runs() || guest.awaits())
    }

    /// The current observation of a guest.
    pub fn observation(&self, id: ServerId) -> Option<Observation> {
        self.guests.get(&id).map(|guest| guest.observe(id))
    }

    /// The current observations of all guests.
    pub fn inventory(&self) -> Vec<Observation> {
        self.guests.iter().map(|(id, guest)| guest.observe(*id)).collect()
    }

    fn touched(&mut self, id: ServerId) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        guest.sync();
        if guest.is_overtaken() {
            self.cancels.insert(id);
        }
        if guest.is_forced() {
            self.forces.insert(id);
        }
        self.unsaid.insert(id);
        if guest.next().is_some() && self.queued.insert(id) {
            self.queue.push_back(id);
        }
    }
}
