//! Whether the host's guests fell silent together, from one question a second to each, at its tap.
//!
//! ```text
//!            5 answers                5 without an answer, or more
//!  New ────────────────▶ Answers ◀──────────────────────────────────▶ Silent
//! ```
//!
//! - Only a guest that has answered says something when it does not: guests may be configured not to answer.
//! - A guest that is stopped, paused, started anew or moved is not asked, and is new when it is asked again.
//! - The host is dark if at least three guests, and at least half of those that answer, fell silent within 30 s, and they are
//!   of two projects: one owner may switch off or shut off all of its guests at once. If one project has all servers of the
//!   cloud, its guests are enough.
//! - It stays dark until, for a whole minute, fewer than half of these guests are silent.
//! - Questions are counted and not the time, so that an agent that stood still has lost nobody.

use super::{Core, guest::RunState};
use lenticular_model::{
    ProjectId, ServerId,
    host::evidence::{Evidence, GUESTS, Level},
};
use lenticular_wire::agent::{PortSpec, RunGoal};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// A guest that has answered so often is missed when it does not.
const KNOWN: u32 = 5;
/// A guest with so many questions in a row without an answer is silent.
const SILENT: u32 = 5;
/// Guests fell silent together within so many questions.
const TOGETHER: u64 = 30;
/// So many guests, at least, make a dark host.
const GUESTS_MIN: usize = 3;
/// So many questions long fewer than half must be silent before the host is well.
const WELL: u32 = 60;

/// A guest to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedGuest {
    /// Its server.
    pub server_id: ServerId,
    /// The server's project.
    pub project_id: ProjectId,
    /// The boot of its process.
    pub boot: u64,
    /// A port with an IPv4 address.
    pub port: PortSpec,
}

/// What is known of a guest.
#[derive(Debug, Clone, Copy)]
struct Heard {
    project: ProjectId,
    boot: u64,
    answers: u32,
    missed: u32,
    /// The question since which it is silent.
    silent_since: Option<u64>,
}

/// What is known of all guests.
#[derive(Debug, Clone, Default)]
pub struct Silences {
    /// Counts the questions.
    asked: u64,
    guests: BTreeMap<ServerId, Heard>,
    /// The guests of which the last look learned something, each with whether it answers.
    news: Vec<(ServerId, bool)>,
    /// The guests that fell silent together; empty while the host is well.
    fallen: BTreeSet<ServerId>,
    well: u32,
}

impl Silences {
    /// The time for answers to the last question is over. Returns what is known by now. `asked` are the guests that are
    /// asked next. Nothing is known before half of them have answered: after the agent's start the last result holds.
    pub fn look(
        &mut self,
        asked: &[AskedGuest],
        answered: &BTreeSet<ServerId>,
        lone_project: bool,
    ) -> Option<Evidence> {
        self.asked += 1;
        self.news.clear();
        for (id, heard) in &mut self.guests {
            if heard.note(answered.contains(id), self.asked) {
                self.news.push((*id, heard.silent_since.is_none()));
            }
        }
        let new = |guest: &AskedGuest| Heard {
            project: guest.project_id,
            boot: guest.boot,
            answers: 0,
            missed: 0,
            silent_since: None,
        };
        let known = |guest: &AskedGuest| {
            let heard = self.guests.get(&guest.server_id).copied().filter(|heard| heard.boot == guest.boot);
            let heard = heard.unwrap_or_else(|| new(guest));
            (guest.server_id, heard)
        };
        self.guests = asked.iter().map(known).collect();
        if self.fallen.is_empty() {
            self.fall(lone_project);
        } else {
            self.recover();
        }
        let known = self.guests.values().filter(|heard| heard.answers > 0).count();
        (!self.fallen.is_empty() || known * 2 >= self.guests.len()).then(|| self.evidence())
    }

    /// The guests of which the last look learned something, each with whether it answers.
    pub fn news(&self) -> &[(ServerId, bool)] {
        &self.news
    }

    /// Finds guests that fell silent together.
    fn fall(&mut self, lone_project: bool) {
        let since = self.asked.saturating_sub(TOGETHER);
        let fell = self.guests.iter().filter(|(_, heard)| heard.silent_since.is_some_and(|at| at > since));
        let fell: BTreeMap<ServerId, ProjectId> = fell.map(|(id, heard)| (*id, heard.project)).collect();
        // Guests that were silent before say nothing.
        let answer =
            self.guests.values().filter(|heard| heard.answers >= KNOWN && heard.silent_since.is_none());
        let all = answer.count() + fell.len();
        let projects: BTreeSet<ProjectId> = fell.values().copied().collect();
        if fell.len() >= GUESTS_MIN && fell.len() * 2 >= all && (lone_project || projects.len() > 1) {
            (self.fallen, self.well) = (fell.into_keys().collect(), 0);
        }
    }

    fn recover(&mut self) {
        let there = self.fallen.iter().filter_map(|id| self.guests.get(id));
        let (all, silent) = there.fold((0, 0), |(all, silent), heard| {
            (all + 1, silent + usize::from(heard.answers == 0 || heard.silent_since.is_some()))
        });
        let well = silent * 2 < all || all == 0;
        self.well = if well { self.well + 1 } else { 0 };
        if self.well >= WELL {
            self.fallen.clear();
        }
    }

    fn evidence(&self) -> Evidence {
        let trouble = (!self.fallen.is_empty()).then(|| {
            let answer = self.guests.values().filter(|heard| heard.answers >= KNOWN).count();
            format!("{} guests of the {answer} that used to answer fell silent together", self.fallen.len())
        });
        Evidence { check: GUESTS.to_owned(), trouble, level: Level::Fail }
    }
}

impl Heard {
    /// Takes in whether the guest answered. True if it is known to answer, or to be silent, from now on.
    fn note(&mut self, answered: bool, asked: u64) -> bool {
        if answered {
            let was_silent = self.silent_since.take().is_some();
            (self.answers, self.missed) = (self.answers.saturating_add(1), 0);
            return was_silent || self.answers == KNOWN;
        }
        self.missed = self.missed.saturating_add(1);
        let falls = self.answers >= KNOWN && self.missed >= SILENT && self.silent_since.is_none();
        if falls {
            self.silent_since = Some(asked);
        }
        falls
    }
}

impl Core {
    /// The guests that should answer: they run, and nothing is done to them.
    pub fn guests_to_ask(&self) -> Vec<AskedGuest> {
        let asked = self.guests.iter().filter_map(|(id, guest)| {
            let own = guest.own()?;
            let runs = matches!(guest.run_state, RunState::Running { paused: false, .. });
            let settled = guest.doing.is_none() && guest.outbound.is_none() && guest.inbound.is_none();
            let wanted = own.run == RunGoal::Running && own.assignment.boot == guest.process_boot;
            let has_v4 = |port: &&PortSpec| first_v4(port).is_some();
            let port = own.assignment.guest.ports.iter().find(has_v4)?.clone();
            let project_id = own.assignment.guest.project_id;
            let boot = guest.process_boot;
            (runs && settled && wanted).then_some(AskedGuest { server_id: *id, project_id, boot, port })
        });
        asked.collect()
    }
}

/// The first IPv4 address of a port.
pub fn first_v4(port: &PortSpec) -> Option<std::net::Ipv4Addr> {
    port.addresses.iter().find_map(|address| match address.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many guests, which belong to so many projects by turns.
    fn guests(count: u8, projects: u8) -> Vec<AskedGuest> {
        let port = crate::testing::port(Vec::new());
        let one = |n: u8| AskedGuest {
            server_id: ServerId::from_random([n; 16]),
            project_id: ProjectId::from_random([n % projects; 16]),
            boot: 1,
            port: port.clone(),
        };
        (0..count).map(one).collect()
    }

    /// Asks so often; all guests answer but these.
    fn ask(silences: &mut Silences, asked: &[AskedGuest], times: u32, silent: &[usize]) -> bool {
        let quiet: BTreeSet<ServerId> = silent.iter().map(|n| asked[*n].server_id).collect();
        let answered = asked.iter().map(|guest| guest.server_id).filter(|id| !quiet.contains(id)).collect();
        let look = |_| silences.look(asked, &answered, false).is_some_and(|seen| seen.trouble.is_some());
        (0..times).map(look).last().unwrap()
    }

    #[test]
    fn half_of_the_guests_of_two_projects_make_a_dark_host_until_they_answer_for_a_minute() {
        let (mut silences, guests) = (Silences::default(), guests(6, 2));
        assert!(!ask(&mut silences, &guests, 10, &[]));
        assert!(!ask(&mut silences, &guests, 4, &[0, 1, 2]));
        assert!(ask(&mut silences, &guests, 1, &[0, 1, 2]), "five seconds");
        assert!(ask(&mut silences, &guests, 59, &[]));
        assert!(!ask(&mut silences, &guests, 1, &[0, 1, 2]), "one lost question is no silence");
        // Guests that come and go keep it dark.
        assert!(ask(&mut silences, &guests, 4, &[0, 1, 2]));
        assert!(ask(&mut silences, &guests, 50, &[]) && ask(&mut silences, &guests, 5, &[0, 1, 2]));
        assert!(ask(&mut silences, &guests, 59, &[]) && !ask(&mut silences, &guests, 1, &[]));
    }

    #[test]
    fn an_agent_that_was_started_anew_says_nothing_before_half_of_the_guests_answer() {
        let (mut silences, all) = (Silences::default(), guests(4, 2));
        let two = all[2..].iter().map(|guest| guest.server_id).collect();
        assert_eq!(silences.look(&all, &BTreeSet::new(), false), None, "the dark host stays dark");
        assert_eq!(silences.look(&all, &BTreeSet::new(), false), None);
        assert_eq!(silences.look(&all, &two, false).unwrap().trouble, None);
        assert_eq!(Silences::default().look(&[], &BTreeSet::new(), false).unwrap().trouble, None);
    }

    #[test]
    fn few_guests_one_project_and_slow_losses_are_no_dark_host() {
        let (mut silences, all) = (Silences::default(), guests(6, 2));
        ask(&mut silences, &all, 10, &[]);
        assert!(!ask(&mut silences, &all, 100, &[0, 1]), "two guests");
        assert!(!ask(&mut silences, &all, 100, &[0, 1, 2]), "the third one fell much later");
        // One owner of them all, beside the guests of others.
        let mut of_one = Silences::default();
        ask(&mut of_one, &all, 10, &[]);
        assert!(!ask(&mut of_one, &all, 100, &[0, 2, 4]));
        // All of them, and one project has all servers of the cloud.
        let (alone, nobody) = (guests(4, 1), BTreeSet::new());
        for (lone_project, dark) in [(false, false), (true, true)] {
            let mut silences = Silences::default();
            ask(&mut silences, &alone, 10, &[]);
            let last = (0..6).map(|_| silences.look(&alone, &nobody, lone_project)).last().unwrap();
            assert_eq!(last.unwrap().trouble.is_some(), dark);
        }
    }

    #[test]
    fn guests_that_never_answered_or_were_stopped_say_nothing() {
        let (mut silences, all) = (Silences::default(), guests(6, 2));
        assert!(!ask(&mut silences, &all, 100, &[0, 1, 2, 3]), "they never answered");
        let mut stopped = Silences::default();
        ask(&mut stopped, &all, 10, &[]);
        assert!(!ask(&mut stopped, &all, 4, &[0, 1, 2]));
        assert!(!ask(&mut stopped, &all[3..], 20, &[]), "three were stopped meanwhile");
        assert!(!ask(&mut stopped, &all, 20, &[0, 1, 2]), "and were started again");
        // A guest that was started anew between two looks is new.
        let mut anew = Silences::default();
        ask(&mut anew, &all, 10, &[]);
        let booted: Vec<AskedGuest> =
            all.iter().cloned().map(|guest| AskedGuest { boot: 2, ..guest }).collect();
        assert!(!ask(&mut anew, &booted, 20, &[0, 1, 2]));
        // A dark host whose silent guests are gone is well after a minute.
        let mut moved = Silences::default();
        ask(&mut moved, &all, 10, &[]);
        assert!(ask(&mut moved, &all, 5, &[0, 1, 2, 3]));
        assert!(ask(&mut moved, &all[4..], 59, &[]));
        assert!(!ask(&mut moved, &all[4..], 1, &[]));
    }
}
