//! What hosts say about themselves: faults change it, operators have it checked, and the cloud must know it at rest.

use crate::{
    event::{ActionEnd, Event, PATCH, RULED_PACKAGE},
    host::Host,
    world::{World, note},
};
use lenticular_model::{
    State,
    host::{
        action::{ActionOrder, ActionResult, ActionState, REBOOT},
        evidence::{BRIDGE, CANARY, Evidence, Finding, Level, NETWORK, TUNNELS},
        fact::Facts,
        host::{Hypervisor, PROTOCOL_WITH_HOST_ORDERS, Wiring},
        package::PACKAGE,
        probe::ProbePeer,
        version::NOT_INSTALLED,
    },
};
use lenticular_wire::agent::{Registration, VERSION};
use std::collections::BTreeMap;

impl Host {
    /// The registration of its agent.
    pub(crate) fn registration(&mut self) -> Option<Registration> {
        let agent = self.agent.as_mut()?;
        let (facts, evidence) = agent.core.host.introduce();
        Some(Registration {
            version: VERSION,
            host_name: self.name.clone(),
            zone: "nova".to_owned(),
            facts,
            evidence,
            incarnation: agent.core.incarnation(),
            applied_upto: agent.core.applied_upto(),
            receipt: None,
            inventory: agent.core.inventory(),
        })
    }

    /// The host's facts.
    pub(crate) fn facts(&self) -> Facts {
        let text = |text: String| Some(text);
        Facts {
            boot_id: text(self.boot_id()),
            address: text(format!("192.0.2.{}", self.number + 1)),
            peer_address: text(format!("192.0.2.{}:1", self.number + 1)),
            capacity: Some(self.capacity()),
            hypervisor: Some(Hypervisor {
                driver: "sim".to_owned(),
                arch: "x86_64".to_owned(),
                wiring: Wiring { driver: "sim".to_owned(), ..Wiring::default() },
                ..Default::default()
            }),
            kernel: text(self.kernel()),
            agent: text("0.1.0".to_owned()),
            checked: None,
            canary: None,
            unreached: None,
            booted_at: None,
            versions: Some(self.versions()),
            package_format: None,
            packages: None,
            actions: Some([PATCH, REBOOT].map(str::to_owned).to_vec()),
            action: None,
        }
    }

    /// The versions of the kernel, and of the packages that rules name.
    fn versions(&self) -> BTreeMap<String, String> {
        let named = self.agent.iter().flat_map(|agent| agent.core.host.ruled_packages());
        let version = |name: &String| match name == RULED_PACKAGE {
            true => format!("1.{}", u8::from(self.is_updated)),
            false => NOT_INSTALLED.to_owned(),
        };
        let packages = named.map(|name| (format!("{PACKAGE}{name}"), version(name)));
        packages.chain([("kernel".to_owned(), self.kernel())]).collect()
    }

    /// The kernel that runs. In a storm, every other boot is of an older kernel than its siblings run.
    fn kernel(&self) -> String {
        format!("6.1.{}", u8::from(self.is_updated))
    }

    /// The results of the checks of its network and of its switch.
    pub(crate) fn evidence(&self) -> Vec<Evidence> {
        let bridge = self.bridge_down.then(|| "br-int does not answer".to_owned());
        vec![Evidence::new(NETWORK, self.network_trouble.clone()), Evidence::new(BRIDGE, bridge)]
    }
}

impl World {
    /// The network of a host gets into trouble, or out of trouble.
    pub(crate) fn trouble_network(&mut self, n: usize) -> bool {
        let trouble = match self.hosts[n].network_trouble {
            None => Some("br-int is gone".to_owned()),
            Some(_) => None,
        };
        self.set_network_trouble(n, trouble);
        true
    }

    /// Sets what is wrong with a host's network, and has its agent notice.
    pub(crate) fn set_network_trouble(&mut self, n: usize, trouble: Option<String>) {
        let host = &mut self.hosts[n];
        host.network_trouble = trouble;
        let evidence = host.evidence();
        let is_old = host.is_old;
        let Some(agent) = &mut host.agent else { return };
        agent.core.host.measured(Facts::default(), evidence);
        if is_old {
            // An agent of version 2 tells of its network with a registration alone.
            agent.register_again();
        }
        self.advance(n);
    }

    /// A host's own switch stops answering, or answers again.
    pub(crate) fn set_bridge(&mut self, n: usize, down: bool) {
        self.hosts[n].bridge_down = down;
        let trouble = self.hosts[n].network_trouble.clone();
        self.set_network_trouble(n, trouble);
    }

    /// A host asks the hosts that it was ordered to ask.
    pub(crate) fn look_at_tunnels(&mut self, n: usize) {
        let Some(agent) = self.hosts[n].agent.as_ref().filter(|_| !self.hosts[n].is_old) else { return };
        let Some(order) = agent.core.host.probe() else { return };
        let number = |peer: &ProbePeer| self.hosts.iter().position(|host| host.name == peer.host);
        let peers: Vec<usize> = order.peers.iter().filter_map(number).collect();
        let is_lost = |peer: &&usize| {
            let down = self.hosts[n].bridge_down || self.hosts[**peer].bridge_down;
            down || self.network.are_apart(n, **peer, self.now)
        };
        let lost: Vec<String> =
            peers.iter().filter(is_lost).map(|peer| self.hosts[*peer].name.clone()).collect();
        let level = if lost.len() == peers.len() { Level::Fail } else { Level::Warn };
        let trouble =
            (!lost.is_empty()).then(|| format!("{} of {} hosts do not answer", lost.len(), peers.len()));
        let seen = Evidence { check: TUNNELS.to_owned(), trouble, level };
        let Some(agent) = &mut self.hosts[n].agent else { return };
        agent.core.host.measured(Facts { unreached: Some(lost), ..Facts::default() }, Vec::new());
        if !agent.core.host.is_known(&seen) {
            agent.core.host.measured(Facts::default(), vec![seen]);
        }
    }

    /// Looks at the packages that rules name.
    pub(crate) fn look_at_packages(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        let (is_old, facts) = (host.is_old, Facts { versions: Some(host.versions()), ..Facts::default() });
        if let Some(agent) = host.agent.as_mut().filter(|_| !is_old) {
            agent.core.host.measured(facts, Vec::new());
        }
    }

    /// Begins the check that a host's agent was ordered to make, if any.
    pub(crate) fn begin_check(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        if host.is_old {
            return;
        }
        let Some(agent) = &mut host.agent else { return };
        let Some(number) = agent.core.host.begin_check() else { return };
        let agent_run = agent.agent_run;
        let takes = self.rng.range(50, 20_000);
        self.after_ms(takes, Event::CheckEnds { host: n, agent_run, number });
    }

    /// Begins the canary that a host's agent was ordered to run, if any.
    pub(crate) fn begin_canary(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        let Some(agent) = host.agent.as_mut().filter(|_| !host.is_old) else { return };
        let Some(order) = agent.core.host.begin_canary() else { return };
        let agent_run = agent.agent_run;
        let takes = self.rng.range(5_000, 90_000);
        self.after_ms(takes, Event::CanaryEnds { host: n, agent_run, number: order.number });
    }

    /// A canary has ended.
    pub(crate) fn canary_ends(&mut self, n: usize, agent_run: u64, number: u64) {
        let trouble = self.hosts[n].bridge_down.then(|| "step 'reach' failed".to_owned());
        if self.hosts[n].live(agent_run).is_none() {
            return;
        }
        note!(self, "{} has run canary {number}: {trouble:?}", self.hosts[n].name);
        self.coverage.note("canary", if trouble.is_none() { "passed" } else { "failed" });
        let Some(agent) = self.hosts[n].live(agent_run) else { return };
        agent.core.canary_ended(number, Evidence::new(CANARY, trouble));
        self.advance(n);
    }

    /// Begins the action that a host's agent was ordered to run, if the agent has saved that it runs.
    pub(crate) fn begin_action(&mut self, n: usize, order: ActionOrder) {
        let running = self.hosts[n].guests.iter().find(|(_, real)| real.running().is_some());
        let running = running.map(|(server, _)| *server).filter(|_| order.name == REBOOT);
        if let Some(server) = running {
            let (name, host) = (self.name(server), self.hosts[n].name.clone());
            self.violate(7, format!("{host} boots by its action, and {name} runs there"));
        }
        let Some(agent) = &self.hosts[n].agent else { return };
        let agent_run = agent.agent_run;
        let how = match self.rng.range(0, 10) {
            0 if self.faulty => ActionEnd::Fails,
            1 if self.faulty => ActionEnd::Lies,
            _ if order.name == PATCH => ActionEnd::Succeeds,
            _ => ActionEnd::Boots,
        };
        let takes = self.rng.range(50, 20_000);
        self.after_ms(takes, Event::ActionEnds { host: n, agent_run, number: order.number, how });
    }

    /// An action has ended, or its host boots by it.
    pub(crate) fn action_ends(&mut self, n: usize, (agent_run, number): (u64, u64), how: ActionEnd) {
        if self.hosts[n].live(agent_run).is_none() {
            return;
        }
        note!(self, "{} has run action {number}: {how:?}", self.hosts[n].name);
        let word = match how {
            ActionEnd::Boots => "boots",
            ActionEnd::Succeeds => "succeeds",
            ActionEnd::Fails => "fails",
            ActionEnd::Lies => "lies",
        };
        self.coverage.note("action", word);
        let Some(agent) = self.hosts[n].live(agent_run) else { return };
        let trouble = (how == ActionEnd::Fails).then(|| "its program failed".to_owned());
        let state = ActionState::Ended { trouble, output: "as ordered".to_owned() };
        agent.core.action_ended(ActionResult { number, state });
        self.advance(n);
        if how == ActionEnd::Boots {
            self.reboot_host(n);
        }
    }

    /// A check has ended.
    pub(crate) fn check_ends(&mut self, n: usize, agent_run: u64, number: u64) {
        let (facts, evidence) = (self.hosts[n].facts(), self.hosts[n].evidence());
        let Some(agent) = self.hosts[n].live(agent_run) else { return };
        agent.core.checked(number, facts, evidence);
        note!(self, "{} is checked ({number})", self.hosts[n].name);
        self.coverage.note("host", "checked");
        self.advance(n);
    }
}

/// What the cloud does not know about a host, or has wrong.
pub(crate) fn unknown_of(host: &Host, state: &State) -> Option<String> {
    let record = host.id.and_then(|id| state.hosts.get(&id))?;
    if record.trouble(NETWORK) != host.network_trouble.as_deref() {
        return Some(format!("has the network trouble {:?}", host.network_trouble));
    }
    let facts = host.facts();
    if record.boot_id != facts.boot_id.unwrap_or_default() {
        return Some(format!("has restarted {} times", host.boots));
    }
    if record.protocol < PROTOCOL_WITH_HOST_ORDERS {
        return None;
    }
    if record.kernel != facts.kernel.unwrap_or_default() {
        return Some("has another kernel".to_owned());
    }
    if record.versions != facts.versions.unwrap_or_default() {
        return Some("has other versions".to_owned());
    }
    if record.trouble(BRIDGE).is_some() != host.bridge_down {
        return Some(format!("has a switch that does not answer: {}", host.bridge_down));
    }
    let passed = record.evidence.get(CANARY).is_some_and(Finding::has_passed);
    if state.must_run_canary(record) && record.is_up() && !passed {
        return Some(format!("has to run a canary: {:?}", record.canaries));
    }
    if record.order.packages != state.ruled_packages() {
        return Some(format!("is ordered to look at {:?}", record.order.packages));
    }
    let (ordered, wanted) = (&record.order.probe, state.probe_order(record));
    if *ordered != wanted {
        return Some(format!("is ordered to probe {ordered:?}, and should probe {wanted:?}"));
    }
    (record.checked != record.order.check).then(|| format!("did not make check {}", record.order.check))
}
