//! A change wakes the controllers that wait for it; no controller polls.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/cloud.rs"]
mod cloud;
mod common;

use cloud::{Cloud, admin, seen};
use common::server_id;
use lenticular_control::{
    command::{compute::migrate, host::fence},
    lifecycle::restore,
    reconcile::{Key, reconcile, woken},
};
use lenticular_model::{
    Kind, State, Timestamp, Txn,
    compute::{
        disk::Disk,
        server::{Restored, Server},
    },
    host::{host::Host, observation::ObservedState},
    policy::Caller,
};
use std::collections::BTreeSet;

impl Cloud {
    /// Changes the State; returns the controllers that the change of this record wakes.
    fn woken_by(
        &mut self,
        kind: Kind,
        id: impl ToString,
        change: impl FnOnce(&mut Txn<'_>),
    ) -> BTreeSet<Key> {
        let before: State = self.state.clone();
        self.run(|txn| {
            change(txn);
            Ok(())
        })
        .unwrap();
        let mut keys = BTreeSet::new();
        woken(&before, &self.state, kind, &id.to_string(), &mut keys);
        keys
    }

    fn reconcile(&mut self, key: Key) -> Option<Timestamp> {
        self.run(|txn| Ok(reconcile(key.clone(), txn))).unwrap()
    }
}

#[test]
fn a_move_that_waits_for_its_target_ends_when_the_target_falls_silent() {
    let mut cloud = Cloud::new();
    let id = cloud.run(|txn| migrate::live_migrate(txn, &admin(), server_id(), Some("b"))).unwrap();
    let (target, key) = (cloud.hosts[1], Key::Migration(id));
    let due = cloud.reconcile(key.clone()).unwrap();
    assert!(due > Timestamp(cloud.at).plus_s(600), "nothing is looked at before it is due");
    let now = Timestamp(cloud.at);
    let other = cloud.hosts[2];
    let silent =
        |host| move |txn: &mut Txn<'_>| assert!(txn.update::<Host>(&host, |h| h.silent_since = Some(now)));
    assert_eq!(cloud.woken_by(Kind::Host, other, silent(other)), [Key::Host(other)].into());
    assert_eq!(cloud.woken_by(Kind::Host, target, silent(target)), [Key::Host(target), key.clone()].into());
    cloud.reconcile(key.clone());
    assert!(cloud.server().ticket.is_none(), "the move has ended");
}

#[test]
fn a_restored_server_is_lost_when_the_last_host_that_may_have_it_is() {
    let mut cloud = Cloud::new();
    cloud
        .run(|txn| {
            restore::begin(txn);
            Ok(())
        })
        .unwrap();
    let key = Key::Server(server_id());
    assert_eq!(cloud.reconcile(key.clone()), None);
    assert_eq!(cloud.server().restored, Some(Restored::Unheard));
    for (n, host) in cloud.hosts.clone().into_iter().enumerate() {
        let caller: Caller = admin();
        let keys =
            cloud.woken_by(Kind::Host, host, |txn| fence::fence(txn, &caller, host, true, None).unwrap());
        assert!(keys.contains(&key));
        cloud.reconcile(key.clone());
        assert_eq!(cloud.server().restored.is_none(), n == 2, "all three hosts must be lost");
    }
    assert_eq!(cloud.server().status(), "ERROR");
}

#[test]
fn a_disk_left_behind_is_looked_at_when_its_host_is_gone_or_its_server_found() {
    let mut cloud = Cloud::new();
    cloud.run(|txn| migrate::live_migrate(txn, &admin(), server_id(), Some("b"))).unwrap();
    cloud.hear(1, seen(2, ObservedState::Ready));
    cloud.hear(1, seen(2, ObservedState::Running { ssh_forward: None, paused: false }));
    cloud.is_on(1, 2);
    assert!(cloud.fate_on(0).is_some());
    let copy = cloud.state.all::<Disk>().find(|disk| disk.left.is_some()).unwrap().id;
    let restored =
        |state| move |txn: &mut Txn<'_>| assert!(txn.update::<Server>(&server_id(), |s| s.restored = state));
    let keys = cloud.woken_by(Kind::Server, server_id(), restored(Some(Restored::Unheard)));
    assert!(keys.contains(&Key::Disk(copy)));
    let keys = cloud.woken_by(Kind::Server, server_id(), restored(None));
    assert!(keys.contains(&Key::Disk(copy)));
    let host = cloud.hosts[0];
    let keys = cloud.woken_by(Kind::Host, host, |txn| drop(txn.delete::<Host>(&host)));
    assert!(keys.contains(&Key::Disk(copy)));
    cloud.reconcile(Key::Disk(copy));
    assert!(cloud.state.all::<Disk>().all(|disk| disk.left.is_none()));
}
