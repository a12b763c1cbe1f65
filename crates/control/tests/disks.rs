//! Disks: all of a server's disks share its fate, and records of before are brought over.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/cloud.rs"]
mod cloud;
mod common;

use cloud::{Cloud, admin, seen};
use common::server_id;
use lenticular_control::{
    command::compute::{migrate, server::delete},
    lifecycle::{disk, restore},
    orders::{changes, order},
    reconcile::{Key, reconcile},
    upgrade::bring_over,
};
use lenticular_model::{
    DiskCopyId, DiskId,
    compute::{
        disk::{Disk, DiskKind, Fate, FormerDisk},
        disk_copy::DiskCopy,
        flavor::Size,
        server::{Server, Wanted},
    },
    host::{
        observation::{Handover, Observation, ObservedState, SourceDecision},
        order::Order,
    },
};

/// A server with a root, an ephemeral and a swap disk.
fn with_three_disks() -> Cloud {
    let mut cloud = Cloud::new();
    cloud
        .run(|txn| {
            let more = |size: Size| Size { ephemeral_gb: 1, swap_mb: 64, ..size };
            txn.update::<Server>(&server_id(), |s| s.size = more(s.size));
            let server = txn.servers[&server_id()].clone();
            txn.delete::<Disk>(&DiskId::root_of(server.id));
            disk::create(txn, &server);
            disk::update(txn, server_id(), |disk| disk.made = true);
            Ok(())
        })
        .unwrap();
    cloud
}

#[test]
fn all_disks_of_a_server_move_and_go_together() {
    let mut cloud = with_three_disks();
    cloud.run(|txn| migrate::live_migrate(txn, &admin(), server_id(), Some("b"))).unwrap();
    let Some(Order::Receive(receive)) = order(&cloud.state, cloud.hosts[1], server_id()) else { panic!() };
    let told: Vec<_> = receive.assignment.guest.disks.iter().map(|d| (d.generation, d.bytes)).collect();
    assert_eq!(told, [(2, 1 << 30), (2, 1 << 30), (2, 64 << 20)]);
    cloud.hear(1, seen(2, ObservedState::Ready));
    let handover = Some(Handover { generation: 2, decision: SourceDecision::Released });
    cloud.hear(
        0,
        Observation { handover, ..seen(1, ObservedState::Running { ssh_forward: None, paused: false }) },
    );
    cloud.is_on(1, 2);
    assert!(matches!(cloud.fate_on(0), Some(Fate::Kept { .. })));
    let granted = |disk: &Disk| (disk.kind, disk.host_id, disk.generation, disk.made);
    let own: Vec<_> = cloud.state.disks_of_server(server_id()).map(|disk| granted(disk)).collect();
    let kinds = [DiskKind::Root, DiskKind::Ephemeral, DiskKind::Swap];
    assert_eq!(own, kinds.map(|kind| (kind, Some(cloud.hosts[1]), 2, true)));
    let left: Vec<_> = cloud.state.left_disks_on(cloud.hosts[0], server_id()).map(|d| granted(d)).collect();
    assert_eq!(left, kinds.map(|kind| (kind, Some(cloud.hosts[0]), 1, true)));
    let of: Vec<DiskId> =
        cloud.state.left_disks_of_server(server_id()).map(|d| d.left.as_ref().unwrap().of).collect();
    assert_eq!(of, cloud.state.disks_of_server(server_id()).map(|d| d.id).collect::<Vec<_>>());
    cloud.state.check_indexes().unwrap();

    // The host has one order for them, and its confirmation is about all of them.
    assert!(matches!(
        order(&cloud.state, cloud.hosts[0], server_id()),
        Some(Order::Keep { generation: 1, .. })
    ));
    cloud.run(|txn| delete(txn, &admin(), server_id())).unwrap();
    assert!(matches!(order(&cloud.state, cloud.hosts[0], server_id()), Some(Order::Remove { .. })));
    cloud.hear(0, seen(1, ObservedState::Absent));
    assert_eq!(cloud.state.left_disks_of_server(server_id()).count(), 0);
    assert!(order(&cloud.state, cloud.hosts[0], server_id()).is_none());
    cloud.hear(1, seen(2, ObservedState::Absent));
    assert!(cloud.state.disks.is_empty() && cloud.state.servers.is_empty());
    cloud.state.check_indexes().unwrap();
}

#[test]
fn a_disk_that_is_elsewhere_is_named_and_nothing_is_touched() {
    let mut cloud = with_three_disks();
    let swap = cloud.state.disks_of_server(server_id()).last().unwrap().id;
    let (home, away) = (cloud.hosts[0], cloud.hosts[1]);
    cloud.run(|txn| Ok(txn.update::<Disk>(&swap, |disk| disk.host_id = Some(away)))).unwrap();
    cloud.run(|txn| Ok(reconcile(Key::Server(server_id()), txn))).unwrap();
    let server = cloud.server();
    let fault = server.fault.as_ref().unwrap();
    assert_eq!(server.status(), "ERROR");
    assert!(fault.message.contains("not where the server is"), "{fault:?}");
    assert!(
        fault.details.as_ref().unwrap().contains(&format!("disk {swap} of generation 1 is on b")),
        "{fault:?}"
    );
    for host in [home, away] {
        assert!(changes(&cloud.state, host, cloud.state.incarnation, 0).servers.is_empty());
    }
    // It is said once, and deleting the server is the way out.
    let seq = cloud.state.seq;
    cloud.run(|txn| Ok(reconcile(Key::Server(server_id()), txn))).unwrap();
    assert_eq!(cloud.server().updated_at, server.updated_at, "after {seq}");
    cloud.run(|txn| delete(txn, &admin(), server_id())).unwrap();
    assert_eq!(cloud.server().wanted, Wanted::Absent);
    assert!(matches!(order(&cloud.state, home, server_id()), Some(Order::Remove { .. })));
}

#[test]
fn records_that_0_1_0_wrote_are_brought_over_once() {
    let mut cloud = Cloud::new();
    let (home, away) = (cloud.hosts[0], cloud.hosts[1]);
    let (id, root) = (DiskCopyId::from_random([77; 16]), DiskId::root_of(server_id()));
    cloud
        .run(|txn| {
            txn.delete::<Disk>(&root);
            let former = FormerDisk { generation: 5, issued: 6, revives: Some(2), made: true };
            let server = Server::clone(&txn.servers[&server_id()]);
            txn.put(Server { former_disk: Some(former), ..server });
            txn.put(DiskCopy {
                id,
                created_at: txn.now,
                updated_at: None,
                server_id: server_id(),
                host_id: away,
                generation: 4,
                fate: Fate::Doomed,
                may_run: true,
                why: "moved".to_owned(),
                unknown: Default::default(),
            });
            Ok(())
        })
        .unwrap();
    let before = cloud.server();
    for _ in 0..2 {
        cloud
            .run(|txn| {
                bring_over(txn);
                Ok(())
            })
            .unwrap();
        let disk = cloud.state.root_disk(server_id()).unwrap();
        assert_eq!((disk.id, disk.host_id, disk.generation), (root, Some(home), 5));
        assert_eq!((disk.issued, disk.revives, disk.made), (6, Some(2), true));
        let left = cloud.state.left_disk_on(away, server_id()).unwrap();
        assert_eq!(
            (left.id, left.generation, left.fate(), left.may_run()),
            (DiskId(id.0), 4, Some(&Fate::Doomed), true)
        );
        assert!(cloud.state.disk_copies.is_empty());
        assert_eq!(*cloud.server(), Server { former_disk: None, ..Server::clone(&before) });
    }
    cloud.state.check_indexes().unwrap();
}

/// After a restore of the store, a host says first what it has while it still makes a rebuild's disk by an order of before.
/// When that disk is there, the host has a newer generation than the record.
#[test]
fn a_disk_that_is_made_after_its_hosts_first_report_counts_and_can_be_removed() {
    let mut cloud = Cloud::new();
    cloud
        .run(|txn| {
            restore::begin(txn);
            Ok(())
        })
        .unwrap();
    let preparing = |disk_made| ObservedState::Preparing { step: "making new disks".to_owned(), disk_made };
    cloud.hear(0, seen(1, ObservedState::Running { ssh_forward: None, paused: false }));
    assert_eq!(cloud.server().restored, None, "the host has said that it has the server");
    cloud.hear(0, seen(2, preparing(true)));
    cloud.is_on(0, 2);
    // Another host's claim to a newer disk does not count any more.
    cloud.hear(1, seen(3, preparing(true)));
    cloud.is_on(0, 2);
    cloud.run(|txn| delete(txn, &admin(), server_id())).unwrap();
    let Some(Order::Remove { generation, .. }) = order(&cloud.state, cloud.hosts[0], server_id()) else {
        panic!()
    };
    assert_eq!(generation, 2, "the agent obeys no order of an older generation");
}
