//! The source of reports that ports are plugged, and the time when a server is active.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/cloud.rs"]
#[allow(dead_code, reason = "not all of it is asked for here")]
mod cloud;
mod common;

use cloud::{Cloud, admin, seen};
use common::server_id;
use lenticular_control::{
    command::{
        compute::{migrate, server},
        network::{port, trunk},
    },
    observe,
};
use lenticular_model::{
    PortId,
    compute::server::{Condition, Server},
    error::Kind as ErrorKind,
    host::{
        host::Host,
        observation::{ObservedState, StopReason},
    },
    network::{network::Network, port::Port, trunk::SubPort},
};
use serde_json::json;

const RUNNING: ObservedState = ObservedState::Running { ssh_forward: None, paused: false };

fn port_id() -> PortId {
    PortId::from_random([5; 16])
}

/// A server with a port whose guest is being started, on a host with this network driver.
fn starting(driver: &str) -> Cloud {
    let mut cloud = Cloud::new();
    let host = cloud.hosts[0];
    let network: Network = serde_json::from_value(json!({
        "id": uuid::Uuid::from_u128(1), "project_id": "00000000000000000000000000000001", "admin_state_up": true,
        "mtu": 1442, "port_security_enabled": true,
    }))
    .unwrap();
    let port: Port = serde_json::from_value(json!({
        "id": port_id(), "project_id": network.project_id, "network_id": network.id, "admin_state_up": true,
        "mac": "fa:16:3e:00:00:01", "server_id": server_id(), "host_id": host, "port_security_enabled": true,
        "device_owner": "compute:nova",
    }))
    .unwrap();
    let driver = driver.to_owned();
    cloud
        .run(|txn| {
            txn.put(network);
            txn.put(port);
            txn.update::<Host>(&host, |h| h.hypervisor.wiring.driver = driver);
            txn.update::<Server>(&server_id(), |s| {
                s.condition = Condition::Building;
                s.powered = false;
            });
            Ok(())
        })
        .unwrap();
    cloud
}

fn says(cloud: &mut Cloud, up: bool) {
    cloud
        .run(|txn| {
            observe::port::plugged(txn, &[(port_id(), up)]);
            Ok(())
        })
        .unwrap();
}

fn is_plugged(cloud: &Cloud) -> bool {
    cloud.state.ports[&port_id()].plugged
}

#[test]
fn with_ovn_a_server_is_active_when_it_runs_and_its_ports_are_up_in_either_order() {
    for port_first in [true, false] {
        let mut cloud = starting("ovn");
        match port_first {
            true => says(&mut cloud, true),
            false => cloud.hear(0, seen(1, RUNNING)),
        }
        assert_eq!(cloud.server().status(), "BUILD");
        assert_eq!(is_plugged(&cloud), port_first);
        match port_first {
            true => cloud.hear(0, seen(1, RUNNING)),
            false => says(&mut cloud, true),
        }
        assert_eq!(cloud.server().status(), "ACTIVE");
        assert!(is_plugged(&cloud) && cloud.server().awaits_ports.is_none());
        // A port that goes down is down; the guest runs on.
        says(&mut cloud, false);
        assert_eq!(cloud.server().status(), "ACTIVE");
        assert!(!is_plugged(&cloud));
    }
}

#[test]
fn ovns_report_for_an_older_boot_does_not_make_a_server_active() {
    let mut cloud = starting("ovn");
    cloud.hear(0, seen(1, RUNNING));
    assert_eq!(cloud.server().awaits_ports, Some(1));
    cloud.run(|txn| Ok(txn.update::<Server>(&server_id(), |s| s.boot += 1))).unwrap();
    says(&mut cloud, true);
    assert_eq!(cloud.server().status(), "BUILD", "the guest of the new boot was not seen");
}

#[test]
fn a_guest_that_ends_waits_for_no_ports() {
    let mut cloud = starting("ovn");
    cloud.hear(0, seen(1, RUNNING));
    cloud.hear(0, seen(1, ObservedState::Stopped { why: StopReason::Died }));
    assert_eq!(cloud.server().awaits_ports, None);
    says(&mut cloud, true);
    assert_eq!(cloud.server().status(), "ERROR");
}

#[test]
fn without_ovn_the_guests_process_decides_that_ports_are_plugged() {
    let mut cloud = starting("user");
    says(&mut cloud, true);
    assert!(!is_plugged(&cloud), "OVN has no say there");
    cloud.hear(0, seen(1, RUNNING));
    assert_eq!(cloud.server().status(), "ACTIVE");
    assert!(is_plugged(&cloud));
}

#[test]
fn a_server_does_not_wait_for_a_port_that_is_deleted_or_down() {
    for down in [true, false] {
        let mut cloud = starting("ovn");
        cloud.hear(0, seen(1, RUNNING));
        assert_eq!((cloud.server().status(), cloud.server().interfaces), ("BUILD", 0));
        let change = port::PortChange { admin_state_up: Some(false), ..Default::default() };
        cloud
            .run(|txn| match down {
                true => port::update(txn, &admin(), port_id(), change),
                false => port::delete(txn, &admin(), port_id()),
            })
            .unwrap();
        assert_eq!(cloud.server().status(), "ACTIVE");
        assert_eq!(cloud.server().interfaces > 0, !down, "the host is told that an interface went");
    }
}

#[test]
fn a_trunks_subports_are_up_and_down_with_their_server_wherever_it_goes() {
    for driver in ["ovn", ""] {
        let mut cloud = starting(driver);
        let (network, sub) = (cloud.state.ports[&port_id()].network_id, PortId::from_random([6; 16]));
        let mut new = Port::clone(&cloud.state.ports[&port_id()]);
        (new.id, new.mac, new.server_id, new.host_id) =
            (sub, "fa:16:3e:00:00:02".parse().unwrap(), None, None);
        new.device_owner.clear();
        let ask = trunk::NewTrunk {
            project_id: new.project_id,
            name: String::new(),
            description: String::new(),
            admin_state_up: true,
            port_id: port_id(),
            sub_ports: vec![SubPort { port_id: sub, segmentation_id: 7 }],
        };
        let made = cloud.run(|txn| {
            txn.put(new);
            trunk::create(txn, &admin(), ask)
        });
        let made = made.unwrap();
        let is_up = |cloud: &Cloud, id: PortId| cloud.state.ports[&id].is_active(&cloud.state);
        let host = |cloud: &Cloud| cloud.state.ports[&sub].carrier(&cloud.state).and_then(|p| p.host_id);
        assert!(!is_up(&cloud, sub));
        cloud.hear(0, seen(1, RUNNING));
        if driver == "ovn" {
            says(&mut cloud, true);
        }
        assert_eq!((is_up(&cloud, sub), host(&cloud)), (true, Some(cloud.hosts[0])));
        cloud.run(|txn| migrate::live_migrate(txn, &admin(), server_id(), Some("b"))).unwrap();
        cloud.hear(1, seen(2, RUNNING));
        assert_eq!((is_up(&cloud, sub), host(&cloud)), (true, Some(cloud.hosts[1])), "{driver}");
        // OVN's report of the subport itself changes nothing: it may come late, or never.
        let told = cloud.run(|txn| {
            observe::port::plugged(txn, &[(sub, false)]);
            Ok(txn.is_empty())
        });
        assert!(told.unwrap());
        assert!(is_up(&cloud, sub));
        cloud.run(|txn| trunk::remove_subports(txn, &admin(), made, &[sub])).unwrap();
        assert!(!is_up(&cloud, sub) && is_up(&cloud, port_id()));
        assert_eq!(cloud.state.ports[&sub].network_id, network);
    }
}

#[test]
fn a_server_on_its_way_keeps_its_ports_unless_it_is_deleted() {
    let mut cloud = starting("");
    cloud.hear(0, seen(1, RUNNING));
    cloud.run(|txn| migrate::live_migrate(txn, &admin(), server_id(), Some("b"))).unwrap();
    let refused = cloud.run(|txn| port::delete(txn, &admin(), port_id())).unwrap_err();
    assert_eq!((refused.kind, refused.code), (ErrorKind::Conflict, "PortInUse"));
    cloud.run(|txn| server::delete(txn, &admin(), server_id())).unwrap();
    cloud.run(|txn| port::delete(txn, &admin(), port_id())).unwrap();
    assert!(cloud.state.ports.is_empty());
}
