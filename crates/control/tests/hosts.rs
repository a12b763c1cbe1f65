//! Hosts: what they report counts once, in order, and within their session.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use lenticular_control::command::host::{contact, hello, report, Introduction};
use lenticular_model::{
    error::{Kind as ErrorKind, Result},
    flavor::Size,
    host::{Capacity, Contact, Hypervisor},
    observation::{Observation, Sight, StopReason},
    server::{BootStyle, Condition, Disk, Server, Wanted},
    FlavorId, HostId, ImageId, Incarnation, Kind, ProjectId, ServerId, State, Timestamp, Txn, UserId,
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

    /// Runs a command as the writer does: its transaction counts only if it does not refuse.
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

    fn hello(&mut self) -> Contact {
        let intro = Introduction {
            peer_address: String::new(),
            name: "host-1".to_owned(),
            boot_id: "boot".to_owned(),
            address: String::new(),
            zone: "nova".to_owned(),
            capacity: Capacity { vcpus: 4, memory_mb: 4_096, disk_gb: 100 },
            hypervisor: Hypervisor::default(),
        };
        self.run(|txn| hello(txn, intro)).unwrap()
    }

    /// A report that the server's guest runs, or was shut down from within.
    fn report(&mut self, from: &Contact, number: u64, runs: bool) -> Result<()> {
        let sight = match runs {
            true => Sight::Running { ssh_forward: None },
            false => Sight::Stopped { why: StopReason::ByGuest },
        };
        let seen = [Observation { server_id: server_id(), generation: 1, boot: 1, sight, handover: None }];
        self.run(|txn| report(txn, from.id, from.session, number, &seen))
    }

    fn powered(&self) -> bool {
        self.state.servers[&server_id()].powered
    }
}

fn server_id() -> ServerId {
    ServerId::from_random([7; 16])
}

/// A server that was ordered and not seen yet.
fn server(host_id: HostId) -> Server {
    Server {
        id: server_id(),
        created_at: Timestamp(1),
        updated_at: None,
        project_id: ProjectId::from_random([1; 16]),
        user_id: UserId::from_random([2; 16]),
        name: "web".to_owned(),
        description: None,
        hostname: "web".to_owned(),
        flavor_id: FlavorId::from("small"),
        flavor_name: "small".into(),
        size: Size { vcpus: 1, ram_mb: 128, disk_gb: 1, ephemeral_gb: 0, swap_mb: 0 },
        extra_specs: Default::default(),
        image_id: ImageId::from_random([3; 16]),
        base: "".into(),
        base_format: "raw".into(),
        key: None,
        metadata: Default::default(),
        tags: Default::default(),
        locked: None,
        config_drive: false,
        has_user_data: false,
        disk_config_manual: false,
        access_ipv4: String::new(),
        access_ipv6: String::new(),
        wanted_zone: None,
        server_group: None,
        hints: None,
        reservation_id: "".into(),
        launch_index: 0,
        host_id: Some(host_id),
        disk: Disk { generation: 1, issued: 0, made: false },
        ticket: None,
        unconfirmed: None,
        wanted: Wanted::Running,
        boot: 1,
        boot_style: BootStyle::Hard,
        condition: Condition::Building,
        task: None,
        fault: None,
        powered: false,
        launched_at: None,
        ssh_forward: None,
        unknown: Default::default(),
    }
}

/// A cloud with one host and one server on it.
fn cloud() -> (Cloud, Contact) {
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
    assert_eq!(cloud.changed, [Kind::Contact]);
    cloud.run(|txn| contact(txn, session.id, session.session)).unwrap();
    let now = &cloud.state.contacts[&session.id];
    assert_eq!((now.session, now.number, now.at), (session.session, 2, Timestamp(cloud.at)));
    cloud.report(&session, 1, false).unwrap();
    assert!(cloud.powered(), "a poll in between does not make an old report new");
}

#[test]
fn a_session_ends_with_the_next_hello() {
    let (mut cloud, first) = cloud();
    let second = cloud.hello();
    assert_eq!(cloud.changed, [Kind::Contact], "a hello that says nothing new is not durable");
    assert_eq!(first.id, second.id);
    assert_eq!(cloud.report(&first, 9, true).unwrap_err().kind, ErrorKind::NotFound);
    let poll = cloud.run(|txn| contact(txn, first.id, first.session));
    assert_eq!(poll.unwrap_err().kind, ErrorKind::NotFound);
    assert!(!cloud.powered());
    cloud.report(&second, 1, true).unwrap();
    assert!(cloud.powered(), "numbers begin anew");
}

#[test]
fn a_control_plane_that_restarted_knows_no_session_until_it_gives_one() {
    let (mut cloud, before) = cloud();
    cloud.run(|txn| Ok(txn.delete::<Contact>(&before.id))).unwrap();
    let poll = cloud.run(|txn| contact(txn, before.id, before.session));
    assert_eq!(poll.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(cloud.report(&before, 9, true).unwrap_err().kind, ErrorKind::NotFound);
    assert!(cloud.state.contacts.is_empty(), "a poll makes no contact that could pass for a session");
    let after = cloud.hello();
    assert_ne!(after.session, before.session);
    cloud.report(&after, 1, true).unwrap();
    assert!(cloud.powered());
}
