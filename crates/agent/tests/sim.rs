//! Whole agents with simulated hosts: what the control plane sees while messages are lost.

mod common;

use common::{Cloud, Running, order, server};
use lenticular_agent::{AgentError, Config, Knob, SimKnobs, run_sim};
use lenticular_model::{
    compute::server::Wanted,
    host::observation::{ObservedState, StopReason},
};
use std::{sync::Arc, time::Duration};

fn start(cloud: &Arc<Cloud>, knobs: SimKnobs) -> Running<Result<(), AgentError>> {
    let link = cloud.clone();
    let config = Config::new("sim-1", "/nowhere");
    Running::start(move |stop| run_sim(config, knobs, Default::default(), link, stop))
}

#[tokio::test]
async fn a_server_lives_and_dies() {
    let cloud = Cloud::new(None);
    let agent = start(&cloud, SimKnobs::default());
    let id = server(1);
    cloud.order(order(id, "x"));
    cloud.sees_running(id, 1).await;
    assert!(cloud.console(id, Some(1)).await.unwrap().contains("boot 1"));
    assert!(cloud.console(server(9), None).await.is_err());
    cloud.change(id, |o| o.wanted = Wanted::Stopped);
    cloud.sees_sight(id, ObservedState::Stopped { why: StopReason::Ordered }).await;
    cloud.change(id, |o| (o.wanted, o.boot) = (Wanted::Running, 2));
    cloud.sees_running(id, 2).await;
    cloud.change(id, |o| o.wanted = Wanted::Absent);
    cloud.sees_sight(id, ObservedState::Absent).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn lost_reports_lost_contact_and_a_forgotten_host_do_no_harm() {
    let cloud = Cloud::new(None);
    let agent = start(&cloud, SimKnobs::default());
    let id = server(1);
    cloud.lock().lose_reports = 2;
    cloud.order(order(id, "x"));
    cloud.sees_running(id, 1).await;
    cloud.set(|inner| inner.down = true);
    cloud.change(id, |o| o.boot = 2);
    cloud.set(|inner| (inner.down, inner.known) = (false, false));
    cloud.sees_running(id, 2).await;
    let registration = cloud.lock().registrations.last().cloned().unwrap();
    assert_eq!(registration.inventory.len(), 1, "it says what it has");

    // A restored store counts commits again, and does not mention one server any more.
    cloud.order(order(server(2), "x"));
    cloud.sees_running(server(2), 1).await;
    cloud.set(|inner| {
        (inner.incarnation, inner.seq) = (2, 1);
        inner.orders.remove(&server(2));
        inner.seen.clear();
        let order = inner.orders.get_mut(&id).unwrap();
        *order = (1, order.1.clone());
    });
    cloud.sees_running(id, 2).await;
    cloud.sees_running(server(2), 1).await;
    agent.stop().await.unwrap();
}

/// Every report has a higher number than the reports before it in its session.
fn assert_numbers_grow(cloud: &Cloud) {
    let reports = cloud.lock().reports.clone();
    assert!(reports.windows(2).all(|pair| pair[0] < pair[1]), "{reports:?}");
}

#[tokio::test]
async fn a_session_that_ended_is_followed_by_another() {
    let cloud = Cloud::new(None);
    let agent = start(&cloud, SimKnobs::default());
    let id = server(1);
    cloud.lock().lose_reports = 2;
    cloud.order(order(id, "x"));
    cloud.sees_running(id, 1).await;

    // A repeated registration began a session that the agent does not know: the answer to its poll tells so.
    let registrations = cloud.set(|inner| {
        inner.session += 1;
        inner.seen.clear();
        inner.registrations.len()
    });
    cloud.sees_running(id, 1).await;
    assert_eq!(cloud.lock().registrations.len(), registrations + 1, "one registration is enough");

    // The answers to its reports tell so, several times; in the end everything is reported.
    cloud.lock().disown_reports = 3;
    cloud.change(id, |o| o.boot = 2);
    cloud.sees_running(id, 2).await;
    assert_eq!(
        cloud.lock().registrations.len(),
        registrations + 4,
        "one registration for each time that it was not known"
    );
    assert_numbers_grow(&cloud);
    let (session, number) = *cloud.lock().reports.last().unwrap();
    assert_eq!(session, cloud.lock().session);
    assert!(number >= 1);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn failures_are_told_and_a_new_boot_tries_again() {
    let cloud = Cloud::new(None);
    let fails = Knob { fails_per_mille: 1000, ..Knob::default() };
    let agent = start(&cloud, SimKnobs { start: fails, ..SimKnobs::default() });
    cloud.order(order(server(1), "x"));
    let failed = |boot| {
        move |seen: &lenticular_model::host::observation::Observation| {
            seen.boot == boot && matches!(seen.observed, ObservedState::Failed { disk_made: true, .. })
        }
    };
    cloud.sees(server(1), "failed", failed(1)).await;
    cloud.change(server(1), |o| o.boot = 2);
    cloud.sees(server(1), "failed again", failed(2)).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn simulated_guests_come_back_after_the_process_did() {
    let cloud = Cloud::new(None);
    let agent = start(&cloud, SimKnobs::default());
    cloud.order(order(server(1), "x"));
    cloud.sees_running(server(1), 1).await;
    agent.crash().await;
    cloud.change(server(1), |o| o.disk_made = true);
    cloud.set(|inner| inner.seen.clear());
    let agent = start(&cloud, SimKnobs::default());
    cloud.sees_running(server(1), 1).await;
    let registrations = cloud.lock().registrations.clone();
    assert_ne!(registrations[0].facts.boot_id, registrations.last().unwrap().facts.boot_id);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn long_work_is_told_while_it_is_under_way_and_short_work_is_not() {
    let cloud = Cloud::new(None);
    let agent = start(&cloud, SimKnobs::default());
    cloud.order(order(server(1), "x"));
    cloud.sees_running(server(1), 1).await;
    assert_eq!(cloud.lock().seen[&server(1)].len(), 1);
    agent.stop().await.unwrap();

    let cloud = Cloud::new(None);
    let slow = Knob { delay_ms: 600_000, ..Knob::default() };
    let agent = start(&cloud, SimKnobs { prepare: slow, ..SimKnobs::default() });
    cloud.order(order(server(1), "x"));
    cloud.sees(server(1), "preparing", |seen| matches!(seen.observed, ObservedState::Preparing { .. })).await;
    // Deletion does not wait for the step.
    cloud.change(server(1), |o| o.wanted = Wanted::Absent);
    cloud.sees_sight(server(1), ObservedState::Absent).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn thousands_of_guests_are_light() {
    let cloud = Cloud::new(None);
    let config = Config { parallel_max: 64, ..Config::new("sim-1", "/nowhere") };
    let link = cloud.clone();
    let agent =
        Running::start(move |stop| run_sim(config, SimKnobs::default(), Default::default(), link, stop));
    let ids: Vec<_> =
        (0..2000_u128).map(|n| lenticular_model::ServerId(uuid::Uuid::from_u128(n + 1))).collect();
    cloud.set(|inner| {
        inner.seq += 1;
        for id in &ids {
            inner.orders.insert(*id, (inner.seq, order(*id, "x")));
        }
    });
    let all = || {
        let inner = cloud.lock();
        let runs = |id| {
            let seen = inner.seen.get(id).and_then(|seen| seen.last());
            seen.is_some_and(|(_, seen)| matches!(seen.observed, ObservedState::Running { .. }))
        };
        ids.iter().all(runs).then_some(())
    };
    cloud.wait(Duration::from_secs(60), all).await.expect("all run");
    agent.stop().await.unwrap();
}
