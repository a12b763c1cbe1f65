//! Operations inside guests: what permits them, and what becomes of them when their leader ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test uses its part")]
#[path = "common/cloud.rs"]
mod cloud;
mod common;

use cloud::{Cloud, admin};
use common::server_id;
use lenticular_control::{
    bootstrap::take_over,
    command::compute::{
        guest::{self, GuestAction},
        suspend,
    },
};

#[test]
fn an_operation_inside_a_guest_ends_with_its_answer_or_with_its_leader() {
    let mut cloud = Cloud::new();
    let begin = |cloud: &mut Cloud, what| cloud.run(|txn| guest::begin(txn, &admin(), server_id(), what));
    let (host, answered) = begin(&mut cloud, GuestAction::ChangePassword).unwrap();
    assert_eq!(host, cloud.hosts[0]);
    let (_, lost) = begin(&mut cloud, GuestAction::CrashDump).unwrap();
    cloud
        .run(|txn| {
            guest::end(txn, answered, None);
            Ok(())
        })
        .unwrap();
    assert!(cloud.state.operations.contains_key(&lost) && !cloud.state.operations.contains_key(&answered));
    cloud
        .run(|txn| {
            take_over(txn);
            Ok(())
        })
        .unwrap();
    assert!(cloud.state.operations.is_empty());
    // The answer comes too late for the next leader, and changes nothing.
    cloud
        .run(|txn| {
            guest::end(txn, lost, None);
            Ok(())
        })
        .unwrap();
    assert!(cloud.state.operations.is_empty());
}

#[test]
fn a_guest_is_left_alone_while_something_is_done_to_its_server() {
    let mut cloud = Cloud::new();
    cloud.run(|txn| suspend::pause(txn, &admin(), server_id())).unwrap();
    for what in [GuestAction::ChangePassword, GuestAction::CrashDump] {
        let refused = cloud.run(|txn| guest::begin(txn, &admin(), server_id(), what)).unwrap_err();
        assert!(refused.to_string().contains("task_state pausing"), "{refused}");
    }
}
