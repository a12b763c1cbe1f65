//! Images of a running guest's disk, with a real QEMU: the guest goes on, and nothing is left over.
//!
//! Needs QEMU and the test guest (`tools/install guest qemu`, `guest/build`); LENTICULAR_SKIP_QEMU=1 skips the tests.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{
    Cloud, Running,
    counting::{counter, counting, counts, more_counts},
    order,
    qemu::{self, sha512},
    server,
};
use lenticular_agent::{Config, run_qemu};
use lenticular_model::{compute::server::Wanted, host::observation::ObservedState};
use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

#[expect(clippy::disallowed_methods, reason = "a test looks at a file with the tool for that")]
fn img(args: &[&str]) -> String {
    let output = Command::new("qemu-img").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn start(cloud: &Arc<Cloud>, state: &qemu::State) -> Running<Result<(), lenticular_agent::AgentError>> {
    let (link, config) = (cloud.clone(), Config::new("host-1", state.0.path()));
    Running::start(move |stop| run_qemu(config, link, None, stop))
}

/// Waits until something is so.
async fn until(is: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < end, "it did not come about in time");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_running_guest_boots() {
    if qemu::image().is_none() {
        return;
    }
    let (cloud, state) = (Cloud::new(qemu::image()), qemu::State(tempfile::tempdir().unwrap()));
    let uploads = tempfile::tempdir().unwrap();
    cloud.set(|inner| {
        (inner.user_data, inner.uploads) = (Some(counter()), Some(uploads.path().to_owned()));
    });
    let agent = start(&cloud, &state);
    let id = server(1);
    cloud.order(counting(id));
    cloud.sees_running(id, 1).await;
    cloud.console_shows(id, "lenticular-guest: ready").await;
    more_counts(&cloud, id, 5).await;

    // The guest counts on while its disk is copied.
    cloud.change(id, |wish| (wish.disk_made, wish.snapshot) = (true, Some("first".to_owned())));
    let sent = uploads.path().join("first");
    let there = cloud.wait(Duration::from_secs(60), || sent.exists().then_some(())).await;
    assert!(there.is_some(), "{:?}", cloud.last(id));
    let numbers = more_counts(&cloud, id, 5).await;
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "it counts on: {numbers:?}");
    let left = state.guest(id).join("whole.qcow2");
    until(|| !left.exists()).await;

    // The agent dies while it copies; the next one clears up and begins anew.
    cloud.change(id, |wish| wish.snapshot = Some("second".to_owned()));
    until(|| left.exists()).await;
    agent.crash().await;
    let _agent = start(&cloud, &state);
    let sent_again = uploads.path().join("second");
    cloud.wait(Duration::from_secs(60), || sent_again.exists().then_some(())).await.expect("a disk");
    until(|| !left.exists()).await;
    more_counts(&cloud, id, 3).await;

    // The copy is whole, needs no other file, and boots with what the guest had written.
    let info: serde_json::Value =
        serde_json::from_str(&img(&["info", "--output=json", sent.to_str().unwrap()])).unwrap();
    assert_eq!(info["backing-filename"], serde_json::Value::Null);
    img(&["check", sent.to_str().unwrap()]);
    cloud.change(id, |wish| (wish.wanted, wish.snapshot) = (Wanted::Absent, None));
    cloud.sees_sight(id, ObservedState::Absent).await;
    let (cloud, state) = (Cloud::new(Some(sent.clone())), qemu::State(tempfile::tempdir().unwrap()));
    let _agent = start(&cloud, &state);
    let copy = server(2);
    cloud.order(order(copy, &sha512(&sent)));
    cloud.sees_running(copy, 1).await;
    let text = cloud.console_shows(copy, "lenticular-guest: ready").await;
    assert!(counts(&text).is_empty() || counts(&text)[0] > 1, "it has the first guest's files:\n{text}");
}
