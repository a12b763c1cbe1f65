//! Guests that stand still, with a real QEMU: paused ones, and suspended ones that go on with their memory.
//!
//! Needs QEMU and the test guest (`tools/install guest qemu`, `guest/build`); LENTICULAR_SKIP_QEMU=1 skips the tests.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{
    Cloud, Running,
    counting::{counter, counting, counts, more_counts},
    qemu::{self, processes},
    server,
};
use lenticular_agent::{AgentError, Config, run_qemu};
use lenticular_model::{
    ServerId,
    compute::server::{BootStyle, Wanted},
    host::observation::{Attempt, Observation, ObservedState},
};
use std::{sync::Arc, time::Duration};

struct Host {
    agent: Option<Running<Result<(), AgentError>>>,
    state: qemu::State,
    cloud: Arc<Cloud>,
}

impl Host {
    /// A host with a guest that counts.
    async fn new() -> (Self, ServerId) {
        let (cloud, state) = (Cloud::new(qemu::image()), qemu::State(tempfile::tempdir().unwrap()));
        cloud.lock().user_data = Some(counter());
        let mut host = Self { agent: None, state, cloud };
        host.start();
        let id = server(1);
        host.cloud.order(counting(id));
        host.cloud.sees_running(id, 1).await;
        host.cloud.console_shows(id, "lenticular-guest: ready").await;
        more_counts(&host.cloud, id, 5).await;
        (host, id)
    }

    fn start(&mut self) {
        let (link, config) = (self.cloud.clone(), Config::new("host-1", self.state.0.path()));
        self.agent = Some(Running::start(move |stop| run_qemu(config, link, None, stop)));
    }

    /// The agent dies in the middle of what it does, and comes back.
    async fn crash(&mut self) {
        self.agent.take().unwrap().crash().await;
        self.start();
    }

    fn suspend(&self, id: ServerId) {
        self.cloud.change(id, |wish| (wish.wanted, wish.disk_made) = (Wanted::Suspended, true));
    }

    fn resume(&self, id: ServerId, boot: u64) {
        self.cloud.change(id, |wish| {
            (wish.wanted, wish.boot, wish.boot_style) = (Wanted::Running, boot, BootStyle::Resume);
        });
    }

    async fn sees_suspended(&self, id: ServerId) {
        self.cloud.sees_sight(id, ObservedState::Suspended).await;
        assert!(processes(self.state.0.path()).is_empty(), "no process is left");
    }

    fn memory(&self, id: ServerId) -> std::path::PathBuf {
        self.state.guest(id).join("memory.saved")
    }

    /// The guest's memory went on: no number is missing, and it booted this often.
    async fn counts_on(&self, id: ServerId, boots: usize) {
        let numbers = more_counts(&self.cloud, id, 5).await;
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "no number goes back: {numbers:?}");
        let text = self.cloud.console(id, None).await.unwrap();
        assert_eq!(text.matches("lenticular-guest: boot").count(), boots, "in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_guest_goes_on_with_its_memory() {
    if qemu::image().is_none() {
        return;
    }
    let (mut host, id) = Host::new().await;

    // Paused, it stands still, also when the agent comes back.
    host.cloud.change(id, |wish| (wish.wanted, wish.disk_made) = (Wanted::Paused, true));
    let paused = |seen: &Observation| matches!(seen.observed, ObservedState::Running { paused: true, .. });
    host.cloud.sees(id, "paused", paused).await;
    let stands = counts(&host.cloud.console(id, None).await.unwrap());
    host.crash().await;
    host.cloud.sees(id, "paused", paused).await;
    assert_eq!(counts(&host.cloud.console(id, None).await.unwrap()), stands);
    host.cloud.change(id, |wish| wish.wanted = Wanted::Running);
    host.counts_on(id, 1).await;

    // Suspended, it has no process; the agent's restart changes nothing. Then its memory goes on.
    host.suspend(id);
    host.sees_suspended(id).await;
    let saved = std::fs::metadata(host.memory(id)).unwrap().len();
    eprintln!("its memory of {} MiB takes {} KiB", 128, saved >> 10);
    host.crash().await;
    host.sees_suspended(id).await;
    host.resume(id, 2);
    host.cloud.sees_running(id, 2).await;
    host.counts_on(id, 1).await;
    assert!(!host.memory(id).exists(), "a used memory is gone");

    // A memory that cannot be used is not used: the guest starts anew, and that is said.
    host.suspend(id);
    host.sees_suspended(id).await;
    std::fs::write(host.memory(id), vec![7; 4096]).unwrap();
    let note = host.state.guest(id).join("memory.json");
    let text = std::fs::read_to_string(&note).unwrap();
    let mut spoiled: serde_json::Value = serde_json::from_str(&text).unwrap();
    spoiled["bytes"] = 4096.into();
    std::fs::write(&note, spoiled.to_string()).unwrap();
    host.resume(id, 3);
    let anew = host.cloud.sees(id, "started anew", |seen| seen.memory_lost.is_some()).await;
    assert_eq!((anew.boot, anew.failed_attempt), (3, None));
    host.cloud.console_shows(id, "lenticular-guest: boot 2").await;

    // A stop discards the memory.
    host.suspend(id);
    host.sees_suspended(id).await;
    host.cloud.change(id, |wish| wish.wanted = Wanted::Stopped);
    host.cloud.sees(id, "stopped", |seen| matches!(seen.observed, ObservedState::Stopped { .. })).await;
    assert!(!host.memory(id).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_loses_no_memory() {
    if qemu::image().is_none() {
        return;
    }
    let (mut host, id) = Host::new().await;
    let mut boot = 1;
    // The agent dies earlier and later in each of the two steps.
    for wait_ms in [0, 20, 60, 150, 400] {
        host.suspend(id);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        host.crash().await;
        host.sees_suspended(id).await;
        boot += 1;
        host.cloud.set(|inner| inner.seen.clear());
        host.resume(id, boot);
        tokio::time::sleep(Duration::from_millis(wait_ms * 3)).await;
        host.crash().await;
        host.cloud.sees_running(id, boot).await;
        host.counts_on(id, 1).await;
        host.cloud.set(|inner| inner.seen.clear());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_cannot_be_suspended_runs_on() {
    if qemu::image().is_none() {
        return;
    }
    let (host, id) = Host::new().await;
    // The memory has no place.
    std::fs::create_dir(host.memory(id)).unwrap();
    host.suspend(id);
    let seen = host.cloud.sees(id, "a failure", |seen| seen.failed_attempt.is_some()).await;
    let failed = seen.failed_attempt.unwrap();
    assert_eq!(failed.attempt, Attempt::Suspend { number: 1 });
    assert!(matches!(seen.observed, ObservedState::Running { .. }), "{:?}", seen.observed);
    host.cloud.change(id, |wish| wish.wanted = Wanted::Running);
    host.counts_on(id, 1).await;

    // Its process is killed while it is suspended: it has died, and nothing is saved.
    host.state.kill(id);
    host.suspend(id);
    host.cloud.sees(id, "its end", |seen| matches!(seen.observed, ObservedState::Stopped { .. })).await;
}
