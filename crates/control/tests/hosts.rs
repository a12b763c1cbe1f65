//! Hosts: a report counts once, in order, and within its session.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/registration.rs"]
mod registration;

use common::{server, server_id};
use lenticular_control::{
    command::host::host::check,
    lifecycle::disk,
    observe::host::{Report, begin_session, heartbeat, report},
    orders,
};
use lenticular_model::{
    Incarnation, Kind, State, Timestamp, Txn,
    error::{Kind as ErrorKind, Result},
    host::{
        evidence::{Evidence, NETWORK},
        fact::Facts,
        host::HostOrder,
        host::{Heartbeat, Host},
        observation::{Observation, ObservedState, StopReason},
    },
    policy::{Caller, RoleLevel, Scope},
};
use registration::registration;

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

    fn begin_session(&mut self) -> Heartbeat {
        let intro = registration("host-1", "");
        self.run(|txn| begin_session(txn, intro)).unwrap()
    }

    /// A report that the server's guest runs, or was shut down from inside.
    fn report(&mut self, from: &Heartbeat, number: u64, runs: bool) -> Result<()> {
        let observed = match runs {
            true => ObservedState::Running { ssh_forward: None, paused: false },
            false => ObservedState::Stopped { why: StopReason::ByGuest },
        };
        let guests = vec![Observation {
            server_id: server_id(),
            generation: 1,
            boot: 1,
            observed,
            layout: 0,
            handover: None,
            unsaved: None,
            failed_attempt: None,
            memory_lost: None,
        }];
        self.send(from, number, Report { guests, ..news() })
    }

    fn send(&mut self, from: &Heartbeat, number: u64, news: Report) -> Result<()> {
        self.run(|txn| report(txn, from.id, Report { session: from.session, number, ..news }))
    }

    fn powered(&self) -> bool {
        self.state.servers[&server_id()].powered
    }
}

fn caller(level: RoleLevel) -> Caller {
    let user_id = lenticular_model::UserId::from_random([1; 16]);
    Caller { user_id, scope: Scope::System, level, request_id: String::new() }
}

/// A report without news.
fn news() -> Report {
    Report {
        session: 0,
        number: 0,
        guests: Vec::new(),
        facts: Facts::default(),
        evidence: Vec::new(),
        progress: Vec::new(),
    }
}

/// A cloud with one host and one server on it.
fn cloud() -> (Cloud, Heartbeat) {
    let mut cloud = Cloud::new();
    let session = cloud.begin_session();
    let record = server(session.id);
    let put = |txn: &mut Txn<'_>| {
        disk::create(txn, &record);
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
    let second = cloud.begin_session();
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
    let after = cloud.begin_session();
    assert_ne!(after.session, before.session);
    cloud.report(&after, 1, true).unwrap();
    assert!(cloud.powered());
}

#[test]
fn a_fact_that_changes_is_written_alone_and_ends_no_session() {
    let (mut cloud, session) = cloud();
    let before = cloud.state.hosts[&session.id].clone();
    let facts = Facts { kernel: Some("6.1.0-31".to_owned()), ..Facts::default() };
    let br_int = Evidence::new(NETWORK, Some("br-int is gone".to_owned()));
    cloud.send(&session, 1, Report { facts, evidence: vec![br_int.clone()], ..news() }).unwrap();
    let now = cloud.state.hosts[&session.id].clone();
    assert_eq!((now.kernel.as_str(), now.network_trouble()), ("6.1.0-31", Some("br-int is gone")));
    assert_eq!((now.capacity, &now.boot_id), (before.capacity, &before.boot_id));
    assert_eq!(cloud.state.heartbeats[&session.id].session, session.session);
    // The same result again is no change, and keeps its time.
    cloud.send(&session, 2, Report { evidence: vec![br_int], ..news() }).unwrap();
    assert_eq!(cloud.changed, [Kind::Heartbeat]);
    let passed = vec![Evidence::new(NETWORK, None)];
    cloud.send(&session, 3, Report { evidence: passed, ..news() }).unwrap();
    assert_eq!(cloud.state.hosts[&session.id].network_trouble(), None);
    // A registration has all evidence.
    cloud.begin_session();
    assert!(cloud.state.hosts[&session.id].evidence.is_empty());
}

#[test]
fn facts_that_no_host_can_have_are_refused_and_change_nothing() {
    let (mut cloud, session) = cloud();
    let before = cloud.state.hosts[&session.id].clone();
    let huge = Facts { kernel: Some("k".repeat(5_000_000)), ..Facts::default() };
    let error = cloud.send(&session, 1, Report { facts: huge, ..news() }).unwrap_err();
    assert!(error.to_string().contains("'kernel' of the host has 5000000 bytes"), "{error}");
    assert_eq!(cloud.state.hosts[&session.id], before);
}

#[test]
fn a_host_is_checked_on_order_if_its_agent_can() {
    let (mut cloud, session) = cloud();
    let (admin, member) = (caller(RoleLevel::Admin), caller(RoleLevel::Member));
    assert!(cloud.run(|txn| check(txn, &member, session.id)).is_err());
    let seq = cloud.state.seq;
    assert_eq!(cloud.run(|txn| check(txn, &admin, session.id)).unwrap(), 1);
    let changes = |state: &State, after| orders::changes(state, session.id, state.incarnation, after);
    assert_eq!(changes(&cloud.state, seq).host, Some(HostOrder { check: 1, ..HostOrder::default() }));
    assert_eq!(changes(&cloud.state, cloud.state.seq).host, None, "told once");
    assert_eq!(
        changes(&cloud.state, 0).host,
        Some(HostOrder { check: 1, ..HostOrder::default() }),
        "and with all orders"
    );
    let done = Facts { checked: Some(1), ..Facts::default() };
    cloud.send(&session, 1, Report { facts: done, ..news() }).unwrap();
    assert_eq!(cloud.state.hosts[&session.id].checked, 1);

    cloud.run(|txn| Ok(txn.update::<Host>(&session.id, |host| host.protocol = 2))).unwrap();
    let error = cloud.run(|txn| check(txn, &admin, session.id)).unwrap_err();
    assert!(error.to_string().contains("too old"), "{error}");
}
