//! Hosts: a report counts once, in order, and within its session.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{server, server_id};
use lenticular_control::observe::host::{Registration, heartbeat, hello, report};
use lenticular_model::{
    Incarnation, Kind, State, Timestamp, Txn,
    error::{Kind as ErrorKind, Result},
    host::{
        host::{Capacity, Heartbeat, Hypervisor},
        observation::{Observation, ObservedState, StopReason},
    },
};

struct Cloud {
    state: State,
    at: i64,
    entropy: u8,
    /// The kinds of records that the last transaction changed.
    changed: Vec<Kind>,
}

impl Cloud {
    fn new() -> Self {
        let state = State::new(Incarnation::from_random([1; 16]), Timestamp(1));
        Self { state, at: 1, entropy: 1, changed: Vec::new() }
    }

    /// Runs a command like the writer: its transaction counts only if it does not refuse.
    fn run<T>(&mut self, command: impl FnOnce(&mut Txn<'_>) -> Result<T>) -> Result<T> {
        self.at += 1;
        let mut entropy = || {
            self.entropy += 1;
            [self.entropy; 16]
        };
        let mut txn = Txn::new(&self.state, Timestamp(self.at), &mut entropy);
        let done = command(&mut txn)?;
        let (state, changes) = txn.finish();
        self.state = state;
        self.changed = changes.iter().map(|change| change.kind).collect();
        Ok(done)
    }

    fn hello(&mut self) -> Heartbeat {
        let intro = Registration {
            peer_address: String::new(),
            life: None,
            name: "host-1".to_owned(),
            boot_id: "boot".to_owned(),
            address: String::new(),
            zone: "nova".to_owned(),
            capacity: Capacity { vcpus: 4, memory_mb: 4_096, disk_gb: 100 },
            hypervisor: Hypervisor::default(),
        };
        self.run(|txn| hello(txn, intro)).unwrap()
    }

    /// A report that the server's guest runs, or was shut down from inside.
    fn report(&mut self, from: &Heartbeat, number: u64, runs: bool) -> Result<()> {
        let observed = match runs {
            true => ObservedState::Running { ssh_forward: None },
            false => ObservedState::Stopped { why: StopReason::ByGuest },
        };
        let seen = [Observation {
            server_id: server_id(),
            generation: 1,
            boot: 1,
            observed,
            handover: None,
            unsaved: None,
        }];
        self.run(|txn| report(txn, from.id, from.session, number, &seen, &[]))
    }

    fn powered(&self) -> bool {
        self.state.servers[&server_id()].powered
    }
}

/// A cloud with one host and one server on it.
fn cloud() -> (Cloud, Heartbeat) {
    let mut cloud = Cloud::new();
    let session = cloud.hello();
    let record = server(session.id);
    let put = |txn: &mut Txn<'_>| {
        txn.put(record);
        Ok(())
    };
    cloud.run(put).unwrap();
    (cloud, session)
}

#[test]
fn a_report_that_was_overtaken_or_repeated_changes_nothing() {
    let (mut cloud, session) = cloud();
    cloud.report(&session, 2, true).unwrap();
    assert!(cloud.powered());
    for number in [1, 2] {
        cloud.report(&session, number, false).unwrap();
        assert!(cloud.powered(), "report {number} is past");
        assert_eq!(cloud.changed, [], "report {number} is answered and touches nothing");
    }
    cloud.report(&session, 3, false).unwrap();
    assert!(!cloud.powered());
}

#[test]
fn a_report_without_news_changes_nothing_durable() {
    let (mut cloud, session) = cloud();
    cloud.report(&session, 1, true).unwrap();
    cloud.report(&session, 2, true).unwrap();
    assert_eq!(cloud.changed, [Kind::Heartbeat]);
    cloud.run(|txn| heartbeat(txn, session.id, session.session)).unwrap();
    let now = &cloud.state.heartbeats[&session.id];
    assert_eq!((now.session, now.number, now.at), (session.session, 2, Timestamp(cloud.at)));
    cloud.report(&session, 1, false).unwrap();
    assert!(cloud.powered(), "a poll in between does not make an old report new");
}

#[test]
fn a_session_ends_with_the_next_hello() {
    let (mut cloud, first) = cloud();
    let second = cloud.hello();
    assert_eq!(cloud.changed, [Kind::Heartbeat], "a hello that says nothing new is not durable");
    assert_eq!(first.id, second.id);
    assert_eq!(cloud.report(&first, 9, true).unwrap_err().kind, ErrorKind::NotFound);
    let poll = cloud.run(|txn| heartbeat(txn, first.id, first.session));
    assert_eq!(poll.unwrap_err().kind, ErrorKind::NotFound);
    assert!(!cloud.powered());
    cloud.report(&second, 1, true).unwrap();
    assert!(cloud.powered(), "numbers begin anew");
}

#[test]
fn a_restarted_control_plane_knows_no_session_until_it_begins_one() {
    let (mut cloud, before) = cloud();
    cloud.run(|txn| Ok(txn.delete::<Heartbeat>(&before.id))).unwrap();
    let poll = cloud.run(|txn| heartbeat(txn, before.id, before.session));
    assert_eq!(poll.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(cloud.report(&before, 9, true).unwrap_err().kind, ErrorKind::NotFound);
    assert!(cloud.state.heartbeats.is_empty(), "a poll makes no heartbeat that could pass for a session");
    let after = cloud.hello();
    assert_ne!(after.session, before.session);
    cloud.report(&after, 1, true).unwrap();
    assert!(cloud.powered());
}
