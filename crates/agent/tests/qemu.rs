//! A real guest under a real QEMU, from its first order to its tombstone, through the agent's restarts.
//!
//! Needs QEMU and the test guest (`tools/install guest qemu`, `guest/build`); LENTICULAR_SKIP_QEMU=1 skips the
//! tests.
#![expect(clippy::disallowed_methods, reason = "tests end the processes that they started by hand")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{
    Cloud, Running, order,
    qemu::{State, image, processes, sha512},
    server,
};
use lenticular_agent::{AgentError, Config, power_off, run_qemu};
use lenticular_model::{
    NetworkId, PortId, ServerId, SubnetId,
    compute::server::Wanted,
    host::observation::{ObservedState, StopReason},
};
use lenticular_wire::agent::{AddressSpec, PortSpec};
use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::io::AsyncReadExt;

/// The control groups of a guest.
fn groups(id: ServerId) -> Vec<PathBuf> {
    let controllers = ["memory", "cpu", "pids"].iter();
    let dirs =
        controllers.map(|c| Path::new("/sys/fs/cgroup").join(c).join("lenticular").join(id.to_string()));
    dirs.filter(|dir| dir.exists()).collect()
}

/// A running guest has used its processor and its disk.
async fn is_measured(cloud: &Cloud, id: ServerId) {
    let seen = cloud.diagnostics(id).await.expect("a running guest");
    assert_eq!(
        (seen.state.as_str(), seen.cpus_ns.len(), seen.disks.len(), seen.nics.len()),
        ("running", 1, 1, 1)
    );
    assert!(
        seen.cpus_ns[0] > 0 && seen.disks[0].read_bytes > 0 && seen.resident_kib > Some(1_024),
        "{seen:?}"
    );
}

/// The port in a slot of the guest.
fn port_in(slot: u8) -> PortSpec {
    let address = AddressSpec {
        subnet_id: SubnetId::from_random([4; 16]),
        address: [10, 1, slot, 7].into(),
        cidr: format!("10.1.{slot}.0/24").parse().unwrap(),
        gateway: Some([10, 1, slot, 1].into()),
        dhcp: true,
        ipv6_mode: None,
        dns: Vec::new(),
        routes: Vec::new(),
    };
    PortSpec {
        tag: None,
        port_id: PortId::from_random([slot + 1; 16]),
        slot: slot.into(),
        network_id: NetworkId::from_random([2; 16]),
        mac: lenticular_model::network::mac::Mac([0xfa, 0x16, 0x3e, 0, 0, slot]),
        mtu: 1442,
        addresses: vec![address],
    }
}

fn start(cloud: &Arc<Cloud>, state: &State) -> Running<Result<(), AgentError>> {
    let link = cloud.clone();
    let config = Config::new("host-1", state.0.path());
    Running::start(move |stop| run_qemu(config, link, None, stop))
}

async fn ssh_answers(forward: &str) {
    let mut stream = tokio::net::TcpStream::connect(forward).await.unwrap();
    let mut banner = [0; 4];
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_exact(&mut banner));
    read.await.expect("ssh answers in time").unwrap();
    assert_eq!(&banner, b"SSH-");
}

/// Waits until a file has content.
async fn filled(path: &Path) -> Instant {
    let until = Instant::now() + Duration::from_secs(120);
    while std::fs::metadata(path).map_or(0, |meta| meta.len()) == 0 {
        assert!(Instant::now() < until, "{} stays empty", path.display());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Instant::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_lives_through_all_that_befalls_it() {
    let Some(image) = image() else { return };
    let state = State(tempfile::tempdir().unwrap());
    let sha512 = sha512(&image);
    let cloud = Cloud::new(Some(image));
    cloud.lock().user_data = Some(b"#!/bin/sh\nexit 7\n".to_vec());
    let agent = start(&cloud, &state);
    cloud
        .wait(Duration::from_secs(60), || (!cloud.lock().registrations.is_empty()).then_some(()))
        .await
        .expect("a registration");
    let registration = cloud.lock().registrations[0].clone();
    // Updates may wait on the machine that runs this.
    let mut made = registration.evidence.iter().filter(|seen| seen.check != "updates");
    assert!(made.all(|seen| seen.trouble.is_none()), "{:?}", registration.evidence);
    eprintln!("hypervisor: {:?}", registration.facts.hypervisor);

    let id = server(51);
    let mut first = order(id, &sha512);
    first.guest.ports = vec![port_in(0)];
    first.guest.has_user_data = true;
    let ordered = Instant::now();
    cloud.order(first);
    let forward = cloud.sees_running(id, 1).await.expect("a forward to ssh");
    eprintln!("order to running, base fetched: {:?}", ordered.elapsed());
    let text = cloud.console_shows(id, "lenticular-guest: ready").await;
    for line in
        ["boot 1", "data-source config-drive", "hostname web-1", "address 10.1.0.7", "user-data exited 7"]
    {
        assert!(text.contains(&format!("lenticular-guest: {line}")), "no '{line}' in:\n{text}");
    }
    ssh_answers(&forward).await;
    is_measured(&cloud, id).await;

    // The agent restarts; the guest does not notice.
    let pid = state.pid(id).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Seccomp:\t2"), "it runs under the sandbox: {status}");
    agent.stop().await.unwrap();
    assert_eq!(processes(state.0.path()), [pid]);
    cloud.set(|inner| inner.seen.clear());
    let agent = start(&cloud, &state);
    assert_eq!(cloud.sees_running(id, 1).await, Some(forward));
    assert_eq!(processes(state.0.path()), [pid]);

    // The guest shuts down softly, which ACPI shows on the console, and starts again on the same disk.
    let stopping = Instant::now();
    cloud.change(id, |o| o.wanted = Wanted::Stopped);
    cloud.sees_sight(id, ObservedState::Stopped { why: StopReason::Ordered }).await;
    assert!(stopping.elapsed() < Duration::from_secs(50), "it heard the power button");
    assert!(processes(state.0.path()).is_empty());
    cloud.change(id, |o| (o.wanted, o.boot, o.disk_made) = (Wanted::Running, 2, true));
    cloud.sees_running(id, 2).await;
    cloud.console_shows(id, "lenticular-guest: boot 2").await;

    dies_and_goes(&cloud, &state, id, agent).await;
}

/// Its process is lost while the agent watches, and while it does not; then the server is deleted.
async fn dies_and_goes(
    cloud: &Arc<Cloud>,
    state: &State,
    id: ServerId,
    agent: Running<Result<(), AgentError>>,
) {
    let kill =
        |pid: u32| assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    kill(state.pid(id).unwrap());
    cloud.sees_sight(id, ObservedState::Stopped { why: StopReason::Died }).await;
    cloud.change(id, |o| o.boot = 3);
    cloud.sees_running(id, 3).await;
    agent.crash().await;
    kill(state.pid(id).unwrap());
    let agent = start(cloud, state);
    cloud
        .sees(id, "died", |s| s.boot == 3 && s.observed == ObservedState::Stopped { why: StopReason::Died })
        .await;
    cloud.change(id, |o| o.boot = 4);
    cloud.sees_running(id, 4).await;

    // Nothing is left of it.
    cloud.change(id, |o| o.wanted = Wanted::Absent);
    cloud.sees_sight(id, ObservedState::Absent).await;
    assert!(!state.guest(id).exists());
    assert!(groups(id).is_empty(), "{:?}", groups(id));
    assert!(processes(state.0.path()).is_empty());
    agent.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_outlives_a_killed_process_for_a_moment_is_waited_for() {
    let Some(image) = image() else { return };
    let state = State(tempfile::tempdir().unwrap());
    let sha512 = sha512(&image);
    let cloud = Cloud::new(Some(image));
    let agent = start(&cloud, &state);
    let id = server(13);
    cloud.order(order(id, &sha512));
    cloud.sees_running(id, 1).await;
    state.kill(id);
    cloud.sees_sight(id, ObservedState::Stopped { why: StopReason::Died }).await;

    // Another process has the lock: this process would lose it as soon as its agent has read the file.
    let lock = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); \
                sys.stdin.read()";
    let mut holder = Command::new("python3");
    holder.args(["-c", lock]).arg(state.guest(id).join("run/pid"));
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 2];
    let mut out = holder.stdout.take().unwrap();
    out.read_exact(&mut said).unwrap();
    cloud.change(id, |o| (o.boot, o.disk_made) = (2, true));
    let log = state.guest(id).join("qemu.log");
    let refused = async {
        while !std::fs::read_to_string(&log).unwrap_or_default().contains("Cannot lock pid file") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.expect("QEMU to be refused");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    cloud.sees_running(id, 2).await;
    agent.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_powers_itself_off_has_stopped_by_itself_and_starts_are_quick() {
    let Some(image) = image() else { return };
    let state = State(tempfile::tempdir().unwrap());
    let sha512 = sha512(&image);
    let cloud = Cloud::new(Some(image));
    cloud.lock().user_data = Some(b"#!/bin/sh\npoweroff\n".to_vec());
    let agent = start(&cloud, &state);
    let id = server(11);
    let mut first = order(id, &sha512);
    first.guest.has_user_data = true;
    cloud.order(first);
    cloud.sees_sight(id, ObservedState::Stopped { why: StopReason::ByGuest }).await;
    assert!(processes(state.0.path()).is_empty());

    // The base is cached now. How long is it from an order to QEMU, to the running report, to the first console
    // output?
    let next = server(12);
    let ordered = Instant::now();
    cloud.order(order(next, &sha512));
    let executed = filled(&state.guest(next).join("run/pid")).await - ordered;
    cloud.sees_running(next, 1).await;
    let running = ordered.elapsed();
    let spoke = filled(&state.guest(next).join("console.log")).await - ordered;
    eprintln!("order to QEMU {executed:?}, to running {running:?}, to the first console output {spoke:?}");
    for id in [id, next] {
        cloud.change(id, |o| o.wanted = Wanted::Absent);
        cloud.sees_sight(id, ObservedState::Absent).await;
        assert!(groups(id).is_empty(), "{:?}", groups(id));
    }
    agent.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn interfaces_come_and_go_while_the_guest_runs() {
    let Some(image) = image() else { return };
    let state = State(tempfile::tempdir().unwrap());
    let sha512 = sha512(&image);
    let cloud = Cloud::new(Some(image));
    let agent = start(&cloud, &state);
    let id = server(21);
    let mut first = order(id, &sha512);
    first.guest.ports = vec![port_in(0)];
    cloud.order(first);
    let forward = cloud.sees_running(id, 1).await.expect("a forward to ssh");
    cloud.console_shows(id, "lenticular-guest: ready").await;
    let pid = state.pid(id).unwrap();

    cloud.change(id, |o| (o.disk_made, o.guest.ports) = (true, vec![port_in(0), port_in(2)]));
    cloud.console_has(id, "address 10.1.2.7").await;
    // A restarted agent knows the guest's interfaces.
    agent.crash().await;
    let agent = start(&cloud, &state);
    cloud.change(id, |o| o.guest.ports = vec![port_in(0), port_in(1)]);
    cloud.console_has(id, "address 10.1.1.7").await;
    cloud.console_has(id, "lenticular-guest: interface eth1 is gone").await;
    ssh_answers(&forward).await;
    assert_eq!(processes(state.0.path()), [pid], "it is the same process");
    cloud.change(id, |o| o.wanted = Wanted::Absent);
    cloud.sees_sight(id, ObservedState::Absent).await;
    agent.stop().await.unwrap();
}

/// Older agents ran QEMU as themselves, named its pid file by its whole path, and had its sockets in the guest's directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_of_an_older_agent_is_found_and_ended() {
    if image().is_none() {
        return;
    }
    let state = State(tempfile::tempdir().unwrap());
    let id = server(31);
    let dir = state.guest(id);
    std::fs::create_dir_all(&dir).unwrap();
    let name = format!("lenticular-{id}.1.4");
    let mut old = Command::new("qemu-system-x86_64");
    old.args([
        "-name",
        &name,
        "-uuid",
        &id.to_string(),
        "-machine",
        "none",
        "-nodefaults",
        "-display",
        "none",
    ]);
    old.args(["-qmp", "unix:qmp,server=on,wait=off", "-pidfile"]).arg(dir.join("pid"));
    let mut old = old.current_dir(&dir).spawn().unwrap();
    while std::os::unix::net::UnixStream::connect(dir.join("qmp")).is_err() {
        assert!(old.try_wait().unwrap().is_none(), "it runs");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let ended = power_off(state.0.path(), Duration::from_millis(100)).await.unwrap();
    assert_eq!(ended, 1);
    // A forced end would be an end by a signal.
    assert!(old.wait().unwrap().success(), "QEMU was told to quit by its socket");
}

#[tokio::test]
async fn a_base_that_is_damaged_fails_the_server_in_words() {
    let Some(image) = image() else { return };
    let state = State(tempfile::tempdir().unwrap());
    let cloud = Cloud::new(Some(image));
    let agent = start(&cloud, &state);
    cloud.order(order(server(1), &"ab".repeat(64)));
    let is_failed = |s: &lenticular_model::host::observation::Observation| {
        matches!(s.observed, ObservedState::Failed { .. })
    };
    let seen = cloud.sees(server(1), "failed", is_failed).await;
    let ObservedState::Failed { message, disk_made, .. } = seen.observed else { panic!("{seen:?}") };
    assert!(message.contains("damaged") && !disk_made, "{message}");

    // A second agent on the same directory is refused.
    let refused =
        run_qemu(Config::new("host-2", state.0.path()), cloud.clone(), None, std::future::pending()).await;
    assert!(refused.unwrap_err().to_string().contains("Another agent"));
    agent.stop().await.unwrap();
}
