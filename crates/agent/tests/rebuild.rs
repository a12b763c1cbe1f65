//! Guests that start from other disks than before, with a real QEMU: rebuilt ones and rescued ones.
//!
//! Needs QEMU and the test guest (`tools/install guest qemu`, `guest/build`); LENTICULAR_SKIP_QEMU=1 skips the tests.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{
    Cloud, Running,
    counting::{counter, counting, more_counts},
    qemu, server,
};
use lenticular_agent::{Config, run_qemu};
use lenticular_model::host::observation::{Observation, ObservedState};
use lenticular_wire::agent::{Base, Content, Replaces, RescueSpec};
use std::sync::Arc;

/// How often the guest says that it booted its disk for the first time, and how often for a later time.
async fn boots(cloud: &Arc<Cloud>) -> (usize, usize) {
    let text = cloud.console(server(1), None).await.unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("lenticular-guest: boot ")).collect();
    let first = lines.iter().filter(|line| line.trim().ends_with("boot 1")).count();
    (first, lines.len() - first)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_gets_a_new_disk_or_keeps_its_own() {
    if qemu::image().is_none() {
        return;
    }
    let (cloud, state) = (Cloud::new(qemu::image()), qemu::State(tempfile::tempdir().unwrap()));
    cloud.lock().user_data = Some(counter());
    let (link, config) = (cloud.clone(), Config::new("host-1", state.0.path()));
    let _agent = Running::start(move |stop| run_qemu(config, link, None, stop));
    let id = server(1);
    cloud.order(counting(id));
    cloud.sees_running(id, 1).await;
    cloud.console_shows(id, "lenticular-guest: ready").await;
    more_counts(&cloud, id, 3).await;

    // The image of a rebuild cannot be had: the old disk is there, and the guest goes back to it.
    let replaces = |generation| Some(Replaces { generation, keeps_data: false });
    let good = cloud.lock().orders[&id].1.guest.disks[0].content.clone();
    let Content::Image(base) = good.clone() else { panic!("a root disk has an image") };
    cloud.change(id, |wish| {
        (wish.generation, wish.boot, wish.replaces) = (2, 2, replaces(1));
        wish.guest.disks[0].content = Content::Image(Base { sha512: "ab".repeat(64), ..base.clone() });
    });
    let unmade = |seen: &Observation| {
        seen.generation == 2 && matches!(seen.observed, ObservedState::Failed { disk_made: false, .. })
    };
    cloud.sees(id, "a failure", unmade).await;
    cloud.change(id, |wish| {
        (wish.generation, wish.boot, wish.replaces, wish.revives) = (3, 3, None, Some(1));
        (wish.disk_made, wish.guest.disks[0].content) = (true, good.clone());
    });
    cloud.sees(id, "the old disk", |seen| seen.generation == 3).await;
    cloud.change(id, |wish| (wish.boot, wish.revives) = (4, None));
    cloud.sees_running(id, 4).await;
    cloud.console_until_ready(id, 2).await;
    assert_eq!(boots(&cloud).await, (1, 1));

    // A rebuild that succeeds: a new disk, which has never booted; nothing of the old one is left.
    cloud.change(id, |wish| {
        (wish.generation, wish.boot, wish.replaces, wish.disk_made) = (4, 5, replaces(3), false);
    });
    cloud.sees_running(id, 5).await;
    cloud.console_until_ready(id, 3).await;
    assert_eq!(boots(&cloud).await, (2, 1), "the disk is new");
    let names =
        std::fs::read_dir(state.guest(id)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.starts_with("new-")));

    // Rescued, it starts from another new disk; after that its own disk boots for the second time.
    cloud.change(id, |wish| {
        (wish.boot, wish.replaces, wish.disk_made) = (6, None, true);
        wish.guest.rescue = Some(RescueSpec { base: base.clone(), stable: false });
    });
    cloud.sees_running(id, 6).await;
    cloud.console_until_ready(id, 4).await;
    assert_eq!(boots(&cloud).await, (3, 1), "the rescue disk is new");
    cloud.change(id, |wish| (wish.boot, wish.guest.rescue) = (7, None));
    cloud.sees_running(id, 7).await;
    cloud.console_until_ready(id, 5).await;
    assert_eq!(boots(&cloud).await, (3, 2), "its own disk is there");
    assert!(!state.guest(id).join("rescue.qcow2").exists());
}
