//! Random orders, losses, repetitions, crashes and failures: the invariants hold in every case.

use super::{
    tests::{disks, incarnation, order, server},
    *,
};
use crate::testing::Wish;
use lenticular_model::compute::server::{BootStyle, Wanted};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Event {
    /// The control plane changes the wanted state of a guest.
    Change {
        guest: u8,
        wanted: Wanted,
        reboot: bool,
        style: BootStyle,
    },
    /// The agent gets new orders.
    Deliver,
    /// The agent gets the last message again.
    Repeat,
    Begin,
    /// One of the steps under way ends.
    End {
        which: usize,
        fails: bool,
    },
    Exit {
        guest: u8,
        how: Ended,
    },
    /// The agent dies and comes back from its last snapshot; perhaps its host restarts too.
    Crash {
        host_too: bool,
    },
    Report {
        lost: bool,
    },
    Retry,
}

fn event() -> impl Strategy<Value = Event> {
    let guest = 0..3u8;
    let wanted = prop_oneof![
        4 => Just(Wanted::Running),
        1 => Just(Wanted::Paused),
        2 => Just(Wanted::Suspended),
        2 => Just(Wanted::Stopped),
        1 => Just(Wanted::Absent),
    ];
    let style = prop_oneof![Just(BootStyle::Soft), Just(BootStyle::Hard)];
    let how = prop_oneof![Just(Ended::ByGuest), Just(Ended::Died)];
    prop_oneof![
        4 => (guest.clone(), wanted, any::<bool>(), style)
            .prop_map(|(guest, wanted, reboot, style)| Event::Change { guest, wanted, reboot, style }),
        4 => Just(Event::Deliver),
        1 => Just(Event::Repeat),
        4 => Just(Event::Begin),
        6 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(which, fails)| Event::End { which, fails }),
        1 => (guest, how).prop_map(|(guest, how)| Event::Exit { guest, how }),
        1 => any::<bool>().prop_map(|host_too| Event::Crash { host_too }),
        3 => any::<bool>().prop_map(|lost| Event::Report { lost }),
        1 => Just(Event::Retry),
    ]
}

/// The real state of a guest; the agent may believe something else.
#[derive(Debug, Clone, Copy, Default)]
struct Real {
    disk: bool,
    process: Option<u64>,
    paused: bool,
    /// The boot of the guest whose memory is saved.
    memory: Option<u64>,
}

struct World {
    core: Core,
    saved: Option<String>,
    boot_id: u32,
    real: BTreeMap<ServerId, Real>,
    under_way: Vec<(ServerId, Step)>,
    wanted: BTreeMap<ServerId, Wish>,
    changed_at: BTreeMap<ServerId, u64>,
    seq: u64,
    last: Option<Orders>,
}

impl World {
    fn new() -> Self {
        Self {
            core: Core::new("0".to_owned(), 2),
            saved: None,
            boot_id: 0,
            real: BTreeMap::new(),
            under_way: Vec::new(),
            wanted: BTreeMap::new(),
            changed_at: BTreeMap::new(),
            seq: 0,
            last: None,
        }
    }

    fn act(&mut self, event: Event) {
        match event {
            Event::Change { guest, wanted, reboot, style } => {
                self.change(server(guest), wanted, reboot, style)
            }
            Event::Deliver => self.deliver(),
            Event::Repeat => self.repeat(),
            Event::Begin => self.begin(),
            Event::End { which, fails } if !self.under_way.is_empty() => {
                let (id, step) = self.under_way.remove(which % self.under_way.len());
                self.end(id, &step, fails);
            }
            Event::Exit { guest, how } => self.exit(server(guest), how),
            Event::Crash { host_too } => self.crash(host_too),
            Event::Report { lost } => self.report(lost),
            Event::Retry => self.core.retry(),
            Event::End { .. } => {}
        }
        self.save();
    }

    fn save(&mut self) {
        if self.core.take_changed() {
            self.saved = Some(serde_json::to_string(&self.core.snapshot()).expect("JSON"));
        }
    }

    fn change(&mut self, id: ServerId, wanted: Wanted, reboot: bool, style: BootStyle) {
        let was = self.wanted.get(&id);
        if was.is_some_and(|o| o.wanted == Wanted::Absent) {
            return;
        }
        // As in the control plane: a guest that starts gets a higher boot, and one that is resumed goes on.
        let has_process = |wanted| matches!(wanted, Wanted::Running | Wanted::Paused);
        let starts = has_process(wanted) && was.is_none_or(|o| !has_process(o.wanted));
        let resumes = starts && was.is_some_and(|o| o.wanted == Wanted::Suspended);
        let style = if resumes { BootStyle::Resume } else { style };
        // A guest that is to be suspended is not restarted.
        let reboot = reboot && wanted != Wanted::Suspended;
        let boot = was.map_or(0, |o| o.boot) + u64::from(reboot || starts);
        self.seq += 1;
        self.wanted.insert(id, Wish { boot_style: style, ..order(id, wanted, boot) });
        self.changed_at.insert(id, self.seq);
    }

    fn deliver(&mut self) {
        let after = self.core.applied_upto();
        let orders = self.wanted.iter().filter(|(id, _)| self.changed_at[id] > after);
        let orders = orders.map(|(_, o)| o.order()).collect();
        let message = Orders {
            incarnation: incarnation(1),
            after,
            upto: self.seq,
            servers: orders,
            host: None,
            at: None,
            questions: Vec::new(),
            receipt: None,
        };
        assert_eq!(self.core.apply(&message), Taken::Applied);
        self.last = Some(message);
    }

    fn repeat(&mut self) {
        let Some(last) = self.last.clone().filter(|last| last.upto > last.after) else { return };
        self.save();
        let before = serde_json::to_string(&self.core.snapshot()).expect("JSON");
        if last.after != self.core.applied_upto() {
            assert_eq!(self.core.apply(&last), Taken::Ignored);
            assert_eq!(serde_json::to_string(&self.core.snapshot()).expect("JSON"), before);
        }
    }

    fn begin(&mut self) {
        let steps = self.core.begin();
        // The snapshot is durable before any step begins.
        self.save();
        for (id, step) in steps {
            assert!(self.under_way.iter().all(|(other, _)| *other != id), "two steps of one guest at once");
            let real = self.real.entry(id).or_default();
            match &step {
                Step::Start(order) => {
                    assert!(real.disk, "start without a made disk");
                    assert!(real.process.is_none(), "a second process");
                    assert_eq!(order.generation, 1, "on the disk that is its own");
                }
                Step::Prepare(_) => assert!(!real.disk, "a disk is made over another"),
                Step::Remove => {
                    assert!(real.process.is_none() || real.memory.is_some(), "removed under a running guest");
                }
                Step::Wake(_) => {
                    assert!(real.disk, "resumed without a disk");
                    assert!(real.process.is_none(), "a second process");
                }
                Step::Suspend(_) => assert!(real.memory.is_none(), "a memory is saved over another"),
                Step::DropMemory => assert!(real.process.is_none(), "the memory of a running guest"),
                Step::Shutdown | Step::Kill | Step::Pause | Step::Unpause => {}
                moving => panic!("nothing moves here: {}", moving.name()),
            }
            self.under_way.push((id, step));
        }
        let hard = self.under_way.iter().filter(|(_, step)| step.is_hard()).count();
        assert!(hard <= 2, "more starts at once than allowed");
    }

    /// The effect of a step on the real state, reported to the agent or not.
    fn carry_out(&mut self, id: ServerId, step: &Step) -> Outcome {
        let real = self.real.entry(id).or_default();
        match step {
            Step::Prepare(_) => real.disk = true,
            Step::Start(order) => {
                (real.process, real.paused, real.memory) = (Some(order.boot), false, None);
                return Outcome::Started(Started::default());
            }
            Step::Wake(order) => {
                let memory_lost = real.memory.is_none().then(|| "It is not there.".to_owned());
                let paused = memory_lost.is_none() && order.paused;
                (real.process, real.paused, real.memory) = (Some(order.boot), paused, None);
                return Outcome::Started(Started { paused, memory_lost, ..Started::default() });
            }
            Step::Pause | Step::Unpause => real.paused = *step == Step::Pause && real.process.is_some(),
            Step::Suspend(_) if real.process.is_none() => {
                return Outcome::Failed(Failure::new("It is gone.", "chaos"));
            }
            Step::Suspend(_) => real.memory = real.process.take(),
            Step::DropMemory => real.memory = None,
            Step::Shutdown | Step::Kill => real.process = None,
            Step::Remove => *real = Real::default(),
            moving => panic!("nothing moves here: {}", moving.name()),
        }
        Outcome::Done
    }

    fn end(&mut self, id: ServerId, step: &Step, fails: bool) {
        let outcome = match fails {
            true => Outcome::Failed(Failure::new("It failed.", "chaos")),
            false => self.carry_out(id, step),
        };
        self.core.done(id, outcome);
    }

    fn exit(&mut self, id: ServerId, how: Ended) {
        // A process beside a saved memory stands still.
        let real = self.real.get_mut(&id).filter(|real| real.memory.is_none());
        if let Some(boot) = real.and_then(|real| real.process.take()) {
            self.core.exited(id, boot, how);
        }
    }

    fn crash(&mut self, host_too: bool) {
        // Each step in progress took effect or not before the agent died.
        for (n, (id, step)) in std::mem::take(&mut self.under_way).into_iter().enumerate() {
            let had = self.real.get(&id).and_then(|real| real.process);
            if n % 2 == 0 {
                self.carry_out(id, &step);
                if matches!(step, Step::Suspend(_)) {
                    // The memory is whole, and the process has not ended yet.
                    self.real.entry(id).or_default().process = had;
                }
            }
        }
        if host_too {
            self.boot_id += 1;
            self.real.values_mut().for_each(|real| real.process = None);
        }
        let boot_id = self.boot_id.to_string();
        self.core = match &self.saved {
            Some(text) => {
                let snapshot = serde_json::from_str(text).expect("JSON");
                Core::restore(snapshot, boot_id, 2).expect("same format")
            }
            None => Core::new(boot_id, 2),
        };
        let known: BTreeSet<ServerId> = self.core.servers().chain(self.real.keys().copied()).collect();
        for id in known {
            let real = self.real.get(&id).copied().unwrap_or_default();
            let started = Started { paused: real.paused, ..Started::default() };
            let process = real.process.map(|boot| FoundProcess { boot, started, ended: false });
            let memory = real.memory.map(|boot| FoundMemory { generation: 1, boot });
            self.core.found(id, FoundGuest { disks: disks(id, real.disk), process, memory });
        }
        let _ = self.core.enter(incarnation(1));
    }

    fn report(&mut self, lost: bool) {
        let said = self.core.pending_reports();
        if !lost {
            self.core.reported(&said);
        }
    }

    /// No more faults.
    fn calm(&mut self) {
        self.deliver();
        for _ in 0..64 {
            self.core.retry();
            self.begin();
            for (id, step) in std::mem::take(&mut self.under_way) {
                self.end(id, &step, false);
            }
            self.save();
        }
        assert!(self.core.begin().is_empty(), "it comes to rest");
        self.report(false);
        assert!(self.core.pending_reports().is_empty());
    }

    fn check_converged(&self) {
        for (id, order) in &self.wanted {
            let real = self.real.get(id).copied().unwrap_or_default();
            let guest = self.core.guests.get(id);
            match order.wanted {
                Wanted::Absent => {
                    assert!(!real.disk && real.process.is_none(), "{id} is gone");
                    assert!(guest.is_none(), "{id} is forgotten");
                }
                wanted => {
                    let (generation, boot_done, disk, runs) = guest.expect("known").facts();
                    // A guest that is to be suspended is not restarted first.
                    let acted = boot_done >= order.boot || wanted == Wanted::Suspended;
                    assert_eq!((generation, acted), (1, true), "{id} acted on its boot");
                    assert_eq!((disk, runs), (real.disk, real.process.is_some()), "{id}: belief is truth");
                    assert!(!(wanted == Wanted::Stopped && runs), "{id} runs and is to be stopped");
                    assert!(
                        !(wanted == Wanted::Stopped && real.memory.is_some()),
                        "{id} has a memory for nothing"
                    );
                    assert!(!(runs && real.memory.is_some()), "{id} runs, and its memory could run again");
                    assert_eq!(
                        runs && real.paused,
                        runs && wanted == Wanted::Paused,
                        "{id}: stands still as ordered"
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_faults_the_guest_ends_as_ordered(events in prop::collection::vec(event(), 1..80)) {
        let mut world = World::new();
        for event in events {
            world.act(event);
        }
        world.calm();
        // A last reboot of everything that should run: now nothing may have failed.
        let running: Vec<ServerId> =
            world.wanted.values().filter(|o| o.wanted == Wanted::Running).map(|o| o.server_id).collect();
        for id in &running {
            world.change(*id, Wanted::Running, true, BootStyle::Soft);
        }
        world.calm();
        world.check_converged();
        for id in &running {
            let boot = world.real[id].process;
            prop_assert_eq!(boot, Some(world.wanted[id].boot));
        }
    }
}
