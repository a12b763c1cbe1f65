//! Readiness: rules close hosts at every entrance, overrides open them for a time, and a closed target ends a move.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/cloud.rs"]
mod cloud;
mod common;
#[path = "common/open.rs"]
mod open;

use cloud::{Cloud, admin, seen};
use common::server_id;
use lenticular_control::{
    command::{
        compute::migrate,
        host::{
            host::{admit, end_override, label, overrule},
            rule::{self, NewRule},
        },
    },
    observe::host::{Report, report},
    reconcile::{Key, reconcile},
    schedule::{RequestSpec, schedule},
};
use lenticular_model::{
    HostRuleId, Timestamp,
    compute::migration::Leg,
    error::{Kind as ErrorKind, Result},
    host::{
        evidence::{Finding, Level},
        fact::Facts,
        host::Host,
        observation::ObservedState,
        readiness,
        rule::{Effect, Scope, Subject},
        version::NOT_INSTALLED,
    },
};
use open::open;
use std::collections::BTreeMap;

const LINE: &str = "rule bad-kernel";

fn set_kernel(cloud: &mut Cloud, host: usize, kernel: &str) {
    let id = cloud.hosts[host];
    let versions = [("kernel".to_owned(), kernel.to_owned())];
    cloud.run(|txn| Ok(txn.update::<Host>(&id, |host| host.versions = versions.into()))).unwrap();
}

/// Three hosts with a good kernel.
fn cloud() -> Cloud {
    let mut cloud = Cloud::new();
    (0..3).for_each(|host| set_kernel(&mut cloud, host, "3.13.0-46.77"));
    cloud
}

fn bad_kernel() -> NewRule {
    NewRule {
        name: "bad-kernel".to_owned(),
        effect: Effect::Deny,
        subject: Subject::Version("kernel".to_owned()),
        range: ">=3.13.0-24 <3.13.0-46".parse().unwrap(),
        scope: Scope::All,
        reason: "guests lose time".to_owned(),
        link: None,
        draft: false,
    }
}

fn add(cloud: &mut Cloud, new: &NewRule) -> Result<()> {
    cloud.run(|txn| rule::add(txn, &admin(), new, true)).map(drop)
}

#[test]
fn a_denied_kernel_closes_a_host_and_says_why() {
    let mut cloud = cloud();
    set_kernel(&mut cloud, 2, "3.13.0-24.46");
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);
    add(&mut cloud, &bad_kernel()).unwrap();
    assert_eq!(open(&cloud.state), ["a", "b"]);
    let (_, verdict) = schedule(&cloud.state, &RequestSpec::default());
    assert_eq!(verdict.refused[0].filter, "ReadinessFilter");
    assert_eq!(
        verdict.refused[0].reason,
        "is not ready: kernel 3.13.0-24.46 is denied by rule bad-kernel: guests lose time"
    );
    // The update opens it, and so does the end of the rule.
    set_kernel(&mut cloud, 2, "3.13.0-46.77");
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);
    set_kernel(&mut cloud, 0, "3.13.0-30.1");
    assert_eq!(open(&cloud.state), ["b", "c"]);
    cloud.run(|txn| rule::remove(txn, &admin(), &HostRuleId::from("bad-kernel"))).unwrap();
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);
}

#[test]
fn what_a_host_does_not_say_never_passes() {
    let mut cloud = cloud();
    let id = cloud.hosts[1];
    cloud.run(|txn| Ok(txn.update::<Host>(&id, |host| host.versions.clear()))).unwrap();
    add(&mut cloud, &bad_kernel()).unwrap();
    assert_eq!(open(&cloud.state), ["a", "c"]);

    // A check that a rule requires counts, and a host that does not make it has not passed.
    let required = NewRule {
        name: String::new(),
        effect: Effect::Require,
        subject: Subject::Check("disk-latency".to_owned()),
        range: "*".parse().unwrap(),
        ..bad_kernel()
    };
    assert_eq!(add(&mut cloud, &required).unwrap_err().kind, ErrorKind::Invalid, "nobody makes the check");
    let slow = || Some("fsync takes 2 s".to_owned());
    for (host, trouble, level) in [(0, slow(), Level::Warn), (2, slow(), Level::Unknown)] {
        let (id, finding) = (cloud.hosts[host], Finding { trouble, level, since: Timestamp(1) });
        cloud
            .run(|txn| {
                Ok(txn.update::<Host>(&id, |h| drop(h.evidence.insert("disk-latency".to_owned(), finding))))
            })
            .unwrap();
    }
    add(&mut cloud, &required).unwrap();
    assert_eq!(open(&cloud.state), ["a"]);
}

#[test]
fn a_rule_that_closes_much_must_be_meant() {
    let mut cloud = cloud();
    (0..2).for_each(|host| set_kernel(&mut cloud, host, "3.13.0-24.46"));
    let (_, effects) = rule::preview(&cloud.state, &admin(), &bad_kernel()).unwrap();
    assert_eq!((effects.closes.len(), effects.unknown.len()), (2, 0));
    let refused = cloud.run(|txn| rule::add(txn, &admin(), &bad_kernel(), false)).unwrap_err();
    assert!(refused.to_string().contains("2 of the 3 hosts of zone nova"), "{refused}");
    assert_eq!(open(&cloud.state), ["a", "b", "c"], "nothing was changed");
    set_kernel(&mut cloud, 1, "3.13.0-46.77");
    cloud.run(|txn| rule::add(txn, &admin(), &bad_kernel(), false)).unwrap();
    assert_eq!(open(&cloud.state), ["b", "c"]);
}

#[test]
fn an_override_opens_a_host_for_a_time_and_never_a_silent_one() {
    let mut cloud = cloud();
    set_kernel(&mut cloud, 2, "3.13.0-24.46");
    add(&mut cloud, &bad_kernel()).unwrap();
    let host = cloud.hosts[2];
    let ask = |cloud: &mut Cloud, line: &str, for_s| {
        let why = ("the only host with a GPU".to_owned(), for_s);
        cloud.run(|txn| overrule(txn, &admin(), host, line, why))
    };
    for (line, for_s) in [("rule other", 600), (LINE, -5), (LINE, 0), (LINE, 86_401)] {
        assert_eq!(ask(&mut cloud, line, for_s).unwrap_err().kind, ErrorKind::Invalid, "{line} {for_s}");
    }
    ask(&mut cloud, LINE, 600).unwrap();
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);
    let lines = readiness::of_host(&cloud.state, &cloud.state.hosts[&host]);
    assert!(lines[0].overruled && lines[0].name == LINE, "it is still shown: {lines:?}");

    // It ends by itself, or by its operator.
    cloud.at += 601_000_000;
    cloud.run(|txn| Ok(reconcile(Key::Host(host), txn))).unwrap();
    assert_eq!(open(&cloud.state), ["a", "b"]);
    // The time that passed without a heartbeat made it silent.
    assert_eq!(ask(&mut cloud, LINE, 600).unwrap_err().kind, ErrorKind::Conflict);
    cloud.run(|txn| Ok(txn.update::<Host>(&host, |host| host.silent_since = None))).unwrap();
    ask(&mut cloud, LINE, 600).unwrap();
    cloud.run(|txn| end_override(txn, &admin(), host, LINE)).unwrap();
    assert_eq!(open(&cloud.state), ["a", "b"]);
}

#[test]
fn a_move_is_withdrawn_when_its_target_turns_unready() {
    let mut cloud = cloud();
    cloud.run(|txn| migrate::live_migrate(txn, &admin(), server_id(), Some("b"))).unwrap();
    cloud.hear(1, seen(2, ObservedState::Ready));
    let migration = cloud.server().ticket.as_ref().unwrap().migration_id;
    set_kernel(&mut cloud, 1, "3.13.0-24.46");
    add(&mut cloud, &bad_kernel()).unwrap();
    cloud.run(|txn| Ok(reconcile(Key::Migration(migration), txn))).unwrap();
    assert_eq!(cloud.server().ticket.as_ref().unwrap().leg, Leg::Withdraw, "the source has not released it");
    cloud.is_on(0, 1);
    assert_eq!(cloud.fate_on(1), None, "the target keeps what it has until the source has decided");
    // No way leads there any more.
    let refused = cloud.run(|txn| migrate::migrate(txn, &admin(), server_id(), Some("b"))).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut cloud = cloud();
    let long = "x".repeat(2_000);
    let wrong = [
        NewRule { subject: Subject::Version("kernle".to_owned()), ..bad_kernel() },
        NewRule { subject: Subject::Check("hypervisor".to_owned()), ..bad_kernel() },
        NewRule { reason: " ".to_owned(), ..bad_kernel() },
        NewRule { reason: long.clone(), ..bad_kernel() },
        NewRule { name: "bad kernel".to_owned(), ..bad_kernel() },
        NewRule { name: long, ..bad_kernel() },
        NewRule { link: Some("javascript:alert(1)".to_owned()), ..bad_kernel() },
        NewRule { scope: Scope::Zone("nowhere".to_owned()), ..bad_kernel() },
    ];
    for new in wrong {
        assert_eq!(add(&mut cloud, &new).unwrap_err().kind, ErrorKind::Invalid, "{new:?}");
    }
    assert!(cloud.state.host_rules.is_empty());
    add(&mut cloud, &bad_kernel()).unwrap();
    assert_eq!(add(&mut cloud, &bad_kernel()).unwrap_err().kind, ErrorKind::Conflict);
    // Without a name, each has its own.
    for _ in 0..2 {
        add(&mut cloud, &NewRule { name: String::new(), ..bad_kernel() }).unwrap();
    }
    let names: Vec<String> = cloud.state.host_rules.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["bad-kernel", "deny-kernel", "deny-kernel-2"]);
}

#[test]
fn a_host_that_boots_an_older_kernel_than_its_siblings_must_be_admitted() {
    let mut cloud = cloud();
    let boots = |cloud: &mut Cloud, host: usize, boot: &str, kernel: &str| {
        let id = cloud.hosts[host];
        let heartbeat = cloud.state.heartbeats[&id].clone();
        let facts = Facts {
            boot_id: Some(boot.to_owned()),
            versions: Some([("kernel".to_owned(), kernel.to_owned())].into()),
            ..Facts::default()
        };
        let said = Report {
            session: heartbeat.session,
            number: heartbeat.number + 1,
            guests: Vec::new(),
            facts,
            evidence: Vec::new(),
            progress: Vec::new(),
        };
        cloud.run(|txn| report(txn, id, said)).unwrap();
    };
    for host in 0..3 {
        boots(&mut cloud, host, "boot-1", "6.1.9-1");
    }
    assert_eq!(open(&cloud.state), ["a", "b", "c"], "a host that nothing speaks against is admitted at once");

    // Nobody knows of a fault in the older kernel: the siblings run a newer one.
    boots(&mut cloud, 1, "boot-2", "6.1.4-1");
    assert_eq!(open(&cloud.state), ["a", "c"]);
    let line = readiness::of_host(&cloud.state, &cloud.state.hosts[&cloud.hosts[1]]).remove(0);
    assert_eq!(line.name, "sibling kernel");
    assert_eq!(
        line.text,
        "kernel 6.1.4-1 is older than what 2 of the 2 admitted hosts of zone nova run, such as 6.1.9-1"
    );
    // A newer one needs no word from anybody, and neither does the same again.
    boots(&mut cloud, 2, "boot-2", "6.1.115-1");
    assert_eq!(open(&cloud.state), ["a", "c"]);
    boots(&mut cloud, 1, "boot-3", "6.1.115-1");
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);

    // An operator admits an older one, until it has another. A rule still holds.
    boots(&mut cloud, 1, "boot-4", "6.1.4-1");
    let host = cloud.hosts[1];
    let why = || "the newer kernel has no driver for its disks".to_owned();
    assert_eq!(
        cloud.run(|txn| admit(txn, &admin(), host, String::new())).unwrap_err().kind,
        ErrorKind::Invalid
    );
    cloud.run(|txn| admit(txn, &admin(), host, why())).unwrap();
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);
    let rule = NewRule { range: "<6.1.9".parse().unwrap(), ..bad_kernel() };
    add(&mut cloud, &rule).unwrap();
    assert_eq!(open(&cloud.state), ["a", "c"]);
    cloud.run(|txn| rule::remove(txn, &admin(), &HostRuleId::from("bad-kernel"))).unwrap();
    boots(&mut cloud, 1, "boot-5", "6.1.4-1");
    assert_eq!(open(&cloud.state), ["a", "b", "c"], "it proved itself with this one");
    boots(&mut cloud, 1, "boot-6", "6.1.3-1");
    assert_eq!(open(&cloud.state), ["a", "c"]);
    // An override opens it and proves nothing.
    let ask = ("one more hour".to_owned(), 3_600);
    cloud.run(|txn| overrule(txn, &admin(), host, "sibling kernel", ask)).unwrap();
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);
    assert!(!cloud.state.hosts[&host].is_admitted());
}

/// The host says all its versions.
fn says(cloud: &mut Cloud, host: usize, versions: &[(&str, &str)]) {
    let id = cloud.hosts[host];
    let versions: BTreeMap<String, String> =
        versions.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect();
    cloud.run(|txn| Ok(txn.update::<Host>(&id, |host| host.versions = versions))).unwrap();
}

#[test]
fn a_draft_shows_what_it_would_close_and_closes_nothing_until_it_is_enforced() {
    let mut cloud = cloud();
    let draft = NewRule { draft: true, ..bad_kernel() };
    set_kernel(&mut cloud, 1, "3.13.0-24.46");
    add(&mut cloud, &draft).unwrap();
    assert_eq!(open(&cloud.state).len(), 3);
    let (admin, id) = (admin(), "bad-kernel".into());
    let (rule, effects) = cloud.run(|txn| rule::enforce(txn, &admin, &id, false)).unwrap();
    assert_eq!((rule.draft, effects.closes), (false, vec![cloud.hosts[1]]));
    assert_eq!(open(&cloud.state).len(), 2);
    let again = cloud.run(|txn| rule::enforce(txn, &admin, &id, false)).unwrap_err();
    assert!(again.to_string().contains("in force already"), "{again}");
    let none = cloud.run(|txn| rule::enforce(txn, &admin, &"no-such".into(), false)).unwrap_err();
    assert_eq!(none.kind, ErrorKind::NotFound);
}

#[test]
fn a_rule_about_a_package_asks_the_hosts_before_it_closes_any() {
    let mut cloud = cloud();
    let about = NewRule {
        name: "old-openssl".to_owned(),
        subject: Subject::Version("package:openssl".to_owned()),
        range: "<3.0.17".parse().unwrap(),
        ..bad_kernel()
    };
    let refused = cloud.run(|txn| rule::add(txn, &admin(), &about, false)).unwrap_err().to_string();
    assert!(
        refused.contains("do not say their version of openssl: 3") && refused.contains("--draft"),
        "{refused}"
    );
    assert!(cloud.state.host_rules.is_empty());

    add(&mut cloud, &NewRule { draft: true, ..about.clone() }).unwrap();
    for id in cloud.hosts.clone() {
        cloud.run(|txn| Ok(reconcile(Key::Host(id), txn))).unwrap();
        assert_eq!(cloud.state.hosts[&id].order.packages, ["openssl"]);
    }
    // One is old, one is new, and one has no such package.
    for (host, version) in ["3.0.15-1", "3.0.17-1", NOT_INSTALLED].into_iter().enumerate() {
        says(&mut cloud, host, &[("kernel", "6.1"), ("package:openssl", version)]);
    }
    let (admin, id) = (admin(), "old-openssl".into());
    let (_, effects) = cloud.run(|txn| rule::enforce(txn, &admin, &id, false)).unwrap();
    assert_eq!((effects.closes, effects.unknown), (vec![cloud.hosts[0]], vec![]));
    assert_eq!(open(&cloud.state).len(), 2);

    // What is not installed is denied by nothing, and keeps no requirement.
    let required = NewRule {
        name: "needs-openssl".to_owned(),
        effect: Effect::Require,
        range: "*".parse().unwrap(),
        ..about
    };
    add(&mut cloud, &required).unwrap();
    assert_eq!(open(&cloud.state).len(), 1);
    // Without rules nobody asks.
    for id in ["needs-openssl", "old-openssl"] {
        cloud.run(|txn| rule::remove(txn, &admin, &id.into())).unwrap();
    }
    let id = cloud.hosts[0];
    cloud.run(|txn| Ok(reconcile(Key::Host(id), txn))).unwrap();
    assert!(cloud.state.hosts[&id].order.packages.is_empty());
    let wrong = NewRule { subject: Subject::Version("package:a b".to_owned()), ..bad_kernel() };
    assert!(add(&mut cloud, &wrong).unwrap_err().to_string().contains("A package's name"));
}

#[test]
fn labels_are_the_operators_and_fit_a_command_line() {
    let mut cloud = cloud();
    let (admin, id) = (admin(), cloud.hosts[0]);
    let set = |cloud: &mut Cloud, name: &str, value: &str| {
        let labels = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        cloud.run(|txn| label(txn, &admin, id, labels))
    };
    set(&mut cloud, "rack", "r1").unwrap();
    set(&mut cloud, "gateway", "gw-1").unwrap();
    set(&mut cloud, "rack", "").unwrap();
    assert_eq!(cloud.state.hosts[&id].labels, BTreeMap::from([("gateway".to_owned(), "gw-1".to_owned())]));
    for (name, value) in [("", "x"), ("ra ck", "x"), ("rack", "\u{1b}[1m")] {
        assert_eq!(set(&mut cloud, name, value).unwrap_err().kind, ErrorKind::Invalid, "{name}={value}");
    }
    for n in 0..31 {
        set(&mut cloud, &format!("l{n}"), "x").unwrap();
    }
    assert!(set(&mut cloud, "one-more", "x").unwrap_err().to_string().contains("at most 32"));
}
