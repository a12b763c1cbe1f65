//! Guests between two hosts, with real QEMUs. Their disk, memory and console go with them, and after every kind
//! of failed move they run on at the source.
//!
//! Needs QEMU and the test guest (`tools/install guest qemu`, `guest/build`); LENTICULAR_SKIP_QEMU=1 skips the
//! tests.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{
    Cloud, Running, Wish,
    counting::{counter, counting, counts, more_counts},
    qemu, server,
};
use lenticular_agent::{
    AgentError, Config,
    peer::{Soon, Stream, Transport},
    run_qemu,
};
use lenticular_model::{
    HostId, ServerId,
    compute::{migration::Mode, server::Wanted},
    host::observation::{Handover, Observation, ObservedState, SourceDecision, StopReason},
};
use lenticular_wire::agent::{Outgoing, Peer};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A transport that trusts every name.
struct Plain {
    name: String,
    listener: TcpListener,
    /// While false, only an already awaited connection is accepted.
    open: watch::Receiver<bool>,
    /// How many connections were accepted.
    accepted: watch::Sender<usize>,
}

impl Transport for Plain {
    fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    fn connect<'a>(&'a self, to: &'a Peer) -> Soon<'a, Stream> {
        Box::pin(async move {
            let mut stream = TcpStream::connect(&to.address).await?;
            stream.set_nodelay(true)?;
            stream.write_all(format!("{}\n", self.name).as_bytes()).await?;
            Ok(Box::new(stream) as Stream)
        })
    }

    fn accept(&self) -> Soon<'_, Soon<'static, (String, Stream)>> {
        Box::pin(async move {
            self.open.clone().wait_for(|open| *open).await.unwrap();
            let (stream, _) = self.listener.accept().await?;
            self.accepted.send_modify(|accepted| *accepted += 1);
            let proven: Soon<'static, (String, Stream)> = Box::pin(async move {
                let mut stream = BufReader::new(stream);
                let mut name = String::new();
                stream.read_line(&mut name).await?;
                Ok((name.trim().to_owned(), Box::new(stream) as Stream))
            });
            io::Result::Ok(proven)
        })
    }
}

struct Host {
    name: &'static str,
    /// Ends before its state.
    agent: Option<Running<Result<(), AgentError>>>,
    state: qemu::State,
    cloud: Arc<Cloud>,
    address: String,
    open: watch::Sender<bool>,
    accepted: watch::Sender<usize>,
}

impl Host {
    async fn new(name: &'static str) -> Self {
        let cloud = Cloud::new(qemu::image());
        let state = qemu::State(tempfile::tempdir().unwrap());
        let (open, accepted) = (watch::channel(true).0, watch::channel(0).0);
        let address = "127.0.0.1:0".to_owned();
        let mut host = Self { name, state, cloud, agent: None, address, open, accepted };
        host.start().await;
        host
    }

    async fn start(&mut self) {
        let until = Instant::now() + Duration::from_secs(10);
        let listener = loop {
            // The earlier listener may not be gone yet.
            match TcpListener::bind(&self.address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        self.address = listener.local_addr().unwrap().to_string();
        let (open, accepted) = (self.open.subscribe(), self.accepted.clone());
        let transport: Arc<dyn Transport> =
            Arc::new(Plain { name: self.name.to_owned(), listener, open, accepted });
        let (link, config) = (self.cloud.clone(), Config::new(self.name, self.state.0.path()));
        self.agent = Some(Running::start(move |stop| run_qemu(config, link, Some(transport), stop)));
    }

    fn peer(&self) -> Peer {
        Peer {
            host_id: HostId::from_random([1; 16]),
            name: self.name.to_owned(),
            address: self.address.clone(),
        }
    }

    fn processes(&self) -> usize {
        qemu::processes(self.state.0.path()).len()
    }

    /// Waits until the server is observed in this state.
    async fn sees(&self, id: ServerId, observed: ObservedState) {
        self.cloud.sees_sight(id, observed).await;
    }
}

/// The number that the second disk had at each boot.
fn held(text: &str) -> Vec<Option<u64>> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    // The prompt for a log-in may stand before it on its line.
    let lines = whole.lines().filter_map(|line| line.split_once("second disk:"));
    lines.map(|(_, held)| held.trim().strip_prefix("held ")?.parse().ok()).collect()
}

async fn two_hosts() -> (Host, Host, Wish) {
    let (a, b) = (Host::new("host-a").await, Host::new("host-b").await);
    for host in [&a, &b] {
        host.cloud.lock().user_data = Some(counter());
    }
    let wish = counting(server(1));
    a.cloud.order(wish.clone());
    a.cloud.sees_running(wish.server_id, 1).await;
    a.cloud.console_shows(wish.server_id, "lenticular-guest: ready").await;
    more_counts(&a.cloud, wish.server_id, 5).await;
    (a, b, wish)
}

fn released(generation: u64) -> Option<Handover> {
    Some(Handover { generation, decision: SourceDecision::Released })
}

/// Orders the target to prepare, and then the source to send.
async fn begin(a: &Host, b: &Host, wish: &Wish, generation: u64, mode: Mode) {
    let id = wish.server_id;
    b.cloud.order(Wish { generation, receive: Some((a.peer(), mode)), ..wish.clone() });
    let ready = |seen: &Observation| (seen.generation, &seen.observed) == (generation, &ObservedState::Ready);
    b.cloud.sees(id, "ready", ready).await;
    let outgoing = Outgoing { generation, to: b.peer(), mode, withdraw: false, force: false };
    a.cloud.order(Wish { outgoing: Some(outgoing), disk_made: true, ..wish.clone() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_moves_live_and_back_cold() {
    if qemu::image().is_none() {
        return;
    }
    let (a, b, wish) = two_hosts().await;
    let id = wish.server_id;
    let began = Instant::now();
    begin(&a, &b, &wish, 2, Mode::Live).await;
    a.cloud.sees(id, "released", |seen| seen.handover == released(2)).await;
    b.cloud.sees_running(id, 1).await;
    eprintln!("moved live within {:?}", began.elapsed());
    b.cloud.order(Wish { generation: 2, disk_made: true, ..wish.clone() });
    let before = counts(&a.cloud.console(id, None).await.unwrap()).last().copied().unwrap();
    let after = more_counts(&b.cloud, id, 5).await;
    assert!(after.windows(2).all(|pair| pair[0] < pair[1]), "no number comes twice or goes back: {after:?}");
    assert!(after.contains(&before) && after[after.len() - 1] > before, "{before} and on: {after:?}");
    let text = b.cloud.console(id, None).await.unwrap();
    assert_eq!(
        text.matches("lenticular-guest: boot").count(),
        1,
        "the console came along, and nothing booted"
    );

    // The source keeps its disk, and no process.
    a.cloud.keep(id, 1);
    a.sees(id, ObservedState::Kept).await;
    assert_eq!((a.processes(), b.processes()), (0, 1));

    // Back again, cold; the guest counts on from its disk.
    let there = Wish { generation: 2, disk_made: true, ..wish.clone() };
    begin(&b, &a, &there, 3, Mode::Cold).await;
    b.cloud.sees(id, "released", |seen| seen.handover == released(3)).await;
    a.sees(id, ObservedState::Stopped { why: StopReason::Ordered }).await;
    a.cloud.order(Wish { generation: 3, boot: 2, disk_made: true, ..wish.clone() });
    a.cloud.sees_running(id, 2).await;
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let text = a.cloud.console(id, None).await.unwrap();
        // The guest reads its second disk a moment after it is ready.
        if text.matches("lenticular-guest: ready").count() == 2 && held(&text).len() == 2 {
            assert!(text.contains("lenticular-guest: boot 2"), "the disk is the one that moved");
            let [None, Some(held)] = held(&text)[..] else { panic!("the second disk had:\n{text}") };
            assert!(held > before, "the second disk moved live, and then cold: {held}");
            break;
        }
        assert!(Instant::now() < until, "it does not come up again:\n{text}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!((a.processes(), b.processes()), (1, 0));
    for host in [&a, &b] {
        host.cloud.change(id, |wish| (wish.wanted, wish.generation) = (Wanted::Absent, 3));
        host.sees(id, ObservedState::Absent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_guest_moves_live_and_stands_still() {
    if qemu::image().is_none() {
        return;
    }
    let (a, b, wish) = two_hosts().await;
    let id = wish.server_id;
    let paused = |seen: &Observation| matches!(seen.observed, ObservedState::Running { paused: true, .. });
    let wish = Wish { wanted: Wanted::Paused, disk_made: true, ..wish };
    a.cloud.order(wish.clone());
    a.cloud.sees(id, "paused", paused).await;
    let before = counts(&a.cloud.console(id, None).await.unwrap());

    // The process that waits at the target is killed: the guest stands still where it was.
    b.cloud.order(Wish { generation: 2, receive: Some((a.peer(), Mode::Live)), ..wish.clone() });
    b.sees(id, ObservedState::Ready).await;
    b.state.kill(id);
    let outgoing = Outgoing { generation: 2, to: b.peer(), mode: Mode::Live, withdraw: false, force: false };
    a.cloud.order(Wish { outgoing: Some(outgoing), ..wish.clone() });
    let kept = |seen: &Observation| {
        seen.handover.as_ref().is_some_and(|h| matches!(h.decision, SourceDecision::Kept { .. }))
            && paused(seen)
    };
    a.cloud.sees(id, "kept", kept).await;

    begin(&a, &b, &wish, 3, Mode::Live).await;
    a.cloud.sees(id, "released", |seen| seen.handover == released(3)).await;
    b.cloud.sees(id, "paused", paused).await;
    let there = counts(&b.cloud.console(id, None).await.unwrap());
    assert_eq!(there.last(), before.last(), "it did not run on either host");
    b.cloud.order(Wish { generation: 3, wanted: Wanted::Running, ..wish.clone() });
    let numbers = more_counts(&b.cloud, id, 5).await;
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_breaks_off_leaves_the_guest_where_it_was() {
    if qemu::image().is_none() {
        return;
    }
    let (mut a, b, wish) = two_hosts().await;
    let id = wish.server_id;
    let kept = |generation| {
        move |seen: &Observation| {
            seen.handover.as_ref().is_some_and(|h| {
                h.generation == generation && matches!(h.decision, SourceDecision::Kept { .. })
            })
        }
    };
    // The waiting process at the target is killed.
    b.cloud.order(Wish { generation: 2, receive: Some((a.peer(), Mode::Live)), ..wish.clone() });
    b.sees(id, ObservedState::Ready).await;
    b.state.kill(id);
    let outgoing = Outgoing { generation: 2, to: b.peer(), mode: Mode::Live, withdraw: false, force: false };
    a.cloud.order(Wish { outgoing: Some(outgoing), disk_made: true, ..wish.clone() });
    a.cloud.sees(id, "kept", kept(2)).await;
    b.cloud.sees(id, "unready", |seen| matches!(seen.observed, ObservedState::Unready { .. })).await;
    more_counts(&a.cloud, id, 5).await;

    // The source's agent dies while it sends, and comes back.
    b.open.send_replace(false);
    let mut accepted = b.accepted.subscribe();
    begin(&a, &b, &wish, 3, Mode::Live).await;
    let connected = tokio::time::timeout(Duration::from_secs(60), accepted.changed()).await;
    connected.expect("the source connects").unwrap();
    a.agent.take().unwrap().crash().await;
    a.start().await;
    a.cloud.sees(id, "kept", kept(3)).await;
    b.open.send_replace(true);
    let numbers = more_counts(&a.cloud, id, 5).await;
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");

    // Now the move succeeds.
    begin(&a, &b, &wish, 4, Mode::Live).await;
    a.cloud.sees(id, "released", |seen| seen.handover == released(4)).await;
    b.cloud.sees_running(id, 1).await;
    let numbers = more_counts(&b.cloud, id, 5).await;
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    a.cloud.keep(id, 1);
    a.sees(id, ObservedState::Kept).await;
    assert_eq!((a.processes(), b.processes()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_move_ends_though_the_guest_writes_without_rest() {
    if qemu::image().is_none() {
        return;
    }
    let (a, b, wish) = two_hosts().await;
    let id = wish.server_id;
    b.open.send_replace(false);
    begin(&a, &b, &wish, 2, Mode::Live).await;
    let forced = Outgoing { generation: 2, to: b.peer(), mode: Mode::Live, withdraw: false, force: true };
    a.cloud.order(Wish { outgoing: Some(forced), disk_made: true, ..wish.clone() });
    b.open.send_replace(true);
    a.cloud.sees(id, "released", |seen| seen.handover == released(2)).await;
    b.cloud.sees_running(id, 1).await;
    let numbers = more_counts(&b.cloud, id, 5).await;
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
}
