//! Canaries: a rule that requires them closes a host until it has passed, a few run at once, and proofs are renewed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
#[path = "common/cloud.rs"]
mod cloud;
mod common;
#[path = "common/open.rs"]
mod open;

use cloud::{Cloud, admin};
use lenticular_control::{
    command::host::{
        host::run_canary,
        rule::{self, NewRule},
    },
    observe::host::{Report, report},
    reconcile::{Key, reconcile, woken},
};
use lenticular_model::{
    HostId, Kind, Timestamp,
    error::Kind as ErrorKind,
    host::{
        canary::{self, ENDS_WITHIN_S, RETRIED_AFTER_S},
        evidence::{BRIDGE, CANARY, Evidence, Level},
        fact::Facts,
        host::{Host, Wiring},
        rule::{Effect, Scope, Subject},
    },
};
use open::open;
use std::collections::BTreeSet;

/// Three hosts on OVN that answer probes.
fn cloud() -> Cloud {
    let mut cloud = Cloud::new();
    for id in cloud.hosts.clone() {
        let wiring = Wiring { driver: "ovn".to_owned(), ..Wiring::default() };
        cloud.run(|txn| Ok(txn.update::<Host>(&id, |host| host.hypervisor.wiring = wiring))).unwrap();
        says(&mut cloud, id, Facts::default(), Evidence::new(BRIDGE, None));
    }
    cloud
}

fn says(cloud: &mut Cloud, host: HostId, facts: Facts, evidence: Evidence) {
    let heartbeat = cloud.state.heartbeats[&host].clone();
    let (session, number) = (heartbeat.session, heartbeat.number + 1);
    let (guests, progress) = (Vec::new(), Vec::new());
    let said = Report { session, number, guests, facts, evidence: vec![evidence], progress };
    cloud.run(|txn| report(txn, host, said)).unwrap();
}

/// The host says how its canary ended.
fn ends(cloud: &mut Cloud, host: HostId, trouble: Option<&str>) {
    let number = cloud.state.hosts[&host].order.canary.as_ref().unwrap().number;
    let facts = Facts { canary: Some(number), ..Facts::default() };
    says(cloud, host, facts, Evidence::new(CANARY, trouble.map(str::to_owned)));
}

fn step(cloud: &mut Cloud, host: HostId) -> Option<Timestamp> {
    cloud.run(|txn| Ok(reconcile(Key::Host(host), txn))).unwrap()
}

/// Lets time pass, in which all hosts were heard.
fn later(cloud: &mut Cloud, seconds: i64) {
    cloud.at += seconds * 1_000_000;
    for id in cloud.hosts.clone() {
        says(cloud, id, Facts::default(), Evidence::new(BRIDGE, None));
    }
}

fn require(cloud: &mut Cloud) {
    let new = NewRule {
        name: "proven".to_owned(),
        effect: Effect::Require,
        subject: Subject::Check(CANARY.to_owned()),
        range: "*".parse().unwrap(),
        scope: Scope::All,
        reason: "see the runbook".to_owned(),
        link: None,
        draft: false,
    };
    cloud.run(|txn| rule::add(txn, &admin(), &new, true)).unwrap();
}

fn runs(cloud: &Cloud) -> Vec<&str> {
    let hosts = cloud.state.hosts_by_name().filter(|host| host.runs_canary(Timestamp(cloud.at)));
    hosts.map(|host| host.name.as_str()).collect()
}

#[test]
fn two_hosts_run_a_canary_at_once_and_each_opens_when_it_has_passed() {
    let mut cloud = cloud();
    let [a, b, c] = cloud.hosts[..] else { panic!("three hosts") };
    assert!(step(&mut cloud, a).is_some(), "silence alone is waited for");
    assert!(runs(&cloud).is_empty() && open(&cloud.state).len() == 3, "nobody asks for one");

    let before = cloud.state.clone();
    require(&mut cloud);
    let mut keys = BTreeSet::new();
    woken(&before, &cloud.state, Kind::HostRule, "proven", &mut keys);
    assert!([a, b, c].iter().all(|id| keys.contains(&Key::Host(*id))));
    for id in [a, b, c] {
        step(&mut cloud, id);
    }
    assert_eq!((runs(&cloud), open(&cloud.state).len()), (vec!["a", "b"], 0));

    // The first has passed; the one that waits is woken.
    let before = cloud.state.clone();
    ends(&mut cloud, a, None);
    let mut keys = BTreeSet::new();
    woken(&before, &cloud.state, Kind::Host, &a.to_string(), &mut keys);
    assert!(keys.contains(&Key::Host(c)));
    step(&mut cloud, a);
    step(&mut cloud, c);
    assert_eq!((runs(&cloud), open(&cloud.state)), (vec!["b", "c"], vec!["a".to_owned()]));

    // The second has failed, and is tried again after a while.
    ends(&mut cloud, b, Some("step 'metadata' was not done after 60 s"));
    ends(&mut cloud, c, None);
    step(&mut cloud, b);
    assert_eq!((runs(&cloud), open(&cloud.state)), (vec![], vec!["a".to_owned(), "c".to_owned()]));
    later(&mut cloud, RETRIED_AFTER_S);
    step(&mut cloud, b);
    assert_eq!(runs(&cloud), ["b"]);
    ends(&mut cloud, b, None);
    assert_eq!(open(&cloud.state).len(), 3);
}

#[test]
fn a_boot_voids_the_proof_and_age_renews_it() {
    let mut cloud = cloud();
    let [a, ..] = cloud.hosts[..] else { panic!("three hosts") };
    require(&mut cloud);
    step(&mut cloud, a);
    ends(&mut cloud, a, None);
    assert_eq!(open(&cloud.state), ["a"]);
    let facts = Facts { boot_id: Some("another".to_owned()), ..Facts::default() };
    says(&mut cloud, a, facts, Evidence::new(BRIDGE, None));
    assert!(open(&cloud.state).is_empty(), "it has to prove itself as it is now");
    step(&mut cloud, a);
    assert_eq!(runs(&cloud), ["a"]);
    // What the host said before the boot, and says again at a registration, is no proof of now.
    let facts = Facts { canary: Some(1), ..Facts::default() };
    says(&mut cloud, a, facts, Evidence::new(CANARY, None));
    assert!(open(&cloud.state).is_empty());
    // It boots once more while the canary runs: the canary was of before.
    let facts = Facts { boot_id: Some("third".to_owned()), ..Facts::default() };
    says(&mut cloud, a, facts, Evidence::new(BRIDGE, None));
    ends(&mut cloud, a, None);
    assert_eq!((runs(&cloud), open(&cloud.state).len()), (vec![], 0));
    step(&mut cloud, a);
    assert_eq!(runs(&cloud), ["a"]);
    ends(&mut cloud, a, None);
    assert_eq!(open(&cloud.state), ["a"]);
    let canaries = &cloud.state.hosts[&a].canaries;
    assert_eq!((canaries.void, canaries.ended, canaries.passed), (2, 3, 3));

    // A renewal closes nothing, not even if its outcome stays unknown.
    later(&mut cloud, canary::renewed_after_s(a) - 10);
    step(&mut cloud, a);
    assert!(runs(&cloud).is_empty());
    later(&mut cloud, 10);
    step(&mut cloud, a);
    assert_eq!((runs(&cloud), open(&cloud.state)), (vec!["a"], vec!["a".to_owned()]));
    later(&mut cloud, ENDS_WITHIN_S);
    step(&mut cloud, a);
    assert_eq!((runs(&cloud), open(&cloud.state)), (vec![], vec!["a".to_owned()]));
    // What the host says later of that one is no news.
    let ended = cloud.state.hosts[&a].canaries.clone();
    ends(&mut cloud, a, None);
    assert_eq!(cloud.state.hosts[&a].canaries, ended);
}

fn updates(cloud: &mut Cloud, host: HostId, qemu: &str) {
    let versions = Some([("qemu".to_owned(), qemu.to_owned())].into());
    says(cloud, host, Facts { versions, ..Facts::default() }, Evidence::new(BRIDGE, None));
}

/// A rule requires canaries, and all hosts have passed one.
fn proven() -> Cloud {
    let mut cloud = cloud();
    for host in cloud.hosts.clone() {
        updates(&mut cloud, host, "10.0.2");
    }
    require(&mut cloud);
    for host in cloud.hosts.clone() {
        step(&mut cloud, host);
        ends(&mut cloud, host, None);
    }
    cloud
}

#[test]
fn an_update_of_all_hosts_closes_one_of_them_and_all_prove_themselves_again() {
    let mut cloud = proven();
    let hosts = cloud.hosts.clone();
    assert_eq!(open(&cloud.state).len(), 3);

    // All get another QEMU at once. The first one is closed; the others keep their proofs, and are due at once.
    hosts.iter().for_each(|host| updates(&mut cloud, *host, "10.0.3"));
    assert_eq!(open(&cloud.state).len(), 2);
    let outdated =
        |cloud: &Cloud| cloud.state.hosts.values().filter(|host| host.has_outdated_proof()).count();
    assert_eq!(outdated(&cloud), 2);
    for host in &hosts {
        step(&mut cloud, *host);
    }
    assert_eq!(runs(&cloud).len(), 2, "two run one at once");
    for host in hosts.clone() {
        step(&mut cloud, host);
        ends(&mut cloud, host, None);
    }
    assert_eq!((open(&cloud.state).len(), outdated(&cloud)), (3, 0));

    // A host that fails now is closed by what it found. One that cannot be asked keeps its proof, and is asked again.
    hosts.iter().for_each(|host| updates(&mut cloud, *host, "10.0.4"));
    let [first, second, third] = hosts[..] else { panic!("there are three hosts") };
    step(&mut cloud, second);
    ends(&mut cloud, second, Some("step 'resume' failed"));
    step(&mut cloud, third);
    later(&mut cloud, ENDS_WITHIN_S + 1);
    step(&mut cloud, third);
    assert!(!cloud.state.hosts[&third].runs_canary(Timestamp(cloud.at)), "it is given up");
    later(&mut cloud, RETRIED_AFTER_S + 1);
    step(&mut cloud, third);
    assert!(cloud.state.hosts[&third].runs_canary(Timestamp(cloud.at)), "and tried again");
    assert_eq!(open(&cloud.state), [cloud.state.hosts[&third].name.clone()]);
    // A boot is another matter: nobody knows what came up.
    let boot_id = Some("another".to_owned());
    says(&mut cloud, third, Facts { boot_id, ..Facts::default() }, Evidence::new(BRIDGE, None));
    assert!(open(&cloud.state).is_empty());
    step(&mut cloud, first);
    ends(&mut cloud, first, None);
    assert_eq!(open(&cloud.state).len(), 1);
}

#[test]
fn a_host_that_failed_proves_itself_again_at_once_after_a_change() {
    let mut cloud = proven();
    let hosts = cloud.hosts.clone();
    for host in &hosts {
        step(&mut cloud, *host);
        cloud.run(|txn| run_canary(txn, &admin(), *host)).unwrap();
        ends(&mut cloud, *host, Some("step 'resume' failed"));
    }
    assert!(open(&cloud.state).is_empty());
    // All of them wait for ten minutes, and so does nobody else's change.
    updates(&mut cloud, hosts[0], "10.0.3");
    step(&mut cloud, hosts[0]);
    assert!(cloud.state.hosts[&hosts[0]].runs_canary(Timestamp(cloud.at)));
    step(&mut cloud, hosts[1]);
    assert!(!cloud.state.hosts[&hosts[1]].runs_canary(Timestamp(cloud.at)));
}

#[test]
fn a_version_that_is_gone_for_a_moment_is_a_change() {
    let mut cloud = proven();
    let host = cloud.hosts[0];
    let versions = Some(Default::default());
    says(&mut cloud, host, Facts { versions, ..Facts::default() }, Evidence::new(BRIDGE, None));
    assert_eq!(open(&cloud.state).len(), 2, "it may come back as another one");
    updates(&mut cloud, host, "10.0.3");
    assert_eq!(open(&cloud.state).len(), 2);
}

#[test]
fn a_canary_that_began_before_an_update_proves_nothing_after_it() {
    let mut cloud = proven();
    let hosts = cloud.hosts.clone();
    let last = hosts[2];
    let admin = admin();
    cloud.run(|txn| run_canary(txn, &admin, last)).unwrap();
    hosts.iter().for_each(|host| updates(&mut cloud, *host, "10.0.3"));
    ends(&mut cloud, last, None);
    assert!(cloud.state.hosts[&last].has_outdated_proof());
    step(&mut cloud, last);
    ends(&mut cloud, last, None);
    assert!(!cloud.state.hosts[&last].has_outdated_proof());
}

#[test]
fn a_host_that_never_answers_does_not_keep_the_others_waiting() {
    let mut cloud = cloud();
    let [a, b, c] = cloud.hosts[..] else { panic!("three hosts") };
    require(&mut cloud);
    for id in [a, b, c] {
        step(&mut cloud, id);
    }
    assert_eq!(runs(&cloud), ["a", "b"]);
    later(&mut cloud, ENDS_WITHIN_S);
    let before = cloud.state.clone();
    step(&mut cloud, a);
    let found = &cloud.state.hosts[&a].evidence[CANARY];
    assert!(found.level == Level::Unknown && found.trouble.is_some(), "{found:?}");
    let mut keys = BTreeSet::new();
    woken(&before, &cloud.state, Kind::Host, &a.to_string(), &mut keys);
    assert!(keys.contains(&Key::Host(c)));
    step(&mut cloud, a);
    step(&mut cloud, c);
    assert!(runs(&cloud).contains(&"c"), "{:?}", runs(&cloud));
}

#[test]
fn an_operator_runs_one_at_any_time_on_a_host_that_can() {
    let mut cloud = cloud();
    let [a, b, c] = cloud.hosts[..] else { panic!("three hosts") };
    assert_eq!(cloud.run(|txn| run_canary(txn, &admin(), a)).unwrap(), 1);
    assert_eq!(cloud.run(|txn| run_canary(txn, &admin(), a)).unwrap(), 1, "it runs already");
    ends(&mut cloud, a, None);
    assert_eq!(cloud.run(|txn| run_canary(txn, &admin(), a)).unwrap(), 2);
    cloud.run(|txn| Ok(txn.update::<Host>(&b, |host| host.hypervisor.wiring = Wiring::default()))).unwrap();
    cloud.run(|txn| Ok(txn.update::<Host>(&c, |host| host.silent_since = Some(Timestamp(1))))).unwrap();
    for id in [b, c] {
        let refused = cloud.run(|txn| run_canary(txn, &admin(), id)).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Conflict);
    }
}
