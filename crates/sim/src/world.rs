//! The world: hosts, network, clock, control plane and clients, moved on by one event at a time.

use crate::{
    client::Clients,
    config::{Config, Fault},
    copies::Look,
    coverage::Coverage,
    drill::Drill,
    event::{Event, Request},
    host::Host,
    network::Network,
    plane::Plane,
    rng::Rng,
    trace::Trace,
    usage::Usage,
};
use lenticular_model::{HostId, ServerId, Timestamp};
use std::collections::BTreeMap;

/// The beginning of every run.
pub(crate) const BEGIN: Timestamp = Timestamp(1_800_000_000_000_000);

/// How long after the faults the world may take to come to rest, in seconds.
const REST_S: i64 = 7_200;

/// A violated invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's number in the design; 0 for the simulation's own limits.
    pub invariant: u8,
    /// The observed facts.
    pub what: String,
}

/// Adds a line to the trace.
macro_rules! note {
    ($world:expr, $($format:tt)*) => { $world.trace.line($world.now, format_args!($($format)*)) };
}
pub(crate) use note;

/// A simulated world.
pub struct World {
    pub(crate) config: Config,
    pub(crate) now: Timestamp,
    pub(crate) rng: Rng,
    pub(crate) plane: Plane,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) clients: Clients,
    pub(crate) trace: Trace,
    pub(crate) coverage: Coverage,
    pub(crate) violation: Option<Violation>,
    /// The operation's disturbance.
    pub(crate) drill: Option<Drill>,
    /// True while random faults may happen.
    pub(crate) faulty: bool,
    pub(crate) steps: u64,
    /// The number of commits.
    pub(crate) commits: u64,
    /// The servers to check for forbidden copies.
    pub(crate) look: Look,
    /// When a plan last began a move.
    pub(crate) last_plan_begin: Option<Timestamp>,
    /// The usage of each host.
    pub(crate) usage: Usage,
    /// The index of each host in the world.
    pub(crate) host_numbers: BTreeMap<HostId, usize>,
    events: BTreeMap<(Timestamp, u64), Event>,
    numbers: u64,
    names: BTreeMap<ServerId, usize>,
    at_rest: u32,
    done: bool,
}

impl World {
    /// A world before anything happened: an empty cloud, and hosts with agents that are about to start.
    pub fn new(config: Config) -> Self {
        let mut rng = Rng::new(config.seed);
        let large = rng.chance(50);
        let drawn = if large { rng.range(9, 51) } else { rng.range(3, 9) };
        let hosts = config.hosts.unwrap_or(drawn as usize);
        let (plane, clients) = Plane::new(&mut rng, config.tenants.unwrap_or((hosts / 4).max(2)));
        let mut world = Self {
            now: BEGIN,
            plane,
            clients,
            hosts: (0..hosts).map(|n| Host::new(n, config.roomy)).collect(),
            network: Network::default(),
            trace: Trace::new(BEGIN, config.keep_trace),
            coverage: Coverage::default(),
            violation: None,
            drill: None,
            faulty: config.busy_s > 0,
            steps: 0,
            commits: 0,
            look: Look::default(),
            last_plan_begin: None,
            usage: Usage::new(),
            host_numbers: BTreeMap::new(),
            events: BTreeMap::new(),
            numbers: 0,
            names: BTreeMap::new(),
            at_rest: 0,
            done: false,
            rng,
            config,
        };
        for host in 0..hosts {
            let delay = world.rng.range(0, 500);
            world.after_ms(delay, Event::AgentStarts(host));
        }
        if world.config.busy_s > 0 {
            let busy_ms = world.config.busy_s * 1_000;
            world.after_ms(1_500, Event::Client);
            world.after_ms(5_000, Event::Fault);
            world.after_ms(3_000, Event::GuestWrites);
            world.after_ms(busy_ms, Event::Calm);
        }
        world
    }

    /// Runs until everything is at rest, or an invariant is violated.
    pub fn run(&mut self) {
        while !self.done && self.violation.is_none() {
            if !self.step() {
                self.violate(0, "nothing is left to happen".to_owned());
            }
        }
    }

    /// Runs until this many seconds after the beginning.
    pub fn run_until_s(&mut self, seconds: i64) {
        self.run_until(BEGIN.plus_s(seconds));
    }

    pub(crate) fn run_until(&mut self, end: Timestamp) {
        while self.violation.is_none() && self.events.first_key_value().is_some_and(|((at, _), _)| *at <= end)
        {
            self.step();
        }
        self.now = end.max(self.now);
    }

    /// The next event. False if there is none.
    fn step(&mut self) -> bool {
        let Some(((at, _), event)) = self.events.pop_first() else { return false };
        self.now = at;
        self.steps += 1;
        self.happen(event);
        if self.violation.is_none() {
            self.check_copies();
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToPlane(request) => self.at_plane(request),
            Event::ToAgent(from, reply) => self.at_agent(from, reply),
            Event::Work => self.work(),
            Event::PollEnds(number) => self.end_poll(number),
            Event::PlaneStarts => self.start_plane(),
            Event::PlaneDies => self.kill_plane("by chance"),
            Event::AgentStarts(host) => self.start_agent(host),
            Event::AgentDies { host, back_ms, host_too } => {
                if host_too {
                    self.reboot_host(host);
                }
                self.kill_agent(host, back_ms);
            }
            Event::Tick { host, agent_run } => self.tick(host, agent_run),
            Event::StepActs { host, agent_run, server, number } => {
                self.step_acts(host, agent_run, server, number)
            }
            Event::StepEnds { host, agent_run, server, number } => {
                self.step_ends(host, agent_run, server, number)
            }
            Event::GuestEnds { host, server, process, how } => self.guest_ends(host, server, process, how),
            Event::Heard { host, agent_run, server, boot, how } => {
                self.hear(host, agent_run, server, boot, how)
            }
            Event::GuestWrites => self.guests_write(),
            Event::CheckEnds { host, agent_run, number } => self.check_ends(host, agent_run, number),
            Event::CanaryEnds { host, agent_run, number } => self.canary_ends(host, agent_run, number),
            Event::ActionEnds { host, agent_run, number, how } => {
                self.action_ends(host, (agent_run, number), how);
            }
            Event::DiskBack { host, server } => self.put_disk_back(host, server),
            Event::Client => self.client_acts(),
            Event::Fault => self.fault_happens(),
            Event::Calm => self.calm(),
            Event::Look => self.look(),
        }
    }

    /// Schedules an event.
    pub(crate) fn after_ms(&mut self, delay_ms: i64, event: Event) {
        self.after_us(delay_ms * 1_000, event);
    }

    /// Schedules an event.
    pub(crate) fn after_us(&mut self, delay_us: i64, event: Event) {
        let at = Timestamp(self.now.0 + delay_us.max(0));
        let number = self.number();
        self.events.insert((at, number), event);
    }

    /// A new number.
    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A server's short name in the trace.
    pub(crate) fn name(&mut self, id: ServerId) -> String {
        let next = self.names.len() + 1;
        format!("s{}", self.names.entry(id).or_insert(next))
    }

    /// A server's short name, if the trace has named it.
    pub(crate) fn known_name(&self, id: ServerId) -> String {
        self.names.get(&id).map_or_else(|| format!("server {id}"), |number| format!("s{number}"))
    }

    /// Notes a violation; the first violation counts.
    pub(crate) fn violate(&mut self, invariant: u8, what: String) {
        note!(self, "VIOLATION of invariant {invariant}: {what}");
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, what });
        }
    }

    /// Whether this random fault happens now.
    pub(crate) fn chance(&mut self, fault: Fault, per_mille: u64) -> bool {
        let happens = self.faulty && self.config.faults.contains(&fault) && self.rng.chance(per_mille);
        if happens {
            self.coverage.note("fault", fault.name());
        }
        happens
    }

    fn calm(&mut self) {
        note!(self, "faults and clients cease");
        self.faulty = false;
        self.plane.armed = None;
        self.network.mend();
        for host in &mut self.hosts {
            host.be_well(self.now);
        }
        for n in 0..self.hosts.len() {
            self.set_network_trouble(n, None);
            self.set_bridge(n, false);
        }
        self.after_ms(5_000, Event::Look);
    }

    /// Ends the run once everything has been at rest twice in a row.
    fn look(&mut self) {
        (0..self.hosts.len()).for_each(|n| self.update_agent(n));
        self.resume_plans();
        let restless = self.restless();
        match restless {
            None => self.at_rest += 1,
            Some(_) => self.at_rest = 0,
        }
        if self.at_rest >= 2 {
            self.check_end();
            self.done = true;
            return;
        }
        let since_calm_ms = self.now.since_ms(BEGIN.plus_s(self.config.busy_s));
        match restless {
            Some(why) if since_calm_ms > REST_S * 1_000 => {
                self.violate(6, format!("the world does not come to rest: {why}"));
            }
            _ => self.after_ms(5_000, Event::Look),
        }
    }

    /// Whether messages other than polls and their answers are in transit.
    pub(crate) fn has_mail(&self) -> bool {
        self.events.values().any(|event| {
            matches!(
                event,
                Event::ToPlane(Request::Register(..) | Request::Report(..) | Request::Client(..))
                    | Event::AgentStarts(_)
                    | Event::CheckEnds { .. }
                    | Event::CanaryEnds { .. }
                    | Event::ActionEnds { .. }
                    | Event::AgentDies { .. }
                    | Event::PlaneDies
                    | Event::PlaneStarts
                    | Event::GuestEnds { .. }
                    | Event::Heard { .. }
                    | Event::DiskBack { .. }
            )
        })
    }
}
