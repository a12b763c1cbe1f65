//! Dark hosts: what a host's probe found closes it at every entrance, unless the network between all hosts is the cause;
//! and which hosts ask which.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/cloud.rs"]
mod cloud;
mod common;
#[path = "common/open.rs"]
mod open;

use cloud::{Cloud, admin, seen};
use common::server_id;
use lenticular_control::{
    command::{compute::migrate, host::host::overrule},
    observe::host::{Report, report},
    reconcile::{Key, reconcile, woken},
    schedule::{RequestSpec, schedule},
};
use lenticular_model::{
    HostId, Kind, ProjectId, ServerId, Timestamp,
    compute::{migration::Leg, server::Server},
    error::Kind as ErrorKind,
    host::{
        evidence::{BRIDGE, Evidence, Finding, GUESTS, Level, TUNNELS},
        fact::Facts,
        host::{Host, Wiring},
        observation::ObservedState,
        probe, readiness,
    },
};
use open::open;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn says(cloud: &mut Cloud, host: HostId, evidence: &[(&str, Option<&str>)]) {
    let heartbeat = cloud.state.heartbeats[&host].clone();
    let evidence = evidence.iter().map(|(check, trouble)| Evidence::new(check, trouble.map(str::to_owned)));
    let said = Report {
        session: heartbeat.session,
        number: heartbeat.number + 1,
        guests: Vec::new(),
        facts: Facts::default(),
        evidence: evidence.collect(),
        progress: Vec::new(),
    };
    cloud.run(|txn| report(txn, host, said)).unwrap();
}

#[test]
fn a_dark_host_is_closed_at_every_entrance_and_no_override_helps() {
    let mut cloud = Cloud::new();
    let [_, b, _] = cloud.hosts[..] else { panic!("three hosts") };
    for id in cloud.hosts.clone() {
        says(&mut cloud, id, &[(BRIDGE, None), (TUNNELS, None)]);
    }
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);

    // A move is under way to the host that turns dark.
    cloud.run(|txn| migrate::live_migrate(txn, &admin(), server_id(), Some("b"))).unwrap();
    cloud.hear(1, seen(2, ObservedState::Ready));
    let migration = cloud.server().ticket.as_ref().unwrap().migration_id;
    let before = cloud.state.clone();
    says(&mut cloud, b, &[(BRIDGE, Some("br-int does not answer"))]);
    let mut keys = BTreeSet::new();
    woken(&before, &cloud.state, Kind::Host, &b.to_string(), &mut keys);
    assert!(keys.contains(&Key::Migration(migration)), "{keys:?}");
    cloud.run(|txn| Ok(reconcile(Key::Migration(migration), txn))).unwrap();
    assert_eq!(cloud.server().ticket.as_ref().unwrap().leg, Leg::Withdraw);
    cloud.is_on(0, 1);
    assert_eq!(cloud.fate_on(1), None, "the target keeps what it has until the source has decided");

    assert_eq!(open(&cloud.state), ["a", "c"]);
    let (_, verdict) = schedule(&cloud.state, &RequestSpec::default());
    assert_eq!(verdict.refused[0].reason, "is not ready: it is dark");
    let line = readiness::of_host(&cloud.state, &cloud.state.hosts[&b]).remove(0);
    assert_eq!((line.name.as_str(), line.text.as_str()), ("dark", "it is dark (br-int does not answer)"));
    let refused = cloud.run(|txn| migrate::migrate(txn, &admin(), server_id(), Some("b"))).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict);
    let ask = ("it is urgent".to_owned(), 3_600);
    assert_eq!(
        cloud.run(|txn| overrule(txn, &admin(), b, "dark", ask)).unwrap_err().kind,
        ErrorKind::Conflict
    );

    // It is well again, and then its tunnels fail. A warning closes nothing.
    says(&mut cloud, b, &[(BRIDGE, None)]);
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);
    says(&mut cloud, b, &[(TUNNELS, Some("none of the hosts that it asks answers: a, c"))]);
    assert_eq!(open(&cloud.state), ["a", "b", "c"], "the others may be the cause");
    misses(&mut cloud, 0, &["b"]);
    assert_eq!(open(&cloud.state), ["a", "c"], "another one, which reaches others, misses it too");
    // Who reaches nobody, or whose own switch does not answer, is no witness.
    let a = cloud.hosts[0];
    set(&mut cloud, a, BRIDGE, Some("br-int does not answer"));
    assert_eq!(open(&cloud.state), ["b", "c"]);
    set(&mut cloud, a, BRIDGE, None);
    let finding = Finding { trouble: Some("1 of 2".to_owned()), level: Level::Warn, since: Timestamp(1) };
    cloud
        .run(|txn| Ok(txn.update::<Host>(&b, |host| drop(host.evidence.insert(TUNNELS.into(), finding)))))
        .unwrap();
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);
}

/// A host asks these hosts, and they do not answer.
fn misses(cloud: &mut Cloud, host: usize, names: &[&str]) {
    let (id, names) = (cloud.hosts[host], names.iter().map(|name| (*name).to_owned()).collect());
    cloud.run(|txn| Ok(txn.update::<Host>(&id, |host| host.unreached = names))).unwrap();
}

#[test]
fn a_host_whose_guests_fell_silent_is_dark_unless_those_of_many_hosts_did() {
    let mut cloud = Cloud::new();
    let fell = "3 guests of the 4 that used to answer fell silent together";
    for id in cloud.hosts.clone() {
        says(&mut cloud, id, &[(BRIDGE, None), (GUESTS, None)]);
    }
    let [a, b, _] = cloud.hosts[..] else { panic!("three hosts") };
    says(&mut cloud, b, &[(GUESTS, Some(fell))]);
    assert_eq!(open(&cloud.state), ["a", "c"]);
    let line = readiness::of_host(&cloud.state, &cloud.state.hosts[&b]).remove(0);
    assert_eq!(line.text, format!("it is dark ({fell})"));
    // Two of three are one event, such as a network outside of the hosts that owners shut off.
    says(&mut cloud, a, &[(GUESTS, Some(fell))]);
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);
    assert_eq!(readiness::many_fail(&cloud.state, "nova", GUESTS), Some((2, 3)));
    // A host whose own switch does not answer has its own trouble.
    says(&mut cloud, a, &[(BRIDGE, Some("br-int does not answer"))]);
    assert_eq!(open(&cloud.state), ["c"]);
}

#[test]
fn hosts_are_told_whether_one_project_has_all_servers() {
    let mut cloud = Cloud::new();
    let id = cloud.hosts[0];
    says(&mut cloud, id, &[(BRIDGE, None)]);
    let wiring = Wiring { driver: "ovn".to_owned(), ..Wiring::default() };
    cloud.run(|txn| Ok(txn.update::<Host>(&id, |host| host.hypervisor.wiring = wiring))).unwrap();
    cloud.run(|txn| Ok(reconcile(Key::Host(id), txn))).unwrap();
    assert!(cloud.state.hosts[&id].order.probe.as_ref().unwrap().lone_project);

    let other = Server {
        id: ServerId::from_random([8; 16]),
        project_id: ProjectId::from_random([77; 16]),
        ..Server::clone(&cloud.server())
    };
    let before = cloud.state.clone();
    cloud
        .run(|txn| {
            txn.put(other.clone());
            Ok(())
        })
        .unwrap();
    let mut keys = BTreeSet::new();
    woken(&before, &cloud.state, Kind::Server, &other.id.to_string(), &mut keys);
    assert!(cloud.hosts.iter().all(|host| keys.contains(&Key::Host(*host))), "{keys:?}");
    cloud.run(|txn| Ok(reconcile(Key::Host(id), txn))).unwrap();
    assert!(!cloud.state.hosts[&id].order.probe.as_ref().unwrap().lone_project);
}

/// A cloud with so many hosts more.
fn with_hosts(more: usize) -> Cloud {
    let mut cloud = Cloud::new();
    let like = Host::clone(&cloud.state.hosts[&cloud.hosts[0]]);
    for n in 0..more {
        let id = HostId::from_random([100 + n as u8; 16]);
        let number = 10 + n as u64;
        let host = Host { id, name: format!("n{n}"), number, ..like.clone() };
        cloud
            .run(|txn| {
                txn.put(host);
                Ok(())
            })
            .unwrap();
        cloud.hosts.push(id);
    }
    cloud
}

fn set(cloud: &mut Cloud, host: HostId, check: &str, trouble: Option<&str>) {
    let found = Finding { trouble: trouble.map(str::to_owned), level: Level::Fail, since: Timestamp(1) };
    cloud
        .run(|txn| Ok(txn.update::<Host>(&host, |host| drop(host.evidence.insert(check.into(), found)))))
        .unwrap();
}

#[test]
fn tunnels_that_fail_together_are_one_event_and_close_nobody() {
    let mut cloud = with_hosts(7);
    let hosts = cloud.hosts.clone();
    for host in &hosts {
        set(&mut cloud, *host, BRIDGE, None);
        set(&mut cloud, *host, TUNNELS, None);
    }
    misses(&mut cloud, 9, &["a", "b", "c"]);
    for (lost, left) in [(1, 9), (2, 8), (3, 10), (10, 10)] {
        hosts[..lost].iter().for_each(|host| set(&mut cloud, *host, TUNNELS, Some("none answers")));
        assert_eq!(open(&cloud.state).len(), left, "with {lost} of 10");
        let event = readiness::many_fail(&cloud.state, "nova", TUNNELS);
        assert_eq!(event, (lost > 2).then_some((lost as u64, 10)));
    }
    // A host whose own switch does not answer is closed in any case.
    set(&mut cloud, hosts[4], BRIDGE, Some("br-int does not answer"));
    assert_eq!(open(&cloud.state).len(), 9);
    // A host that is well is not dark because all others are.
    hosts[1..].iter().for_each(|host| set(&mut cloud, *host, BRIDGE, Some("br-int does not answer")));
    assert_eq!(
        (open(&cloud.state), readiness::many_fail(&cloud.state, "nova", TUNNELS)),
        (vec!["a".to_owned()], None)
    );
}

proptest! {
    /// Some hosts are on OVN and some of these answer. If a host comes or goes, the hosts that are told are those whose
    /// order differs.
    #[test]
    fn each_host_asks_the_next_five_and_those_who_ask_a_host_are_found(
        on_ovn in prop::collection::vec(any::<bool>(), 12),
        answers in prop::collection::vec(any::<bool>(), 12),
        changes in 0_usize..12,
    ) {
        let mut cloud = with_hosts(9);
        let hosts = cloud.hosts.clone();
        for ((id, on_ovn), answers) in hosts.iter().zip(&on_ovn).zip(&answers) {
            let wiring = Wiring { driver: if *on_ovn { "ovn" } else { "user" }.to_owned(), ..Wiring::default() };
            cloud.run(|txn| Ok(txn.update::<Host>(id, |host| host.hypervisor.wiring = wiring))).unwrap();
            if *answers {
                set(&mut cloud, *id, BRIDGE, None);
            }
        }
        let orders = |cloud: &Cloud| -> BTreeMap<HostId, _> {
            cloud.state.hosts.values().map(|host| (host.id, cloud.state.probe_order(host))).collect()
        };
        let before = orders(&cloud);
        let asked = cloud.state.hosts.values().filter(|host| host.answers_probes()).count();
        for (id, order) in &before {
            let host = &cloud.state.hosts[id];
            prop_assert_eq!(order.is_some(), host.probe_addresses().is_some());
            let Some(order) = order else { continue };
            let others = asked - usize::from(host.answers_probes());
            prop_assert_eq!(order.peers.len(), others.min(probe::PEERS));
            prop_assert!(order.peers.iter().all(|peer| peer.host != host.name && peer.address != order.address));
        }
        let addresses: Vec<_> = before.values().flatten().map(|order| order.address).collect();
        prop_assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), addresses.len());
        prop_assert!(!addresses.contains(&probe::ROUTER));

        // One host falls silent, or begins to answer.
        let (old, id) = (cloud.state.clone(), hosts[changes]);
        if old.hosts[&id].answers_probes() {
            cloud.run(|txn| Ok(txn.update::<Host>(&id, |host| host.silent_since = Some(Timestamp(9))))).unwrap();
        } else {
            set(&mut cloud, id, BRIDGE, None);
        }
        let mut keys = BTreeSet::new();
        woken(&old, &cloud.state, Kind::Host, &id.to_string(), &mut keys);
        let after = orders(&cloud);
        for (host, order) in &after {
            prop_assert!(order == &before[host] || keys.contains(&Key::Host(*host)), "{} is not told", host);
        }
    }
}
