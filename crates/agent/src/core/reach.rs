//! Whether others answer the host's probe port, from one question a second to each.
//!
//! ```text
//!            answer                      5 without an answer
//!  Untold ───────────▶ Answers ─────────────────────────────────▶ Lost
//!    │                    ▲      60 in a row with an answer        │
//!    │                    └────────────────────────────────────────┘
//!    └──── 60 (of a peer: 15) without an answer ────▶ Lost
//! ```
//!
//! - A port that was just plugged may need a while, so nothing is said before the first answer, for a minute. Peers answer
//!   others already, so they have less time, and only while the own switch answers.
//! - Questions are counted and not the time, so that an agent that stood still has lost nobody.
//! - After a loss a target must be well for a minute, so that a flapping network is not a host that comes and goes.

use lenticular_model::{
    host::{
        evidence::{BRIDGE, Evidence, Level, TUNNELS},
        probe::{ProbeOrder, ProbePeer, ROUTER},
    },
    network::mtu::TUNNELED,
};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// A target with so many questions in a row without an answer is lost.
const LOST: u32 = 5;
/// The same for the own switch and for peers that have not answered yet.
const NEVER: u32 = 60;
const NEVER_OF_PEERS: u32 = 15;
/// A lost target answers again after so many answers in a row.
const WELL: u32 = 60;

/// What is known of a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// It has not answered yet.
    #[default]
    Untold,
    /// It answers.
    Answers,
    /// It does not answer, or not for long enough.
    Lost,
}

/// A target with its last questions.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    standing: Standing,
    asked: bool,
    answered: bool,
    missed: u32,
    well: u32,
}

impl Reach {
    /// The time for an answer to the last question is over, and the next one is asked. `never` is how many questions
    /// without a first answer make a loss.
    fn ask(&mut self, never: u32) {
        if self.answered {
            (self.missed, self.well) = (0, self.well.saturating_add(1));
        } else if self.asked {
            (self.missed, self.well) = (self.missed.saturating_add(1), 0);
        }
        self.standing = match self.standing {
            Standing::Untold if self.answered => Standing::Answers,
            Standing::Untold if self.missed >= never => Standing::Lost,
            Standing::Answers if self.missed >= LOST => Standing::Lost,
            Standing::Lost if self.well >= WELL => Standing::Answers,
            standing => standing,
        };
        (self.asked, self.answered) = (true, false);
    }
}

/// What a question is sent to, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The address.
    pub address: Ipv4Addr,
    /// True for a packet of the network's MTU, which a path with a smaller one does not carry.
    pub full: bool,
}

/// All targets of a host.
#[derive(Debug, Clone, Default)]
pub struct Reaches {
    peers: Vec<ProbePeer>,
    all: BTreeMap<Target, Reach>,
}

impl Reaches {
    /// Takes over another order. What is known of targets that stay is kept.
    pub fn order(&mut self, order: &ProbeOrder) {
        self.peers.clone_from(&order.peers);
        let peers = self.peers.iter().flat_map(|peer| [false, true].map(|full| (peer.address, full)));
        let targets = peers.chain([(ROUTER, false)]).map(|(address, full)| Target { address, full });
        self.all = targets.map(|target| (target, self.all.remove(&target).unwrap_or_default())).collect();
    }

    /// The names of hosts that do not answer.
    pub fn unreached(&self) -> Vec<String> {
        let lost = self.peers.iter().filter(|peer| self.is(peer.address, false, Standing::Lost));
        lost.map(|peer| peer.host.clone()).collect()
    }

    /// The targets to ask now. Called once a second.
    pub fn ask(&mut self) -> Vec<Target> {
        let bridge = self.is(ROUTER, false, Standing::Answers);
        for (target, reach) in &mut self.all {
            if target.address != ROUTER && !bridge && reach.standing == Standing::Untold {
                reach.missed = 0;
            }
            reach.ask(if target.address == ROUTER { NEVER } else { NEVER_OF_PEERS });
        }
        self.all.keys().copied().collect()
    }

    /// A target has answered the last question.
    pub fn answered(&mut self, target: Target) {
        if let Some(reach) = self.all.get_mut(&target) {
            reach.answered = true;
        }
    }

    fn is(&self, address: Ipv4Addr, full: bool, standing: Standing) -> bool {
        self.all.get(&Target { address, full }).is_some_and(|reach| reach.standing == standing)
    }

    /// What is known by now, as results of checks.
    pub fn evidence(&self) -> Vec<Evidence> {
        let seen = |check: &str, found: Option<(Level, String)>| {
            let (level, trouble) = found.unzip();
            Evidence { check: check.to_owned(), trouble, level: level.unwrap_or_default() }
        };
        let mut evidence = Vec::new();
        if !self.is(ROUTER, false, Standing::Untold) {
            let lost = self.is(ROUTER, false, Standing::Lost).then(|| {
                let why = "br-int does not answer; look at ovs-vswitchd and ovn-controller";
                (Level::Fail, why.to_owned())
            });
            evidence.push(seen(BRIDGE, lost));
        }
        let named = |full: bool, standing: Standing| -> Vec<&str> {
            let these = self.peers.iter().filter(|peer| self.is(peer.address, full, standing));
            these.map(|peer| peer.host.as_str()).collect()
        };
        let (lost, untold) = (named(false, Standing::Lost), named(false, Standing::Untold));
        let cut_short: Vec<&str> =
            named(true, Standing::Lost).into_iter().filter(|host| !lost.contains(host)).collect();
        let all = self.peers.len();
        // One peer that answers is enough to know that the tunnels work; that none does is known of all or not at all.
        if all > 0 && !untold.is_empty() && untold.len() + lost.len() == all {
            return evidence;
        }
        let level = if all > 0 && lost.len() == all { Level::Fail } else { Level::Warn };
        let lost = (!lost.is_empty()).then(|| match level {
            Level::Fail => format!("none of the hosts that it asks answers: {}", lost.join(", ")),
            _ => format!("{} of the {all} hosts that it asks do not answer: {}", lost.len(), lost.join(", ")),
        });
        let cut_short = (!cut_short.is_empty()).then(|| {
            format!("packets of {TUNNELED} bytes do not arrive at {}, smaller ones do", cut_short.join(", "))
        });
        let troubles: Vec<String> = lost.into_iter().chain(cut_short).collect();
        evidence.push(seen(TUNNELS, (!troubles.is_empty()).then(|| (level, troubles.join("; ")))));
        evidence
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_model::network::mac::Mac;

    const OTHER: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 3);
    const THIRD: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 4);

    fn order(peers: &[Ipv4Addr]) -> ProbeOrder {
        let peers = peers
            .iter()
            .map(|address| ProbePeer { host: format!("h{address}"), address: *address })
            .collect();
        let (port, address) = ("probe".to_owned(), Ipv4Addr::new(100, 64, 0, 2));
        ProbeOrder { port, mac: Mac([10, 0, 0, 0, 0, 2]), address, peers, lone_project: false }
    }

    /// Asks so often, while these answer.
    fn seconds(reaches: &mut Reaches, times: u32, answers: impl Fn(Target) -> bool) {
        for _ in 0..times {
            for target in reaches.ask().into_iter().filter(|target| answers(*target)) {
                reaches.answered(target);
            }
        }
    }

    fn levels(reaches: &Reaches) -> Vec<(String, Option<Level>)> {
        let level = |seen: Evidence| (seen.check, seen.trouble.map(|_| seen.level));
        reaches.evidence().into_iter().map(level).collect()
    }

    fn is(bridge: Option<Level>, tunnels: Option<Level>) -> Vec<(String, Option<Level>)> {
        vec![(BRIDGE.to_owned(), bridge), (TUNNELS.to_owned(), tunnels)]
    }

    fn well(peers: &[Ipv4Addr]) -> Reaches {
        let mut reaches = Reaches::default();
        reaches.order(&order(peers));
        seconds(&mut reaches, 2, |_| true);
        assert_eq!(levels(&reaches), is(None, None));
        reaches
    }

    #[test]
    fn a_loss_is_told_after_five_seconds_and_over_after_a_minute() {
        let mut reaches = well(&[OTHER]);
        seconds(&mut reaches, 5, |_| false);
        assert_eq!(levels(&reaches), is(None, None), "the fifth question may be answered yet");
        seconds(&mut reaches, 1, |_| false);
        assert_eq!(levels(&reaches), is(Some(Level::Fail), Some(Level::Fail)));
        seconds(&mut reaches, 59, |_| true);
        seconds(&mut reaches, 1, |_| false);
        seconds(&mut reaches, 60, |_| true);
        assert_eq!(levels(&reaches), is(Some(Level::Fail), Some(Level::Fail)), "one was lost in between");
        seconds(&mut reaches, 1, |_| true);
        assert_eq!(levels(&reaches), is(None, None));
    }

    #[test]
    fn a_new_port_has_a_minute_for_its_first_answer() {
        let mut reaches = Reaches::default();
        reaches.order(&order(&[OTHER]));
        seconds(&mut reaches, 60, |_| false);
        assert_eq!(levels(&reaches), []);
        seconds(&mut reaches, 1, |_| false);
        assert_eq!(
            levels(&reaches),
            [(BRIDGE.to_owned(), Some(Level::Fail))],
            "tunnels cannot work without it"
        );
        // Its peers answer others already.
        let mut reaches = Reaches::default();
        reaches.order(&order(&[OTHER]));
        seconds(&mut reaches, 15, |target| target.address == ROUTER);
        assert_eq!(levels(&reaches), [(BRIDGE.to_owned(), None)]);
        seconds(&mut reaches, 1, |target| target.address == ROUTER);
        assert_eq!(levels(&reaches), is(None, Some(Level::Fail)));
    }

    #[test]
    fn one_peer_that_answers_is_enough_and_large_packets_are_looked_at_apart() {
        let mut reaches = well(&[OTHER, THIRD]);
        seconds(&mut reaches, 6, |target| target.address != THIRD);
        assert_eq!(levels(&reaches), is(None, Some(Level::Warn)));
        assert_eq!(reaches.unreached(), ["h100.64.0.4"]);
        assert!(
            reaches.evidence()[1]
                .trouble
                .as_deref()
                .unwrap()
                .ends_with("1 of the 2 hosts that it asks do not answer: h100.64.0.4")
        );
        // A host that was asked alone leaves.
        reaches.order(&order(&[OTHER]));
        assert_eq!(levels(&reaches), is(None, None));
        seconds(&mut reaches, 6, |target| !target.full);
        assert_eq!(levels(&reaches), is(None, Some(Level::Warn)));
        assert!(reaches.evidence()[1].trouble.as_deref().unwrap().contains("packets of 1442 bytes"));
        // A host with nobody to ask has no tunnels to lose.
        reaches.order(&order(&[]));
        assert_eq!(levels(&reaches), is(None, None));
    }

    #[test]
    fn that_nobody_answers_is_said_when_it_is_known_of_all() {
        let mut reaches = well(&[OTHER]);
        seconds(&mut reaches, 6, |target| target.address == ROUTER);
        assert_eq!(levels(&reaches), is(None, Some(Level::Fail)));
        reaches.order(&order(&[OTHER, THIRD]));
        assert_eq!(levels(&reaches), [(BRIDGE.to_owned(), None)], "the last result stays");
        seconds(&mut reaches, 2, |target| target.address != OTHER);
        assert_eq!(levels(&reaches), is(None, Some(Level::Warn)));
    }
}
