//! Suspended guests, when host and record do not agree about what happened.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/cloud.rs"]
mod cloud;
mod common;

use cloud::{Cloud, admin, seen};
use common::server_id;
use lenticular_control::command::compute::suspend;
use lenticular_model::{
    compute::{
        operation::OperationKind,
        server::{BootStyle, Condition, Server, Wanted},
    },
    host::observation::{Attempt, FailedAttempt, Observation, ObservedState, StopReason},
};

/// The host saved the memory when nobody waited for that any more, so the guest is told to go on.
fn told_to_go_on() -> Cloud {
    let mut cloud = Cloud::new();
    cloud.run(|txn| suspend::suspend(txn, &admin(), server_id())).unwrap();
    let server = cloud.server();
    assert_eq!(server.task.as_ref().map(|task| task.action), Some(OperationKind::Suspend));
    let given_up = |txn: &mut lenticular_model::Txn<'_>| {
        Ok(lenticular_control::lifecycle::suspend::give_up(txn, &server, "It took too long.".to_owned()))
    };
    assert!(cloud.run(given_up).unwrap());
    cloud.hear(0, seen(1, ObservedState::Suspended));
    let server = cloud.server();
    assert_eq!((server.wanted, server.boot, server.boot_style), (Wanted::Running, 2, BootStyle::Resume));
    cloud
}

#[test]
fn a_guest_that_cannot_go_on_with_its_memory_is_suspended_and_not_tried_for_ever() {
    let mut cloud = told_to_go_on();
    let (message, details) = ("It cannot.".to_owned(), "its disk is away".to_owned());
    let failed_attempt = Some(FailedAttempt { attempt: Attempt::Resume { boot: 2 }, message, details });
    let word = Observation { boot: 2, failed_attempt, ..seen(1, ObservedState::Suspended) };
    cloud.hear(0, word.clone());
    let settled = cloud.server();
    assert_eq!(
        (settled.wanted, settled.condition, settled.boot),
        (Wanted::Suspended, Condition::Suspended, 2)
    );
    cloud.is_on(0, 1);
    assert_eq!(cloud.fate_on(0), None, "its disk is in use");
    cloud.hear(0, word);
    assert_eq!(cloud.server(), settled, "the same word changes nothing");
    // Its owner can have it tried again.
    cloud.run(|txn| suspend::resume(txn, &admin(), server_id())).unwrap();
    assert_eq!(cloud.server().boot, 3);
}

#[test]
fn a_boot_that_is_older_than_the_hosts_is_caught_up_with_before_the_next_one() {
    let mut cloud = Cloud::new();
    // The store was restored: the host has done boots that the record does not know.
    let word = Observation { boot: 4, ..seen(1, ObservedState::Stopped { why: StopReason::Ordered }) };
    cloud.hear(0, word);
    assert_eq!(cloud.server().boot, 5, "the host starts the guest only for a boot that it has not done");
    cloud.run(|txn| Ok(txn.update::<Server>(&server_id(), |s| s.boot = 1))).unwrap();
    let runs = ObservedState::Running { ssh_forward: None, paused: false };
    cloud.hear(0, Observation { boot: 5, ..seen(1, runs) });
    assert_eq!((cloud.server().boot, cloud.server().status()), (5, "ACTIVE"));
}
