//! Whatever makes a host not ready closes it at each entrance: at all ways on which a server gets a host.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
#[path = "common/cloud.rs"]
mod cloud;
mod common;

use cloud::{Cloud, admin, seen};
use common::server_id;
use lenticular_control::{
    command::{
        compute::{
            evacuate, migrate,
            shelve::{self, Place},
        },
        host::{
            fence,
            rule::{self, NewRule},
        },
    },
    lifecycle::shelf,
    schedule::{RequestSpec, schedule},
};
use lenticular_model::{
    FlavorId, Timestamp,
    compute::{
        flavor::{Flavor, Size},
        server::Shelf,
    },
    error::{Error, Result},
    host::{
        evidence::{BRIDGE, CANARY, Finding, GUESTS, Level, TUNNELS},
        host::{Host, Intent},
        observation::{ObservedState, StopReason},
        rule::{Effect, Scope, Subject},
    },
    image::Data,
};

/// A server on host a, and host b alone that could take it.
fn cloud() -> Cloud {
    let mut cloud = Cloud::new();
    for host in [0, 2] {
        let id = cloud.hosts[host];
        let intent = Intent::Disabled { reason: None };
        cloud.run(|txn| Ok(txn.update::<Host>(&id, |host| host.intent = intent))).unwrap();
    }
    let size = Size { vcpus: 1, ram_mb: 256, disk_gb: 2, ephemeral_gb: 0, swap_mb: 0, image_gb: 0 };
    let larger = Flavor {
        id: FlavorId::from("larger"),
        created_at: Timestamp(1),
        updated_at: None,
        name: "larger".to_owned(),
        description: None,
        size,
        is_public: true,
        access: Vec::new(),
        rxtx_factor: 1.0,
        extra_specs: Default::default(),
        unknown: Default::default(),
    };
    cloud
        .run(|txn| {
            txn.put(larger);
            Ok(())
        })
        .unwrap();
    cloud
}

fn found(cloud: &mut Cloud, check: &str, trouble: Option<&str>) {
    let id = cloud.hosts[1];
    let finding = Finding { trouble: trouble.map(str::to_owned), level: Level::Fail, since: Timestamp(1) };
    cloud
        .run(|txn| Ok(txn.update::<Host>(&id, |host| drop(host.evidence.insert(check.to_owned(), finding)))))
        .unwrap();
}

fn add(cloud: &mut Cloud, effect: Effect, subject: Subject) {
    let new = NewRule {
        name: String::new(),
        effect,
        subject,
        range: "*".parse().unwrap(),
        scope: Scope::All,
        reason: "guests lose time".to_owned(),
        link: None,
        draft: false,
    };
    cloud.run(|txn| rule::add(txn, &admin(), &new, true)).unwrap();
}

type Closing = (&'static str, fn(&mut Cloud));

/// All that makes host b not ready.
const CLOSINGS: &[Closing] = &[
    ("a denied version", |cloud| {
        let id = cloud.hosts[1];
        let versions = [("kernel".to_owned(), "3.13.0-24.46".to_owned())];
        cloud.run(|txn| Ok(txn.update::<Host>(&id, |host| host.versions = versions.into()))).unwrap();
        add(cloud, Effect::Deny, Subject::Version("kernel".to_owned()));
    }),
    ("a version that it does not say", |cloud| {
        add(cloud, Effect::Deny, Subject::Version("kernel".to_owned()));
    }),
    ("a check that failed", |cloud| {
        found(cloud, CANARY, Some("step 'resume' failed"));
        add(cloud, Effect::Require, Subject::Check(CANARY.to_owned()));
    }),
    ("a check that it did not make", |cloud| {
        add(cloud, Effect::Require, Subject::Check(CANARY.to_owned()));
    }),
    ("a switch that does not answer", |cloud| found(cloud, BRIDGE, Some("br-int does not answer"))),
    ("guests that fell silent together", |cloud| found(cloud, GUESTS, Some("3 guests fell silent"))),
    ("tunnels that lead nowhere", |cloud| {
        found(cloud, TUNNELS, Some("none answers"));
        let witness = cloud.hosts[2];
        cloud
            .run(|txn| Ok(txn.update::<Host>(&witness, |host| host.unreached = vec!["b".to_owned()])))
            .unwrap();
    }),
    ("no proof since its boot", |cloud| {
        let id = cloud.hosts[1];
        cloud.run(|txn| Ok(txn.update::<Host>(&id, |host| host.admission = None))).unwrap();
    }),
];

fn named(host: &str) -> Place {
    Place { zone: None, host: Some(host.to_owned()) }
}

fn shelve(cloud: &mut Cloud) {
    cloud.run(|txn| shelve::shelve(txn, &admin(), server_id())).unwrap();
    let upload = match cloud.server().shelf.as_deref() {
        Some(Shelf::Saving { upload, .. }) => upload.clone(),
        other => panic!("{other:?}"),
    };
    cloud.hear(0, seen(1, ObservedState::Stopped { why: StopReason::Ordered }));
    let (host, sha512) = (cloud.hosts[0], "whole".to_owned());
    let data = Data { size: 1, virtual_size: Some(1), checksum: "c".to_owned(), sha512, file: None };
    cloud
        .run(|txn| {
            shelf::begin_saving(txn, server_id(), host, &upload, "s1")?;
            shelf::saved(txn, server_id(), host, (&upload, "s1"), data)
        })
        .unwrap();
}

fn lose(cloud: &mut Cloud) {
    let host = cloud.hosts[0];
    cloud.run(|txn| Ok(txn.update::<Host>(&host, |h| h.silent_since = Some(Timestamp(2))))).unwrap();
    cloud.run(|txn| fence::fence(txn, &admin(), host, true, None)).unwrap();
}

fn placed(cloud: &Cloud, spec: &RequestSpec) -> Result<()> {
    let (host, verdict) = schedule(&cloud.state, spec);
    host.map(drop).ok_or_else(|| Error::conflict(format!("{:?}", verdict.refused)))
}

type Entrance = (&'static str, fn(&mut Cloud), fn(&mut Cloud) -> Result<()>);

/// All ways for a server to host b: what comes before, and the request.
const ENTRANCES: &[Entrance] = &[
    ("create", |_| (), |cloud| placed(cloud, &RequestSpec::default())),
    (
        "create there",
        |_| (),
        |cloud| {
            let spec = RequestSpec { host: Some("b".to_owned()), ..RequestSpec::default() };
            placed(cloud, &spec)
        },
    ),
    (
        "live migrate",
        |_| (),
        |cloud| cloud.run(|txn| migrate::live_migrate(txn, &admin(), server_id(), None)).map(drop),
    ),
    (
        "live migrate there",
        |_| (),
        |cloud| cloud.run(|txn| migrate::live_migrate(txn, &admin(), server_id(), Some("b"))).map(drop),
    ),
    (
        "migrate",
        |_| (),
        |cloud| cloud.run(|txn| migrate::migrate(txn, &admin(), server_id(), None)).map(drop),
    ),
    (
        "migrate there",
        |_| (),
        |cloud| cloud.run(|txn| migrate::migrate(txn, &admin(), server_id(), Some("b"))).map(drop),
    ),
    (
        "resize",
        |_| (),
        |cloud| cloud.run(|txn| migrate::resize(txn, &admin(), server_id(), &FlavorId::from("larger"))),
    ),
    ("unshelve", shelve, |cloud| {
        cloud.run(|txn| shelve::unshelve(txn, &admin(), server_id(), Place::default()))
    }),
    ("unshelve there", shelve, |cloud| {
        cloud.run(|txn| shelve::unshelve(txn, &admin(), server_id(), named("b")))
    }),
    ("evacuate", lose, |cloud| cloud.run(|txn| evacuate::evacuate(txn, &admin(), server_id(), None, false))),
    ("evacuate there", lose, |cloud| {
        cloud.run(|txn| evacuate::evacuate(txn, &admin(), server_id(), Some("b"), false))
    }),
];

#[test]
fn all_that_makes_a_host_not_ready_closes_it_at_each_entrance() {
    for (entrance, before, enter) in ENTRANCES {
        let mut ready = cloud();
        before(&mut ready);
        enter(&mut ready).unwrap_or_else(|error| panic!("{entrance} to a ready host: {error}"));
        for (closing, close) in CLOSINGS {
            let mut cloud = cloud();
            before(&mut cloud);
            close(&mut cloud);
            let unchanged = cloud.state.clone();
            let refused = enter(&mut cloud).map_err(|error| error.to_string());
            assert!(refused.is_err(), "{entrance} ignores {closing}");
            let same = cloud.state.servers.values().zip(unchanged.servers.values()).all(|(a, b)| a == b);
            assert!(same, "{entrance} with {closing} is refused and changes the server");
        }
    }
}
