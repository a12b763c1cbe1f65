//! The state machine with one guest, case by case.

use super::*;
use lenticular_model::{
    compute::{
        migration::Mode,
        server::{BootStyle, Wanted},
    },
    host::{
        action::{ActionOrder, REBOOT},
        host::HostOrder,
        observation::StopReason,
    },
};

use crate::testing::Wish;
pub(super) use crate::testing::{incarnation, server};
use lenticular_wire::agent::{Outgoing, Own, Peer, Replaces};

pub(super) fn order(id: ServerId, wanted: Wanted, boot: u64) -> Wish {
    Wish { server_id: id, wanted, boot, ..crate::testing::wish(1) }
}

/// A root disk of the first generation, or no disk.
pub(super) fn disks(id: ServerId, made: bool) -> BTreeMap<DiskId, u64> {
    made.then_some((DiskId::root_of(id), 1)).into_iter().collect()
}

fn started(ssh_forward: &str) -> Started {
    Started { ssh_forward: Some(ssh_forward.to_owned()), ..Started::default() }
}

fn send(core: &mut Core, after: u64, wishes: Vec<Wish>) -> Taken {
    send_orders(core, after, wishes.iter().map(Wish::order).collect())
}

fn send_orders(core: &mut Core, after: u64, orders: Vec<Order>) -> Taken {
    core.apply(&Orders { after, upto: after + 1, ..all_orders(orders) })
}

fn all_orders(orders: Vec<Order>) -> Orders {
    Orders {
        incarnation: incarnation(1),
        after: 0,
        upto: 1,
        servers: orders,
        host: None,
        at: None,
        questions: Vec::new(),
        receipt: None,
    }
}

/// Carries out all steps without failure. Returns their names in order.
fn run(core: &mut Core) -> Vec<&'static str> {
    let mut names = Vec::new();
    loop {
        let steps = core.begin();
        if steps.is_empty() {
            return names;
        }
        for (id, step) in steps {
            names.push(step.name());
            let outcome = match step {
                Step::Start(_) => Outcome::Started(Started::default()),
                _ => Outcome::Done,
            };
            core.done(id, outcome);
        }
    }
}

fn observed(core: &Core) -> ObservedState {
    core.inventory().pop().expect("one guest").observed
}

fn running() -> Core {
    let mut core = Core::new("boot-a".to_owned(), 4);
    assert_eq!(send(&mut core, 0, vec![order(server(1), Wanted::Running, 1)]), Taken::Applied);
    assert_eq!(run(&mut core), ["preparing the disk", "starting"]);
    assert_eq!(observed(&core), ObservedState::Running { ssh_forward: None, paused: false });
    core
}

fn reopen(core: &Core, boot_id: &str) -> Core {
    let text = serde_json::to_string(&core.snapshot()).expect("a snapshot is JSON");
    Core::restore(serde_json::from_str(&text).expect("and back"), boot_id.to_owned(), 4).expect("same format")
}

#[test]
fn the_saved_state_keeps_its_names() {
    let saved = serde_json::to_value(running().snapshot()).expect("a snapshot is JSON");
    assert_eq!(
        saved["guests"][0][1]["life"],
        serde_json::json!({"Running": {"ssh_forward": null, "layout": 0, "paused": false}})
    );
}

#[test]
fn the_state_that_0_1_0_saved_under_a_running_guest_is_brought_over() {
    let saved: Snapshot = serde_json::from_str(include_str!("v2/agent.json")).unwrap();
    let boot_id = saved.boot_id.clone();
    let mut core = Core::restore(saved, boot_id, 4).unwrap();
    let id = core.servers().next().unwrap();
    let started = Started { layout: 1, ..started("127.0.0.1:40337") };
    let process = FoundProcess { boot: 1, started, ended: false };
    core.found(id, FoundGuest { disks: disks(id, true), process: Some(process), memory: None });
    assert!(run(&mut core).is_empty(), "the guest runs on");
    let seen = core.inventory().remove(0);
    assert_eq!((seen.generation, seen.boot, seen.layout), (1, 1, 1));
    assert!(matches!(seen.observed, ObservedState::Running { .. }));
    // The disk has a name now.
    let order = core.guests[&id].own().unwrap();
    let [disk] = &order.assignment.guest.disks[..] else { panic!("one disk") };
    assert_eq!((disk.id, disk.bytes), (DiskId::root_of(id), 1 << 30));
}

/// A server that was shelved comes back to a host that once handed it on, and whose left disk no record names any more.
#[test]
fn a_guest_comes_back_under_a_newer_grant_to_the_host_that_released_it() {
    for restarts in [false, true] {
        let mut core = running();
        let to = Peer { host_id: Default::default(), name: "b".to_owned(), address: "b:1".to_owned() };
        let out = Outgoing { generation: 2, to, mode: Mode::Cold, withdraw: false, force: false };
        let Order::Own(own) = order(server(1), Wanted::Running, 1).order() else { panic!("an own order") };
        let leaves = Own { disk_made: true, outgoing: Some(out), ..own };
        send_orders(&mut core, 1, vec![Order::Own(leaves)]);
        assert_eq!(run(&mut core), ["shutting down", "sending", "handing over", "ending the process"]);
        if restarts {
            core = reopen(&core, "boot-a");
            core.found(server(1), FoundGuest { disks: disks(server(1), true), process: None, memory: None });
        }
        let back = Wish { generation: 3, disk_made: false, ..order(server(1), Wanted::Running, 2) };
        send_orders(&mut core, 2, vec![back.order()]);
        assert_eq!(run(&mut core), ["preparing the disk", "starting"]);
        let seen = core.inventory().remove(0);
        assert_eq!((seen.generation, seen.boot, &seen.handover), (3, 2, &None));
        assert_eq!(seen.observed, ObservedState::Running { ssh_forward: None, paused: false });
    }
}

#[test]
fn a_soft_reboot_shuts_down_and_a_hard_one_kills() {
    for (style, first) in [(BootStyle::Soft, "shutting down"), (BootStyle::Hard, "ending the process")] {
        let mut core = running();
        let reboot = Wish { boot_style: style, ..order(server(1), Wanted::Running, 2) };
        send(&mut core, 1, vec![reboot]);
        assert_eq!(run(&mut core), [first, "starting"]);
        assert_eq!(core.inventory()[0].boot, 2);
    }
}

#[test]
fn a_change_of_metadata_alone_does_nothing_to_the_guest() {
    let mut core = running();
    let mut renamed = order(server(1), Wanted::Running, 1);
    renamed.guest.hostname = "other".to_owned();
    send(&mut core, 1, vec![renamed]);
    assert!(run(&mut core).is_empty());
}

#[test]
fn absence_is_never_an_order() {
    let mut core = running();
    assert_eq!(send(&mut core, 1, Vec::new()), Taken::Applied);
    assert!(core.enter(incarnation(2)), "another life of the store");
    let other = Orders {
        incarnation: incarnation(2),
        after: 0,
        upto: 9,
        servers: Vec::new(),
        host: None,
        at: None,
        questions: Vec::new(),
        receipt: None,
    };
    assert_eq!(core.apply(&other), Taken::Applied);
    assert!(run(&mut core).is_empty());
    assert_eq!(observed(&core), ObservedState::Running { ssh_forward: None, paused: false });
}

#[test]
fn repeated_and_gapped_orders_are_ignored() {
    let mut core = running();
    let stop = vec![order(server(1), Wanted::Stopped, 1)];
    assert_eq!(send(&mut core, 0, stop.clone()), Taken::Ignored);
    assert_eq!(send(&mut core, 7, stop), Taken::Ignored);
    for after in [0, 5] {
        let other = vec![order(server(1), Wanted::Absent, 1).order()];
        let other = Orders {
            incarnation: incarnation(2),
            after,
            upto: 6,
            servers: other,
            host: None,
            at: None,
            questions: Vec::new(),
            receipt: None,
        };
        assert_eq!(core.apply(&other), Taken::Ignored, "it has not entered that life of the store");
    }
    assert!(run(&mut core).is_empty());
}

#[test]
fn a_tombstone_is_kept_until_its_report_was_acknowledged() {
    let mut core = running();
    send(&mut core, 1, vec![order(server(1), Wanted::Absent, 1)]);
    assert_eq!(run(&mut core), ["ending the process", "removing"]);
    let said = core.pending_reports();
    assert_eq!(said[0].observed, ObservedState::Absent);
    assert_eq!(core.pending_reports(), said);
    core.reported(&said);
    assert!(core.inventory().is_empty());
    assert!(core.pending_reports().is_empty());
}

#[test]
fn a_removal_of_an_earlier_life_of_the_store_does_not_begin_again() {
    for restarts in [true, false] {
        let mut core = running();
        send(&mut core, 1, vec![order(server(1), Wanted::Absent, 1)]);
        let [(id, Step::Kill)] = core.begin()[..] else { panic!("the process ends first") };
        core.done(id, Outcome::Done);
        assert!(matches!(core.begin()[..], [(_, Step::Remove)]));
        assert!(core.enter(incarnation(2)));
        if restarts {
            core = reopen(&core, "boot-a");
            core.found(id, FoundGuest { disks: disks(id, true), process: None, memory: None });
        } else {
            core.done(id, Outcome::Failed(Failure::new("no", "the disk is full")));
            core.retry();
        }
        assert!(run(&mut core).is_empty());
        assert_eq!(observed(&core), ObservedState::Kept);
    }
}

#[test]
fn a_rebuilt_guest_starts_though_the_store_forgot_the_rebuild() {
    let mut core = running();
    let rebuild = Wish { generation: 2, ..order(server(1), Wanted::Running, 2) }.order();
    let Order::Own(own) = rebuild else { panic!("an own guest") };
    let rebuild = Order::Own(Own { replaces: Some(Replaces { generation: 1, keeps_data: false }), ..own });
    send_orders(&mut core, 1, vec![rebuild]);
    let [(id, Step::Kill)] = core.begin()[..] else { panic!("the process ends first") };
    core.done(id, Outcome::Done);
    let [(id, Step::Rebuild(..))] = core.begin()[..] else { panic!("then the disks are made") };
    assert!(core.enter(incarnation(2)));
    core.done(id, Outcome::Done);
    let message = Orders {
        incarnation: incarnation(2),
        ..all_orders(vec![Wish { generation: 2, disk_made: true, ..order(id, Wanted::Running, 1) }.order()])
    };
    assert_eq!(core.apply(&message), Taken::Applied);
    assert_eq!(run(&mut core), ["starting"]);
}

#[test]
fn an_unknown_guest_is_reported_absent_without_a_step() {
    let mut core = Core::new("a".to_owned(), 4);
    send(&mut core, 0, vec![order(server(1), Wanted::Absent, 3)]);
    assert!(run(&mut core).is_empty());
    assert_eq!(observed(&core), ObservedState::Absent);
}

#[test]
fn a_made_disk_is_never_made_a_second_time() {
    let mut core = Core::new("a".to_owned(), 4);
    send(&mut core, 0, vec![Wish { disk_made: true, ..order(server(1), Wanted::Running, 3) }]);
    assert!(run(&mut core).is_empty());
    assert!(matches!(observed(&core), ObservedState::Failed { disk_made: false, .. }));

    // Only the snapshot knows that the disk was made.
    let mut core = reopen(&running(), "a");
    core.found(server(1), FoundGuest::default());
    send(&mut core, 1, vec![order(server(1), Wanted::Running, 2)]);
    assert!(run(&mut core).is_empty());
    assert!(matches!(observed(&core), ObservedState::Failed { .. }));

    // An operator puts the disk back, and the owner tries again.
    core.disks_found(server(1), 1, None);
    send(&mut core, 2, vec![order(server(1), Wanted::Running, 3)]);
    assert_eq!(run(&mut core), ["starting"]);
}

#[test]
fn a_failed_start_waits_for_a_higher_boot() {
    let mut core = Core::new("a".to_owned(), 4);
    send(&mut core, 0, vec![order(server(1), Wanted::Running, 1)]);
    core.begin();
    core.done(server(1), Outcome::Failed(Failure::new("No room.", "statvfs")));
    assert!(run(&mut core).is_empty());
    assert!(matches!(observed(&core), ObservedState::Failed { .. }));
    assert_eq!(core.inventory()[0].boot, 1);
    send(&mut core, 1, vec![order(server(1), Wanted::Running, 2)]);
    assert_eq!(run(&mut core), ["preparing the disk", "starting"]);
}

#[test]
fn how_a_guest_ended_is_told() {
    for (how, why) in [(Ended::ByGuest, StopReason::ByGuest), (Ended::Died, StopReason::Died)] {
        let mut core = running();
        core.exited(server(1), 0, how);
        assert_eq!(
            observed(&core),
            ObservedState::Running { ssh_forward: None, paused: false },
            "an old boot's end is no news"
        );
        core.exited(server(1), 1, how);
        assert_eq!(observed(&core), ObservedState::Stopped { why });
        assert!(run(&mut core).is_empty());
    }
}

#[test]
fn after_a_restart_guests_are_found_or_told_lost() {
    let there = FoundGuest { disks: disks(server(1), true), process: None, memory: None };
    let mut core = reopen(&running(), "boot-a");
    core.found(server(1), there.clone());
    assert_eq!(observed(&core), ObservedState::Stopped { why: StopReason::Died });

    let mut core = reopen(&running(), "boot-b");
    core.found(server(1), there.clone());
    assert_eq!(observed(&core), ObservedState::Stopped { why: StopReason::HostRestarted });

    let process = FoundProcess { boot: 1, started: started("127.0.0.1:9"), ended: false };
    let mut core = reopen(&running(), "boot-a");
    core.found(server(1), FoundGuest { process: Some(process), ..there });
    assert_eq!(
        observed(&core),
        ObservedState::Running { ssh_forward: Some("127.0.0.1:9".to_owned()), paused: false }
    );
    assert!(run(&mut core).is_empty());
}

#[test]
fn a_stop_during_creation_ends_with_a_disk_and_no_process() {
    let mut core = Core::new("a".to_owned(), 4);
    send(&mut core, 0, vec![order(server(1), Wanted::Stopped, 1)]);
    assert_eq!(run(&mut core), ["preparing the disk"]);
    assert_eq!(observed(&core), ObservedState::Stopped { why: StopReason::Ordered });
    assert_eq!(core.inventory()[0].boot, 1);
}

#[test]
fn an_overtaken_shutdown_is_cut_short() {
    let mut core = running();
    send(&mut core, 1, vec![order(server(1), Wanted::Stopped, 1)]);
    assert_eq!(core.begin(), [(server(1), Step::Shutdown)]);
    assert!(core.take_cancels().is_empty());
    send(&mut core, 2, vec![order(server(1), Wanted::Absent, 1)]);
    assert_eq!(core.take_cancels(), [server(1)]);
    core.done(server(1), Outcome::Done);
    assert_eq!(run(&mut core), ["removing"]);
}

#[test]
fn a_lost_memory_is_told_until_the_guest_is_suspended_again() {
    let mut core = running();
    let lost = Started { memory_lost: Some("gone".to_owned()), ..Started::default() };
    let told = |core: &Core| core.inventory().pop().expect("one guest").memory_lost;
    for (n, outcome) in [(1, lost), (3, Started::default())] {
        send(&mut core, n, vec![order(server(1), Wanted::Suspended, n)]);
        assert_eq!(run(&mut core), ["saving the memory"]);
        let resume = Wish { boot_style: BootStyle::Resume, ..order(server(1), Wanted::Running, n + 1) };
        send(&mut core, n + 1, vec![resume]);
        assert!(matches!(core.begin().as_slice(), [(_, Step::Wake(_))]));
        let expected = outcome.memory_lost.clone();
        core.done(server(1), Outcome::Started(outcome));
        assert_eq!(told(&core), expected);
    }
}

#[test]
fn a_start_that_failed_may_leave_the_saved_memory_and_a_stop_drops_it() {
    let mut core = running();
    send(&mut core, 1, vec![order(server(1), Wanted::Suspended, 1)]);
    run(&mut core);
    send(&mut core, 2, vec![order(server(1), Wanted::Running, 2)]);
    assert!(matches!(core.begin().as_slice(), [(_, Step::Start(_))]));
    core.done(server(1), Outcome::Failed(Failure::new("A disk is away.", "chaos")));
    send(&mut core, 3, vec![order(server(1), Wanted::Stopped, 2)]);
    assert_eq!(run(&mut core), ["removing the saved memory"]);
}

#[test]
fn a_guest_that_shuts_itself_down_while_it_is_suspended_did_not_die() {
    for (how, why) in [(Ended::ByGuest, StopReason::ByGuest), (Ended::Died, StopReason::Died)] {
        let mut core = running();
        send(&mut core, 1, vec![order(server(1), Wanted::Suspended, 1)]);
        assert!(matches!(core.begin().as_slice(), [(_, Step::Suspend(_))]));
        core.exited(server(1), 1, how);
        core.done(server(1), Outcome::Failed(Failure::new("It has ended.", "chaos")));
        assert_eq!(observed(&core), ObservedState::Stopped { why });
    }
}

#[test]
fn a_cancel_does_not_outlive_the_step_that_it_was_for() {
    let mut core = running();
    send(&mut core, 1, vec![order(server(1), Wanted::Stopped, 1)]);
    assert_eq!(core.begin(), [(server(1), Step::Shutdown)]);
    send(&mut core, 2, vec![order(server(1), Wanted::Absent, 1)]);
    // The agent's end is the step's end; the next step is another.
    assert!(reopen(&core, "boot-a").take_cancels().is_empty());
}

#[test]
fn an_older_generation_is_over_and_a_newer_one_ends_the_old_guest() {
    let mut core = running();
    let old = Wish { generation: 0, ..order(server(1), Wanted::Absent, 1) };
    send(&mut core, 1, vec![old]);
    assert!(run(&mut core).is_empty());
    let new = Wish { generation: 2, disk_made: true, ..order(server(1), Wanted::Running, 2) };
    send(&mut core, 2, vec![new]);
    assert_eq!(run(&mut core), ["ending the process"]);
    assert!(matches!(observed(&core), ObservedState::Failed { .. }));
}

#[test]
fn a_restored_store_counts_boots_from_the_beginning() {
    let mut core = running();
    send(&mut core, 1, vec![order(server(1), Wanted::Running, 5)]);
    run(&mut core);
    let restored = |after: u64, boot: u64| Orders {
        incarnation: incarnation(2),
        after,
        upto: after + 1,
        servers: vec![order(server(1), Wanted::Running, boot).order()],
        host: None,
        at: None,
        questions: Vec::new(),
        receipt: None,
    };
    assert!(core.enter(incarnation(2)));
    assert!(!core.enter(incarnation(2)), "it is told so once");
    core.apply(&restored(0, 3));
    assert!(run(&mut core).is_empty(), "it runs on");
    core.apply(&restored(1, 4));
    assert_eq!(run(&mut core), ["ending the process", "starting"]);
}

#[test]
fn only_so_many_starts_are_under_way_and_deletes_are_not_held_up() {
    let mut core = Core::new("a".to_owned(), 2);
    send(&mut core, 0, (1..=5).map(|n| order(server(n), Wanted::Running, 1)).collect());
    assert_eq!(core.begin().len(), 2);
    assert!(core.begin().is_empty());
    send(&mut core, 1, vec![order(server(5), Wanted::Absent, 1)]);
    assert_eq!(core.begin().len(), 1, "the removal");
}

#[test]
fn a_start_that_a_crash_interrupted_is_not_done_twice() {
    let mut core = Core::new("a".to_owned(), 4);
    send(&mut core, 0, vec![order(server(1), Wanted::Running, 1)]);
    core.begin();
    core.done(server(1), Outcome::Done);
    assert!(matches!(core.begin()[..], [(_, Step::Start(_))]));
    let process = FoundProcess { boot: 1, started: Started::default(), ended: false };
    let mut found = reopen(&core, "a");
    found
        .found(server(1), FoundGuest { disks: disks(server(1), true), process: Some(process), memory: None });
    assert!(run(&mut found).is_empty(), "it runs: the start was done");
    let mut lost = reopen(&core, "a");
    lost.found(server(1), FoundGuest { disks: disks(server(1), true), process: None, memory: None });
    assert_eq!(run(&mut lost), ["starting"]);
}

#[test]
fn another_incarnation_finds_guests_as_they_are() {
    // Columns: the wanted state, the boot that was reached, and the step in another incarnation.
    for (wanted, boot, step) in
        [(Wanted::Running, 2, None), (Wanted::Stopped, 1, None), (Wanted::Absent, 1, Some("removing"))]
    {
        let mut core = running();
        send(&mut core, 1, vec![order(server(1), wanted, boot)]);
        assert!(core.enter(incarnation(2)));
        assert!(run(&mut core).is_empty(), "nothing of {wanted:?} has begun, and nothing begins");
        assert_eq!(observed(&core), ObservedState::Running { ssh_forward: None, paused: false });

        // A step that has begun ends; a removal that has begun is completed.
        let mut core = running();
        send(&mut core, 1, vec![order(server(1), wanted, boot)]);
        core.begin();
        core.done(server(1), Outcome::Done);
        let begun = core.begin();
        assert!(core.enter(incarnation(2)));
        begun.iter().for_each(|(id, step)| {
            let started = matches!(step, Step::Start(_));
            core.done(*id, if started { Outcome::Started(Started::default()) } else { Outcome::Done });
        });
        assert!(run(&mut core).is_empty());
        let gone = observed(&core) == ObservedState::Absent;
        assert_eq!(gone, step.is_some(), "{wanted:?}");
    }
}

#[test]
fn a_guest_that_ends_as_it_was_asked_to_did_not_end_by_itself() {
    let stop = |core: &mut Core| {
        send(core, 1, vec![order(server(1), Wanted::Stopped, 1)]);
        assert_eq!(core.begin(), [(server(1), Step::Shutdown)]);
    };
    // The guest stops while the agent is down.
    let mut core = running();
    stop(&mut core);
    let mut core = reopen(&core, "boot-a");
    let process = FoundProcess { boot: 1, started: Started::default(), ended: true };
    core.found(server(1), FoundGuest { disks: disks(server(1), true), process: Some(process), memory: None });
    assert_eq!(observed(&core), ObservedState::Stopped { why: StopReason::Ordered });

    // The step failed, and was not needed any more.
    let mut core = running();
    stop(&mut core);
    core.exited(server(1), 1, Ended::ByGuest);
    core.done(server(1), Outcome::Failed(Failure::new("It does not answer.", "QMP")));
    assert_eq!(observed(&core), ObservedState::Stopped { why: StopReason::Ordered });
    assert!(!core.is_stuck());
}

#[test]
fn a_host_does_not_boot_while_a_guest_runs() {
    let (name, boot_id) = (REBOOT.to_owned(), "boot-a".to_owned());
    let boots = HostOrder {
        action: Some(ActionOrder { number: 9, name, boot_id, expect: String::new() }),
        ..HostOrder::default()
    };
    let mut core = running();
    core.apply(&Orders { after: 1, upto: 2, host: Some(boots), ..all_orders(Vec::new()) });
    assert_eq!(core.begin_action(), None);
    core.apply(&Orders {
        after: 2,
        upto: 3,
        ..all_orders(vec![order(server(1), Wanted::Stopped, 1).order()])
    });
    assert_eq!(core.begin_action(), None, "the guest goes down");
    run(&mut core);
    assert_eq!(core.begin_action().map(|order| order.number), Some(9));
}
