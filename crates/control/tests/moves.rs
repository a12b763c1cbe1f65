//! Moves: only tickets, the source's report and the target's acceptance decide which host may run a guest.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/cloud.rs"]
mod cloud;
mod common;

use cloud::{Cloud, admin, seen};
use common::server_id;
use lenticular_control::{
    command::{
        compute::{
            evacuate, migrate,
            rebuild::{self, RebuildServer},
            server::delete,
        },
        host::fence,
    },
    reconcile::{Key, reconcile},
};
use lenticular_model::{
    HostId, Timestamp,
    compute::{
        disk::Fate,
        migration::{Leg, Migration, Phase},
        server::{Condition, Wanted},
    },
    error::Kind as ErrorKind,
    host::{
        host::Host,
        observation::{Handover, Observation, ObservedState, SourceDecision, StopReason},
    },
};

fn decided(decision: SourceDecision) -> Observation {
    let handover = Some(Handover { generation: 2, decision });
    Observation { handover, ..seen(1, ObservedState::Running { ssh_forward: None, paused: false }) }
}

fn kept() -> SourceDecision {
    SourceDecision::Kept { message: "It broke off.".to_owned(), details: "test".to_owned() }
}

fn silence(cloud: &mut Cloud, host: usize) {
    let (id, now) = (cloud.hosts[host], Timestamp(cloud.at));
    cloud.run(|txn| Ok(txn.update::<Host>(&id, |h| h.silent_since = Some(now)))).unwrap();
}

/// A live migration to the second host, up to the order to the source to send.
fn sending(cloud: &mut Cloud) {
    cloud.run(|txn| migrate::live_migrate(txn, &admin(), server_id(), Some("b"))).unwrap();
    assert_eq!(cloud.server().ticket.as_ref().unwrap().leg, Leg::Prepare);
    cloud.hear(1, seen(2, ObservedState::Ready));
    assert_eq!(cloud.server().ticket.as_ref().unwrap().leg, Leg::Send);
}

#[test]
fn either_hosts_report_moves_the_server_and_the_other_report_changes_nothing() {
    for (host, word) in [
        (0, decided(SourceDecision::Released)),
        (1, seen(2, ObservedState::Running { ssh_forward: None, paused: false })),
    ] {
        let mut cloud = Cloud::new();
        sending(&mut cloud);
        cloud.is_on(0, 1);
        cloud.hear(host, word);
        cloud.is_on(1, 2);
        assert!(matches!(cloud.fate_on(0), Some(Fate::Kept { .. })));
        let moved = cloud.server();
        assert!(moved.ticket.is_none() && moved.task.is_none());
        assert!(cloud.state.all::<Migration>().next().is_none(), "it has ended");
        cloud.hear(0, decided(SourceDecision::Released));
        cloud.hear(1, seen(2, ObservedState::Running { ssh_forward: None, paused: false }));
        cloud.is_on(1, 2);
        assert_eq!(cloud.server().status(), "ACTIVE");
    }
}

#[test]
fn a_targets_report_moves_nothing_before_it_has_accepted_the_guest() {
    let mut cloud = Cloud::new();
    sending(&mut cloud);
    for observed in [
        ObservedState::Ready,
        ObservedState::Receiving { step: String::new() },
        ObservedState::Absent,
        ObservedState::Kept,
    ] {
        cloud.hear(1, seen(2, observed));
        cloud.is_on(0, 1);
    }
    // A host that no ticket names moves nothing, nor does another generation.
    cloud.hear(2, seen(2, ObservedState::Running { ssh_forward: None, paused: false }));
    cloud.hear(1, seen(3, ObservedState::Running { ssh_forward: None, paused: false }));
    cloud.is_on(0, 1);
}

#[test]
fn once_told_to_send_only_the_source_decides_that_a_guest_stays() {
    let mut cloud = Cloud::new();
    sending(&mut cloud);
    let number = cloud.state.all::<Migration>().next().unwrap().number;
    cloud.hear(1, seen(2, ObservedState::Unready { message: "Gone.".to_owned(), details: String::new() }));
    assert_eq!(cloud.server().ticket.as_ref().unwrap().leg, Leg::Withdraw);
    assert!(
        cloud.run(|txn| migrate::abort(txn, &admin(), server_id(), number)).is_err(),
        "too late to abort"
    );
    cloud.hear(0, decided(kept()));
    cloud.is_on(0, 1);
    assert!(cloud.server().ticket.is_none());
    assert_eq!(cloud.fate_on(1), Some(Fate::Doomed), "what the target has is to go");
    // The number is used up.
    assert_eq!(cloud.state.next_generation(server_id()), 3);
    cloud.hear(1, seen(2, ObservedState::Absent));
    assert_eq!(cloud.fate_on(1), None);
}

#[test]
fn a_move_ends_without_the_source_before_the_source_has_orders() {
    let mut cloud = Cloud::new();
    cloud.run(|txn| migrate::live_migrate(txn, &admin(), server_id(), Some("b"))).unwrap();
    silence(&mut cloud, 1);
    let id = cloud.state.all::<Migration>().next().unwrap().id;
    cloud.run(|txn| Ok(reconcile(Key::Migration(id), txn))).unwrap();
    assert!(cloud.server().ticket.is_none());
    cloud.is_on(0, 1);
    assert_eq!(cloud.server().status(), "ACTIVE");
}

#[test]
fn a_failed_cold_move_starts_the_guest_again_on_its_host() {
    let mut cloud = Cloud::new();
    cloud.run(|txn| migrate::migrate(txn, &admin(), server_id(), Some("b"))).unwrap();
    cloud.hear(1, seen(2, ObservedState::Ready));
    cloud.hear(0, seen(1, ObservedState::Stopped { why: StopReason::Ordered }));
    assert_eq!((cloud.server().boot, cloud.server().powered), (1, false));
    let stopped = seen(1, ObservedState::Stopped { why: StopReason::Ordered });
    cloud.hear(0, Observation { handover: decided(kept()).handover, ..stopped });
    assert_eq!((cloud.server().boot, cloud.server().wanted), (2, Wanted::Running));
}

#[test]
fn deleting_a_server_between_two_hosts_waits_for_both() {
    let mut cloud = Cloud::new();
    sending(&mut cloud);
    cloud.run(|txn| delete(txn, &admin(), server_id())).unwrap();
    cloud.hear(0, seen(1, ObservedState::Absent));
    assert!(cloud.state.servers.contains_key(&server_id()), "it may run on the other");
    cloud.hear(1, seen(2, ObservedState::Absent));
    assert!(!cloud.state.servers.contains_key(&server_id()));
    assert!(cloud.state.disks.values().all(|disk| disk.left.is_none()));
}

#[test]
fn a_resize_keeps_room_for_the_way_back_until_it_is_confirmed() {
    let mut cloud = Cloud::new();
    cloud.run(|txn| migrate::migrate(txn, &admin(), server_id(), Some("b"))).unwrap();
    cloud.hear(1, seen(2, ObservedState::Ready));
    cloud.hear(0, decided(SourceDecision::Released));
    let boot = cloud.server().boot;
    cloud.hear(
        1,
        Observation { boot, ..seen(2, ObservedState::Running { ssh_forward: None, paused: false }) },
    );
    assert_eq!(cloud.server().status(), "VERIFY_RESIZE");
    let held: Vec<HostId> = cloud.server().claims().map(|(host, _)| host).collect();
    assert_eq!(held, [cloud.hosts[1], cloud.hosts[0]]);
    let phase = cloud.state.all::<Migration>().next().unwrap().phase.clone();
    assert_eq!(phase, Phase::Moved);
    cloud.run(|txn| migrate::confirm(txn, &admin(), server_id())).unwrap();
    assert_eq!(cloud.server().claims().count(), 1);
    assert_eq!(cloud.server().status(), "ACTIVE");
}

#[test]
fn a_lost_hosts_servers_are_rebuilt_only_if_its_disks_were_declared_lost() {
    let mut cloud = Cloud::new();
    let evacuate = |cloud: &mut Cloud| {
        cloud.run(|txn| evacuate::evacuate(txn, &admin(), server_id(), None, false)).map_err(|e| e.kind)
    };
    assert_eq!(evacuate(&mut cloud), Err(ErrorKind::Invalid), "its host is up");
    let lost = cloud.hosts[0];
    assert!(
        cloud.run(|txn| fence::fence(txn, &admin(), lost, true, None)).is_err(),
        "a host that talks is not lost"
    );
    silence(&mut cloud, 0);
    assert_eq!(evacuate(&mut cloud), Err(ErrorKind::Conflict), "silence is not loss");
    cloud.run(|txn| fence::fence(txn, &admin(), lost, false, None)).unwrap();
    assert_eq!(evacuate(&mut cloud), Err(ErrorKind::Conflict), "off is not lost");
    cloud.run(|txn| fence::fence(txn, &admin(), lost, true, None)).unwrap();
    silence(&mut cloud, 1);
    assert_eq!(evacuate(&mut cloud), Err(ErrorKind::Conflict), "so many hosts are not lost at once");
    let other = cloud.hosts[1];
    cloud.run(|txn| Ok(txn.update::<Host>(&other, |h| h.silent_since = None))).unwrap();
    evacuate(&mut cloud).unwrap();
    let server = cloud.server();
    assert_ne!(server.host_id, Some(lost));
    assert_eq!((cloud.state.has_made_disks(server_id()), server.status()), (false, "REBUILD"));
    assert_eq!(cloud.fate_on(0), Some(Fate::Doomed));
    // After its return the lost host reports a disk that is no longer the server's.
    cloud.hear(0, seen(1, ObservedState::Running { ssh_forward: None, paused: false }));
    assert_eq!(cloud.server().condition, Condition::Stopped);
}

#[test]
fn an_older_disk_takes_the_place_of_the_newer_and_back() {
    let mut cloud = Cloud::new();
    sending(&mut cloud);
    cloud.hear(0, decided(SourceDecision::Released));
    let copy = cloud.state.left_disks_of_server(server_id()).next().unwrap().id;
    let restore = |cloud: &mut Cloud, copy| {
        cloud.run(|txn| evacuate::restore_disk(txn, &admin(), server_id(), copy)).map_err(|e| e.kind)
    };
    assert_eq!(restore(&mut cloud, copy), Err(ErrorKind::Conflict), "it runs");
    cloud.run(|txn| lenticular_control::command::compute::server::stop(txn, &admin(), server_id())).unwrap();
    cloud.hear(1, seen(2, ObservedState::Stopped { why: StopReason::Ordered }));
    restore(&mut cloud, copy).unwrap();
    cloud.is_on(0, 3);
    assert_eq!(cloud.state.root_disk(server_id()).unwrap().revives, Some(1));
    let newer = cloud.state.left_disks_of_server(server_id()).next().unwrap().clone();
    assert_eq!((newer.host_id, newer.generation), (Some(cloud.hosts[1]), 2));
    restore(&mut cloud, newer.id).unwrap();
    cloud.is_on(1, 4);
    let revives = |cloud: &Cloud| cloud.state.root_disk(server_id()).unwrap().revives;
    assert_eq!(revives(&cloud), Some(2));
    // Until the host has come back to the disk, a rebuild would let the host make the server's disks anew.
    let asked = RebuildServer::default();
    let rebuilt = cloud.run(|txn| rebuild::rebuild(txn, &admin(), server_id(), asked)).unwrap_err();
    assert!(rebuilt.message.contains("not yet come back"), "{}", rebuilt.message);
    cloud.hear(1, seen(2, ObservedState::Stopped { why: StopReason::Ordered }));
    assert_eq!(revives(&cloud), Some(2), "the host has still the older generation");
    cloud.hear(1, seen(4, ObservedState::Stopped { why: StopReason::Ordered }));
    assert_eq!(revives(&cloud), None);
}
